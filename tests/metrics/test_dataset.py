"""The verdict on a set: a naive version, its error where nothing is to be found, its power, and what it refuses."""

import re

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from diffaudit_jax.metrics import dataset_verdict, power
from diffaudit_jax.metrics.dataset import FOLDS, components
from diffaudit_jax.metrics.folds import RIDGE, assign, shuffled
from diffaudit_jax.types import InputError


def factors(rng, n, d=12, shift=0.0):
    """Features that have two factors in common and heavy tails, on scales of their own; members' are lower."""
    mixing = np.random.default_rng(0).normal(size=(2, d))
    x = rng.normal(size=(n, 2)) @ mixing + rng.standard_t(3, size=(n, d))
    return (x - shift * np.linspace(0, 1, d)) * np.logspace(-3, 3, d)


def naive(suspect, unpublished, seed, num_permutations):
    """Everything by loops, with scikit-learn's ridge and counted pairs."""
    x = np.concatenate([suspect, unpublished])
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    x /= np.sqrt((x**2).sum(axis=1).mean())
    member = np.arange(len(x)) < len(suspect)
    fold = assign(member, FOLDS, np.random.default_rng(seed))
    areas, first = [], None
    for labels in shuffled(member, fold, num_permutations, np.random.default_rng((seed, 1))).T:
        scores, within = np.empty(len(x)), []
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            ridge = Ridge(RIDGE * train.sum(), fit_intercept=False)
            found = ridge.fit(x[train], labels[train] - labels[train].mean()).predict(x[test])
            scores[test] = (found - found.mean()) / found.std()
            a, b = found[labels[test] == 1], found[labels[test] == 0]
            within.append(np.mean([(i > j) + (i == j) / 2 for i in a for j in b]))
        areas.append(np.mean(within))
        first = scores if first is None else first
    return first, np.mean([area >= areas[0] - 1e-12 for area in areas])


def test_it_is_the_naive_one():
    rng = np.random.default_rng(1)
    for seed, shift in ((0, 0.0), (1, 0.7)):
        x, y = factors(rng, 23, 5, shift), factors(rng, 31, 5)
        found, (scores, p_value) = dataset_verdict(x, y, seed=seed, num_permutations=19), naive(x, y, seed, 19)
        # Both solve the same well-conditioned equations: condition below 1/RIDGE, in units of 2^-52.
        np.testing.assert_allclose(found.scores, scores, atol=1e-10)
        assert found.p_value == p_value
        a, b = scores[:23], scores[23:]
        assert found.effect == pytest.approx((a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2))


def test_nothing_is_found_where_nothing_is():
    """P[p <= alpha] <= alpha: 1 in 20, within four standard errors, and not never."""
    repeats, count = 200, 0
    for seed in range(repeats):
        x = factors(np.random.default_rng(seed), 48, 6)
        count += dataset_verdict(x[:24], x[24:], seed=seed, num_permutations=19).p_value <= 0.05
    assert 0 < count / repeats <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / repeats)


def test_people_with_several_records_count_as_wholes():
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(60), 3)
    for seed in range(3):
        x = factors(rng, 180, 40) / 10 + np.repeat(factors(rng, 60, 40), 3, axis=0)
        alone, whole = (
            dataset_verdict(x[:90], x[90:], groups=groups, seed=seed, num_permutations=99) for groups in (None, whose)
        )
        # Out of fold a classifier meets the person again, not the side.
        assert alone.p_value == 0.01
        assert whole.p_value > 0.05
        assert (whole.auc.high - whole.auc.low) > (alone.auc.high - alone.auc.low)


def test_a_difference_is_found_whatever_the_scales():
    rng = np.random.default_rng(0)
    x, y = factors(rng, 60, shift=1.5), factors(rng, 80)
    found = dataset_verdict(x, y, num_permutations=199)
    assert found.p_value == 1 / 200
    assert found.auc.low > 0.5
    assert found.effect > 0.5
    again = dataset_verdict(7 - x * 1e6, 7 - y * 1e6, num_permutations=199)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-8)


def test_features_that_say_nothing_find_nothing():
    found = dataset_verdict(np.ones((25, 3)), np.ones((30, 3)))
    assert (found.p_value, found.auc.value, found.effect) == (1.0, 0.5, 0.0)


def test_components_keep_distances_but_for_what_the_ridge_shrinks():
    x = np.random.default_rng(0).normal(size=(50, 4))
    both = components(np.concatenate([x, x + 1e-3 * np.random.default_rng(1).normal(size=(50, 4))], axis=1))
    assert both.shape == (50, 4)
    assert (both**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-5)


