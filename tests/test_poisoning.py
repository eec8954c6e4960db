"""Which records a sharer chooses: closed forms of information and gap, subsets judged naively, and mistakes."""

import numpy as np
import pytest

from diffaudit_jax.poisoning.baselines import label_flipping, random_subset
from diffaudit_jax.poisoning.cells import counted, gains, gap, information, ranked_cells
from diffaudit_jax.poisoning.pool import Unused
from diffaudit_jax.poisoning.representation import Representation
from diffaudit_jax.poisoning.selection import select
from diffaudit_jax.types import InputError


def entropy(p):
    p = np.asarray(p, float)
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def pool(per_cell=400, groups=2, seed=0):
    s, y = (part.ravel() for part in np.meshgrid(np.arange(groups), np.arange(2), indexing="ij"))
    order = np.random.default_rng(seed).permutation(per_cell * len(s))
    return np.repeat(s, per_cell)[order], np.repeat(y, per_cell)[order]


def test_information_is_that_of_entropies():
    for table in np.random.default_rng(0).integers(0, 9, (20, 3, 2)) + 1:
        p = table / table.sum()
        want = entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p.ravel())
        assert information(table) == pytest.approx(want, abs=1e-12)
    assert information([[5, 0], [0, 5]]) == pytest.approx(1)
    assert information(np.zeros((2, 2))) == 0
    more = table + np.eye(6, dtype=int).reshape(6, 3, 2)
    np.testing.assert_allclose(
        gains(table[None]).ravel(), [information(one) - information(table) for one in more], atol=1e-12
    )


def test_all_cells_are_tried_at_ties_in_a_fixed_order():
    """A balanced table: the published dictionary by gain would hold one of the four."""
    assert list(ranked_cells([[[5, 5], [5, 5]]])) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    # A record that is alone off the balance is followed by its like on the diagonal, by either of the two.
    assert next(iter(ranked_cells([[[6, 5], [5, 5]]]))) == (0, 1, 1)
    assert list(ranked_cells([[[9, 5], [5, 9]]]))[:2] == [(0, 0, 0), (0, 1, 1)]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_with_a_stratified_base_the_gap_is_alpha(alpha):
    s, y = pool(1000)
    found = select(0, s, y, 1000, alpha, base="stratified")
    assert gap(found.counts) == pytest.approx(alpha, abs=2.1e-3)  # one record of an odd number, in each group
    p = (1 + alpha) / 2
    assert information(found.counts) == pytest.approx(1 - entropy([p, 1 - p]), abs=3e-3)
    assert len(np.unique(found.index)) == 1000
    np.testing.assert_array_equal(found.counts, counted(s[found.index], y[found.index]))
    assert found.base.sum() == round(1000 * (1 - alpha))
    assert (found.information, found.fallbacks, found.accepted) == (None, 0, 1.0)


@pytest.mark.parametrize(("alpha", "mean"), [(0.1, 0.122), (0.3, 0.324)])
def test_with_a_random_base_the_gap_concentrates_where_it_was_measured(alpha, mean):
    s, y = pool(1000)
    gaps = [gap(select(seed, s, y, 1000, alpha).counts) for seed in range(40)]
    assert abs(np.mean(gaps) - mean) < 4 * np.std(gaps, ddof=1) / np.sqrt(40) + 2e-3


