"""The parity gap that shares of the group within each label imply, against tables of counts."""

import numpy as np
import pytest

from diffaudit_jax.metrics import Estimate
from diffaudit_jax.metrics.implied import implied_gap
from diffaudit_jax.types import InputError


def exact(value):
    return Estimate(value, value, value)


def test_known_shares_imply_the_gap_of_the_table():
    for table in np.random.default_rng(0).integers(1, 40, (30, 2, 2)):  # [s, y]
        rates = table[:, 1] / table.sum(axis=1)
        shares = table[1] / table.sum(axis=0)
        found = implied_gap(exact(shares[1]), exact(shares[0]), table[:, 1].sum() / table.sum())
        np.testing.assert_allclose(found, rates[1] - rates[0], rtol=0, atol=1e-14)


def test_limits_are_those_of_every_pair_inside_and_exclude_0_where_shares_are_apart():
    rng = np.random.default_rng(1)
    for _ in range(50):
        one, zero = (Estimate(*np.sort(rng.uniform(0, 1, 3))[[1, 0, 2]]) for _ in range(2))
        share = float(rng.uniform(0.1, 0.9))
        found = implied_gap(one, zero, share)
        grid = [
            implied_gap(exact(a), exact(b), share).value
            for a in np.linspace(one.low, one.high, 7)
            for b in np.linspace(zero.low, zero.high, 7)
        ]
        assert found.low == pytest.approx(min(grid), abs=1e-14)
        assert found.high == pytest.approx(max(grid), abs=1e-14)
        assert (found.low > 0 or found.high < 0) == (one.low > zero.high or one.high < zero.low)


def test_a_group_that_may_not_be_there_may_have_any_rate():
    found = implied_gap(Estimate(0.0, 0.0, 0.1), Estimate(0.0, 0.0, 0.1), 0.5)
    # The second group's rate is anything from 0 to 1, the first's is from 0.9/1.9 to 1/1.9.
    assert found.low == pytest.approx(0 - 1 / 1.9)
    assert found.high == pytest.approx(1 - 0.9 / 1.9)
    assert found.value == 0
    nobody = implied_gap(Estimate(0.5, 0.0, 1.0), Estimate(0.5, 0.0, 1.0), 0.5)
    assert (nobody.low, nobody.high) == (-1, 1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_samples_of_one_label_imply_nothing(share):
    with pytest.raises(InputError, match="there must be samples of both labels"):
        implied_gap(exact(0.5), exact(0.5), share)
