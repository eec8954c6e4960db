"""Distances of columns and pairs against formulas by hand, against loops, and against SciPy's tests."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from diffaudit_jax.metrics.tables import associations, marginals, matched, pairs
from diffaudit_jax.types import InputError

from .tabled import drawn, table


def test_distances_of_numbers_are_scipys():
    members, synthetic = drawn(70, 0, missing=0), drawn(90, 1, missing=0)
    for found in marginals(members, synthetic)[:2]:
        x, y = members.columns[found.name], synthetic.columns[found.name]
        assert found.distance == pytest.approx(stats.ks_2samp(x, y).statistic, abs=1e-12)
        # W1 is the mean distance of quantiles; at 630 = lcm(70, 90) levels both samples are as they are.
        quantiles = [np.repeat(np.sort(values), 630 // len(values)) for values in (x, y)]
        assert found.wasserstein == pytest.approx(np.abs(quantiles[0] - quantiles[1]).mean() / np.ptp(x), rel=1e-12)


def test_distances_by_hand():
    members = table(a=[1.0, 2.0, np.nan, 4.0], b=["u", "u", "v", "w"], c=[5.0] * 4)
    synthetic = table(a=[1.0, np.nan], b=["u", "x"], c=[5.0, 6.0])
    a, b, c = marginals(members, synthetic, members)
    # Below every number there are 1/4 and 1/2; up to 1, 1/2 and 1. Of 1, 2 and 4, the mean distance to 1 is 4/3, of 3.
    assert (a.distance, a.wasserstein) == pytest.approx((0.5, 4 / 9))
    assert (b.distance, b.wasserstein, b.numeric) == ((0.25 + 0 + 0.25 + 0.5 + 0.0) / 2 + 0.0, None, False)
    assert (c.distance, c.wasserstein) == (0.5, 0.5)
    assert {(each.floor, each.wasserstein_floor or 0.0) for each in (a, b, c)} == {(0.0, 0.0)}
    absent = marginals(members, table(a=[np.nan], b=["u"], c=[5.0]))[0]
    assert (absent.distance, absent.wasserstein, absent.floor) == (0.75, None, None)


def slow_association(x, y):
    """Cramér's V, or the correlation ratio of (categories, numbers), corrected as published."""
    n = len(x)
    if isinstance(y[0], str):
        cells, rows, columns = Counter(zip(x, y, strict=True)), Counter(x), Counter(y)
        chi2 = sum(
            (cells[a, b] - rows[a] * columns[b] / n) ** 2 / (rows[a] * columns[b] / n) for a in rows for b in columns
        )
        r, c = len(rows), len(columns)
        phi2 = max(0, chi2 / n - (r - 1) * (c - 1) / (n - 1))
        r, c = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
        return math.sqrt(phi2 / min(r - 1, c - 1))
    groups = {a: [v for u, v in zip(x, y, strict=True) if u == a] for a in set(x)}
    mean = sum(y) / n
    within = sum((v - sum(g) / len(g)) ** 2 for g in groups.values() for v in g)
    total = sum((v - mean) ** 2 for v in y)
    return math.sqrt(max(0, 1 - within / (n - len(groups)) / (total / (n - 1))))


@pytest.mark.parametrize("correlation", ["spearman", "pearson"])
def test_associations_are_those_of_loops(correlation):
    records = drawn(60, 2)
    found, columns = associations(records, correlation), records.columns
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1)
    there = ~np.isnan(columns["y"])
    reference = stats.spearmanr if correlation == "spearman" else stats.pearsonr
    assert found[0, 1] == pytest.approx(reference(columns["x"][there], columns["y"][there]).statistic, abs=1e-12)
    for i, name in ((2, "group"), (3, "colour")):
        expected = slow_association(columns[name].tolist(), columns["x"].tolist())
        assert found[0, i] == pytest.approx(expected, abs=1e-12)
        expected = slow_association(columns[name][there].tolist(), columns["y"][there].tolist())
        assert found[1, i] == pytest.approx(expected, abs=1e-12)
    assert found[2, 3] == pytest.approx(
        slow_association(columns["group"].tolist(), columns["colour"].tolist()), abs=1e-12
    )
    assert found[0, 2] > 0.7


def test_a_full_association_is_one_and_a_constant_has_none():
    names = np.array(["p", "q", "r"])[np.arange(30) % 3]
    records = table(a=names, b=np.char.upper(names), c=np.arange(30) % 3 * 1.0, d=["s"] * 30, e=[2.0] * 30)
    found = associations(records)
    np.testing.assert_allclose(found[:3, :3], 1, atol=1e-12)
    np.testing.assert_array_equal(found[3:], np.eye(5)[3:])


def test_pairs_are_differences_of_associations():
    members, synthetic, holdout = (drawn(50, seed) for seed in range(3))
    found = pairs(members, synthetic, holdout)
    np.testing.assert_array_equal(found.difference, np.abs(associations(synthetic) - associations(members)))
    np.testing.assert_array_equal(found.floor, pairs(members, holdout).difference)
    assert pairs(members, members).difference.max() == 0
    assert pairs(members, synthetic).floor is None


def test_columns_are_put_in_order():
    members, turned = drawn(5, 0), drawn(5, 1)
    turned = table(**dict(reversed(turned.columns.items())))
    assert tuple(matched(members, turned, "synthetic").columns) == tuple(members.columns)


REFUSED = {
    "unknown": ({"x": [1.0], "ys": [1.0]}, "unknown column of synthetic 'ys': did you mean 'y'?"),
    "lacking": ({"x": [1.0]}, "synthetic (made) lacks the column 'y': give the columns"),
    "another type": (
        {"x": [1.0], "y": ["a"]},
        "column 'y' is numeric in members and text in synthetic: make them alike.",
    ),
    "empty": ({"x": [], "y": []}, "synthetic (made) has no record: give a table with at least one."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_do_not_match_are_refused(case):
    columns, says = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(says)):
        marginals(table(x=[1.0], y=[2.0]), table(**columns))


def test_an_unknown_correlation_is_refused():
    with pytest.raises(InputError, match="unknown correlation 'kendall'"):
        pairs(drawn(5, 0), drawn(5, 1), correlation="kendall")
