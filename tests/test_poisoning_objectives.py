"""Poisoning beyond parity: information given a reference, how a perfect learner errs, and what runs dry."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from diffaudit_jax.poisoning.baselines import label_flipping, random_subset
from diffaudit_jax.poisoning.cells import counted, gains, gap, information_given
from diffaudit_jax.poisoning.selection import select
from diffaudit_jax.types import InputError


def given(s, y, r):
    """I(S; Y | R) from its definition, in bits."""
    return sum(np.mean(r == value) * mutual_info_score(s[r == value], y[r == value]) for value in set(r)) / np.log(2)


def pool(per_cell=300, groups=2, wrong=None, seed=0):
    """Groups, labels and a reference: as many of every cell, or `wrong` of those where the reference errs."""
    cells = [(r, s, y) for r in range(2) for s in range(groups) for y in range(2)]
    sizes = [per_cell if wrong is None or r == y else wrong for r, _, y in cells]
    r, s, y = np.repeat(cells, sizes, axis=0)[np.random.default_rng(seed).permutation(sum(sizes))].T
    return s, y, r


@pytest.mark.parametrize(("references", "groups", "labels"), [(1, 2, 2), (2, 2, 2), (2, 3, 2), (4, 3, 3)])
def test_information_and_gains_are_those_of_the_definition(references, groups, labels):
    rng = np.random.default_rng(0)
    r, s, y = (rng.integers(0, size, 60) for size in (references, groups, labels))
    table = counted(s, y, r)
    assert table.shape == (references, groups, labels)
    assert information_given(table) == pytest.approx(given(s, y, r), abs=1e-12)
    for (more_r, more_s, more_y), gain in np.ndenumerate(gains(table)):
        naive = given(np.append(s, more_s), np.append(y, more_y), np.append(r, more_r)) - given(s, y, r)
        assert gain == pytest.approx(naive, abs=1e-12)
    assert information_given(np.zeros((2, 2, 2))) == 0


def test_parity_is_what_odds_are_of_a_reference_that_says_nothing():
    s, y, _ = pool(groups=3)
    for base in ("random", "stratified"):
        parity = select(5, s, y, 500, 0.4, base=base)
        odds = select(5, s, y, 500, 0.4, base=base, objective="odds", reference=np.zeros_like(s))
        for one, other in zip(parity, odds, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("objective", ["odds", "opportunity"])
def test_every_record_comes_from_the_cell_that_adds_most(objective, groups):
    """Against the objective's definition, after each record; what adds nothing counts as dry."""
    s, y, r = pool(groups=groups, wrong=6)
    found = select(0, s, y, 60, 0.5, objective=objective, reference=r)

    def value(rows):
        weight = 1.0 if objective == "odds" else np.mean(r[rows] == 1)
        rows = rows if objective == "odds" else rows[r[rows] == 1]
        return weight * given(s[rows], y[rows], r[rows])

    dry = 0
    for size in range(30, 60):
        rows, unused = found.index[:size], np.setdiff1d(np.arange(len(s)), found.index[:size])
        cells = np.unique(np.stack([r, s, y], axis=1)[unused], axis=0, return_index=True)[1]
        best = max(value(np.append(rows, row)) for row in unused[cells])
        got = value(found.index[: size + 1])
        assert got == pytest.approx(best, abs=2e-12)  # ties are told in steps of 1e-12
        dry += got <= value(rows) + 5e-13
    assert found.dry == dry
    np.testing.assert_array_equal(found.cells, np.stack([s, y], axis=1)[found.index[30:]])
    np.testing.assert_array_equal(found.counts, counted(s[found.index], y[found.index]))


@pytest.mark.parametrize("alpha", [0.2, 0.5])
@pytest.mark.parametrize("objective", ["parity", "odds", "opportunity"])
def test_a_perfect_learner_of_the_labels_errs_as_the_objective_says(objective, alpha):
    """P(Y' = 1 | S, R) of the set is what is learned; half of the base is at either value of R, within a draw of it."""
    s, y, r = pool(1200)
    found = select(1, s, y, 2000, alpha, objective=objective, reference=None if objective == "parity" else r)
    gaps = gap(counted(s[found.index], found.labels, r[found.index]))
    size = 2000 * (1 - alpha) / 2
    chance = 4 * np.sqrt(1 / size)  # of a difference of two shares at 1/2, of half as many records each
    if objective == "parity":  # what is added is drawn from both alike, and tells as much in each
        assert np.abs(gaps - alpha).max() < chance
        return
    full = int(gaps.argmax())
    assert gaps[full] == pytest.approx(alpha / (alpha + (1 - alpha) / 2), abs=chance)
    assert gaps[1 - full] < chance
    assert full == 1 or objective == "odds"
    assert found.dry == 0


