"""fit: what is trained learns, resumes exactly, and is refused in one sentence when it cannot be trained."""

import json
import shutil
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import white_box
from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.auditing import audit
from diffaudit_jax.data import Pool
from diffaudit_jax.models import unet
from diffaudit_jax.process import ddpm_cosine, ncsn, vp_sde
from diffaudit_jax.training import Recipe, fit, load_run
from diffaudit_jax.training.checkpoints import Checkpoints
from diffaudit_jax.training.state import TrainState
from diffaudit_jax.types import InputError, Query
from tests.training.runs import MODEL, PROCESS, RECIPE, SHAPE, members, train

KEY = jax.random.key(0)


def same_state(a: TrainState, b: TrainState):
    plain = [state._replace(key=jax.random.key_data(state.key)) for state in (a, b)]
    assert jax.tree.structure(plain[0]) == jax.tree.structure(plain[1])
    jax.tree.map(np.testing.assert_array_equal, *plain)


def test_the_members_loss_falls(unbroken):
    queries = Query(members().x, None, members().rows)
    attack = loss_trajectory(PROCESS.times(), num_noises=4)
    untrained = replace(
        unbroken.target, params=fit(KEY, MODEL, PROCESS, members(), replace(RECIPE, num_steps=0)).target.params
    )
    before, after = (
        -audit(attack, target, queries, key=KEY, block=8).scores for target in (untrained, unbroken.target)
    )
    assert (after < before).all()
    assert after.mean() < 0.8 * before.mean()


def test_the_run_says_what_it_is(unbroken):
    assert unbroken.model is MODEL
    assert unbroken.config["recipe"] == asdict(RECIPE)
    assert unbroken.config["members"] == members().fingerprint()
    assert int(unbroken.state.step) == RECIPE.num_steps
    assert unbroken.target.shape == SHAPE
    jax.tree.map(np.testing.assert_array_equal, unbroken.target.params, unbroken.state.ema)


def test_without_an_average_the_last_weights_are_audited():
    for ema_decay, audited in ((0.0, "params"), (0.9, "ema")):
        run = fit(KEY, MODEL, PROCESS, members(), replace(RECIPE, num_steps=0, ema_decay=ema_decay))
        assert run.target.params is getattr(run.state, audited)


