import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_curve

from diffaudit_jax.metrics import clopper_pearson, tpr_at_fpr
from diffaudit_jax.types import InputError

RNG = np.random.default_rng(0)


def sample(m, n, shift=1.0, rng=RNG):
    member = np.arange(m + n) < m
    return rng.normal(size=m + n) + shift * member, member


@pytest.mark.parametrize("decimals", [8, 1, 0])
@pytest.mark.parametrize("fpr", [0.1, 0.05, 0.01])
def test_point_is_the_largest_rate_within_the_target(fpr, decimals):
    scores, member = sample(80, 300)
    scores = np.round(scores, decimals)
    point = tpr_at_fpr(scores, member, fpr)
    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    np.testing.assert_allclose(point.tpr.value, max(true[false <= fpr]), atol=1e-15)
    np.testing.assert_allclose(point.fpr, max(false[false <= fpr]), atol=1e-15)
    assert point.tpr.low <= point.tpr.value <= point.tpr.high


@pytest.mark.parametrize(("count", "n"), [(29, 100), (1, 1000), (3, 1000), (7, 100), (57, 1000)])
def test_a_target_of_a_whole_count_allows_that_count(count, n):
    """29 of 100 is 0.29, though 100 * 0.29 < 29 in floating point."""
    scores, member = sample(50, n)
    assert round(tpr_at_fpr(scores, member, count / n).fpr * n) == count


@pytest.mark.parametrize(
    ("n", "fpr", "verdict", "ask"),
    [
        (999, 0.001, "no", "at least 1000"),
        (1000, 0.001, "weak", "at least 10000"),
        (9999, 0.001, "weak", "at least 10000"),
        (10000, 0.001, "yes", ""),
        (64, 0.01, "no", "at least 100"),
        (100, 0.1, "yes", ""),
        (99, 0.1, "weak", "at least 100"),
        (6, 0.15, "no", "at least 7"),
    ],
)
def test_too_few_nonmembers_are_refused_or_flagged(n, fpr, verdict, ask):
    point = tpr_at_fpr(*sample(20, n), fpr)
    assert point.resolvable == verdict
    assert (point.tpr is None) == (point.fpr is None) == (verdict == "no")
    assert ask in point.reason
    assert bool(point.reason) == bool(ask)


def test_no_lower_limit_exists_where_the_threshold_cannot_be_bounded():
    """P[no non-member of 1,000 exceeds the .1 % threshold] = .37: no sample maximum bounds it at 95 %."""
    point = tpr_at_fpr(*sample(64, 1000, shift=9.0), 0.001)
    assert point.tpr.value == 1.0
    assert point.tpr.low == 0.0


@pytest.mark.parametrize("fpr", [0.1, 0.01])
def test_more_confidence_is_wider(fpr):
    scores, member = sample(64, 1000)
    narrow, wide = (tpr_at_fpr(scores, member, fpr, level=level).tpr for level in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high
    assert wide.high - wide.low > narrow.high - narrow.low


def test_a_perfect_attack_is_near_one():
    tpr = tpr_at_fpr(*sample(64, 1000, shift=99.0), 0.01).tpr
    assert tpr.value == tpr.high == 1.0
    assert 0.9 < tpr.low < 1.0


# Populations with a known true positive rate at each false positive rate: (scores of members, of non-members, truth).
def null(m, n, fpr, rng):
    return rng.normal(size=m), rng.normal(size=n), fpr


def shifted(m, n, fpr, rng):
    return rng.normal(size=m) + 3.0, rng.normal(size=n), norm.sf(norm.isf(fpr) - 3.0)


def memorised(m, n, fpr, rng):
    """Three in ten members beat every non-member."""
    return rng.normal(size=m) + 50.0 * (rng.random(m) < 0.3), rng.normal(size=n), 0.3 + 0.7 * fpr


def jump(m, n, fpr, rng):
    """All other members sit just below the threshold: the curve jumps there, the worst case for a lower limit."""
    place = norm.isf(fpr)
    return np.where(rng.random(m) < 0.3, place + 1e-3, place - 1e-3), rng.normal(size=n), 0.3


def rounded(m, n, fpr, rng):
    """Scores in steps of a half: the best rule within the target has a lower false positive rate."""
    steps = np.arange(-8, 16) / 2
    threshold = steps[norm.sf(steps - 0.25) <= fpr][0]
    x, y = (np.round(2 * v) / 2 for v in (rng.normal(size=m) + 2.0, rng.normal(size=n)))
    return x, y, norm.sf(threshold - 0.25 - 2.0)


REPEATS = 300


def simulate(population, m, n, fpr, interval):
    rng = np.random.default_rng(1)
    member, hits = np.arange(m + n) < m, 0
    for _ in range(REPEATS):
        x, y, truth = population(m, n, fpr, rng)
        low, high = interval(tpr_at_fpr(np.concatenate([x, y]), member, fpr), m)
        hits += low <= truth <= high
    return hits / REPEATS


@pytest.mark.parametrize("population", [null, shifted, memorised, jump, rounded])
@pytest.mark.parametrize(("m", "n", "fpr"), [(64, 1000, 0.1), (64, 1000, 0.01), (64, 1000, 0.001), (256, 256, 0.01)])
def test_interval_covers(population, m, n, fpr):
    coverage = simulate(population, m, n, fpr, lambda point, m: point.tpr[1:])
    assert coverage >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPEATS)


def test_a_binomial_interval_at_the_empirical_threshold_does_not_cover():
    def plain(point, m):
        return clopper_pearson(round(point.tpr.value * m), m)[1:]

    assert simulate(shifted, 256, 256, 0.01, plain) < 0.65


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, 5, float("nan")])
def test_rates_outside_the_unit_interval_are_refused(fpr):
    with pytest.raises(InputError, match=f"false positive rate is {fpr}"):
        tpr_at_fpr(*sample(10, 10), fpr)
