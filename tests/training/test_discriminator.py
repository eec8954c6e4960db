"""A discriminator's errors are counted on images that it never saw, in every cell that there is."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from diffaudit_jax.data import Pool
from diffaudit_jax.metrics import Rates
from diffaudit_jax.training import discriminator, rates_of, train_discriminator
from diffaudit_jax.types import InputError
from tests.training.test_receivers import halves

KEY = jax.random.key(0)


def pool_of(n, flipped=()):
    """Bright halves, values 0 and 1; some of them called by the wrong name."""
    pool = halves(n)
    values = (pool.labels // 2).astype(np.int32)
    values[list(flipped)] ^= 1
    return replace(pool, labels=values)


def test_held_out_images_are_judged_by_a_model_that_has_not_seen_them(monkeypatch):
    """The receiver is one that answers what it was taught, and 0 of what it was not."""

    def memory(key, name, pool, **settings):
        taught = dict(zip(pool.hashes().tolist(), pool.labels.tolist(), strict=True))
        return lambda images: np.array([taught.get(h, 0) for h in replace(pool, x=images, rows=np.arange(len(images)),
                                        labels=None).hashes()])  # fmt: skip

    monkeypatch.setattr(discriminator, "train_receiver", memory)
    pool = pool_of(200)
    twice = replace(pool, x=np.concatenate([pool.x[:100]] * 2), labels=np.concatenate([pool.labels[:100]] * 2))
    for each, by in ((pool, None), (twice, np.arange(200) % 2)):
        found = train_discriminator(KEY, each, by=by, held_out=0.25)
        # Nothing of value 1 is known of the held-out images: whoever was on both sides would be.
        assert found.confusion[:, 1].sum() == 0
        values = np.bincount(each.labels[: len(np.unique(each.hashes()))])
        assert abs(found.confusion.sum(axis=1) - values / 4).max() <= 1
        if by is not None:
            np.testing.assert_array_equal(sum(found.by.values()), found.confusion)


def test_records_that_are_equal_count_each():
    """They may be different people's; images that are equal are one image."""
    x = np.repeat(np.eye(2, dtype=np.float32), 50, axis=0)
    pool = Pool(x, np.arange(100), "few kinds", np.repeat([0, 1], 50).astype(np.int32))
    found = train_discriminator(KEY, pool, name="logistic")
    np.testing.assert_array_equal(found.confusion, [[25, 0], [0, 25]])


def test_errors_are_those_of_the_labels(compiled):
    """One in five labels is wrong: no discriminator of the images agrees with more than the others."""
    flipped = range(0, 600, 5)
    found = train_discriminator(KEY, pool_of(600, flipped), name="logistic", by=np.arange(600) % 3, C=1e-4)
    held = found.confusion.sum()
    error = 4 * np.sqrt(0.2 * 0.8 / held)
    assert abs(found.accuracy - 0.8) < error
    assert set(found.by) == {0, 1, 2}
    np.testing.assert_array_equal(sum(found.by.values()), found.confusion)


def test_rates_are_of_one_value_against_all_others():
    confusion = np.array([[5, 1, 2], [3, 7, 0], [4, 2, 6]])
    assert rates_of(confusion, 1) == Rates(7, 10, 1 + 2, 8 + 12)
    assert rates_of(confusion, 2) == Rates(6, 12, 2 + 0, 8 + 10)


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"labels": None}, {}, "halves has no labels to tell apart"),
        ({"labels": np.zeros(40, np.int32)}, {}, "one value of the property in all 40 images"),
        ({"labels": np.arange(40, dtype=np.int32) == 7}, {}, "1 images of value 1: give 2 or more"),
        ({}, {"by": np.arange(40) // 39}, "images of value . and label 1: give 2 or more"),
        ({}, {"by": np.zeros(3, int)}, r"by has shape \(3,\)"),
        ({}, {"held_out": 1.0}, "held_out is 1.0"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes, options, says):
    with pytest.raises(InputError, match=says):
        train_discriminator(KEY, replace(pool_of(40), **changes), name="logistic", **options)
