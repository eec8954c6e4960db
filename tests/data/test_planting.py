"""Records planted as often as was asked, each still itself."""

import jax
import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.types import InputError

KEY, POOL = (
    jax.random.key(3),
    data.Pool(np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), np.uint8), np.arange(30) * 7, "made"),
)


def test_records_are_there_as_often_as_was_asked():
    times = {1: 3, 5: 4, 20: 2}
    whole = data.planted(KEY, POOL, times)
    assert len(whole) == 30 + 4 * 4 + 2 * 19
    np.testing.assert_array_equal(whole.x[:30], POOL.x)
    np.testing.assert_array_equal(whole.rows[:30], POOL.rows)
    assert len(set(whole.rows.tolist())) == len(whole)
    counts = np.unique(np.unique(whole.hashes(), return_counts=True)[1], return_counts=True)
    np.testing.assert_array_equal(counts, [[1, 5, 20], [24, 4, 2]])
    found = data.repeats(KEY, POOL, times)
    assert sorted(found[found > 1].tolist()) == [5] * 4 + [20] * 2
    again = data.further(KEY, POOL, times)
    np.testing.assert_array_equal(again.rows, np.repeat(POOL.rows, found - 1))
    np.testing.assert_array_equal(again.x, whole.x[30:])


def test_who_is_planted_depends_on_key_and_rows_alone():
    order = np.random.default_rng(1).permutation(30)
    found = data.repeats(KEY, POOL, {9: 8})
    np.testing.assert_array_equal(data.repeats(KEY, POOL.take(order), {9: 8}), found[order])
    assert (data.repeats(jax.random.key(4), POOL, {9: 8}) != found).any()


def test_what_cannot_be_planted_is_refused():
    twins = data.concatenate(POOL, data.Pool(POOL.x[:1], np.array([500]), "twin"))
    for pool, times, says in (
        (POOL, {0: 2}, "2 records 0 times each"),
        (POOL, {2: 0}, "0 records 2 times each"),
        (POOL, {2: 20, 3: 11}, "31 records are to be planted and made has 30"),
        (twins, {2: 1}, "is there twice"),
    ):
        with pytest.raises(InputError) as refused:
            data.repeats(KEY, pool, times)
        assert says in str(refused.value)
