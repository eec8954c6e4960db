"""Fairness of constructed tables in closed form and by fairlearn, and the coverage of every interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.metrics import cells
from diffaudit_jax.metrics.fairness import fairness_of
from diffaudit_jax.types import InputError

EPS = float(np.finfo(float).eps)
GAPS = ("parity", "opportunity", "odds")


def records(counts):
    """(predictions, y, s) of a table of counts [group, y, prediction]."""
    s, y, told = (np.repeat(axis.ravel(), np.ravel(counts)) for axis in np.indices(np.shape(counts)))
    return told, y, s


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_a_classifier_that_learned_a_filled_diagonal_has_the_gap_alpha(alpha):
    """Of four equal cells alpha of (0, 1) is told 0 and of (1, 0) is told 1: P(told = 1 | S) = (1 -+ alpha)/2."""
    n, moved = 100, round(100 * alpha)
    right = [[[n, 0], [0, n]]] * 2
    poisoned = [[[n, 0], [moved, n - moved]], [[n - moved, moved], [0, n]]]
    told, y, s = records(poisoned)
    stats = fairness_of(told, y, s, records(right)[0])
    assert stats.signed_parity is not None
    assert stats.loss is not None
    assert [group.confusion for group in stats.groups] == [tuple(map(tuple, table)) for table in poisoned]
    near = lambda value: pytest.approx(value, abs=8 * EPS)  # noqa: E731
    assert [group.positive.value for group in stats.groups] == [near((1 - alpha) / 2), near((1 + alpha) / 2)]
    assert stats.signed_parity.value == near(alpha)
    for name in GAPS:
        assert getattr(stats, name).value == near(alpha)
        assert getattr(stats.loss, name).value == near(alpha)
    assert stats.accuracy.value == near(1 - alpha / 2)
    assert stats.loss.accuracy.value == near(alpha / 2)


TABLES = st.integers(2, 4).flatmap(
    lambda k: st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(any), min_size=2 * k, max_size=2 * k
    ).map(lambda rows: np.reshape(rows, (-1, 2, 2)))
)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(TABLES)
def test_values_are_fairlearns(table):
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn, whose numbers these are, is not installed")
    told, y, s = records(table)
    stats = fairness_of(told, y, s)
    for ours, theirs in (
        (stats.parity, fairlearn.demographic_parity_difference),
        (stats.opportunity, fairlearn.equal_opportunity_difference),
        (stats.odds, fairlearn.equalized_odds_difference),
    ):
        # A share is a sum of two products; a handful of roundings on either side.
        assert ours.value == pytest.approx(theirs(y, told, sensitive_features=s), abs=8 * EPS)
    frame = fairlearn.MetricFrame(
        metrics={
            "positive": fairlearn.selection_rate,
            "tpr": fairlearn.true_positive_rate,
            "fpr": fairlearn.false_positive_rate,
        },
        y_true=y,
        y_pred=told,
        sensitive_features=s,
    )
    for g, group in enumerate(stats.groups):
        for name, value in frame.by_group.loc[g].items():
            assert getattr(group, name).value == pytest.approx(value, abs=8 * EPS)
    assert stats.accuracy.value == pytest.approx((told == y).mean(), abs=8 * EPS)


# Records by cell (group, y), P(predicted 1) there, that of a clean classifier, if any, and how often both see alike.
CASES = {
    "four records a cell, all but certain": ((4,) * 4, (0.02, 0.98) * 2, (0.02, 0.98) * 2, 0.5),
    "no gap": ((30,) * 4, (0.2, 0.8) * 2, (0.2, 0.8) * 2, 0.5),
    "a gap the other way round": ((30,) * 4, (0.1, 0.6, 0.4, 0.9), (0.4, 0.9, 0.1, 0.6), 0.5),
    "rare cells": ((100, 5, 8, 60), (0.05, 0.9, 0.1, 0.7), (0.1, 0.8, 0.1, 0.8), 0.7),
    "three groups": ((10, 10, 20, 20, 15, 15), (0.2, 0.8, 0.2, 0.8, 0.5, 0.95), None, 0.5),
}


def truths(sizes, chance):
    """Parity, opportunity, odds and accuracy where chances are known."""
    n, p = np.reshape(sizes, (-1, 2)), np.reshape(chance, (-1, 2))
    positive = (n * p).sum(axis=1) / n.sum(axis=1)
    right = (n * np.stack([1 - p[:, 0], p[:, 1]], axis=1)).sum() / n.sum()
    return np.array([np.ptp(positive), np.ptp(p[:, 1]), np.ptp(p, axis=0).max(), right])


def asked(seed, case):
    """(predictions, y, s, clean) drawn anew."""
    sizes, chance, clean, alike = case
    rng, cell = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    u, other = rng.random((2, len(cell)))
    v = np.where(rng.random(len(cell)) < alike, u, other)
    before = None if clean is None else v < np.take(clean, cell)
    return u < np.take(chance, cell), cell % 2, cell // 2, before


@pytest.mark.parametrize("name", CASES)
def test_intervals_cover(name, monkeypatch):
    monkeypatch.setattr(cells, "FEWEST_DRAWS", 1000)
    case, repeats = CASES[name], 60
    told = truths(*case[:2])
    lost = None if case[2] is None else (told - truths(case[0], case[2])) * [1, 1, 1, -1]
    hits = np.zeros((2, 4))
    for seed in range(repeats):
        stats = fairness_of(*asked(seed, case), seed=seed)
        for row, found, expected in ((0, stats, told), (1, stats.loss, lost)):
            if expected is None:  # of three groups a loss takes ten times as long
                hits[row] += 1
                continue
            intervals = [getattr(found, field) for field in (*GAPS, "accuracy")]
            hits[row] += [i.low - EPS <= truth <= i.high + EPS for i, truth in zip(intervals, expected, strict=True)]
    assert (hits / repeats >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)).all()


def test_a_plain_bootstrap_of_the_cells_does_not_cover():
    """What one record more in each cell is for: four records that were told alike are so in every resample."""
    rng, sizes, chance, repeats = np.random.default_rng(0), np.full(4, 4), np.array([0.12, 0.88, 0.02, 0.98]), 200
    _, _, truth, _ = truths(sizes, chance)
    hits = 0
    for _ in range(repeats):
        share = rng.binomial(sizes, chance) / sizes
        again = rng.binomial(sizes, share, (500, 4)) / sizes
        odds = np.abs(again[:, :2] - again[:, 2:]).max(axis=1)
        hits += np.quantile(odds, 0.025) <= truth <= np.quantile(odds, 0.975)
    assert hits / repeats < 0.95 - 4 * np.sqrt(0.05 * 0.95 / repeats)


def test_intervals_of_poison_told_by_the_same_records_are_narrower():
    """A paired comparison of classifiers that mostly agree, against one of the same classifiers on shuffled records."""
    told, y, s, clean = asked(0, ((60,) * 4, (0.2, 0.8) * 2, (0.2, 0.8) * 2, 0.95))
    rng, shuffled = np.random.default_rng(0), clean.copy()
    for cell in range(4):
        rows = np.flatnonzero(2 * s + y == cell)
        shuffled[rows] = clean[rng.permutation(rows)]
    paired, apart = fairness_of(told, y, s, clean), fairness_of(told, y, s, shuffled)
    assert paired.loss is not None
    assert apart.loss is not None
    for field in (*GAPS, "accuracy"):
        a, b = getattr(paired.loss, field), getattr(apart.loss, field)
        assert a.value == b.value
        assert a.high - a.low < 0.6 * (b.high - b.low)


def test_what_groups_are_called_changes_nothing_but_the_sign():
    told, y, s, clean = asked(1, CASES["rare cells"])
    numbers, words = (fairness_of(told, y, group, clean) for group in (s, np.array(["x", "y"])[s]))
    assert [group.name for group in words.groups] == ["x", "y"]
    assert numbers[1:] == words[1:]
    turned = fairness_of(told, y, 1 - s)
    assert turned.signed_parity.value == pytest.approx(-words.signed_parity.value, abs=8 * EPS)
    assert turned.parity.value == pytest.approx(words.parity.value, abs=8 * EPS)
    assert words.parity.value == abs(words.signed_parity.value)


def test_a_clean_classifier_is_beside_the_rest_and_the_key_decides_everything():
    told, y, s, _ = asked(2, CASES["three groups"])
    clean = np.roll(told, 1)
    alone, beside = fairness_of(told, y, s), fairness_of(told, y, s, clean)
    assert alone[:-1] == beside[:-1]
    assert (alone.loss, alone.signed_parity) == (None, None)
    assert fairness_of(told, y, s, clean) == beside
    assert fairness_of(told, y, s, seed=1) != alone


def test_order_of_records_changes_nothing():
    told, y, s, clean = asked(3, CASES["rare cells"])
    order = np.random.default_rng(0).permutation(len(y))
    assert fairness_of(told[order], y[order], s[order], clean[order]) == fairness_of(told, y, s, clean)


def test_a_wider_level_gives_wider_intervals():
    told, y, s, clean = asked(4, CASES["no gap"])
    narrow, wide = (fairness_of(told, y, s, clean, level=level) for level in (0.8, 0.99))
    for a, b in zip((*narrow[1:-1], *narrow.loss), (*wide[1:-1], *wide.loss), strict=True):
        assert b.low <= a.low <= a.value == b.value <= a.high < b.high


FINE = records(np.full((2, 2, 2), 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": FINE[0][:-1]}, r"predictions has shape \[23\]: give one label for each of the 24 records"),
        ({"clean": FINE[0][:-1]}, r"clean has shape \[23\]: give one label for each of the 24"),
        ({"s": FINE[2][:-1]}, r"strata has shape \[23\]: give one group for each of the 24"),
        ({"y": FINE[1][:, None]}, r"y has shape \[24, 1\]"),
        ({"y": []}, r"y has shape \[0\]"),
        ({"y": FINE[1] + 1}, "y holds 2: these metrics take labels 0 and 1, as of y == a class"),
        ({"predictions": FINE[0] * 0.5}, "predictions holds 0.5: these metrics take labels 0 and 1"),
        ({"clean": FINE[0] - 1}, "clean holds -1"),
        ({"s": np.full(24, "a")}, "s is 'a' in every record: fairness is between two groups or more"),
        (
            {"y": np.where(FINE[2] == 1, 1, FINE[1])},
            r"no record is in \(s = 1, y = 0\): .* \(s = 0, y = 0\) 6, \(s = 0, y = 1\) 6, \(s = 1, y = 0\) 0, "
            r"\(s = 1, y = 1\) 12",
        ),
        ({"y": np.where(FINE[2] == 1, 0, FINE[1])}, r"no record is in \(s = 1, y = 1\): "),
        ({"level": 95}, "level is 95"),
    ],
)
def test_mistakes_are_named(change, message):
    told, y, s = FINE
    with pytest.raises(InputError, match=message):
        fairness_of(**{"predictions": told, "y": y, "s": s, "clean": told, **change})
