"""fit_many: every model is the one trained alone, whoever is inside, however it is run, and wherever it was stopped."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.data import Inclusion, Pool, coin_flips
from diffaudit_jax.models import tabddpm
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.training import Privacy, Recipe, fit, fit_many, fit_table, load_many, load_run, loop, many, tables
from diffaudit_jax.training.parts import drawn, parts_of
from diffaudit_jax.training.state import Data, example_loss, init_state
from diffaudit_jax.types import InputError
from tests.oracles import conv
from tests.training.runs import MODEL, PROCESS, SHAPE

KEY = jax.random.key(3)
NUM = 3
RECIPE = Recipe(num_steps=6, batch_size=4, learning_rate=1e-2, warmup_steps=2)
NETWORK = conv(PROCESS, SHAPE, channels=4).network
TABLE = tabddpm(2, (3,), num_classes=2, widths=(8,), dim=8, num_steps=10)


def pool(n: int = 11) -> Pool:
    x = np.random.default_rng(0).integers(0, 256, (n, *SHAPE)).astype(np.uint8)
    return Pool(x, 5 * np.arange(n)[::-1], "noise")


def table(n: int = 40) -> Pool:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(n, 2)), np.eye(3)[rng.integers(0, 3, n)]], axis=1).astype(np.float32)
    return Pool(x, np.arange(n), "records", labels=rng.integers(0, 2, n).astype(np.int32))


def trained(out=None, **more):
    return fit_many(KEY, TABLE, None, table(), NUM, RECIPE, out=out, checkpoint_every=2, **more)


def apart(one, other) -> float:
    """Returns the greatest difference between weights."""
    differences = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), one, other)
    return max(jax.tree.leaves(differences))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Three shadows in a directory; copy it before changing it."""
    out = tmp_path_factory.mktemp("many") / "shadows"
    trained(out)
    return out


@pytest.mark.parametrize(
    ("counts", "size"), [((3, 5, 4), 4), ((1, 2), 4), ((1625, 1626, 1700), 7), ((6, 6), 6), ((9, 30), 16)]
)
def test_batches_of_a_part_are_those_drawn_of_it_alone(counts, size):
    n = sum(counts)
    inside = np.zeros((len(counts), n), bool)
    for row, count in zip(inside, counts, strict=True):
        row[np.random.default_rng(count).permutation(n)[:count]] = True
    parts = parts_of(Data(jnp.zeros((n, 1)), None), inside)
    draw = jax.jit(drawn, static_argnums=2)
    for i, (part, count) in enumerate(zip(parts, counts, strict=True)):
        for key in jax.random.split(jax.random.fold_in(KEY, i), 3):
            want = jax.random.choice(key, count, (size,), replace=size > count)
            np.testing.assert_array_equal(draw(key, part, size), want)
        np.testing.assert_array_equal(part.index[:count], np.flatnonzero(inside[i]))


def test_each_model_is_that_of_its_own_records(stored):
    found = load_many(stored)
    coins = coin_flips(jax.random.fold_in(KEY, 2**32 - 1), table().rows, NUM)
    np.testing.assert_array_equal(found.inclusion.inside, coins.inside)
    np.testing.assert_array_equal(found.inclusion.rows, table().rows)
    assert len({tuple(row) for row in coins.inside}) == NUM
    assert len(found) == len(list(found)) == NUM
    for k, run in enumerate(found):
        assert run.config["members"] == table().take(coins.inside[k]).fingerprint()
        assert int(run.state.step) == RECIPE.num_steps