def test_a_run_that_is_written_is_the_run_that_is_not(unbroken, stored):
    loaded = load_run(stored)
    same_state(loaded.state, unbroken.state)
    assert loaded.recipe == RECIPE
    assert loaded.model.config == MODEL.config
    assert loaded.config == json.loads(json.dumps({**loaded.config, **unbroken.config}))
    access = [white_box(run.target) for run in (loaded, unbroken)]
    answers = jax.jit(lambda xt, t: [box.predict_at(box.params, xt, t, None) for box in access])
    jax.tree.map(np.testing.assert_array_equal, *answers(jnp.ones(SHAPE), jnp.float32(0.5)))
    log = [json.loads(line) for line in (stored / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [15, 20, 30, 40, 45]
    assert all(np.isfinite(row["loss"]) for row in log)


@pytest.mark.parametrize(
    ("record", "process", "drawn"),
    [
        ({"family": "ddpm"}, PROCESS, ("ancestral", 10)),
        ({"family": "vp-sde"}, vp_sde(), ("euler-maruyama", 1000)),
        ({"family": "edm"}, PROCESS, ("heun", 18)),
        ({"family": "ncsn"}, ncsn(10), ("langevin", 1000)),
        ({"family": "ncsnv2"}, ncsn(232), ("langevin", 1160)),
        ({"family": "vp-sde"}, PROCESS, ("ddim", 10)),
        ({"family": "of another version"}, ddpm_cosine(100), ("ddim", 50)),
        (None, PROCESS, ("ddim", 10)),
    ],
)
def test_samples_are_drawn_as_the_family_draws_them(record, process, drawn):
    config = fit(KEY, MODEL, process, members(), replace(RECIPE, num_steps=0), record=record).target.config
    assert (config["sampler"], config["sample_steps"]) == drawn


def test_a_loaded_run_draws_as_the_trained_one(tmp_path):
    run = fit(
        KEY,
        MODEL,
        PROCESS,
        members(),
        replace(RECIPE, num_steps=0),
        out=tmp_path,
        record={"family": "improved-diffusion"},
    )
    targets = (run.target, load_run(tmp_path).target)
    assert [target.config["sampler"] for target in targets] == ["ancestral"] * 2
    draws = [jax.jit(target.sample)(target.params, KEY) for target in targets]
    np.testing.assert_array_equal(*draws)


def test_a_finished_run_is_not_trained_again(stored, tmp_path, unbroken):
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    steps = []
    again = train(tmp_path, progress=lambda step, num_steps, info: steps.append(step))
    assert steps == []
    same_state(again.state, unbroken.state)


def test_a_run_stopped_by_its_user_resumes_exactly(tmp_path, unbroken):
    class StopError(Exception):
        pass

    def stop(step, num_steps, info):
        assert num_steps == RECIPE.num_steps
        if step == 40:
            raise StopError

    with pytest.raises(StopError):
        train(tmp_path, progress=stop)
    steps = []
    resumed = train(tmp_path, progress=lambda step, num_steps, info: steps.append(step))
    assert steps == [40, 45]
    same_state(resumed.state, unbroken.state)


def test_a_run_may_be_given_more_steps_but_not_fewer(tmp_path, unbroken):
    train(tmp_path, replace(RECIPE, num_steps=30))
    assert load_run(tmp_path).recipe.num_steps == 30
    same_state(train(tmp_path).state, unbroken.state)
    assert load_run(tmp_path).recipe.num_steps == RECIPE.num_steps
    with pytest.raises(InputError, match="has been trained 45 steps already"):
        train(tmp_path, replace(RECIPE, num_steps=30))


def test_another_key_starts_from_other_weights_and_draws_other_batches():
    states = [fit(jax.random.key(i), MODEL, PROCESS, members(), replace(RECIPE, num_steps=0)).state for i in (0, 1, 0)]
    kernels = [np.asarray(state.params["stem"]["conv"]["kernel"]) for state in states]
    assert (kernels[0] != kernels[1]).all()
    assert (jax.random.key_data(states[0].key) != jax.random.key_data(states[1].key)).any()
    same_state(states[0], states[2])


def other_members():
    x = members().x.copy()
    x[0, 0, 0] ^= 1
    return Pool(x, members().rows, "squares")


REFUSED = {
    "recipe": ({"recipe": replace(RECIPE, batch_size=5)}, r"recipe.batch_size: 4 -> 5"),
    "model": (
        {"model": unet(SHAPE, channels=8, mults=(1,), num_blocks=1, attention=(), middle_attention=False)},
        "model.channels: 4 -> 8",
    ),
    "members": ({"members": other_members()}, "members: "),
    "key": ({"key": jax.random.key(1)}, r"key: \[0, 0\] -> \[0, 1\]"),
    "record": ({"record": {"data": "elsewhere"}}, 'data: null -> "elsewhere"'),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_directory_with_another_run_is_refused_by_what_differs(stored, change):
    changes, says = REFUSED[change]
    arguments = {"key": KEY, "model": MODEL, "process": PROCESS, "members": members(), "recipe": RECIPE, **changes}
    with pytest.raises(InputError, match=rf"holds another run \({says}.*train into another directory"):
        fit(**arguments, out=stored, checkpoint_every=15)


def test_a_directory_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"is not empty \(it holds 'thesis.tex'\): train into a new directory"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_whose_weights_are_no_longer_finite_says_so(stored, tmp_path, unbroken):
    shutil.copy(stored / "run.json", tmp_path)
    checkpoints = Checkpoints(tmp_path)
    lost = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), unbroken.state.params)
    checkpoints.save(unbroken.state._replace(params=lost, step=jnp.int32(30)))
    checkpoints.close()
    with pytest.raises(
        InputError, match=r"training diverged: at step 40 the loss is nan.*lower learning_rate \(0.01\)"
    ):
        train(tmp_path)


@pytest.mark.parametrize(
    ("model", "pool", "says"),
    [
        (MODEL, members(0), "no members to train on"),
        (
            MODEL,
            Pool(np.zeros((3, 8, 8, 1), np.uint8), np.arange(3), "big"),
            r"members of shape \(8, 8, 1\) do not fit",
        ),
        (unet(SHAPE, num_classes=2, attention=()), members(), "needs labels, and these members have none"),
        (
            unet(SHAPE, num_classes=2, attention=()),
            replace(members(), labels=np.arange(8, dtype=np.int32) % 3),
            "label 2 does not fit a model of 2 classes",
        ),
        (
            unet(SHAPE, num_classes=2, attention=()),
            replace(members(), labels=np.arange(8, dtype=np.int32) % 3 - 1),
            "label -1 does not fit",
        ),
    ],
)
def test_members_that_do_not_fit_are_refused(model, pool, says):
    with pytest.raises(InputError, match=says):
        fit(KEY, model, PROCESS, pool, Recipe(num_steps=1))


def test_checkpoints_need_an_interval():
    with pytest.raises(InputError, match="checkpoint_every must be at least 1"):
        fit(KEY, MODEL, PROCESS, members(), RECIPE, checkpoint_every=0)
