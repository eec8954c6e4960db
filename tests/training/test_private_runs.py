"""fit with privacy: what a run keeps, what it hides, and what it says of itself."""

import json
import math
import shutil
import stat
from dataclasses import asdict, replace

import jax
import numpy as np
import pytest

from diffaudit_jax.training import Privacy, Recipe, Run, fit, guarantee, load_run
from diffaudit_jax.training.checkpoints import Checkpoints
from diffaudit_jax.training.secret import secret_key, spent
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


def test_a_step_that_was_saved_and_is_taken_again_with_another_key_counts_twice(stopped, tmp_path):
    run = shutil.copytree(stopped, tmp_path / "run")
    first = train(run)
    assert first.ledger.num_steps == 6
    shutil.rmtree(run / "checkpoints" / "6")
    second = train(run)  # its key went when it was done: from step 4 on by another
    assert any((left != right).any() for left, right in zip(params(first), params(second), strict=True))
    assert second.ledger == load_run(run).ledger == replace(first.ledger, num_steps=8)
    assert train(run, recipe=replace(RECIPE, num_steps=7)).ledger.num_steps == 9  # nothing more is taken twice


def test_what_is_spent_counts_keys_and_not_restarts():
    a, b = jax.random.key(1), jax.random.key(2)
    once = spent(spent(None, a, 0), a, 6)
    assert spent(once, a, 4) == once  # the same steps again, with the noise they had
    assert spent(once, b, 6)["again"] == 0
    twice = spent(once, b, 4)
    assert (twice["again"], twice["reached"]) == (2, 4)
    assert spent(spent(twice, b, 10), a, 7)["again"] == 5


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
    assert [set(row) for row in rows] == [{"step"}] * len(rows)


def test_a_run_knows_what_it_did_and_so_does_its_directory(tmp_path):
    run = train(tmp_path, KEY)
    assert run.ledger is not None
    assert (run.ledger.num_examples, run.ledger.num_steps, run.ledger.sampling_prob) == (8, 6, 0.5)
    assert (run.ledger.noise_multiplier, run.ledger.num_noises, run.ledger.max_batch_size) == (1.0, 2, None)
    assert "whoever guesses it can subtract the noise" in guarantee(run.ledger).notes[0]
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
    quiet = replace(PRIVACY, noise_multiplier=0.0, l2_clip_norm=math.inf, delta=0.5)
    assert train(key=KEY, recipe=replace(RECIPE, num_steps=1), privacy=quiet).ledger is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"privacy": replace(PRIVACY, delta=0.2)}, "delta must be at least 1e-09 and below 1/8"),
        ({"recipe": replace(RECIPE, batch_size=9)}, r"batch of 9 cannot be sampled from 8 examples"),
        ({"privacy": replace(PRIVACY, truncated_batch_size=3)}, "truncated_batch_size must be at least batch_size"),
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