def test_power_grows_and_needs_as_many_as_it_says():
    rng = np.random.default_rng(0)
    strong = power(factors(rng, 90, shift=4), factors(rng, 100), repeats=10, num_permutations=19)
    assert (strong.sizes, strong.needed) == ((20, 40, 80), 20)
    assert [share.value for share in strong.rejected] == [1.0, 1.0, 1.0]
    nothing = power(factors(rng, 60), factors(rng, 50), repeats=20, num_permutations=19)
    assert (nothing.sizes, nothing.needed) == ((20, 40, 50), None)
    assert nothing.rejected[0].low < 0.05
    middling = power(factors(rng, 160, shift=0.9), factors(rng, 160), sizes=(160, 20), repeats=10, num_permutations=19)
    assert middling.sizes == (20, 160)
    assert middling.rejected[0].value < middling.rejected[1].value == 1.0
    assert middling.needed == 160


def test_power_draws_people_as_wholes():
    rng = np.random.default_rng(0)
    x = factors(rng, 144, shift=0.0)
    groups = np.repeat(np.arange(48), 3)
    assert power(x[:72], x[72:], groups=groups, repeats=2, num_permutations=19).sizes == (20,)
    with pytest.raises(
        InputError, match=re.escape("sizes are [30]: choose whole numbers from 20 to 24, what the smaller side has.")
    ):
        power(x[:72], x[72:], groups=groups, sizes=[30])


def test_several_sets_ask_for_smaller_p_values():
    rng = np.random.default_rng(0)
    sides, told = (
        (factors(rng, 80, shift=0.9), factors(rng, 80)),
        {"sizes": [40], "repeats": 20, "num_permutations": 99},
    )
    alone, together = (power(*sides, tests=tests, **told).rejected[0] for tests in (1, 5))
    assert alone.value > together.value
    # The same p-values, held against a fifth: so they are at five times the error.
    assert together.value == power(*sides, level=0.99, **told).rejected[0].value
    with pytest.raises(
        InputError, match=re.escape("99 tests at level 0.95 ask for p-values of 0.00051: give at least")
    ):
        power(*sides, tests=99, **told)


@pytest.mark.parametrize("way", [-1, 1])
def test_an_effect_of_constant_sides_is_complete(way):
    x = np.repeat([[1.0], [0.0]], 30, axis=0)[::way]
    assert dataset_verdict(x[:30], x[30:], num_permutations=19).effect == 100.0


GOOD = np.random.default_rng(0).normal(size=(24, 3))
HOLE = np.where(np.arange(72).reshape(24, 3) == 7, np.nan, GOOD)
BAD = {
    "few": ((GOOD[:19], GOOD), {}, "suspect has 19 records, too few for a verdict on a set: give at least 20."),
    "few people": ((GOOD, GOOD), {"groups": np.arange(48) // 2}, "suspect has 12 people, too few"),
    "a hole": ((GOOD, HOLE), {}, "feature 1 of record 2 of unpublished is nan: give finite features."),
    "widths": ((GOOD, GOOD[:, :2]), {}, "suspect has 3 features and unpublished 2: ask the same of both."),
    "shape": ((GOOD[:, 0], GOOD), {}, "suspect has shape [24]: give features [records, features]."),
    "words": (([["a"]] * 24, GOOD), {}, "suspect holds things that are not numbers"),
    "both sides": ((GOOD, GOOD), {"groups": np.arange(48) % 24}, "group 0 has members and non-members"),
}


def test_draws_that_cannot_be_are_told():
    for settings, says in (
        ({"sizes": (20.5,)}, "sizes are [20.5]: choose whole numbers from 20 to 24"),
        ({"repeats": 0}, "repeats is 0: draw 1 part of each size at least."),
        ({"level": 0.995}, "num_permutations is 99, and 1 tests at level 0.995 ask for p-values of 0.005"),
        ({"num_permutations": -1}, "num_permutations is -1"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            power(GOOD, GOOD, **settings)
    with pytest.raises(InputError, match=re.escape("num_permutations is 0: give 1 at least")):
        dataset_verdict(GOOD, GOOD, num_permutations=0)


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_told(case):
    sides, settings, says = BAD[case]
    with pytest.raises(InputError, match=re.escape(says)):
        dataset_verdict(*sides, **settings)
