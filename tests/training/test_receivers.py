"""Every receiver learns what can be told apart, twice alike, and says what it cannot be asked."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import binom

from diffaudit_jax.data import Pool
from diffaudit_jax.models.receivers import RECEIVERS
from diffaudit_jax.training import receivers
from diffaudit_jax.training.receivers import NAMES, RECORDS, ROWS, cross_predicted, fit_sklearn, train_receiver
from diffaudit_jax.types import InputError

NUM_TESTED = 200


def halves(n, seed=0):
    """Images of 16x16 whose left half is brighter (class 0) or whose right half is (class 2), under noise."""
    rng = np.random.default_rng(seed)
    labels = 2 * rng.integers(0, 2, n).astype(np.int32)
    x = rng.integers(0, 128, (n, 16, 16, 1))
    x[labels == 0, :, :8] += 100
    x[labels == 2, :, 8:] += 100
    return Pool(x.astype(np.uint8), np.arange(n), "halves", labels)


def trained(name, seed=0):
    settings = {"num_steps": 25, "batch_size": 16, "warmup_steps": 5} if name in RECEIVERS else {"max_iter": 20}
    return train_receiver(jax.random.key(seed), name, halves(100), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_receiver_learns_and_does_so_twice_alike(name, compiled):
    first, again, tested = trained(name), trained(name), halves(NUM_TESTED, seed=1)
    unsure = np.random.default_rng(0).integers(0, 256, (256 - NUM_TESTED, 16, 16, 1), dtype=np.uint8)
    both = np.concatenate([tested.x, unsure])
    told = first(both)
    np.testing.assert_array_equal(told, again(both))
    # Better than a coin by luck once in 1e9 times.
    assert (told[:NUM_TESTED] == tested.labels).sum() > binom.isf(1e-9, NUM_TESTED, 0.5)
    for images in (unsure[:0], unsure[:, :8], unsure / 255):
        with pytest.raises(InputError, match="takes uint8"):
            first(images)


def test_boosting_draws_from_the_key():
    """Rows are held out to stop early, at random."""
    settings = {"max_iter": 20, "early_stopping": True}
    pool, unsure = halves(100), halves(400, seed=2).x // 2 + 40
    one, same, other = (
        train_receiver(jax.random.key(seed), "boosting", pool, **settings)(unsure) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_every_image_is_told_by_who_has_not_seen_it(monkeypatch):
    """The receiver is one that tells seen images from others."""
    pool = replace(halves(41), labels=np.arange(41) % 2)

    def memory(key, name, taught, **settings):
        return lambda images: np.array([h in taught.hashes() for h in replace(pool, x=images, rows=images[:, 0, 0, 0],
                                        labels=None).hashes()], int)  # fmt: skip

    monkeypatch.setattr(receivers, "train_receiver", memory)
    assert cross_predicted(jax.random.key(0), "lenet", pool).tolist() == [0] * 41


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("lenett", {}, "unknown receiver 'lenett': did you mean 'lenet'"),
        ("mlp", {"labels": None}, "halves has no labels: a receiver learns two classes or more"),
        ("mlp", {"labels": np.full(20, 2, np.int32)}, r"halves has labels \[2\]: a receiver learns two"),
        ("logistic", {"labels": np.full(20, 2, np.int32)}, r"halves has labels \[2\]"),
        ("lenet", {"x": np.zeros((20, 12, 12, 1), np.uint8)}, r"images of \(12, 12, 1\) leave this receiver"),
    ],
)
def test_bad_pools_are_refused(name, change, message):
    with pytest.raises(InputError, match=message):
        train_receiver(jax.random.key(0), name, replace(halves(20), **change))


def test_rows_are_refused_that_cannot_be_fitted():
    pool = halves(20)
    for name, x, y, message in (
        ("logistics", pool.x, pool.labels, "unknown classifier of rows 'logistics': did you mean 'logistic'"),
        ("logistic", pool.x / 255, pool.labels, "images are float64"),
        ("logistic", pool.x[:0], pool.labels[:0], r"images are uint8 \(0, 16, 16, 1\)"),
        ("logistic", pool.x, pool.labels[:-1], "give a label for each, of two classes or more"),
        ("boosting", pool.x, np.zeros(20), r"20 images with labels \[0\.\]"),
    ):
        with pytest.raises(InputError, match=message):
            fit_sklearn(name, x, y)
    assert set(ROWS) == {"logistic", "boosting"}


def rows(n, seed=0):
    """Encoded records: class 1 is a standard deviation to the right in each of 9 numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(np.int32)
    return Pool(rng.normal(labels[:, None], 1, (n, 9)).astype(np.float32), np.arange(n), "rows", labels)


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_learned_from_as_they_are(name):
    settings = {"num_steps": 60} if name == "mlp" else {"max_iter": 50}
    first, again = (train_receiver(jax.random.key(0), name, rows(400), **settings) for _ in range(2))
    tested = rows(NUM_TESTED, seed=1)
    told = first(tested.x)
    np.testing.assert_array_equal(told, again(tested.x))
    assert (told == tested.labels).sum() > binom.isf(1e-9, NUM_TESTED, 0.5)
    for x in (tested.x[:0], tested.x[:, :8], tested.x.astype(float)):
        with pytest.raises(InputError, match=r"takes float32 \[n, \*\(9,\)\]"):
            first(x)


@pytest.mark.parametrize("name", ["lenet", "resnet", "vit"])
def test_networks_of_images_take_no_records(name):
    with pytest.raises(InputError, match=f"{name} is a network of images, and rows is a table: name logistic, boost"):
        train_receiver(jax.random.key(0), name, rows(40))


@pytest.mark.parametrize(
    ("n", "steps", "passes", "batch"), [(1280, 100, 10, 128), (50, 100, 100, 50), (5000, 1, 1, 128)]
)
def test_steps_of_records_are_whole_passes(n, steps, passes, batch, monkeypatch):
    seen = {}
    monkeypatch.setattr(receivers, "fit_sklearn", lambda *_, **given: seen.update(given))
    train_receiver(jax.random.key(0), "mlp", rows(n), num_steps=steps)
    assert (seen["max_iter"], seen["batch_size"]) == (passes, batch)
