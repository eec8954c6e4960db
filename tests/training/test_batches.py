"""Poisson sampling against its definition, the law of jax-privacy's truncated batches, and keys never shared."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy.batch_selection import CyclicPoissonSampling
from scipy.stats import binom, chi2

from diffaudit_jax.training.batches import Poisson, count_overflow, step_keys
from diffaudit_jax.types import InputError

KEY = jax.random.key(3)
STEPS = 4000
PLAIN = Poisson(20, 6, multiple=4)
TRUNCATED = Poisson(20, 6, truncated_batch_size=8)


@functools.cache
def batches(poisson, steps=STEPS):
    """The batches of the first steps of a run, with a leading axis of steps."""
    draw = lambda step: poisson.draw(step_keys(KEY, step)[0])  # noqa: E731
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(jnp.arange(steps)))


def holds(batch, n):
    """Whether step s holds example i: [steps, n]."""
    held = np.zeros((len(batch.index), n), int)
    np.add.at(held, (np.arange(len(held))[:, None], batch.index), batch.mask)
    return held


@pytest.mark.parametrize("poisson", [PLAIN, TRUNCATED, Poisson(7, 7), Poisson(5, 2, 3, multiple=8)])
def test_batches_are_those_of_the_definition(poisson):
    seen = batches(poisson, 50)
    for step in range(50):
        u = np.asarray(jax.random.bits(step_keys(KEY, jnp.int32(step))[0], (poisson.n,), jnp.uint32)) / 2**32
        sampled = sorted(np.flatnonzero(u < poisson.sampling_prob), key=lambda i: u[i])
        kept = sampled[: poisson.truncated_batch_size]
        assert seen.index[step, seen.mask[step]].tolist() == kept
        assert seen.mask[step, : len(kept)].all()
        assert seen.overflow[step] == len(sampled) - len(kept)
        assert (seen.index[step] >= 0).all()
        assert (seen.index[step] < poisson.n).all()


@pytest.mark.parametrize(
    ("poisson", "rows"), [(PLAIN, 20), (TRUNCATED, 8), (Poisson(5, 2, 3, multiple=8), 8), (Poisson(9, 2, 70), 9)]
)
def test_every_batch_has_the_same_rows(poisson, rows):
    batch = jax.eval_shape(poisson.draw, KEY)
    assert poisson.rows == rows
    assert batch.index.shape == batch.mask.shape == (rows,)


def test_examples_are_sampled_alike_and_independently_of_each_other_and_of_other_steps():
    held = holds(batches(PLAIN), 20)
    assert set(np.unique(held)) == {0, 1}
    q = 0.3
    z = (held.mean(0) - q) / np.sqrt(q * (1 - q) / STEPS)
    assert (z**2).sum() < chi2.isf(1e-4, 20)
    # Independence: of 190 pairs of examples, and of each example with itself one step later.
    centred = (held - q) / np.sqrt(q * (1 - q))
    pairs = [(centred[:, i] * centred[:, j]).sum() / np.sqrt(STEPS) for i, j in itertools.combinations(range(20), 2)]
    assert (np.square(pairs)).sum() < chi2.isf(1e-4, 190)
    later = (centred[1:] * centred[:-1]).sum(0) / np.sqrt(STEPS - 1)
    assert (later**2).sum() < chi2.isf(1e-4, 20)


def test_no_example_is_sampled_more_often_than_is_accounted_for(monkeypatch):
    third = 2**32 // 3  # third/2^32 < 1/3 < (third + 1)/2^32
    monkeypatch.setattr(jax.random, "bits", lambda *_: jnp.array([third, third - 1, 2**32 - 1], jnp.uint32))
    batch = Poisson(3, 1).draw(KEY)
    assert batch.index[batch.mask].tolist() == [1]  # `third` numbers of 2^32 are sampled, and no more
    whole = Poisson(3, 3).draw(KEY)
    assert whole.mask.all()


def test_truncation_keeps_a_part_of_what_was_sampled_and_counts_the_rest():
    whole, part = batches(PLAIN), batches(TRUNCATED)
    more, less = holds(whole, 20), holds(part, 20)
    assert (less <= more).all()
    np.testing.assert_array_equal(less.sum(1), np.minimum(more.sum(1), 8))
    np.testing.assert_array_equal(part.overflow, more.sum(1) - less.sum(1))
    assert whole.overflow.sum() == 0
    assert part.overflow.sum() > 0


def test_truncation_treats_all_examples_alike():
    full = batches(TRUNCATED).overflow > 0
    held = holds(batches(TRUNCATED), 20)[full]
    # Given its size, a truncated batch is any 8 of 20: counts have variance p (1 - p), and covariances that sum to 0.
    p = 8 / 20
    z = (held.mean(0) - p) / np.sqrt(p * (1 - p) / len(held))
    assert (z**2).sum() * 19 / 20 < chi2.isf(1e-4, 19)


def test_sizes_follow_the_law_of_jax_privacys_truncated_batches():
    theirs = CyclicPoissonSampling(sampling_prob=0.3, iterations=STEPS, truncated_batch_size=8)
    sizes = {
        "ours": batches(TRUNCATED).mask.sum(1),
        "theirs": np.array([len(batch) for batch in theirs.batch_iterator(20, rng=0)]),
    }
    law = binom.pmf(np.arange(8), 20, 0.3)
    law = np.append(law, 1 - law.sum())
    for counted in sizes.values():
        counts = np.bincount(counted, minlength=9)
        assert ((counts - STEPS * law) ** 2 / (STEPS * law)).sum() < chi2.isf(1e-4, 8)


def test_overflow_of_a_run_is_recounted_from_its_key():
    assert int(count_overflow(TRUNCATED, KEY, 300)) == batches(TRUNCATED).overflow[:300].sum() > 0
    assert int(count_overflow(PLAIN, KEY, 300)) == 0
    assert int(count_overflow(TRUNCATED, KEY, 0)) == 0


def test_no_two_purposes_and_no_two_steps_share_a_key():
    keys = jax.vmap(lambda step: jnp.stack([jax.random.key_data(key) for key in step_keys(KEY, step)]))(jnp.arange(500))
    keys = np.concatenate([keys.reshape(1500, -1), jax.random.key_data(KEY)[None]])
    assert len(np.unique(keys, axis=0)) == 1501


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            (8, 9),
            "an expected batch of 9 cannot be sampled from 8 examples: batch_size lies between 1 and their number",
        ),
        ((8, 0), "an expected batch of 0 cannot be sampled"),
        ((0, 1), "an expected batch of 1 cannot be sampled from 0 examples"),
        ((8, 4, 3), "truncated_batch_size must be at least batch_size, got 3 < 4"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        Poisson(*arguments)