@pytest.mark.parametrize("kind", ["images", "records"])
def test_each_is_the_model_trained_alone_and_together_they_differ_by_roundings(monkeypatch, kind):
    """In float64, over two devices and with a place left empty.

    A gradient, clipped to a norm of 1, is a sum of some terms in another order: it differs by its number of terms times
    half an ulp. A step of Adam moves a weight by at most 1/1e-8 of that, times the learning rate.
    """
    for module in (many, {"images": loop, "records": tables}[kind]):
        monkeypatch.setattr(module, kind, in_float64(getattr(module, kind)))
    ask = (MODEL, PROCESS, pool()) if kind == "images" else (TABLE, None, table())
    with jax.enable_x64(True):
        each, together = (
            fit_many(KEY, *ask, NUM, RECIPE, together=at_once, mesh=local_mesh(2)) for at_once in (1, NUM)
        )
        own, key = ask[-1].take(each.inclusion.inside[1]), jax.random.fold_in(KEY, 1)
        alone = fit(key, *ask[:2], own, RECIPE) if kind == "images" else fit_table(key, TABLE, own, RECIPE)
        assert apart(each[1].state.params, alone.state.params) == 0
        assert apart(each[1].state.ema, alone.state.ema) == 0
        weights = [[run.state.params for run in models] for models in (each, together)]
        assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(weights))
        terms = RECIPE.batch_size * sum(leaf.size for leaf in jax.tree.leaves(weights[0][0]))
        roundings = RECIPE.num_steps * RECIPE.learning_rate * terms * 2.0**-53 / 1e-8
        assert roundings < 1e-3 * apart(*weights[0][:2])
        assert max(apart(*pair) for pair in zip(*weights, strict=True)) < roundings


def in_float64(make):
    """Makes what is trained begin in float64; of images, a network of two convolutions, which compiles quickly."""

    def made(*arguments):
        trainee = make(*arguments)
        if make.__name__ == "images":
            loss = example_loss(NETWORK, PROCESS, RECIPE)
            trainee = trainee._replace(init=lambda key: init_state(key, NETWORK, RECIPE), loss=loss)
        return trainee._replace(init=lambda key: _wider(trainee.init(key)))

    return made


def _wider(state):
    wider = lambda leaf: leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf  # noqa: E731
    return jax.tree.map(wider, state)


class StopError(Exception):
    pass


def stopping(at: int):
    """Stops after so many steps of all models."""

    def progress(step, total, info):
        assert total % NUM == 0
        if step >= at:
            raise StopError

    return progress


def test_a_stopped_call_goes_on_to_the_same_bits(stored, tmp_path):
    out = tmp_path / "shadows"
    with pytest.raises(StopError):
        trained(out, progress=stopping(RECIPE.num_steps + 6))
    assert not (out / "shadow-2").exists()
    assert int(load_run(out / "shadow-1").state.step) == 4
    steps = []
    again = trained(out, progress=lambda step, total, info: steps.append(step))
    assert steps == [12, 14, 16, 18]
    for k, run in enumerate(load_many(stored)):
        assert apart(again[k].state.params, run.state.params) == 0


def test_those_that_stand_elsewhere_are_taken_on_together(stored, tmp_path):
    out = tmp_path / "shadows"
    with pytest.raises(StopError):
        trained(out, progress=stopping(RECIPE.num_steps + 6))
    steps = []
    more = {"together": 2, "mesh": local_mesh(1), "progress": lambda step, total, info: steps.append(step)}
    again = trained(out, **more)
    assert [int(run.state.step) for run in again] == [RECIPE.num_steps] * NUM
    assert apart(again[0].state.params, load_many(stored)[0].state.params) == 0
    # The third from its beginning, then the second from its fourth step; the first is done.
    assert steps == [2, 4, 6, 12]
    log = (out / "shadow-1" / "log.jsonl").read_text().splitlines()
    assert len(log) == 3


def test_models_that_do_not_stand_where_all_are_to_be_are_not_finished(stored, tmp_path):
    load_many(stored).check_finished()
    out = tmp_path / "shadows"
    with pytest.raises(StopError):
        trained(out, progress=stopping(RECIPE.num_steps + 6))
    with pytest.raises(InputError, match=r"^shadow 1 of .* was stopped at step 4 of 6 \(of 2 such\): give its"):
        load_many(out).check_finished()
    assert not (out / "shadow-2").exists()
    shutil.copytree(stored, out, dirs_exist_ok=True)
    load_many(out).check_finished()
    # Given more steps, the first alone goes all the way.
    further = {"out": out, "checkpoint_every": 2, "progress": stopping(9)}
    with pytest.raises(StopError):
        fit_many(KEY, TABLE, None, table(), NUM, replace(RECIPE, num_steps=8), **further)
    assert many.read_record(out)["recipe"]["num_steps"] == 8
    with pytest.raises(InputError, match=r"^shadow 1 of .* was stopped at step 6 of 8 \(of 2 such\)"):
        load_many(out).check_finished()


