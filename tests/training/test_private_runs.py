"""fit with privacy: what a run keeps, what it hides, and what it says of itself."""

import json
import shutil
import stat
from dataclasses import asdict, replace

import jax
import numpy as np
import pytest

from diffaudit_jax.training import Privacy, Recipe, Run, fit, guarantee, load_run
from diffaudit_jax.training.checkpoints import Checkpoints
from diffaudit_jax.training.secret import secret_key
from diffaudit_jax.types import InputError
from tests.training.runs import MODEL, PROCESS, members

KEY = jax.random.key(5)
RECIPE = Recipe(num_steps=6, batch_size=4, learning_rate=1e-2, warmup_steps=2)
PRIVACY = Privacy(noise_multiplier=1.0, num_noises=2, microbatch=8)


class StopError(Exception):
    """What a user's Ctrl-C is here."""


def train(out=None, key=None, recipe=RECIPE, privacy=PRIVACY, stop=None) -> Run:
    def progress(step, num_steps, info):
        if step == stop:
            raise StopError

    options = {"privacy": privacy, "out": out, "checkpoint_every": 2, "progress": progress}
    return fit(key, MODEL, PROCESS, members(), recipe, **options)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A private run stopped after step 4, whose checkpoint was not written yet: it stands at step 2."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StopError):
        train(out, stop=4)
    return out


def params(run: Run):
    return jax.tree.leaves((run.state.params, run.state.ema))


def test_a_lost_step_is_taken_again_with_its_own_batch_and_noise(stopped, tmp_path):
    """Both go on from step 2 with the key that is kept: steps 3 and 4 are functions of it, so both end alike."""
    first, second, other = (shutil.copytree(stopped, tmp_path / name) for name in "abc")
    a, b = train(first), train(second)
    for left, right in zip(params(a), params(b), strict=True):
        np.testing.assert_array_equal(left, right)
    # Without the file it is another key: another batch, and never the noise of the lost steps.
    (other / "secret.key").unlink()
    assert any((left != right).any() for left, right in zip(params(a), params(train(other)), strict=True))


def test_the_key_is_kept_for_its_owner_alone_until_the_run_is_done(stopped, tmp_path):
    run = shutil.copytree(stopped, tmp_path / "run")
    assert stat.S_IMODE((run / "secret.key").stat().st_mode) == 0o600
    words = json.loads((run / "secret.key").read_text())
    assert sum(words) > 0
    train(run)
    assert not (run / "secret.key").exists()


def test_no_key_is_in_what_a_run_stores(stopped):
    assert json.loads((stopped / "run.json").read_text())["key"] is None
    checkpoints = Checkpoints(stopped)
    try:
        restored = checkpoints.restore(load_run(stopped).state)
    finally:
        checkpoints.close()
    assert not np.asarray(jax.random.key_data(restored.key)).any()


def test_two_runs_draw_two_keys(tmp_path):
    keys = [np.asarray(jax.random.key_data(secret_key(where))) for where in (None, None, tmp_path)]
    assert len({tuple(key) for key in keys}) == 3
    np.testing.assert_array_equal(jax.random.key_data(secret_key(tmp_path)), keys[2])
    (tmp_path / "secret.key").write_text("[1")
    with pytest.raises(InputError, match=r"secret.key is damaged: remove it"):
        secret_key(tmp_path)


def test_the_log_holds_nothing_without_noise(stopped):
    rows = [json.loads(line) for line in (stopped / "log.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows] == [{"step", "seconds"}] * len(rows)


def test_a_run_knows_what_it_did_and_so_does_its_directory(tmp_path):
    run = train(tmp_path, KEY)
    assert run.ledger is not None
    assert (run.ledger.num_examples, run.ledger.num_steps, run.ledger.sampling_prob) == (8, 6, 0.5)
    assert (run.ledger.noise_multiplier, run.ledger.num_noises, run.ledger.max_batch_size) == (1.0, 2, None)
    loaded = load_run(tmp_path)
    assert loaded.ledger == run.ledger
    short, long = (guarantee(replace(run.ledger, num_steps=steps)).epsilon for steps in (3, 6))
    assert short is not None
    assert long is not None
    assert short < long
    longer = train(tmp_path, KEY, replace(RECIPE, num_steps=8))
    assert longer.ledger == replace(run.ledger, num_steps=8)
    json.dumps(asdict(guarantee(run.ledger)))


def test_a_run_without_noise_or_steps_promises_nothing():
    assert fit(KEY, MODEL, PROCESS, members(), replace(RECIPE, num_steps=0)).ledger is None
    assert train(key=KEY, recipe=replace(RECIPE, num_steps=0)).ledger is None
    ledger = train(key=KEY, recipe=replace(RECIPE, num_steps=1), privacy=replace(PRIVACY, noise_multiplier=0.0)).ledger
    assert ledger is not None
    assert guarantee(ledger).epsilon is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"privacy": replace(PRIVACY, delta=0.2)}, "delta must be at least 1e-09 and below 1/8"),
        ({"recipe": replace(RECIPE, batch_size=9)}, r"batch_size must be positive and no larger than the data \(8"),
        ({"privacy": None}, "training needs a key"),
    ],
)
def test_what_cannot_be_private_is_refused_before_it_is_trained(tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        train(tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


def test_a_run_that_began_without_privacy_does_not_go_on_with_it(tmp_path):
    fit(KEY, MODEL, PROCESS, members(), replace(RECIPE, num_steps=0), out=tmp_path)
    with pytest.raises(InputError, match=r"holds another run .*privacy: null -> "):
        train(tmp_path)