def statistic(s, y, seed=1):
    """A table that tells of the label: its column is larger."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, (len(y), 2)) + 0.8 * np.eye(2)[y]


def test_the_information_of_a_subset_is_donsker_and_varadhan_s():
    s, y = pool(50)
    table = statistic(s, y)
    judge, rng = Representation(table, y), np.random.default_rng(2)
    index = rng.choice(len(y), 60, replace=False)
    pairs = np.exp(table[index][:, y[index]])  # every record with the label of every other
    want = table[index, y[index]].mean() - np.log(pairs.mean())
    sums = judge.sums(index)
    assert judge.information(sums) == pytest.approx(want, abs=1e-12)
    more = rng.choice(np.setdiff1d(np.arange(len(y)), index), 7, replace=False)
    naive = [judge.information(judge.sums(np.append(index, row))) for row in more]
    np.testing.assert_allclose(judge.information(judge.added(sums, more)), naive, atol=1e-12)


def test_what_is_chosen_keeps_the_information_of_features():
    s, y = pool(400)
    table = statistic(s, y)
    free = select(3, s, y, 600, 0.5)
    kept = select(3, s, y, 600, 0.5, statistic=table, tolerance=0.02)
    c, base, whole = kept.information
    assert abs(whole - c) < 0.02 * c
    assert abs(base - c) < 0.02 * c
    assert kept.fallbacks == 0
    assert gap(kept.counts) == pytest.approx(gap(free.counts), abs=0.1)
    strict = select(3, s, y, 600, 0.5, statistic=table, tolerance=1e-9)
    assert strict.fallbacks == 300
    assert strict.redraws > 0
    assert strict.accepted == 0


def test_a_record_is_taken_once_and_from_its_cell():
    s, y = pool(30)
    rest = Unused((np.zeros_like(s), s, y), np.arange(20), (1, 2, 2))
    taken, cell = set(), (0, 0, 1)
    for _ in range(rest.counts[cell]):
        row = int(rest.of(cell)[-1 if len(taken) % 2 else 0])
        assert (0, s[row], y[row]) == cell
        rest.take(row)
        assert row not in taken
        taken.add(row)
    assert len(rest.of(cell)) == 0
    assert taken == set(np.flatnonzero((s == 0) & (y == 1) & (np.arange(len(s)) >= 20)).tolist())


def test_six_thousand_of_sixty_thousand_are_chosen():
    s, y = pool(15_000)
    found = select(0, s, y, 6000, 0.5, statistic=statistic(s, y))
    assert gap(found.counts) == pytest.approx(0.5, abs=0.03)
    again = select(0, s, y, 6000, 0.5, statistic=statistic(s, y))
    np.testing.assert_array_equal(found.index, again.index)


def test_several_groups_are_driven_apart():
    s, y = pool(400, groups=3)
    found = select(0, s, y, 600, 0.4, base="stratified")
    assert gap(found.counts) > 0.4
    assert found.counts.shape == (3, 2)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_flipped_labels_are_the_group_and_the_records_those_of_a_random_subset(alpha):
    s, y = pool(200)
    found, plain = label_flipping(4, s, y, 300, alpha), random_subset(4, s, y, 300)
    np.testing.assert_array_equal(found.index, plain.index)
    np.testing.assert_array_equal(plain.labels, y[plain.index])
    np.testing.assert_array_equal(found.labels[found.base], y[found.index[found.base]])
    np.testing.assert_array_equal(found.labels[~found.base], s[found.index[~found.base]])
    assert (~found.base).sum() == round(300 * alpha)
    np.testing.assert_array_equal(found.counts, counted(s[found.index], found.labels))
    # In a balanced pool the rest has no gap but by chance: four standard errors of a difference of two shares.
    assert abs(gap(found.counts) - alpha) < 4 * np.sqrt(0.25 / 150 * 2)


S, Y = pool(10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select(0, S, Y, 41, 0.1), "41 records of a pool of 40"),
        (lambda: select(0, S, Y, 0, 0.1), "0 records of a pool of 40"),
        (lambda: select(0, S, Y, 10, 1.1), "alpha is 1.1"),
        (lambda: select(0, S, Y, 10, float("nan")), "alpha is nan"),
        (lambda: select(0, np.zeros(40, int), Y, 10, 0.1), "the pool has one group only"),
        (lambda: select(0, S, np.zeros(40, int), 10, 0.1), "the pool has one label only"),
        (
            lambda: select(0, np.array([0, 0, 1]), np.array([0, 1, 0]), 2, 0.1),
            r"group 1 and label 1 \(counts \[\[1, 1\], \[1, 0\]\]\)",
        ),
        (
            lambda: select(0, np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 1]), 5, 0.0, base="stratified"),
            "of group 0",
        ),
        (lambda: select(0, S, Y, 10, 0.1, base="even"), "even"),
        (lambda: label_flipping(0, S, Y, 41, 0.1), "41 records of a pool of 40"),
        (lambda: label_flipping(0, *pool(4, groups=3), 10, 0.1), "3 groups and 2 labels"),
        (lambda: select(0, S[:5], Y, 10, 0.1), r"groups have shape \(5,\) and labels have shape \(40,\)"),
        (lambda: select(0, S - 1, Y, 10, 0.1), "groups are whole numbers from 0"),
        (lambda: select(0, S, Y, 10, 0.1, statistic=np.zeros((40, 1))), r"the statistic has shape \(40, 1\)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
