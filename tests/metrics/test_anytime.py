"""An interval at all n together: against its formula, its coverage ever, and where it lets one stop."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from diffaudit_jax.metrics.anytime import anytime, narrow_from
from diffaudit_jax.metrics.intervals import binomial_high, binomial_low
from diffaudit_jax.types import InputError


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (200, 1000)])
def test_limits_are_where_the_mixture_beats_the_likelihood_twenty_times(k, n):
    """Naive: the mixture by numerical integration over what the proportion might be."""
    mixture = quad(lambda p: binom.pmf(k, n, p) * beta.pdf(p, 0.5, 0.5), 0, 1, points=[k / n], limit=500)[0]
    low, high = anytime(k, n)
    for limit in (low, high):
        if 0 < limit < 1:
            assert mixture / binom.pmf(k, n, limit) == pytest.approx(20, rel=1e-5)
    assert (low == 0) == (k == 0)
    assert (high == 1) == (k == n)
    assert low <= k / n <= high


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_the_truth_is_ever_left_out_as_rarely_as_it_says_and_by_a_fixed_interval_more_often(p):
    runs, n = 1000, 300
    has = np.random.default_rng(1).random((runs, n)) < p
    k, m = has.cumsum(axis=1), np.arange(1, n + 1)
    low, high = anytime(k, m[None])
    ever = ((p < low) | (p > high)).any(axis=1).mean()
    assert ever <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    every = slice(9, None, 10)
    low, high = (limit(k[:, every], m[every], 0.025) for limit in (binomial_low, binomial_high))
    assert ((p < low) | (p > high)).any(axis=1).mean() > 0.1


def test_one_may_stop_where_the_interval_is_narrow():
    has = np.random.default_rng(2).random(3000) < 0.2
    n = narrow_from(has, 0.05)
    widths = [float(np.subtract(*anytime(has[:m].sum(), m)[::-1])) for m in (n - 1, n)]
    assert widths[1] <= 0.1 < widths[0]
    assert narrow_from(has[: n - 1], 0.05) is None
    assert anytime(0, 0).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anytime(3, 2), "0 <= k <= n"),
        (lambda: anytime(-1, 2), "0 <= k <= n"),
        (lambda: anytime(1, 2, 1.5), "level is 1.5"),
        (lambda: narrow_from([True], 0.0), "error is 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
