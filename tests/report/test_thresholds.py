"""Thresholds on few non-members: what chance does to one is counted exactly, and said where it shows."""

import itertools

import numpy as np
import pytest

from diffaudit_jax import metrics
from diffaudit_jax.report.thresholds import above, broken_promises, by_chance, why


@pytest.mark.parametrize("r", [1, 2, 4])
def test_all_ways_to_halve_are_counted(r):
    """Over all 126 ways to draw 4 of 9, as many of the other 5 exceed the r-th largest of the 4 as the formula says."""
    seen = np.zeros(6)
    for first in itertools.combinations(range(9), 4):
        threshold = sorted(first, reverse=True)[r - 1]
        seen[sum(other > threshold for other in range(9) if other not in first)] += 1
    np.testing.assert_allclose(above(r, 4, 5), np.cumsum(seen) / 126, rtol=1e-12)


def moved(fpr, target=0.01, n=500, low=None, high=None):
    rate = {"value": fpr, "low": fpr / 2 if low is None else low, "high": 2 * fpr if high is None else high}
    return {"target_fpr": target, "num_nonmembers": n, "fpr": rate, "resolvable": "weak", "tpr": None}


@pytest.mark.parametrize(("n", "target"), [(100, 0.1), (400, 0.01), (1000, 0.01), (60, 0.5)])
def test_fresh_rates_stay_in_the_range_of_chance(n, target):
    """The library's own thresholds on fair halves leave it once in twenty, up to 3.5 standard errors, or less."""
    rng, trials, member = np.random.default_rng(0), 400, np.arange(n + 20) < 20
    drawn = [metrics.transfer(rng.normal(size=n + 20), member, target, seed=seed) for seed in range(trials)]
    rates = [transfer.fpr.value for transfer in drawn if transfer.fpr]
    assert len(rates) == trials
    low, high = by_chance(moved(0.0, target, n // 2), n, 0.95)
    inside = np.mean([low <= rate <= high for rate in rates])
    assert inside >= 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / trials)
    assert min(rates) < target < max(rates)
    assert 0 <= low < target < high < 1


@pytest.mark.parametrize(
    ("transfer", "says"),
    [
        (moved(0.01), None),
        (moved(0.024, low=0.01), None),
        (
            moved(0.024),
            "1 % was promised and 2.4 % [1.2, 4.8] came. A threshold that rests on 5 non-members moves this ",
        ),
        (moved(0.024), "this much by chance: between 0 % and 2.8 % in 95 of 100 such halves."),
        (moved(0.04), "moves by chance, if seldom this far: between 0 % and 2.8 %"),
        (moved(0.002), "1 % was promised and 0.2 % [0.1, 0.4] came."),
        (moved(0.0) | {"fpr": None}, None),
    ],
)
def test_a_broken_promise_is_commented_on(transfer, says):
    text = " ".join(broken_promises({"transfers": [transfer]}, 1000, 0.95)).replace("\N{NO-BREAK SPACE}", " ")
    assert says in text if says else text == ""


@pytest.mark.parametrize(
    ("kind", "fpr", "n", "says"),
    [
        ("yes", 0.1, 1000, ""),
        ("weak", 0.001, 1000, "it rests on 1 of 1,000 non-members; more non-members would be needed (10,000)."),
        ("weak", 0.01, 500, "1 % wrongly accused is indicative only: it rests on 5 of 500 non-members"),
        ("no", 0.01, 60, "one of 60 non-members is more than that; more non-members would be needed (100)."),
        ("no", 0.001, 400, "0.1 % wrongly accused is not resolvable"),
    ],
)
def test_what_is_missing_is_said_without_an_order(kind, fpr, n, says):
    text = why({"target_fpr": fpr, "resolvable": kind}, n).replace("\N{NO-BREAK SPACE}", " ")
    assert says in text
    assert (text == "") == (kind == "yes")
    assert "query" not in text
    assert metrics.tpr_at_fpr(np.arange(n + 10.0), np.arange(n + 10) < 10, fpr).resolvable == kind
