"""Thresholds fixed before: the rate they keep over draws, by counting orders, and exact intervals of what follows."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from diffaudit_jax.metrics.committed import check_fixes, committed, fixed_threshold
from diffaudit_jax.types import InputError


@pytest.mark.parametrize("fpr", [0.1, 0.2, 0.25, 0.34, 0.5, 0.9])
@pytest.mark.parametrize(
    "values", [(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (1, 1, 1, 2, 2, 3, 3, 3, 3, 4)], ids=["no", "ties"]
)
def test_one_more_record_is_accused_no_more_often_than_was_asked_for(values, fpr):
    """Each of ten exchangeable records in turn is the one more: the share accused is the chance that one is."""
    accused = [x > fixed_threshold(np.delete(values, i), fpr) for i, x in enumerate(values)]
    most = int(fpr * 10 + 1e-9)
    assert sum(accused) <= most
    if len(set(values)) == 10:
        assert sum(accused) == most


@pytest.mark.parametrize(
    ("n", "fpr", "rank"), [(99, 0.01, 1), (199, 0.01, 2), (299, 0.01, 3), (298, 0.01, 2), (99, 0.29, 29), (9, 0.1, 1)]
)
def test_the_threshold_is_this_order_statistic(n, fpr, rank):
    scores = np.random.default_rng(n).permutation(n)
    assert fixed_threshold(scores, fpr) == n - rank


def test_rates_are_counts_with_exact_intervals():
    scores = [3, 2, 1, 1, 0, 5, 1, 0, 0, 0, 0]
    member = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    found = committed(scores, member, 1.0, level=0.9)
    assert (found.found, found.accused) == (2, 1)  # equal is not above
    for estimate, k, n in ((found.tpr, 2, 5), (found.fpr, 1, 6)):
        exact = binomtest(k, n).proportion_ci(0.9, "exact")
        assert estimate.value == k / n
        # SciPy finds the same roots by bisection, to 4 eps or 2e-12.
        np.testing.assert_allclose(estimate[1:], exact, atol=1e-11)


def test_every_order_of_scores_gives_one_threshold():
    assert {fixed_threshold(order, 0.3) for order in itertools.permutations((1.0, 2.0, 2.0, 5.0))} == {5.0}


MISTAKES = {
    "few": (
        np.zeros(98),
        0.01,
        "98 non-members fix no threshold for a false positive rate of 0.01: set it on at least 99",
    ),
    "none": (
        np.zeros(0),
        0.5,
        "0 non-members fix no threshold for a false positive rate of 0.5: set it on at least 1.",
    ),
    "NaN": ([0.0, np.nan], 0.5, "finite numbers"),
    "table": (np.zeros((9, 2)), 0.5, r"got shape \(9, 2\)"),
    "rate": (np.zeros(9), 1.0, "the false positive rate is 1.0: it lies between 0 and 1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_refused(case):
    scores, fpr, message = MISTAKES[case]
    with pytest.raises(InputError, match=message):
        fixed_threshold(scores, fpr)


@pytest.mark.parametrize("fpr", [0.5, 0.1, 0.01, 0.001, 0.3, 0.07])
def test_as_many_as_are_asked_for_do(fpr):
    with pytest.raises(InputError, match="set it on at least") as caught:
        check_fixes(0, fpr)
    needed = int(str(caught.value).rstrip(".").rsplit(" ", 1)[1])
    check_fixes(needed, fpr)
    with pytest.raises(InputError):
        check_fixes(needed - 1, fpr)
