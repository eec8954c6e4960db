"""Whom shadows are trained on: fair halves whatever dealt the run's own sides, with whoever the run always holds."""

import contextlib

import jax
import numpy as np
import pytest

from diffaudit_jax import data, training
from diffaudit_jax.cli import black, shadows
from diffaudit_jax.cli.setting import audit_key
from diffaudit_jax.types import InputError

from .conftest import NET

SEED = 3
NUM = 8
TRAIN = ("train", "--data", "fashion-mnist-2k", "--diffusion-steps", "24", *NET)
TOSSED = (*TRAIN, "--canaries", "60", "--members", "30")
DEALT = (*TRAIN, "--members", "12", "--nonmembers", "24")


@pytest.fixture(scope="module")
def pool():
    return data.load("fashion-mnist-2k")


def words(keys):
    return {bytes(np.asarray(jax.random.key_data(key))) for key in keys}


def made_in(monkeypatch, *calls):
    """Returns the keys that calls make of others."""
    found = []
    with monkeypatch.context() as patched:
        for name in ("fold_in", "split"):
            make = getattr(jax.random, name)

            def kept(*given, make=make):
                keys = make(*given)
                found.extend(key for key in jax.numpy.ravel(keys) if not isinstance(key, jax.core.Tracer))
                return keys

            patched.setattr(jax.random, name, kept)
        for call in calls:
            call()
    return words(found)


def test_no_key_of_shadows_is_one_of_another_command_at_the_same_seed(monkeypatch, pool):
    key = jax.random.key(SEED)
    others = made_in(
        monkeypatch,
        lambda: data.split(key, pool, members=20, nonmembers=20),
        lambda: data.split_coin(key, pool, queries=60, always=20),
        lambda: [jax.random.split(jax.random.fold_in(key, use), 3) for use in range(9)],
        lambda: jax.random.split(audit_key(SEED), 3),
        lambda: black.keys(SEED),
    )

    def theirs():
        key_coins, key_training = shadows.keys(SEED)
        shadows.tossed(key_coins, pool, NUM, by_group=False)
        for k in range(NUM):
            jax.random.fold_in(key_training, k)

    own = made_in(monkeypatch, theirs)
    # Those of the command, the coins' and training's; of nine draws of coins, and of eight models.
    assert len(own) == 3 + NUM + 1 + NUM
    assert len(others) > 30
    assert not own & (others | words([key]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_shadow_holds_half_of_those_who_had_a_coin(pool, seed):
    """Four standard errors of 60 coins."""
    split = data.split_coin(jax.random.key(seed), pool, queries=60)
    inside = shadows.tossed(shadows.keys(seed)[0], pool, NUM, by_group=False).of(split.queries.row)
    assert np.abs(inside.sum(axis=1) - 30).max() < 4 * np.sqrt(60 / 4)


def test_those_always_in_are_inside_every_shadow_and_copies_go_with_their_original(pool):
    split = data.split_coin(jax.random.key(SEED), pool, queries=20, always=6)
    whole, always = shadows.pooled(split)
    inside = shadows.tossed(jax.random.key(0), whole, NUM, by_group=False, always=always).inside
    assert (always == np.isin(whole.rows, split.always.rows)).all()
    assert (inside.sum(axis=0) == np.where(always, NUM, NUM // 2)).all()
    # Whoever is asked about has the coins that it has without them.
    alone = shadows.tossed(jax.random.key(0), whole.take(~always), NUM, by_group=False)
    np.testing.assert_array_equal(alone.inside, inside[:, ~always])
    copies = data.Split(split.members, split.nonmembers, always=split.members.take(np.array([0, 0, 2])))
    whole, always = shadows.pooled(copies)
    inclusion = shadows.tossed(jax.random.key(0), whole, NUM, by_group=False, always=always)
    assert len(np.unique(whole.rows)) == len(whole) == 23
    own = inclusion.of(split.members.rows[[0, 0, 2]])
    np.testing.assert_array_equal(inclusion.inside[:, always], own)
    assert set(own.sum(axis=0)) == {NUM // 2}


def seen_of(monkeypatch, diffaudit, run, *more):
    """Returns what a command would train, and what it says."""
    seen = {}

    def spy(key, model, process, pool, num, recipe, **options):
        seen.update(pool=pool, recipe=recipe, **options)
        raise InputError("seen.")

    with monkeypatch.context() as patched:
        patched.setattr(training, "fit_many", spy)
        ended = diffaudit("shadows", run, "--num", NUM, "--out", run.parent / "shadows", *more)
    with contextlib.suppress(ValueError):
        ended.err.remove("diffaudit: seen.")
    return seen, ended


def test_private_shadows_have_batches_that_their_parts_fill_and_are_no_release(monkeypatch, diffaudit, tmp_path):
    """A run whose batch is all of its 18 members, and shadows of 18 of 36 on average."""
    private = ("--dp", "--noise-multiplier", 1, "--batch", 18, "--steps", 1, "--delta", "1e-3")
    words = (*DEALT, *private, "--members", 18, "--nonmembers", 18, "--out", tmp_path / "run")
    assert diffaudit(*words).code == 0
    seen, ended = seen_of(monkeypatch, diffaudit, tmp_path / "run")
    smallest = seen["inclusion"].inside.sum(axis=1).min()
    assert seen["recipe"].batch_size == smallest < 18
    said = " ".join(ended.err)
    assert f"theirs are of {smallest}, and noise weighs more" in said
    assert "do not publish them" in said


@pytest.mark.parametrize("command", [TOSSED, (*DEALT, "--plant", "3:12")], ids=["canaries", "planted"])
def test_shadows_are_trained_on_as_many_as_the_run(monkeypatch, diffaudit, tmp_path, command):
    assert diffaudit(*command, "--steps", 0, "--seed", SEED, "--out", tmp_path / "run").code == 0
    seen, ended = seen_of(monkeypatch, diffaudit, tmp_path / "run", "--seed", SEED)
    run = training.load_run(tmp_path / "run")
    split = data.from_record(run.config["split"], data.load("fashion-mnist-2k"))
    assert seen["record"]["of_members"] == len(split.training)
    assert len(seen["pool"]) == len(split.training) + len(split.nonmembers)
    inside = seen["inclusion"].of(seen["pool"].rows).sum(axis=1)
    assert f"on about {round(inside.mean())} of the {len(seen['pool'])} images" in ended.out
    # Nothing is said of fewer: 60 coins leave the run about as many as its shadows, and so do all copies of a half.
    assert not ended.err
