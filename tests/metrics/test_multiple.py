"""Holm's adjustment and the p-value of an AUC: naive versions, worked examples, and every order of a small sample."""

import itertools

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from diffaudit_jax.metrics import Estimate, auc, auc_by_column
from diffaudit_jax.metrics.multiple import auc_p_value, holm
from diffaudit_jax.types import InputError


def naive_holm(p_values):
    """Rejects step by step, as Holm wrote it: the adjusted p-value is the smallest alpha that rejects."""
    k, order, adjusted, worst = len(p_values), sorted(range(len(p_values)), key=lambda i: p_values[i]), {}, 0.0
    for step, i in enumerate(order):
        worst = max(worst, (k - step) * p_values[i])
        adjusted[i] = min(worst, 1.0)
    return [adjusted[i] for i in range(k)]


@pytest.mark.parametrize(
    ("p_values", "by_hand"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # x 3, x 1 but not below 0.06, x 2, x 4
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.0, 1.0], [0.0, 1.0]),
        ([0.7], [0.7]),
        ([], []),
    ],
)
def test_holm_by_hand(p_values, by_hand):
    np.testing.assert_allclose(holm(p_values), by_hand, rtol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_holm_is_the_naive_one_and_finds_all_that_bonferroni_finds(k):
    rng = np.random.default_rng(k)
    for _ in range(20):
        p = np.round(rng.random(k) ** 4, 3)  # rounded: ties too
        np.testing.assert_array_equal(holm(p), naive_holm(p.tolist()))
        assert (holm(p) <= np.minimum(1.0, k * p)).all()
        assert (holm(p) >= p).all()


def test_holm_keeps_the_error_of_all_true_nulls():
    """Seven tests, four of them of nothing, correlated: one of the four is rejected in 5 % at most."""
    rng, repeats = np.random.default_rng(0), 2000
    z = rng.normal(size=(repeats, 7)) + rng.normal(size=(repeats, 1)) + np.array([0, 0, 0, 0, 5, 5, 5])
    adjusted = np.apply_along_axis(holm, 1, norm.sf(z / 2**0.5))
    rate = (adjusted[:, :4] <= 0.05).any(axis=1).mean()
    assert 0 < rate <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / repeats)


RNG = np.random.default_rng(0)
MEMBER = np.arange(160) < 40
SAMPLES = {
    "nothing": RNG.normal(size=160),
    "weak": RNG.normal(size=160) + 0.4 * MEMBER,
    "strong": RNG.normal(size=160) + 2.0 * MEMBER,
    "wrong way": RNG.normal(size=160) - 0.6 * MEMBER,
    "perfect": MEMBER + 0.0,
    "reversed": -1.0 * MEMBER,
    "tied": np.round(RNG.normal(size=160) + 0.5 * MEMBER),
    "constant": np.zeros(160),
}


@pytest.mark.parametrize("name", ["nothing", "weak", "wrong way", "tied"])  # 1 - p is a level still
def test_the_interval_at_level_one_minus_p_ends_at_one_half(name):
    p = auc_p_value(auc(SAMPLES[name], MEMBER))
    area = auc(SAMPLES[name], MEMBER, level=1 - p)
    assert (area.low if area.value > 0.5 else area.high) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("name", SAMPLES)
def test_p_does_not_depend_on_the_level_of_the_interval(name):
    ours, theirs = (auc_p_value(auc(SAMPLES[name], MEMBER, level=level), level) for level in (0.95, 0.6))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_p_is_symmetric_and_reaches_both_ends():
    for name in SAMPLES:
        a, b = (auc_p_value(auc(sign * SAMPLES[name], MEMBER)) for sign in (1, -1))
        assert a == pytest.approx(b, rel=1e-9)
    assert auc_p_value(auc(SAMPLES["constant"], MEMBER)) == 1.0
    # All 40 members above all others: 40 successes in 40 trials of one half, on both sides.
    assert auc_p_value(auc(SAMPLES["perfect"], MEMBER)) == pytest.approx(2 * 0.5**40, rel=1e-9)


@pytest.mark.parametrize(("m", "n", "drawn"), [(10, 10, None), (10, 60, 4000), (30, 40, 4000)])
def test_no_order_of_a_small_sample_is_favoured(m, n, drawn):
    """If scores know nothing of membership all orders are alike: of them, P[p <= alpha] <= alpha from .0005 on."""
    if drawn is None:
        chosen = np.array(list(itertools.combinations(range(m + n), m)))
    else:
        chosen = np.random.default_rng(0).random((drawn, m + n)).argsort(axis=1)[:, :m]
    outside = np.ones((len(chosen), m + n), bool)
    np.put_along_axis(outside, chosen, False, axis=1)
    orders = np.argsort(outside, axis=1, kind="stable")  # the members' ranks first, then the others'
    found = auc_by_column(orders.T.astype(float), np.arange(m + n) < m)
    known = {area: auc_p_value(area) for area in set(found)}  # of 184,756 orders many have one interval
    p = np.sort([known[area] for area in found])
    attained = np.searchsorted(p, p * (1 + 1e-9), side="right") / len(p)
    slack = 0.0 if drawn is None else 4 * np.sqrt(p * (1 - p) / len(p))
    assert (attained <= p * (1 + 1e-9) + slack)[p >= 5e-4].all()
    assert attained[p <= 0.05].max() > 0.02  # nor is more than half of the error left lying


@pytest.mark.parametrize(("m", "n"), [(64, 64), (20, 400), (500, 500)])
def test_p_agrees_with_mann_whitney_where_that_is_accurate(m, n):
    """Near the null the two variances are the same; Clopper-Pearson adds what a whole success more would."""
    member, rng = np.arange(m + n) < m, np.random.default_rng(1)
    ratios = []
    for _ in range(40):
        scores = rng.normal(size=m + n) + 0.2 * member
        exact = mannwhitneyu(scores[member], scores[~member], method="asymptotic").pvalue
        ratios.append(auc_p_value(auc(scores, member)) / exact)
    assert 0.9 < np.median(ratios) < 1.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: holm([0.1, 1.5]), "p-value 1 is 1.5"),
        (lambda: holm([0.1, float("nan")]), "p-value 1 is nan"),
        (lambda: holm([[0.1]]), r"p_values has shape \(1, 1\)"),
        (lambda: auc_p_value(Estimate(0.6, 0.5, 0.7), 95), "level is 95"),
        (lambda: auc_p_value(Estimate(0.6, 0.7, 0.8)), r"an AUC of 0.6 in \[0.7, 0.8\] is no interval"),
        (lambda: auc_p_value(Estimate(0.4, 0.3, 0.4)), r"an AUC of 0.4 in \[0.3, 0.4\] is no interval"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