def test_a_record_of_several_models_says_what_they_are(stored):
    record = many.read_record(stored)
    assert record["num_models"] == NUM
    assert record["model"] == json.loads(json.dumps(TABLE.config))
    assert record["pool"] == table().fingerprint()
    np.testing.assert_array_equal(many.read_inclusion(stored)[1], table().hashes())


TWIN = replace(pool(), x=np.concatenate([pool().x[:-1], pool().x[:1]]))
ODD = Inclusion(pool().rows, np.arange(11) % 2 == np.arange(2)[:, None])
BAD = {
    "one model": ({"num_models": 1}, "num=1 models cannot each hold a random half"),
    "none at once": ({"together": 0}, "together=0 models cannot be trained at once"),
    "no process": ({"process": None}, "other models need a process"),
    "a twin": ({"pool": TWIN}, "is there twice (rows 50 = 0)"),
    "twins apart": ({"pool": TWIN, "inclusion": Inclusion(TWIN.rows, np.arange(11) < np.array([[4], [8]]))}, "twice"),
    "another number": ({"inclusion": ODD, "num_models": 3}, "an inclusion of 2 models cannot be that of num_models=3"),
    "a row that lacks": ({"inclusion": Inclusion(ODD.rows[1:], ODD.inside[:, 1:])}, "row 50 (of 1 such) is not in"),
    "nobody": ({"inclusion": Inclusion(ODD.rows, ODD.inside & np.array([[True], [False]]))}, "model 1 has no record"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_is_refused(case):
    changes, message = BAD[case]
    asked = {"model": MODEL, "process": PROCESS, "pool": pool(), "num_models": 2, "recipe": RECIPE} | changes
    with pytest.raises(InputError) as refusal:
        fit_many(KEY, **asked)
    assert message in str(refusal.value)


def test_equal_records_inside_the_same_models_are_no_contradiction():
    inside = np.arange(11) % 2 == np.arange(2)[:, None]
    assert inside[0, 0] == inside[0, -1]
    runs = fit_many(KEY, MODEL, PROCESS, TWIN, 2, replace(RECIPE, num_steps=0), inclusion=Inclusion(TWIN.rows, inside))
    assert [run.config["members"] for run in runs] == [TWIN.take(row).fingerprint() for row in inside]


def test_private_models_are_refused_before_the_first_and_keep_no_key(monkeypatch, tmp_path):
    """One of two parts is smaller than the batch; whoever has the key can subtract the noise."""
    inside = np.stack([np.arange(40) < 30, np.arange(40) >= 30])
    private = {
        "inclusion": Inclusion(np.arange(40), inside),
        "privacy": Privacy(1.0, delta=1e-3),
        "out": tmp_path / "a",
    }
    with pytest.raises(InputError, match="an expected batch of 11 cannot be sampled from 10 examples"):
        fit_many(KEY, TABLE, None, table(), 2, replace(RECIPE, batch_size=11), **private)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(many, "fitted", lambda *_, **__: None)
    fit_many(KEY, TABLE, None, table(), 2, RECIPE, **private)
    assert "key" not in many.read_record(tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": jax.random.key(4)}, "key: "),
        ({"pool": table(39)}, "pool: "),
        ({"num_models": 4}, "num_models: 3 -> 4"),
        ({"recipe": replace(RECIPE, batch_size=5)}, "recipe.batch_size: 4 -> 5"),
        ({"inclusion": Inclusion(np.arange(40), np.arange(40) % 3 != np.arange(3)[:, None])}, "who is inside which"),
    ],
)
def test_a_directory_of_other_shadows_is_refused(stored, changes, said):
    before = {path: path.stat().st_mtime_ns for path in stored.rglob("*")}
    asked = {"key": KEY, "pool": table(), "num_models": NUM, "recipe": RECIPE} | changes
    with pytest.raises(InputError, match="holds other shadows") as refusal:
        fit_many(asked.pop("key"), TABLE, None, out=stored, checkpoint_every=2, **asked)
    assert said in str(refusal.value)
    assert {path: path.stat().st_mtime_ns for path in stored.rglob("*")} == before


def test_other_directories_are_refused(stored, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        trained(tmp_path)
    with pytest.raises(InputError, match="holds no shadows"):
        load_many(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(stored, copy)
    (copy / "inclusion.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"inclusion\.npz cannot be read"):
        load_many(copy)
