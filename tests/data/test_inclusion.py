"""Coins of several models: fair, dealt evenly, a record's own, and found again by row."""

import jax
import numpy as np
import pytest

from diffaudit_jax.data import Inclusion, coin_flips
from diffaudit_jax.types import InputError

KEY = jax.random.key(11)
ROWS = np.random.default_rng(0).permutation(5000)[:2000]


@pytest.mark.parametrize("num", [2, 5, 8])
def test_each_record_is_inside_half_of_the_models(num):
    inside = coin_flips(KEY, ROWS, num).inside
    assert inside.shape == (num, len(ROWS))
    assert set(inside.sum(axis=0)) == {num // 2, (num + 1) // 2}


@pytest.mark.parametrize("num", [2, 5, 8])
def test_within_a_model_coins_are_fair_and_independent(num):
    """Five standard errors, of n coins and of n - 1 products of neighbours, which are fair coins too."""
    signs = 2.0 * coin_flips(KEY, ROWS, num).inside - 1
    n = len(ROWS)
    assert np.abs(signs.sum(axis=1)).max() < 5 * np.sqrt(n)
    assert np.abs((signs[:, 1:] * signs[:, :-1]).sum(axis=1)).max() < 5 * np.sqrt(n - 1)


def test_two_models_of_many_share_as_many_records_as_half_dealt_evenly():
    """Of K models a record is inside K/2: two hold it both with probability (K/2 - 1)/(2 (K - 1))."""
    inside, num, n = coin_flips(KEY, ROWS, 8).inside, 8, len(ROWS)
    prob = (num / 2 - 1) / (2 * (num - 1))
    for i in range(num):
        for j in range(i):
            shared = (inside[i] & inside[j]).sum()
            assert abs(shared - n * prob) < 5 * np.sqrt(n * prob * (1 - prob))


def test_coins_are_a_records_own():
    whole, part = coin_flips(KEY, ROWS, 4), coin_flips(KEY, ROWS[::-3], 4)
    np.testing.assert_array_equal(part.inside, whole.inside[:, ::-3])
    np.testing.assert_array_equal(part.rows, ROWS[::-3])
    assert (coin_flips(jax.random.key(12), ROWS, 4).inside != whole.inside).any()


def test_columns_are_found_by_row():
    inclusion = coin_flips(KEY, ROWS, 3)
    asked = np.random.default_rng(1).permutation(ROWS)[:50]
    by_row = {int(row): column for row, column in zip(ROWS, inclusion.inside.T, strict=True)}
    np.testing.assert_array_equal(inclusion.of(asked), np.stack([by_row[int(row)] for row in asked], axis=1))


SMALL = coin_flips(KEY, np.arange(4), 2)
BAD = {
    "one model": (lambda: coin_flips(KEY, np.arange(4), 1), "num=1 models"),
    "no record": (lambda: coin_flips(KEY, np.arange(0), 2), "needs records"),
    "a row twice": (lambda: coin_flips(KEY, np.array([1, 1]), 2), "pass renumbered(pool)"),
    "a row that lacks": (lambda: SMALL.of(np.array([1, 9, 7])), "row 9 (of 2 such) is not in the inclusion matrix"),
    "a column twice": (lambda: Inclusion(np.array([0, 1, 1, 2]), SMALL.inside).of(np.arange(2)), "row 1 is in the"),
    "another number": (lambda: Inclusion(np.arange(3), SMALL.inside).of(np.arange(2)), "bool [K, 3], got bool (2, 4)"),
    "no truths": (lambda: Inclusion(np.arange(4), SMALL.inside * 1.0).of(np.arange(2)), "got float64 (2, 4)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_inclusion_is_refused(case):
    make, message = BAD[case]
    with pytest.raises(InputError) as refusal:
        make()
    assert message in str(refusal.value)
