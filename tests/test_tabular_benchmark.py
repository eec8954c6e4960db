"""What the benchmark on tables puts together, with generators that hand out their training sets.

Such a generator covers its data exactly, so that what comes out is known: samples teach what members do and are nearest
to them, shares and gaps are those of the sets, and whoever looks for the nearest sample finds every member.
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import tables, tabular, tabular_parts, tabular_poison, tabular_scale
from benchmarks.property_parts import RATIOS
from benchmarks.tabular_table import document
from benchmarks.tabular_tiers import TIERS
from diffaudit_jax import data, models, training
from diffaudit_jax.metrics import cells
from diffaudit_jax.models.tabular import SIZES, table_target
from diffaudit_jax.types import InputError

BRIEF = training.Recipe(num_steps=2, batch_size=8, warmup_steps=0)
TINY = replace(
    TIERS["cpu"],
    size="tiny",
    recipe=BRIEF,
    small=BRIEF,
    private=BRIEF,
    samples=8,
    drawn=8,
    few=(60,),
    fits=(1,),
    asked=60,
    num_times=2,
    num_noises=1,
    members=200,
    aux=240,
    tall=(300, 10),
    wide=(500, 20),
    scale_steps=2,
    scale_samples=4,
    block=60,
)


def bench(work=Path("work")):
    return tables.bench_of("cpu", 0, "adult-3k", None, work)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Every part, of generators that hand out what they were trained on, and whose networks know nothing."""
    out, rng = tmp_path_factory.mktemp("tabular"), np.random.default_rng(0)

    def target_of(model):
        shapes = jax.eval_shape(model.network.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
        return table_target(model, params)

    def untrained(key, model, pool, recipe, *, progress):
        for step in range(recipe.num_steps):
            progress(step + 1, recipe.num_steps, SimpleNamespace(loss=1.0))
        return SimpleNamespace(target=target_of(model))

    def given(bench, name, members, recipe, *, epsilon=None):
        encoder = data.fit_encoder(members, label="income")
        pool = encoder.encode(members)
        model = models.tabddpm(*encoder.layout, num_classes=2, **SIZES["tiny"])
        return tables.Made(name, members, encoder, pool, target_of(model))

    def asked_once(found_out):
        """Asks one generator alone: for every other one the same programs would be compiled anew."""
        answers = []

        def found(*words):
            answers.append(answers[0] if answers else found_out(*words))
            return answers[0]

        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TIERS, "cpu", TINY)
        for module in (tabular_parts, tabular_poison):
            patch.setattr(module, "trained", given)
            patch.setattr(module, "drawn", lambda bench, made, num: made.members)
        patch.setattr(tabular_parts, "encoded", lambda bench, made, num: (made.pool.x, made.pool.labels))
        patch.setattr(tabular_scale, "TABLES", ("tall",))
        patch.setattr(tabular_scale, "apart", lambda name, bench: tabular_scale.weighed(name, bench.tier))
        patch.setattr(training, "mine", lambda *words, num_steps: SimpleNamespace(statistic=None))
        patch.setattr(training, "fit_table", untrained)
        patch.setattr(cells, "FEWEST_DRAWS", 1000)
        patch.setattr(tabular_parts, "found_out", asked_once(tabular_parts.found_out))
        options = tabular.Options(out=out, work=out / "work", epsilons=())
        tabular.main(options)
        first = (out / "tabular-cpu.json").read_bytes()
        tabular.main(options)
        assert (out / "tabular-cpu.json").read_bytes() == first
        with pytest.raises(InputError, match="was measured otherwise"):
            tabular.main(replace(options, seed=1))
    return json.loads(first)["parts"] | {"out": out}


def test_samples_that_are_the_members_teach_the_same_and_are_copies(measured):
    part = measured["quality"]
    for each in part["learned"]:
        assert each["synthetic"] == each["members"]
        assert {quality["value"] for quality in each["lost"].values()} == {0.0}
    assert {each["distance"] for each in part["columns"]} == {0.0}
    assert part["pairs"]["distance"] == 0.0 < part["pairs"]["floor"]
    assert part["dcr"] == 0.0 < part["dcr_holdout"]
    assert part["exact"] == part["samples"] == part["members"]
    assert {row["share"]["value"] for row in measured["lengths"]["rows"]} == {1.0}


def test_members_are_found_among_samples_and_not_by_a_network_that_knows_nothing(measured):
    for row in measured["lengths"]["rows"]:
        found = row["attacks"]
        assert found["nearest"]["auc"]["value"] > 0.99  # of equal records, one may be no member
        for attack in ("eps", "x0", "vlb", "numeric", "categorical", "gsa1"):
            low, high = (found[attack]["auc"][limit] for limit in ("low", "high"))
            assert abs(found[attack]["auc"]["value"] - 0.5) < high - low  # four standard errors


def test_a_generator_without_privacy_shows_its_members(measured):
    part = measured["privacy"]
    (row,) = part["rows"]
    assert row["epsilon"] == "inf"
    assert row["learned"]["synthetic"] == row["learned"]["members"]
    assert row["columns"] == 0.0
    assert row["share"]["value"] == part["truth"]


