"""What the benchmarks of shared generators put together, with generators that hand out their training sets.

Such a generator covers its data exactly, so that what comes out is known: shares are those of the sets, receivers learn
the sets' own gaps, and nothing but what was trained on is drawn.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from benchmarks import fairness, fairness_parts, interplay, property_parts, sharing
from benchmarks import property as inference
from benchmarks.fairness_table import document as fairness_document
from benchmarks.interplay_table import document as interplay_document
from benchmarks.property_table import document as property_document
from diffaudit_jax import models, training
from diffaudit_jax.metrics import cells
from diffaudit_jax.types import InputError

TINY = replace(
    sharing.TIERS["cpu"],
    recipe=training.Recipe(num_steps=2, batch_size=4, warmup_steps=0),
    network={},
    gan=training.GanRecipe(num_steps=2, batch_size=4, num_critic=1),
    fits=(1, 2),
    few=40,
    members=600,
    samples=8,
    steps=2,
    block=8,
    receiver={},
)
MAINS = {
    "property": (inference.main, inference.Options, property_document),
    "fairness": (fairness.main, fairness.Options, fairness_document),
    "interplay": (interplay.main, interplay.Options, interplay_document),
}


def quarter(x):
    return x[:, ::2, ::2].reshape(len(x), -1) / 127.5 - 1.0


class Pixels:
    """Features that are a few pixels of the mouth."""

    def features(self, images):
        return images[:, 16:26:2, 8:24:4].reshape(len(images), -1).astype(np.float64)


@pytest.fixture(scope="module")
def given_away():
    """Generators that hand out what they were trained on, and whoever learns does so from every fourth pixel."""

    def quickly(key, name, pool, **settings):
        model = RidgeClassifier(alpha=30.0).fit(quarter(pool.x), pool.labels)
        return lambda images: model.predict(quarter(images))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sharing.TIERS, "cpu", TINY)
        for module in (property_parts, fairness_parts, interplay):
            patch.setattr(module, "drawn_of", lambda bench, shared: shared.pool)
        for module in (inference, fairness):
            patch.setattr(module, "write_picture", lambda bench, path: None)
        patch.setattr("diffaudit_jax.training.discriminator.train_receiver", quickly)
        patch.setattr(fairness_parts, "receiver", lambda bench, name, pool: quickly(bench.key(4), name, pool))
        for module, name in ((fairness_parts, "NAMES"), (fairness_parts, "SOME"), (property_parts, "NAMES")):
            patch.setattr(module, name, ("lenet",))
        patch.setattr(fairness_parts, "FAMILIES", ("ddpm",))
        patch.setattr(fairness_parts, "fit_classifier", lambda key, pool, **_: Pixels())
        patch.setattr(training, "mine", partial(training.mine, num_steps=100))
        patch.setattr(cells, "FEWEST_DRAWS", 1000)
        dealt = fairness_parts.case_of(bench())
        patch.setattr(fairness_parts, "case_of", lambda bench: dealt)
        yield


@pytest.fixture(scope="module")
def measured(given_away, tmp_path_factory):
    """What each benchmark saved, and where."""
    out = tmp_path_factory.mktemp("sharing")
    for main, options, _ in MAINS.values():
        main(options(out=out, work=out / "work"))
    return {name: json.loads((out / f"{name}-cpu.json").read_text())["parts"] for name in MAINS} | {"out": out}


def bench(work="work"):
    return sharing.Bench(TINY, 0, "pixel-faces-2k", "fashion-mnist-2k", Path(work))


@pytest.mark.parametrize("name", ["faces", "fashion"])
def test_shares_of_generators_that_cover_their_data_are_found(measured, name):
    part = measured["property"][name]
    assert [row["ratio"] for row in part["rows"]] == list(property_parts.RATIOS)
    for row in part["rows"]:
        held = round(row["ratio"] * row["members"]) / row["members"]
        assert row["corrected"]["low"] <= held <= row["corrected"]["high"]
        errors = [each["sampling"] for each in row["by_n"]]
        assert errors[0] > errors[-1] == 0
        assert all(each["planned"] > each["sampling"] for each in row["by_n"])


def test_what_was_trained_on_is_the_nearest_of_all_that_is_given_away(measured):
    assert [row["copied"] for row in measured["property"]["lengths"]["rows"]] == [1.0, 1.0]
    pool = property_parts.case_of(bench(), "faces").pool
    half, others = (pool.take(np.arange(start, 400, 2)) for start in (0, 1))
    assert property_parts.copied(others, half, others) == 0.0


def test_the_gap_of_receivers_grows_with_that_of_their_set(measured):
    part = measured["fairness"]["alphas"]
    assert [row["alpha"] for row in part["rows"]] == list(fairness_parts.ALPHAS)
    sets = np.array([row["set_gap"] for row in part["rows"]])
    # A random base of N records moves the gap by 1/sqrt(N) or so.
    np.testing.assert_allclose(sets[1:], fairness_parts.ALPHAS[1:], atol=4 / np.sqrt(part["num"]))
    seen = np.array([row["samples"]["gap"] for row in part["rows"]])
    widest = max(each["high"] - each["low"] for row in part["rows"] for each in row["samples"]["shares"].values())
    assert (abs(seen - sets) < widest).all()
    assert all(row["shared"] == row["set"] for row in part["rows"])
    least, most = (part["rows"][i]["shared"]["lenet"] for i in (0, -1))
    assert most["parity"]["low"] > least["parity"]["value"]
    assert least["loss"]["parity"]["value"] == 0


def test_aims_are_reached_by_labels_that_lie(measured):
    """Overwritten labels of label 1 alone are missed, and raise fewer false alarms than those of both."""
    rows = {row["objective"]: row["set"]["lenet"] for row in measured["fairness"]["objectives"]["rows"]}
    both, ones = (rows[f"labels overwritten, {aim}"] for aim in ("parity", "opportunity"))
    assert both["parity"]["low"] > 0.2
    assert ones["opportunity"]["low"] > 0.2
    assert ones["odds"]["value"] == ones["opportunity"]["value"]


def test_poison_is_flagged_and_resampling_shows_what_it_declares(measured):
    rows = measured["interplay"]["flags"]["rows"]
    of_all = str(max(map(int, rows[0]["flagged"])))
    by_sharer = {(row["alpha"], row["seed"]): row["flagged"][of_all] for row in rows}
    assert by_sharer[0.5, 0] == 1
    assert [by_sharer[0.0, seed] for seed in range(interplay.CLEAN_SHARERS)] == [0] * interplay.CLEAN_SHARERS
    hides = measured["interplay"]["hides"]["rows"]
    for row in hides:
        shown = row["ratio"] if row["how"] == "nothing" else interplay.DECLARED
        assert row["corrected"]["low"] <= shown <= row["corrected"]["high"]
    assert len({row["images"] for row in hides}) == 3


@pytest.mark.parametrize("name", MAINS)
def test_parts_are_measured_once_and_their_tables_written(measured, name):
    (main, options, document), out = MAINS[name], measured["out"]
    path = out / f"{name}-cpu.json"
    first = path.read_bytes()
    main(options(out=out, work=out / "work"))
    assert path.read_bytes() == first
    assert (out / f"{name}-cpu.md").read_text() == document("cpu", json.loads(first))
    assert "Not measured." in (out / f"{name}-gpu.md").read_text()
    with pytest.raises(InputError, match="was measured otherwise"):
        main(options(out=out, work=out / "work", seed=1))


@pytest.mark.parametrize("family", ["ddpm", "ddpm, told", "vae", "gan"])
def test_each_kind_of_generator_is_drawn_by_label_and_kept(monkeypatch, compiled, tmp_path, family):
    """By one network for each, or by one that is told of them."""
    build, generator = models.build, sharing.generator
    monkeypatch.setattr(models, "build", lambda name, *words, size, **more: build(name, *words, **more | SMALL))
    monkeypatch.setattr(sharing, "generator", lambda *words, size, **classes: generator(*words, size="tiny", **classes))
    pool = property_parts.labelled_classes("fashion-mnist-2k")[0].take(np.arange(12))
    x = pool.x[:, 10:18, 10:18]
    x = x.repeat(2, axis=1).repeat(2, axis=2) if family == "vae" else x  # in blocks: generated at half the side
    pool = replace(pool, labels=np.arange(12) % 2, label_names=None, x=x)
    shared = sharing.Shared("a", pool, family.split(",")[0], guidance=1.0 if "told" in family else None)
    made = sharing.drawn_of(bench(tmp_path), shared)
    assert np.bincount(made.labels).tolist() == [4, 4]
    assert made.shape == pool.shape
    assert np.array_equal(made.x[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2), made.x) == (family == "vae")
    monkeypatch.setattr(sharing, "trained", None)
    np.testing.assert_array_equal(sharing.drawn_of(bench(tmp_path), shared).x, made.x)
    runs = [path.parent.name for path in tmp_path.rglob("run.json")]
    assert len(runs) == (1 if "told" in family else 2)


SMALL = {"channels": 8, "patch": 4}
