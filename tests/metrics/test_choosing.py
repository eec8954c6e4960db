"""The best of many: what the other half says of it is right on average and covers, what its own records say is not."""

import numpy as np
import pytest
from scipy.stats import norm

from diffaudit_jax.metrics import auc
from diffaudit_jax.metrics.choosing import areas, choose
from diffaudit_jax.metrics.groups import one_each
from diffaudit_jax.metrics.transfer import halves
from diffaudit_jax.types import InputError

MEMBER = np.arange(90) < 40
CANDIDATES = {name: np.random.default_rng(i).normal(size=90) + 0.3 * i * MEMBER for i, name in enumerate("abcd")}


def test_a_choice_is_what_a_slow_search_finds():
    found, first = choose(CANDIDATES, MEMBER, seed=3, level=0.9), halves(MEMBER, 3)
    judged, picks = [], []
    for half in (first, ~first):
        best = max(CANDIDATES, key=lambda name: auc(CANDIDATES[name][half], MEMBER[half]).value)
        picks.append(best)
        judged.append(auc(CANDIDATES[best][~half], MEMBER[~half], level=0.9))
    assert found.chosen == tuple(picks)
    np.testing.assert_allclose(found.honest, np.mean(judged, axis=0), rtol=1e-12)
    everywhere = {name: auc(scores, MEMBER, level=0.9) for name, scores in CANDIDATES.items()}
    assert found.name == max(everywhere, key=lambda name: everywhere[name].value)
    assert found.optimistic == everywhere[found.name]
    assert found.areas == pytest.approx({name: area.value for name, area in everywhere.items()}, rel=1e-12)


def test_a_matrix_is_its_columns_by_number():
    named, numbered = choose(CANDIDATES, MEMBER), choose(np.stack(list(CANDIDATES.values()), axis=1), MEMBER)
    assert list(CANDIDATES)[numbered.name] == named.name
    assert numbered[1:3] == named[1:3]


@pytest.mark.parametrize("decimals", [8, 0])
def test_areas_are_those_of_auc(decimals):
    scores = np.round(np.random.default_rng(0).normal(size=(90, 5)), decimals)
    np.testing.assert_allclose(areas(scores, MEMBER), [auc(s, MEMBER).value for s in scores.T], rtol=1e-12)


def alike(rng, n, k):
    """Candidates that are one score with a little noise each, like the truncations of one loss."""
    return rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, k))


def unlike(rng, n, k):
    return rng.normal(size=(n, k))


def opposite(rng, n, k):
    """Each with its negative: which way round to read a score is a choice too."""
    scores = rng.normal(size=(n, k // 2))
    return np.concatenate([scores, -scores], axis=1)


REPEATS = 300


@pytest.mark.parametrize("population", [alike, unlike, opposite])
def test_the_honest_number_is_right_where_there_is_nothing_and_the_optimistic_is_not(population):
    rng, member = np.random.default_rng(0), np.arange(120) < 50
    found = [choose(population(rng, 120, 12), member, seed=seed) for seed in range(REPEATS)]
    honest, optimistic = (np.array([getattr(c, kind).value for c in found]) for kind in ("honest", "optimistic"))
    assert abs(honest.mean() - 0.5) < 4 * honest.std() / np.sqrt(REPEATS)
    assert optimistic.mean() - 0.5 > 4 * optimistic.std() / np.sqrt(REPEATS)
    covers = {
        kind: np.mean([getattr(c, kind).low <= 0.5 <= getattr(c, kind).high for c in found])
        for kind in ("honest", "optimistic")
    }
    error = 3 * np.sqrt(0.05 * 0.95 / REPEATS)
    assert covers["honest"] >= 0.95 - error
    assert (covers["optimistic"] < 0.95 - error) == (population is not alike)


@pytest.mark.parametrize(("m", "n"), [(10, 10), (40, 200)])
def test_the_honest_interval_holds_what_the_choices_are_worth(m, n):
    """Candidates of AUC .5 to .8: the truth is the mean of the two that were chosen, known in closed form."""
    rng, member, hits = np.random.default_rng(1), np.arange(m + n) < m, 0
    shifts = np.array([0.0, 0.5, 0.9, 1.0, 1.1, 1.2])
    for seed in range(REPEATS):
        scores = rng.normal(size=(m + n, 1)) + rng.normal(size=(m + n, 6)) + 2**0.5 * shifts * member[:, None]
        found = choose(scores, member, seed=seed)
        truth = np.mean([norm.cdf(shifts[pick] / 2**0.5) for pick in found.chosen])
        hits += found.honest.low <= truth <= found.honest.high
    assert hits / REPEATS >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / REPEATS)


def test_nobody_is_on_both_halves():
    person = np.repeat(np.arange(90), 3)
    many = {name: np.repeat(scores, 3) + 0.01 * np.arange(270) for name, scores in CANDIDATES.items()}
    rows = one_each(person, 5)
    alone = choose({name: scores[rows] for name, scores in many.items()}, MEMBER, seed=5)
    assert choose(many, MEMBER[person], groups=person, seed=5) == alone


def test_twins_on_both_halves_would_flatter():
    """What `groups` guards against: two records of everyone make a choice look right that is luck."""
    rng, person, member = np.random.default_rng(0), np.repeat(np.arange(60), 2), np.repeat(np.arange(60) < 30, 2)
    kinds = {None: [], "people": []}
    for seed in range(150):
        scores = rng.normal(size=(60, 20))[person]
        for kind, groups in zip(kinds, (None, person), strict=True):
            kinds[kind].append(choose(scores, member, groups=groups, seed=seed).honest.value)
    flattered, honest = (np.array(values) for values in kinds.values())
    assert flattered.mean() - 0.5 > 4 * flattered.std() / np.sqrt(150)
    assert abs(honest.mean() - 0.5) < 4 * honest.std() / np.sqrt(150)


def test_seed_decides_the_halves():
    seen = {choose(CANDIDATES, MEMBER, seed=seed).honest for seed in range(5)}
    assert len(seen) == 5
    assert choose(CANDIDATES, MEMBER, seed=2) == choose(CANDIDATES, MEMBER, seed=2)


@pytest.mark.parametrize(
    ("candidates", "member", "message"),
    [
        ({}, MEMBER, "there are no candidates"),
        (np.empty((90, 0)), MEMBER, "there are no candidates"),
        ({"a": np.zeros(89)}, MEMBER, r"candidate 'a': scores has shape \[89\]"),
        ({"a": np.zeros(90), "b": np.where(np.arange(90) == 4, np.nan, 0)}, MEMBER, "candidate 'b': .*row 4 is nan"),
        (np.zeros(90), MEMBER, r"scores has shape \[90\]: 90 rows of member ask for \[90, columns\]"),
        ({"a": np.zeros(90)}, np.arange(90) < 9, "9 of a class are too few to choose on one half"),
    ],
)
def test_mistakes_are_named(candidates, member, message):
    with pytest.raises(InputError, match=message):
        choose(candidates, member)
