"""Sample sizes and intervals of a proportion: published numbers, brute force over the binomial, simulated coverage."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from diffaudit_jax.metrics.planning import (
    RULES,
    bernstein_half,
    empirical_bernstein,
    failure,
    hoeffding_interval,
    plan_samples,
)
from diffaudit_jax.types import InputError


@pytest.mark.parametrize(
    ("error", "confidence", "n"), [(0.1, 0.9, 150), (0.1, 0.95, 185), (0.05, 0.95, 738), (0.03, 0.95, 2050)]
)
def test_hoeffding_s_plan_is_the_published_one(error, confidence, n):
    assert plan_samples(error, confidence) == n
    assert plan_samples(error, confidence, rule="exact") < 0.6 * n


@pytest.mark.parametrize("between", [(0.0, 1.0), (0.0, 0.1), (0.3, 0.3)])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_greatest_failure_is_that_of_a_fine_grid(n, between):
    """Naive: every p of a grid, every k that is too far from it."""
    error = 0.1
    k, grid = np.arange(n + 1), np.linspace(*between, 20_001)
    far = np.abs(k[:, None] / n - grid) >= error - 1e-12
    naive = (binom.pmf(k[:, None], n, grid) * far).sum(axis=0).max()
    found = failure(n, error, between=between)
    # A grid may step over the p at which it is greatest, by a slope of n at most.
    assert naive - 1e-9 <= found <= naive + n * (between[1] - between[0]) / 20_000


@pytest.mark.parametrize("between", [(0.0, 1.0), (0.0, 0.05), (0.6, 0.9)])
def test_an_exact_plan_keeps_its_promise_and_one_of_half_the_size_does_not(between):
    n = plan_samples(0.05, 0.95, rule="exact", between=between)
    assert failure(n, 0.05, between=between) <= 0.05 < failure(n // 2, 0.05, between=between)


def test_a_plan_by_the_variance_is_the_least_that_fits():
    n = plan_samples(0.02, 0.95, rule="bernstein", between=(0.0, 0.02))
    halves = [bernstein_half(m, 0.02 * 0.98, 0.05) for m in (n - 1, n)]
    assert halves[1] <= 0.02 < halves[0]
    assert n < plan_samples(0.02)
    assert plan_samples(0.05, rule="bernstein") > plan_samples(0.05)  # at a half it knows nothing that helps


@pytest.mark.parametrize("interval", [hoeffding_interval, empirical_bernstein])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.5])
def test_intervals_cover_at_least_as_often_as_they_say(interval, p):
    """Exactly: the probability of every count whose interval holds p."""
    n = 120
    found = [interval(k, n) for k in range(n + 1)]
    covered = sum(binom.pmf(k, n, p) for k, each in enumerate(found) if each.low <= p <= each.high)
    assert covered >= 0.95
    assert all(each.low <= each.value <= each.high for each in found)


def test_half_of_an_interval_is_what_the_formula_says():
    found = hoeffding_interval(50, 100)
    assert found.high - found.value == pytest.approx(math.sqrt(math.log(40) / 200))
    has = np.repeat([1.0, 0.0], [3, 97])
    log = math.log(80)
    half = math.sqrt(2 * has.var(ddof=1) * log / 100) + 7 * log / 297
    assert empirical_bernstein(3, 100).high == pytest.approx(0.03 + half)
    assert empirical_bernstein(1, 1)[1:] == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan_samples(0.0), "error is 0"),
        (lambda: plan_samples(1.0), "error is 1"),
        (lambda: plan_samples(0.1, 1.0), "confidence is 1"),
        (lambda: plan_samples(0.1, rule="chebyshev"), "chebyshev"),
        (lambda: plan_samples(0.1, between=(0.5, 0.2)), r"between is \(0.5, 0.2\)"),
        (lambda: hoeffding_interval(3, 2), "3 successes in 2 trials"),
        (lambda: empirical_bernstein(0, 0), "0 successes in 0 trials"),
        (lambda: empirical_bernstein(1, 2, 95), "level is 95"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert set(RULES) == {"hoeffding", "exact", "bernstein"}
