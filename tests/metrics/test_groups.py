"""People with several records: the gate and the intervals hold over people, and fail if nobody says who is who."""

import numpy as np
import pytest

from diffaudit_jax.metrics import auc, blind_baseline, blind_scores
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.types import InputError

PEOPLE, RECORDS, REPEATS = 40, 6, 200
PERSON = np.repeat(np.arange(PEOPLE), RECORDS)


def draw(seed, shift=0.0):
    """A split by person: records [n, 12], truth, and scores of a model that leaks nothing, all alike in a person."""
    rng = np.random.default_rng(seed)
    member = (rng.permutation(PEOPLE) < PEOPLE // 2)[PERSON]
    x = rng.normal(size=(PEOPLE, 12))[PERSON] + 0.5 * rng.normal(size=(len(PERSON), 12))
    x[:, 0] += shift * member
    return x, member, rng.normal(size=PEOPLE)[PERSON] + rng.normal(size=len(PERSON))


def gate(seed, grouped, shift=0.0):
    x, member, _ = draw(seed, shift)
    return blind_baseline(
        x, member, groups=PERSON if grouped else None, alarm=0.05, num_permutations=99, folds=4, seed=seed
    )


def error(trials):
    return 3 * np.sqrt(0.05 * 0.95 / trials)


def test_fair_splits_by_person_raise_a_false_alarm_as_often_as_announced():
    found = [gate(seed, grouped=True) for seed in range(REPEATS)]
    assert np.mean([b.leaks for b in found]) <= 0.05 + error(REPEATS)
    assert np.mean([b.auc.low <= 0.5 <= b.auc.high for b in found]) >= 0.95 - error(REPEATS)
    # What they guard against: the classifier meets everyone in training and recognises them in the test fold.
    assert np.mean([gate(seed, grouped=False).leaks for seed in range(20)]) > 0.5


def test_splits_that_differ_are_noticed_by_person_too():
    assert np.mean([gate(seed, grouped=True, shift=2.0).leaks for seed in range(40)]) > 0.9


def test_one_record_of_each_person_covers_and_all_records_do_not():
    areas, naive = [], []
    for seed in range(REPEATS):
        _, member, scores = draw(seed)
        rows = one_each(PERSON, seed)
        areas.append(auc(scores[rows], member[rows]))
        naive.append(auc(scores, member))
    covers = [np.mean([a.low <= 0.5 <= a.high for a in kind]) for kind in (areas, naive)]
    assert covers[0] >= 0.95 - error(REPEATS) > covers[1]


def test_a_person_is_never_judged_by_a_classifier_that_met_them():
    codes = np.repeat(np.arange(3 * PEOPLE), 2)  # two of everyone, equal to the last bit
    x = np.random.default_rng(0).normal(size=(3 * PEOPLE, 5))[codes]
    member = codes < PEOPLE
    met, apart = blind_scores(x, member), blind_scores(x, member, groups=codes)
    assert auc(met, member).value > 0.6  # a twin in training gives a record away
    assert abs(auc(apart[::2], member[::2]).value - 0.5) < 0.15
    np.testing.assert_allclose(apart[::2], apart[1::2], atol=1e-9)


def test_a_person_for_every_record_is_no_group_at_all():
    x, member, _ = draw(0)
    alone, named = (
        blind_baseline(x, member, groups=g, num_permutations=99) for g in (None, [f"p{i}" for i in range(len(x))])
    )
    assert alone[:4] == named[:4]
    np.testing.assert_array_equal(alone.scores, named.scores)


def test_people_are_numbered_as_they_appear():
    codes = people(["b", "a", "b", "c"], np.array([True, False, True, False]))
    np.testing.assert_array_equal(codes, [0, 1, 0, 2])
    np.testing.assert_array_equal(people(None, codes > 0), np.arange(4))


def test_each_record_of_a_person_is_as_likely_drawn():
    drawn = np.array([one_each(PERSON, seed) for seed in range(200)])
    assert (PERSON[drawn] == np.arange(PEOPLE)).all()
    counts = np.bincount(drawn.ravel() % RECORDS, minlength=RECORDS) / drawn.size
    p = 1 / RECORDS
    assert np.abs(counts - p).max() < 4 * np.sqrt(p * (1 - p) / drawn.size)
    np.testing.assert_array_equal(one_each(np.array([2, 0, 1]), 0), np.arange(3))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(5, int), r"groups is int64 of shape \(5,\): give one integer or string for each of the 240"),
        (np.zeros(240), "groups is float64"),
        (PERSON[:, None], r"of shape \(240, 1\)"),
        (np.arange(240) % 2, r"group 0 has members and non-members \(2 of 2 groups do\).*sensitive attribute"),
    ],
)
def test_mistakes_are_named(groups, message):
    x, member, _ = draw(0)
    with pytest.raises(InputError, match=message):
        blind_scores(x, member, groups=groups)


def test_folds_are_of_people():
    x, member, _ = draw(0)
    with pytest.raises(InputError, match="folds is 21: choose 2 to 20, as the smaller class has 20 groups"):
        blind_scores(x, member, groups=PERSON, folds=21)