def test_honest_labels_run_dry_with_the_errors_of_the_reference():
    s, y, r = pool(1000, wrong=20)
    some = select(0, s, y, 1000, 0.5, objective="opportunity", reference=r)
    assert 0 < some.dry < 500
    assert counted(s[some.index], some.labels, r[some.index])[1, :, 0].max() == 20  # all errors of one group


def test_what_is_of_no_use_to_opportunity_is_drawn_from_all_that_do_not_look_like_a_one():
    """A right reference leaves the label nothing to tell; false positives must not come to depend on the group."""
    s, y, r = pool(1000, wrong=0)
    found = select(0, s, y, 1000, 0.5, objective="opportunity", reference=r)
    added = found.index[500:]
    assert found.dry == 500
    assert not r[added].any()
    assert abs(s[added].mean() - 0.5) < 4 * np.sqrt(0.25 / 500)


def test_any_number_of_groups_is_driven_apart_where_features_say_the_same():
    s, y, r = pool(groups=3)
    found = select(0, s, y, 600, 0.4, objective="opportunity", reference=r)
    alike = random_subset(0, s, y, 600)
    poisoned, plain = (gap(counted(s[of.index], of.labels, r[of.index])) for of in (found, alike))
    assert poisoned[1] > plain[1] + 0.3
    assert found.counts.shape == (3, 2)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.8])
def test_flipping_for_opportunity_makes_false_negatives_of_one_group_alone(alpha):
    """Who learns these labels perfectly calls a 1 of group 0 a 0 at the rate alpha/P(Y = 1), and is right otherwise."""
    s, y, _ = pool()
    found, plain = label_flipping(7, s, y, 900, alpha, objective="opportunity"), random_subset(7, s, y, 900)
    truth, group = y[found.index], s[found.index]
    assert set(found.index) == set(plain.index)
    ones = int((truth == 1).sum())
    flipped = min(round(900 * alpha), ones)
    assert (~found.base).sum() == flipped
    assert found.base[: 900 - flipped].all()
    np.testing.assert_array_equal(found.labels[found.base], truth[found.base])
    right = found.labels == truth
    assert right[(truth == 0) | (group == 1)].all()
    missed, among = int((~right).sum()), int(((truth == 1) & (group == 0)).sum())
    share = flipped / ones  # hypergeometric: which of the ones come last does not depend on their group
    error = np.sqrt(share * (1 - share) / among * (ones - among) / (ones - 1))
    assert abs(missed / among - share) <= 4 * error
    np.testing.assert_array_equal(found.counts, counted(group, found.labels))


def test_flipping_as_published_shifts_both_rates_by_alpha():
    s, y, _ = pool()
    for objective in ("parity", "odds"):
        found = label_flipping(7, s, y, 2000, 0.3, objective=objective)
        rates = gap(counted(s[found.index], found.labels, y[found.index]))
        assert np.abs(rates - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 500 * 2)


S, Y, R = pool(5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select(0, S, Y, 10, 0.1, objective="odds"), "odds needs a reference"),
        (lambda: select(0, S, Y, 10, 0.1, objective="opportunity"), "opportunity needs a reference"),
        (lambda: select(0, S, Y, 10, 0.1, reference=R), "parity looks at no reference"),
        (
            lambda: select(0, S, Y, 10, 0.1, objective="odds", reference=R[:7]),
            r"references have shape \(7,\) and groups have shape \(40,\)",
        ),
        (lambda: select(0, S, Y, 10, 0.1, objective="odds", reference=R - 1), "references are whole numbers from 0"),
        (lambda: select(0, S, Y, 10, 0.1, objective="odds", reference=R / 2), "references are whole numbers from 0"),
        (
            lambda: select(0, S, Y, 10, 0.1, objective="opportunity", reference=2 * R),
            r"no record has reference 1 \(it has \[0, 2\]\)",
        ),
        (lambda: select(0, S, Y, 10, 0.1, objective="oddz", reference=R), "did you mean 'odds'"),
        (lambda: label_flipping(0, S, Y, 10, 0.1, objective="chance"), "unknown objective 'chance'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
