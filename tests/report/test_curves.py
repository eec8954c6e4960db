"""Curves for the document: thinning loses nothing that matters, and the test of the top is exact."""

import itertools

import numpy as np
import pytest

from diffaudit_jax import metrics
from diffaudit_jax.report import figures
from diffaudit_jax.report.curves import histogram, surest, thinned


def curve(m, n, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    member = np.arange(m + n) < m
    scores = rng.normal(size=m + n) + member
    return metrics.roc(np.round(scores, 1) if ties else scores, member)


@pytest.mark.parametrize("ties", [False, True])
def test_a_short_curve_is_kept_whole(ties):
    roc = curve(60, 90, ties=ties)
    kept = thinned(roc.fpr, roc.tpr)
    assert len(kept["fpr"]) < len(roc.fpr)  # what lies on a straight line is dropped ...
    grid = np.setdiff1d(np.linspace(0.001, 0.999, 1234), roc.fpr)
    # ... and the curve between is the same line.
    np.testing.assert_allclose(np.interp(grid, kept["fpr"], kept["tpr"]), np.interp(grid, roc.fpr, roc.tpr), atol=1e-12)


@pytest.mark.parametrize(("m", "n"), [(64, 1000), (3000, 3000), (20000, 20000)])
def test_a_long_curve_keeps_its_left_exactly(m, n):
    roc = curve(m, n)
    kept = thinned(roc.fpr, roc.tpr)
    assert len(kept["fpr"]) <= 400
    points = set(zip(roc.fpr.tolist(), roc.tpr.tolist(), strict=True))
    assert set(zip(kept["fpr"], kept["tpr"], strict=True)) <= points
    assert (kept["fpr"][0], kept["tpr"][0]) == (0.0, 0.0)
    assert (kept["fpr"][-1], kept["tpr"][-1]) == (1.0, 1.0)
    edge = kept["fpr"][min(199, len(kept["fpr"]) - 1)]
    assert edge * n >= 50  # the exact part resolves at least fifty false accusations one by one
    left = roc.fpr < edge
    grid = np.setdiff1d(np.linspace(0, edge, 999), roc.fpr)
    assert left.sum() > 60
    np.testing.assert_allclose(np.interp(grid, kept["fpr"], kept["tpr"]), np.interp(grid, roc.fpr, roc.tpr), atol=1e-12)


@pytest.mark.parametrize(
    "scores",
    [np.zeros(50), np.arange(50.0), np.r_[np.arange(49.0), 1e9], np.r_[-1e300, np.zeros(48), 1e300]],
    ids=["constant", "even", "one outlier", "huge"],
)
def test_histograms_count_everyone(scores):
    member = np.arange(50) % 5 == 0
    bins = histogram(scores, member)
    assert (sum(bins["members"]), sum(bins["nonmembers"])) == (10, 40)
    assert len(bins["edges"]) == len(bins["members"]) + 1
    assert np.isfinite(bins["edges"]).all()
    assert (np.diff(bins["edges"]) > 0).all()


def test_one_outlier_does_not_flatten_a_histogram():
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(size=999), 1e6]
    bins = histogram(scores, np.arange(1000) < 500)
    assert bins["edges"][-1] < 10
    assert np.count_nonzero(bins["members"]) > 20


@pytest.mark.parametrize("ties", [1, 3, 12])
def test_the_test_of_the_top_is_exact(ties):
    """Over all 495 ways to pick 4 members of 12, P[p <= alpha] <= alpha; with equality where attained, if no ties."""
    scores = np.arange(12) // ties
    p_values = []
    for chosen in itertools.combinations(range(12), 4):
        member = np.isin(np.arange(12), chosen)
        result = surest(scores.astype(float), member)
        p_values.append(result["p_value"])
    p_values = np.array(p_values)
    assert result["k"] == 10
    assert result["expected"] == pytest.approx(10 / 3)
    for alpha in np.unique(p_values):
        attained = np.mean(p_values <= alpha + 1e-12)
        assert attained <= alpha + 1e-12
        if ties == 1:
            assert attained == pytest.approx(alpha)


def test_the_top_finds_a_memorised_few_that_the_average_hides():
    rng = np.random.default_rng(1)
    member = np.arange(2000) < 1000
    scores = rng.normal(size=2000)
    scores[:15] += 10
    assert metrics.auc(scores, member).low < 0.5
    top = surest(scores, member)
    assert (top["k"], top["expected"]) == (20, 10.0)
    assert top["members"] >= 15
    assert top["p_value"] < 0.025


def test_losses_whose_auc_agrees_at_every_time_are_drawn_once():
    one, near, other = {"auc": [0.5, 0.9]}, {"auc": [0.5, 0.902]}, {"auc": [0.5, 0.8]}
    drawn = figures._told_apart({"eps": one, "other": other, "x0": near})
    assert drawn == {"eps, x0": one, "other": other}
