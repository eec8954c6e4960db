import numpy as np
import pytest
from scipy.stats import binom, binomtest

from diffaudit_jax.metrics.intervals import (
    Estimate,
    binomial_high,
    binomial_low,
    clopper_pearson,
    difference,
    quantile_ranks,
    scaled,
)
from diffaudit_jax.types import InputError


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 64), (64, 64), (3, 1000), (500, 1000)])
def test_clopper_pearson_is_scipys_exact_interval(k, n, level):
    oracle = binomtest(k, n).proportion_ci(level, method="exact")
    np.testing.assert_allclose(clopper_pearson(k, n, level), (k / n, oracle.low, oracle.high), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [1, 10, 64])
def test_clopper_pearson_covers_at_every_probability(n):
    """Enumerated, not simulated: the chance of each count times whether its interval holds the truth."""
    p = np.linspace(0.001, 0.999, 499)[:, None]
    k = np.arange(n + 1)
    holds = (binomial_low(k, n, 0.025) <= p) & (p <= binomial_high(k, n, 0.025))
    assert ((binom.pmf(k, n, p) * holds).sum(axis=1) >= 0.95).all()


def test_binomial_limits_take_fractional_counts_in_order():
    low = binomial_low(np.array([2.0, 2.5, 3.0]), 10.0, 0.025)
    assert low[0] < low[1] < low[2]
    np.testing.assert_allclose(binomial_high(7.5, 10.0, 0.025), 1 - low[1])


@pytest.mark.parametrize("error", [0.0125, 0.025, 0.2])
@pytest.mark.parametrize(("n", "fraction"), [(5, 0.1), (100, 0.01), (1000, 0.001), (1000, 0.1), (300, 0.9)])
def test_quantile_ranks_are_the_nearest_that_keep_the_error(n, fraction, error):
    ranks = quantile_ranks(n, fraction, error)
    every = np.arange(n + 2)
    misses_above = np.array([binom.cdf(rank - 1, n, fraction) for rank in every])
    misses_below = np.array([binom.sf(rank - 1, n, fraction) for rank in every])
    assert ranks.above == max(rank for rank in every if misses_above[rank] <= error)
    assert ranks.below == min(rank for rank in every if misses_below[rank] <= error)
    np.testing.assert_allclose(ranks[2:], (misses_above[ranks.above], misses_below[ranks.below]))


def test_quantile_ranks_bracket_the_quantile_as_often_as_they_say():
    n, fraction, repeats = 200, 0.05, 4000
    ranks = quantile_ranks(n, fraction, 0.1)
    u = -np.sort(-np.random.default_rng(0).random((repeats, n)), axis=1)
    for missed, error in (
        (u[:, ranks.above - 1] < 1 - fraction, ranks.error_above),
        (u[:, ranks.below - 1] > 1 - fraction, ranks.error_below),
    ):
        assert abs(missed.mean() - error) < 4 * np.sqrt(error * (1 - error) / repeats)


def test_difference_reproduces_newcombes_example():
    """Newcombe 1998, table II, method 10: 56/70 against 48/80 gives 0.0524 to 0.3339."""
    a, b = (Estimate(k / n, *binomtest(k, n).proportion_ci(0.95, method="wilson")) for k, n in ((56, 70), (48, 80)))
    np.testing.assert_allclose(difference(a, b), (0.2, 0.0524, 0.3339), atol=5e-5)


def test_difference_of_an_estimate_with_itself_is_nothing():
    a = Estimate(0.7, 0.6, 0.75)
    np.testing.assert_allclose(difference(a, Estimate(0.7, 0.65, 0.8), 1.0), (0, 0, 0), atol=1e-9)
    assert difference(a, a, 0.5).high < difference(a, a).high


def test_scaled_keeps_limits_in_order():
    np.testing.assert_allclose(scaled(-2.0, Estimate(0.3, 0.1, 0.6), offset=1.0), (0.4, -0.2, 0.8))


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 0, 0.95), (1, 5, 0.0), (1, 5, 95)])
def test_impossible_counts_and_levels_are_refused(k, n, level):
    with pytest.raises(InputError, match=f"{k} successes in {n}|level is {level}"):
        clopper_pearson(k, n, level)