def test_shares_of_generators_that_cover_their_data_are_found(measured):
    rows = measured["property"]["rows"]
    assert [row["ratio"] for row in rows] == list(RATIOS)
    for row in rows:
        held = round(row["ratio"] * row["members"]) / row["members"]
        assert row["counted"]["raw"]["value"] == pytest.approx(held, abs=1e-12)
        assert row["counted"]["coverage"] == pytest.approx(0, abs=1e-12)
        assert row["told"]["corrected"]["low"] <= held <= row["told"]["corrected"]["high"]
        assert np.sum(row["told"]["confusion"]) == measured["property"]["aux"]


def test_the_gap_of_classifiers_grows_with_that_of_their_set(measured):
    part = measured["poison"]
    assert [row["alpha"] for row in part["rows"]] == list(tabular_poison.ALPHAS)
    # A random base of N records moves the gap by 1/sqrt(N) or so.
    gaps = np.array([row["set_gap"] for row in part["rows"]])
    np.testing.assert_allclose(gaps[1:], tabular_poison.ALPHAS[1:], atol=4 / np.sqrt(part["num"]))
    for row in part["rows"]:
        assert row["sample_gap"] == pytest.approx(row["set_gap"], abs=1e-12)
        assert row["shared"] == row["set"]
    clean, most = (part["rows"][i]["shared"] for i in (0, -1))
    for name in clean:
        assert most[name]["parity"]["value"] > clean[name]["parity"]["value"]
        assert most[name]["parity"]["low"] > 0.0 == clean[name]["parity"]["low"]
        assert clean[name]["loss"]["accuracy"]["value"] == 0.0


def test_large_tables_are_encoded_and_drawn(measured):
    (row,) = measured["scale"]["rows"]
    assert (row["rows"], row["columns"]) == TINY.tall
    assert (row["bad_losses"], row["bad_samples"], row["samples"]) == (0, 0, TINY.scale_samples)
    assert row["loss"] == [1.0, 1.0]
    peaks = [stage["peak_mb"] for stage in row["stages"].values()]
    assert peaks == sorted(peaks)


def test_wide_tables_are_one_hot():
    encoder = data.fit_encoder(table := tabular_scale.wide(*TINY.wide))
    assert encoder.layout == (0, (2,) * TINY.wide[1])
    said = np.column_stack(list(table.columns.values())) == "yes"
    assert (said.reshape(len(table), -1, 10).sum(axis=2) == 1).all()


def test_one_table_is_measured_in_a_process_of_its_own(monkeypatch):
    asked = []

    def run(command, **settings):
        asked.append(command[1:])
        return SimpleNamespace(stdout='drawing\n{"rows": 3}\n')

    monkeypatch.setattr(subprocess, "run", run)
    assert tabular_scale.apart("wide", bench()) == {"rows": 3}
    assert asked == [["-m", "benchmarks.tabular_scale", "wide", "cpu"]]


def test_sides_are_of_different_records(tmp_path):
    dealt = bench()
    assert [len(side) for side in (dealt.members, dealt.holdout, dealt.test)] == [1800, 600, 600]
    whole = data.load("adult-3k")
    data.write_csv(whole.take(np.arange(2000)), tmp_path / "train.csv")
    data.write_csv(whole.take(np.arange(1500, 3000)), tmp_path / "test.csv")
    apart = tables.bench_of("cpu", 0, str(tmp_path / "train.csv"), str(tmp_path / "test.csv"), tmp_path)
    assert [len(side) for side in (apart.members, apart.holdout, apart.test)] == [1600, 400, 1000]
    hashes = np.concatenate([side.hashes() for side in (apart.members, apart.holdout, apart.test)])
    assert len(np.unique(hashes)) == 3000
    with pytest.raises(InputError, match="give Adult"):
        tables.bench_of("cpu", 0, "fashion-mnist-2k", None, tmp_path)


def test_generators_are_kept_and_draw_what_members_hold(monkeypatch, tmp_path):
    monkeypatch.setitem(TIERS, "cpu", TINY)
    dealt = bench(tmp_path)
    members = dealt.members.take(np.arange(40))
    made = tables.trained(dealt, "a", members, BRIEF)
    samples = tables.drawn(dealt, made, 10)
    positive = (members.columns["income"] == ">50K").mean()
    assert abs((samples.columns["income"] == ">50K").mean() - positive) <= 1 / 10
    for name in members.categorical:
        assert set(samples.columns[name]) <= set(members.columns[name])
    assert (tmp_path / "cpu-0" / "a" / "run-2" / "run.json").exists()


def test_pages_say_what_was_measured_and_what_was_not(measured):
    out = measured["out"]
    page = (out / "tabular-cpu.md").read_text()
    assert page == document("cpu", json.loads((out / "tabular-cpu.json").read_text()))
    assert "| CatBoost, samples, published | 0.8606 | 0.7951 | 0.9136 |" in page
    assert "Not measured." in (out / "tabular-gpu.md").read_text()
