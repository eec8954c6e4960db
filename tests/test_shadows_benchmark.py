"""What the benchmark on shadows puts together, with models whose knowledge of their training sets is known.

Those of images, of canaries and of copies know theirs by heart: every score finds their members, and their samples are
training images. Those of the table are random, and no score finds any.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logit

from benchmarks import shadows, shadows_parts, timing
from benchmarks.markdown import TITLES
from benchmarks.shadows_table import document
from benchmarks.shadows_tiers import BLOCK, TIERS, Side
from diffaudit_jax import training
from diffaudit_jax.models.tabular import table_target
from diffaudit_jax.types import InputError, Network, Prediction, to_signed
from tests.oracles import memorising

BRIEF = training.Recipe(num_steps=2, batch_size=8, warmup_steps=0)
TINY = replace(
    TIERS["cpu"],
    size="small",
    images=Side(pool=40, population=100, recipe=BRIEF, shadows=(8, 16), targets=2, times=2, noises=1),
    tables=Side(pool=60, population=130, recipe=BRIEF, shadows=(8,), targets=1, times=10, noises=1),
    canaries=(20, 60),
    lessons=BRIEF,
    planted={1: 8, 3: 4, 10: 2},
    copying=BRIEF,
    samples=(20, 60),
    sample_steps=10,
    block=60,
)
WITHOUT = {"plain", "quantile"}
WITH = {"LiRA", "LiRA, offline", "RMIA", "RMIA, offline"}


def by_heart(model, records):
    """The exact model of some records themselves: a `memorising` one of a table."""
    process = model.process

    def apply(params, xt, t, cond=None, *, key=None):
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        (numbers, categories), (seen, chosen) = process.apart(params.T), process.apart(xt)
        nats = ((seen[:, None] - alpha * numbers) ** 2).sum(axis=0) / (2 * sigma**2)
        nats -= jnp.log(jax.vmap(lambda own: process.marginal(own, t))(categories.T)) @ chosen
        weights = jax.nn.softmax(-nats)
        estimate, probs = numbers @ weights, categories @ weights
        eps = jnp.concatenate([(seen - alpha * estimate) / sigma, jnp.log(jnp.maximum(probs, 1e-6))])
        return Prediction(eps=eps, x0=jnp.concatenate([estimate, probs]))

    return replace(table_target(model, records), network=Network(lambda key: records, apply, {}))


def recited(progress, recipe):
    """Says that it trains."""
    for step in range(recipe.num_steps):
        progress(step + 1, recipe.num_steps, SimpleNamespace(loss=1.0))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Every part, measured in two goes."""
    out, rng = tmp_path_factory.mktemp("shadows"), np.random.default_rng(0)

    def ignorant(model):
        shapes = jax.eval_shape(model.network.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
        return table_target(model, params)

    def many(key, model, schedule, pool, num_models, recipe, *, inclusion, out, progress):
        recited(progress, recipe)
        insides = inclusion.of(pool.rows)
        assert len(insides) == num_models
        if schedule is None:
            return [SimpleNamespace(target=ignorant(model)) for _ in insides]
        x = np.asarray(to_signed(pool.x))
        # Each as often as it takes for all models to be one program.
        return [SimpleNamespace(target=memorising(schedule, np.resize(x[inside], x.shape))) for inside in insides]

    def images(key, model, schedule, members, recipe, *, out, record, progress):
        recited(progress, recipe)
        return SimpleNamespace(target=memorising(schedule, to_signed(members.x)))

    def records(key, model, pool, recipe, *, out, progress):
        recited(progress, recipe)
        return SimpleNamespace(target=by_heart(model, jnp.asarray(pool.x)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TIERS, "cpu", TINY)
        patch.setattr(shadows_parts, "HELD_OUT", 100)
        for name, made in {"fit_many": many, "fit": images, "fit_table": records}.items():
            patch.setattr(training, name, made)
        options = shadows.Options(out=out, work=out / "work")
        shadows.main(replace(options, parts=("copies",)))
        early = (out / "shadows-cpu.md").read_text()
        shadows.main(options)
        first = (out / "shadows-cpu.json").read_bytes()
        shadows.main(options)
        assert (out / "shadows-cpu.json").read_bytes() == first
        with pytest.raises(InputError, match="was measured otherwise"):
            shadows.main(replace(options, seed=1))
        with pytest.raises(InputError, match="unknown part 'copy': did you mean 'copies'"):
            shadows.main(replace(options, parts=("copy",)))
    return json.loads(first)["parts"] | {"out": out, "early": early}


@pytest.mark.parametrize("name", ["images", "tables"])
def test_every_method_judges_every_target_by_every_number_of_shadows(measured, name):
    side = getattr(TINY, name)
    found = [(row["target"], row["shadows"], row["method"]) for row in measured[name]["rows"]]
    wanted = {
        (target, num, method)
        for target in range(side.targets)
        for num, methods in ((0, WITHOUT), *((num, WITH) for num in side.shadows))
        for method in methods
    }
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_models_that_know_their_images_by_heart_are_found_out_by_every_method(measured):
    assert {row["auc"][0] for row in measured["images"]["rows"] if row["method"] != "quantile"} == {1.0}
    # Its trees tell 100 images apart by how they look, a few of them badly.
    assert min(row["auc"][0] for row in measured["images"]["rows"]) > 0.9
    assert measured["images"]["population"] == TINY.images.population


def test_models_that_know_nothing_show_nothing(measured):
    part = measured["tables"]
    for row in part["rows"]:
        value, low, high = row["auc"]
        assert abs(value - 0.5) < high - low  # four standard errors
    bound = part["many_runs"]
    assert (bound["canaries"], bound["epsilon"], bound["method"]) == (TINY.tables.shadows[-1], 0.0, "many-runs")
    assert 100 <= part["population"] <= TINY.tables.population  # those with a category that no model knows are dropped


def test_epsilon_grows_with_the_canaries_that_are_known_by_heart(measured):
    part = measured["canaries"]
    few, many = part["rows"]
    for row, num in ((few, 20), (many, 60)):
        assert row["canaries"] == row["one_run"]["canaries"] == num
        assert row["auc"][0] > 0.98  # at late times, noise may take a record for another
        for bound in (row["one_run"], row["one_run_fdp"]):
            assert bound["correct"] == bound["guesses"] > 0
        # Of r guesses, all right, at delta = 0 and with all of the error: q^r = 0.05. Three pairs share the error.
        guesses = row["one_run"]["guesses"]
        assert logit((0.05 / 3) ** (1 / guesses)) - 0.1 < row["one_run"]["epsilon"] < logit(0.05 ** (1 / guesses))
    assert few["one_run"]["epsilon"] < many["one_run"]["epsilon"] <= many["one_run_fdp"]["epsilon"]
    assert 0 < part["trained"] < 60


def test_copies_are_found_the_sooner_the_more_often_they_were_repeated(measured):
    part = measured["copies"]
    assert (part["trained"], part["distinct"]) == (8 + 3 * 4 + 10 * 2, 14)
    for row in part["rows"]:
        for rule, found in row["rules"].items():
            assert [(each["times"], each["records"]) for each in found["recall"]] == sorted(TINY.planted.items())
            assert found["heldout"] == 0, rule
    few, many = (row["rules"]["l2"]["recall"] for row in part["rows"])
    assert all(one["extracted"] <= other["extracted"] for one, other in zip(few, many, strict=True))
    assert many[-1]["extracted"] == 2  # both, but in one of 10^7 cases
    for each in many:  # samples are drawn of the training set at random, and records are missed apart or nearly so
        missed = (1 - each["times"] / part["trained"]) ** 60
        spread = np.sqrt(each["records"] * missed * (1 - missed))
        assert abs(each["records"] * (1 - missed) - each["extracted"]) < 4 * spread + 1e-3


def test_shadows_are_balanced_in_blocks_and_targets_have_coins_of_their_own(monkeypatch):
    seen = {}

    class StopError(Exception):
        pass

    def many(*words, inclusion, **more):
        seen["inside"] = inclusion.inside
        raise StopError

    monkeypatch.setattr(training, "fit_many", many)
    bench = shadows_parts.Bench(TINY, 0, "fashion-mnist-2k", "adult-3k", shadows.Options().work)
    with pytest.raises(StopError):
        shadows_parts.by_tables(bench)
    inside, most = seen["inside"], TINY.tables.shadows[-1]
    assert inside.shape == (most + TINY.tables.targets, TINY.tables.pool)
    for block in range(0, most, BLOCK):
        assert (inside[block : block + BLOCK].sum(axis=0) == BLOCK // 2).all()
    assert len(np.unique(inside, axis=0)) == len(inside)


def test_every_tier_has_whole_blocks_of_shadows_and_ascends():
    for tier in TIERS.values():
        for side in (tier.images, tier.tables):
            assert all(num % BLOCK == 0 for num in side.shadows)
        for numbers in (tier.images.shadows, tier.tables.shadows, tier.canaries, tier.samples):
            assert list(numbers) == sorted(set(numbers))


def test_pages_say_what_was_measured_and_what_was_not(measured):
    out = measured["out"]
    page = (out / "shadows-cpu.md").read_text()
    assert page == document("cpu", json.loads((out / "shadows-cpu.json").read_text()))
    assert "| LiRA | 8 | 1.000 (1.000 to 1.000) |" in page
    assert "![AUC by the number of shadows](shadows-cpu.png)" in page
    assert "epsilon is at least 0.00 at delta 1e-05" in page
    assert "14 different ones (8 records 1 times, 4 records 3 times, 2 records 10 times)" in page
    assert (out / "shadows-cpu.png").read_bytes().startswith(b"\x89PNG")
    heads = [line for line in page.splitlines() if line.startswith("## ")]
    assert heads[-1:] == [line for line in measured["early"].splitlines() if line.startswith("## ")]
    assert len(heads) == 4
    assert "Not measured." in (out / "shadows-gpu.md").read_text()


@pytest.mark.parametrize("tier", TITLES)
def test_published_pages_are_those_of_what_was_measured(tier):
    page, result = (timing.RESULTS / f"shadows-{tier}{end}" for end in (".md", ".json"))
    if not page.exists() and not result.exists():
        pytest.skip("nothing is published yet")
    assert page.read_text() == document(tier, json.loads(result.read_text()) if result.exists() else None)


def test_an_accelerator_is_asked_for_by_name(tmp_path):
    with pytest.raises(InputError, match="there is no accelerator here: use --tier cpu"):
        shadows.main(shadows.Options(tier="gpu", out=tmp_path, work=tmp_path))
    assert not list(tmp_path.iterdir())
