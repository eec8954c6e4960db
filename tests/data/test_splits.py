"""Splits are disjoint, exact, reproducible, and honest about people, duplicates and coins."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaudit_jax.data import check_overlap, concatenate, distinct, from_arrays, pair, renumbered, split, split_coin
from diffaudit_jax.data.draws import coins, draws
from diffaudit_jax.data.table import Table
from diffaudit_jax.types import InputError

KEY = jax.random.key(7)


def numbered(n: int, **columns):
    """A pool whose image i spells i, so that no two are equal."""
    return from_arrays(np.arange(n, dtype="<u4").view(np.uint8).reshape(n, 2, 2), **columns)


POOL = numbered(60, labels=np.arange(60) % 3)


@st.composite
def sizes(draw, n: int):
    members = draw(st.integers(1, n - 1))
    nonmembers = draw(st.integers(1, n - members))
    return {"members": members, "nonmembers": nonmembers, "reference": draw(st.integers(0, n - members - nonmembers))}


@given(sizes=sizes(60), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_sides_are_disjoint_and_exact(sizes, seed):
    parts = split(jax.random.key(seed), POOL, **sizes)
    pools = [parts.members, parts.nonmembers] + ([parts.reference] if parts.reference else [])
    assert [len(pool) for pool in pools] == [size for size in sizes.values() if size]
    rows = np.concatenate([pool.rows for pool in pools])
    assert len(set(rows.tolist())) == sum(sizes.values())
    for pool in pools:
        np.testing.assert_array_equal(pool.x, POOL.x[pool.rows])


def test_queries_are_members_then_nonmembers():
    parts = split(KEY, POOL, members=10, nonmembers=20, reference=5)
    x, cond, row = parts.queries
    np.testing.assert_array_equal(row, np.concatenate([parts.members.rows, parts.nonmembers.rows]))
    np.testing.assert_array_equal(x, POOL.x[row])
    np.testing.assert_array_equal(cond, row % 3)
    np.testing.assert_array_equal(parts.member, np.isin(row, parts.members.rows))
    assert x.dtype == np.uint8
    assert row.dtype == np.int64
    assert parts.training.fingerprint() == parts.members.fingerprint()
    assert split(KEY, numbered(4), members=1, nonmembers=1).queries.cond is None


def test_a_key_decides_and_the_order_of_the_pool_does_not():
    a, b = (
        split(KEY, POOL, members=20, nonmembers=20),
        split(KEY, POOL.take(np.arange(60)[::-1]), members=20, nonmembers=20),
    )
    np.testing.assert_array_equal(a.queries.row, b.queries.row)
    c = split(jax.random.key(8), POOL, members=20, nonmembers=20)
    assert set(c.members.rows.tolist()) != set(a.members.rows.tolist())


def test_every_record_is_equally_likely_a_member():
    trials, n, members = 200, 12, 3
    pool = numbered(n)
    counts = np.zeros(n)
    for i in range(trials):
        counts[split(jax.random.fold_in(KEY, i), pool, members=members, nonmembers=1).members.rows] += 1
    p = members / n
    # Four standard errors of a binomial share, for the largest of 12.
    assert np.abs(counts / trials - p).max() < 4 * np.sqrt(p * (1 - p) / trials)


PEOPLE = st.lists(st.integers(-3, 8), min_size=4, max_size=40).filter(lambda groups: len(set(groups)) > 2)


@given(groups=PEOPLE, seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_person_is_on_two_sides(groups, seed, data):
    pool = numbered(len(groups), groups=groups)
    # Trimming wastes less than the largest group on each side, so these sizes always fit.
    room = len(groups) - 2 * (max(np.unique(groups, return_counts=True)[1]) - 1)
    if room < 2:
        return
    members = data.draw(st.integers(1, room - 1))
    parts = split(jax.random.key(seed), pool, members=members, nonmembers=room - members, by="group")
    assert (len(parts.members), len(parts.nonmembers)) == (members, room - members)
    assert not set(parts.members.groups.tolist()) & set(parts.nonmembers.groups.tolist())
    # Whole groups but for the last one taken: at most one person of a side is there in part.
    totals = dict(zip(*np.unique(groups, return_counts=True), strict=True))
    for side in (parts.members, parts.nonmembers):
        people, counts = np.unique(side.groups, return_counts=True)
        assert sum(totals[p] != c for p, c in zip(people, counts, strict=True)) <= 1


def test_many_groups_are_people_and_few_must_be_said():
    people = numbered(60, groups=np.arange(60) // 3)
    parts = split(KEY, people, members=30, nonmembers=30)
    assert not set(parts.members.groups.tolist()) & set(parts.nonmembers.groups.tolist())
    sexes = numbered(60, groups=np.arange(60) % 2)
    with pytest.raises(InputError, match="has 2 groups, too few to tell people from a sensitive attribute"):
        split(KEY, sexes, members=10, nonmembers=10)
    mixed = split(KEY, sexes, members=30, nonmembers=30, by="record")
    assert set(mixed.members.groups.tolist()) == set(mixed.nonmembers.groups.tolist()) == {0, 1}


def test_queries_know_their_person_only_if_people_were_dealt():
    people = numbered(60, groups=np.arange(60) // 3)
    for parts in (split(KEY, people, members=30, nonmembers=30), split_coin(KEY, people, queries=15)):
        np.testing.assert_array_equal(parts.groups, parts.queries.row // 3)
        assert not set(parts.groups[parts.member]) & set(parts.groups[~parts.member])
    assert split(KEY, people, members=30, nonmembers=30, by="record").groups is None  # e.g. twenty occupations
    assert pair(people.take(np.arange(30)), people.take(np.arange(30, 60))).groups is None
    assert split(KEY, POOL, members=30, nonmembers=30).groups is None


TWICE = numbered(20).take(np.array([*range(20), 3, 5, 3]))  # rows are repeated as well as content
TWICE = renumbered(TWICE)


def test_equal_records_on_two_sides_are_refused_or_dropped():
    with pytest.raises(InputError, match=r"1 record is both in members and nonmembers \(rows \d+ = \d+\).*\"drop\""):
        split(KEY, TWICE, members=11, nonmembers=12)
    parts = split(KEY, TWICE, members=10, nonmembers=10, duplicates="drop")
    np.testing.assert_array_equal(np.sort(parts.queries.row), np.arange(20))
    with pytest.raises(InputError, match=r"members=11 .* is more than the 20 different records"):
        split(KEY, TWICE, members=11, nonmembers=10, duplicates="drop")


def test_a_member_in_the_reference_is_an_overlap():
    whole = from_arrays(np.zeros((3, 2, 2), np.uint8) + np.array([0, 1, 0], np.uint8)[:, None, None])
    messages = set()
    for seed in range(20):
        with pytest.raises(InputError, match=r"rows (0 = 2|2 = 0)") as caught:
            split(jax.random.key(seed), whole, members=1, nonmembers=1, reference=1)
        messages.add(str(caught.value).split("(")[0])
    assert len(messages) == 3


def test_check_overlap_names_the_first_three_pairs():
    a, b = numbered(10), numbered(20).take(np.arange(6, 20))
    with pytest.raises(InputError, match=r"4 records are both in train and test \(rows 6 = 6, 7 = 7, 8 = 8, ...\)"):
        check_overlap(a, b, ("train", "test"))
    check_overlap(a, numbered(20).take(np.arange(10, 20)))


@given(content=st.lists(st.integers(0, 9), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_distinct_keeps_the_first_of_each(content):
    pool = renumbered(numbered(10).take(np.array(content)))
    assert distinct(pool).rows.tolist() == sorted(content.index(c) for c in set(content))


def test_coins_do_not_depend_on_company():
    rows = np.arange(3000)
    whole = coins(KEY, rows, 0.3)
    some = np.random.default_rng(0).permutation(3000)[:70]
    np.testing.assert_array_equal(coins(KEY, rows[some], 0.3), whole[some])
    assert abs(whole.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 3000)
    assert not (coins(KEY, rows, 0.2) & ~whole).any()  # one uniform a row: a larger prob only adds members


def test_draws_are_the_bits_of_the_folded_key():
    high, low = (int(b) for b in jax.random.bits(jax.random.fold_in(KEY, 5), (2,), "uint32"))
    assert draws(KEY, np.array([9, 5]))[1] == (high << 32) + low
    assert len(np.unique(draws(KEY, np.arange(3000)))) == 3000


@given(queries=st.integers(1, 40), always=st.integers(0, 20), prob=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_coin_splits_ask_and_train_on_what_they_say(queries, always, prob, seed):
    parts = split_coin(jax.random.key(seed), POOL, queries=queries, prob=prob, always=always)
    assert len(parts.queries.row) == queries == len(parts.member)
    assert (parts.always is None) == (always == 0)
    trained = parts.training.rows
    assert len(set(trained.tolist())) == len(trained) == parts.member.sum() + always
    np.testing.assert_array_equal(np.isin(parts.queries.row, trained), parts.member)
    assert parts.coin == prob


def test_coins_are_tossed_for_tables_too_and_only_there():
    table = Table({"a": np.arange(40.0)}, np.arange(40), "forty")
    parts = split_coin(KEY, table, queries=30, always=5)
    assert parts.always is not None
    sides = [side.rows for side in (parts.members, parts.nonmembers, parts.always)]
    assert len(np.unique(np.concatenate(sides))) == len(sides[0]) + len(sides[1]) + 5 == 35
    with pytest.raises(InputError, match="39 records of forty are there twice"):
        split_coin(KEY, Table({"a": np.zeros(40)}, np.arange(40), "forty"), queries=40)
    assert split(KEY, POOL, members=5, nonmembers=5).coin is None


@pytest.mark.parametrize("by", ["record", "group"])
def test_coins_of_a_split_are_fair(by):
    queries, prob, trials = 20, 0.3, 60
    pool = numbered(100, groups=np.arange(100) // 5)
    seeds = range(trials)
    inside = [len(split_coin(jax.random.key(s), pool, queries=queries, prob=prob, by=by).members) for s in seeds]
    assert abs(np.sum(inside) / (queries * trials) - prob) < 4 * np.sqrt(prob * (1 - prob) / (queries * trials))


def test_a_coin_is_the_same_whichever_records_are_always_in():
    few, many = (split_coin(KEY, POOL, queries=30, always=always) for always in (0, 30))
    np.testing.assert_array_equal(few.members.rows, many.members.rows)
    np.testing.assert_array_equal(few.nonmembers.rows, many.nonmembers.rows)


def test_coin_splits_refuse_equal_records_whatever_falls():
    for seed in range(10):
        with pytest.raises(InputError, match=r"3 records of .* are there twice \(rows .*--duplicates drop"):
            split_coin(jax.random.key(seed), TWICE, queries=23)
    alike = from_arrays(np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(InputError, match="1 record of arrays is there twice"):
        split_coin(KEY, alike, queries=1, always=1)
    assert len(split_coin(KEY, TWICE, queries=15, always=5, duplicates="drop").queries.row) == 15


def test_coin_splits_by_group_take_one_record_a_person():
    pool = numbered(60, groups=np.arange(60) // 3)
    parts = split_coin(KEY, pool, queries=12, always=8, by="group")
    groups = np.concatenate([parts.members.groups, parts.nonmembers.groups, parts.always.groups])
    assert sorted(groups.tolist()) == list(range(20))
    # Which of a person's three records is asked about is drawn too: all of them come up.
    again = [split_coin(jax.random.key(s), pool, queries=20, by="group").queries.row for s in range(40)]
    assert set(np.concatenate(again).tolist()) == set(range(60))
    with pytest.raises(InputError, match=r"queries=21 .* is more than the 20"):
        split_coin(KEY, pool, queries=21, by="group")


def test_a_pair_is_renumbered_through_both():
    a, b = numbered(30).take(np.arange(5)), numbered(30).take(np.arange(10, 14))
    parts = pair(a, b)
    np.testing.assert_array_equal(parts.members.x, a.x)
    np.testing.assert_array_equal(parts.nonmembers.x, b.x)
    np.testing.assert_array_equal(parts.queries.row, np.arange(9))


def test_a_pair_that_overlaps_is_refused_by_its_own_rows_or_dropped():
    a, b, c = (numbered(30).take(np.arange(*ends)) for ends in ((0, 6), (4, 10), (8, 14)))
    with pytest.raises(InputError, match=r"2 records are both in members and nonmembers \(rows 4 = 4, 5 = 5\)"):
        pair(a, b)
    with pytest.raises(InputError, match=r"2 records are both in nonmembers and reference \(rows 8 = 8, 9 = 9\)"):
        pair(a, b.take(np.arange(2, 6)), c)
    parts = pair(a, b, c, duplicates="drop")
    union = renumbered(concatenate(a, b, c))
    assert [side.rows.tolist() for side in (parts.members, parts.nonmembers, parts.reference)] == [
        [0, 1, 2, 3, 4, 5], [8, 9, 10, 11], [14, 15, 16, 17]
    ]  # fmt: skip
    np.testing.assert_array_equal(parts.reference.x, union.x[parts.reference.rows])


EMPTY = POOL.take(np.array([], np.int64))
BAD = {
    "too many": (lambda: split(KEY, POOL, members=40, nonmembers=30), "members=40 .* more than the 60 different"),
    "no members": (lambda: split(KEY, POOL, members=0, nonmembers=3), "members=0 is too few: give at least 1"),
    "negative": (lambda: split(KEY, POOL, members=3, nonmembers=-2), "nonmembers=-2 is too few: give at least 0"),
    "negative reference": (lambda: split(KEY, POOL, members=3, nonmembers=3, reference=-1), "reference=-1 .* least 0"),
    "negative always": (lambda: split_coin(KEY, POOL, queries=3, always=-4), "always=-4 is too few"),
    "no queries": (lambda: split_coin(KEY, POOL, queries=0), "queries=0 is too few"),
    "prob 0": (lambda: split_coin(KEY, POOL, queries=3, prob=0), "prob=0 leaves nothing to guess"),
    "prob nan": (lambda: split_coin(KEY, POOL, queries=3, prob=float("nan")), "prob=nan"),
    "duplicates": (lambda: split(KEY, POOL, members=1, nonmembers=1, duplicates="keep"), "unknown duplicates 'keep'"),  # type: ignore
    "by": (lambda: split(KEY, POOL, members=1, nonmembers=1, by="person"), "unknown by 'person'"),  # type: ignore
    "by no group": (lambda: split(KEY, POOL, members=1, nonmembers=1, by="group"), "arrays has no groups to split by"),
    "one group": (
        lambda: split(KEY, numbered(9, groups=[0] * 9), members=4, nonmembers=4, by="group"),
        "whole groups leave 0 records for nonmembers",
    ),
    "rows repeat": (
        lambda: split(KEY, concatenate(POOL, POOL), members=1, nonmembers=1),
        r"rows that repeat: pass renumbered\(pool\)",
    ),
    "legacy key": (lambda: split(jax.random.PRNGKey(0), POOL, members=1, nonmembers=1), "must be a typed key"),
    "number key": (lambda: split_coin(0, POOL, queries=1), "must be a typed key, got 0"),
    "empty side": (lambda: pair(POOL, EMPTY), r"nonmembers \(arrays\) hold no record"),
    "all dropped": (lambda: pair(POOL, POOL, duplicates="drop"), "every one of the 60 nonmembers is on a side before"),
    "shapes": (lambda: pair(POOL, from_arrays(np.zeros((1, 3, 3), np.uint8))), r"\(2, 2, 1\) but .*\(3, 3, 1\)"),
}


@pytest.mark.parametrize(("ask", "message"), BAD.values(), ids=BAD)
def test_bad_requests_are_refused_by_value(ask, message):
    with pytest.raises(InputError, match=message):
        ask()
