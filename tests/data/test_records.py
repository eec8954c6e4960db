"""A split on disk comes back as it was, or says which rows changed."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from diffaudit_jax.data import (
    at_rows,
    concatenate,
    from_arrays,
    from_record,
    from_secmi,
    pair,
    renumbered,
    split,
    split_coin,
    to_record,
)
from diffaudit_jax.types import InputError

KEY = jax.random.key(0)
N = 40
POOL = from_arrays(np.arange(N, dtype="<u4").view(np.uint8).reshape(N, 2, 2), labels=np.arange(N) % 4, name="forty")
PEOPLE = replace(POOL, groups=np.arange(N, dtype=np.int32) // 2)
SPLITS = {
    "plain": split(KEY, POOL, members=10, nonmembers=10),
    "reference": split(KEY, POOL, members=10, nonmembers=10, reference=20),
    "coin": split_coin(KEY, POOL, queries=20, always=5),
    "one query": split_coin(KEY, POOL, queries=1),
    "people": split(KEY, PEOPLE, members=10, nonmembers=10),
    "mixed": split(KEY, PEOPLE, members=10, nonmembers=10, by="record"),
}


@pytest.mark.parametrize("made", SPLITS.values(), ids=SPLITS)
def test_round_trip_through_json(made):
    # The pool's order is not the split's business: rows are looked up.
    back = from_record(json.loads(json.dumps(to_record(made))), PEOPLE.take(np.arange(N)[::-1]))
    assert to_record(back) == to_record(made)
    np.testing.assert_array_equal(back.queries.x, made.queries.x)
    np.testing.assert_array_equal(back.queries.cond, made.queries.cond)
    np.testing.assert_array_equal(back.member, made.member)
    assert back.coin == made.coin
    np.testing.assert_array_equal(back.training.rows, made.training.rows)
    assert back.by == made.by
    if made.by == "group":
        np.testing.assert_array_equal(back.groups, made.groups)


def test_a_coin_is_recorded_and_one_that_is_not_was_not_tossed():
    record = to_record(SPLITS["coin"])
    assert record["coin"] == 0.5
    assert "coin" not in to_record(SPLITS["plain"])
    assert from_record({name: part for name, part in record.items() if name != "coin"}, POOL).coin is None


def test_a_split_by_group_needs_the_groups_again():
    with pytest.raises(InputError, match="made by group but forty has no groups: load it with the same groups"):
        from_record(to_record(SPLITS["people"]), POOL)
    with pytest.raises(InputError, match="unknown by 'person'"):
        from_record(to_record(SPLITS["people"]) | {"by": "person"}, PEOPLE)
    older = {side: part for side, part in to_record(SPLITS["plain"]).items() if side != "by"}
    assert from_record(older, POOL).by == "record"


def test_a_pair_comes_back_from_its_union():
    a, b = POOL.take(np.arange(10)), POOL.take(np.arange(8, 20))
    made = pair(a, b, duplicates="drop")
    assert to_record(from_record(to_record(made), renumbered(concatenate(a, b)))) == to_record(made)


def test_changed_rows_are_named():
    made = SPLITS["reference"]
    x = POOL.x.copy()
    x[[3, 17]] += 1
    with pytest.raises(InputError, match=r"2 records of forty differ .*\(rows 3, 17\): load forty as it was"):
        from_record(to_record(made), replace(POOL, x=x))


def test_lacking_rows_are_named():
    rows = SPLITS["plain"].queries.row
    gone = int(rows[0])
    with pytest.raises(InputError, match=rf"forty lacks 1 of the rows asked for \(row {gone}\)"):
        from_record(to_record(SPLITS["plain"]), POOL.take(POOL.rows != gone))


@pytest.mark.parametrize(
    ("record", "side"),
    [({}, "members"), ({"members": {"rows": [], "hashes": []}}, "nonmembers"),
     ({"members": {"rows": [1]}, "nonmembers": {"rows": [], "hashes": []}}, "members"),
     ({"members": {"rows": [1], "hashes": []}, "nonmembers": {"rows": [], "hashes": []}}, "members"),
     (to_record(SPLITS["plain"]) | {"always": {}}, "always")],
)  # fmt: skip
def test_what_is_no_record_is_refused(record, side):
    with pytest.raises(InputError, match=f"lacks a row and a hash for each of {side}: make it with to_record"):
        from_record(record, POOL)


def secmi(path, members, nonmembers, **more):
    np.savez(path / "s.npz", mia_train_idxs=members, mia_eval_idxs=nonmembers, ratio=0.5, **more)
    return path / "s.npz"


def test_secmi_file(tmp_path):
    order = np.random.default_rng(0).permutation(N)
    made = from_secmi(secmi(tmp_path, order[:20], order[20:]), POOL)
    np.testing.assert_array_equal(made.members.rows, order[:20])
    np.testing.assert_array_equal(made.nonmembers.x, POOL.x[order[20:]])


def test_secmi_file_counts_by_tfds_ids():
    # TFDS stores CIFAR in a shuffled order; the original index is only in the id.
    order = np.random.default_rng(1).permutation(N)
    shuffled = renumbered(POOL.take(order))
    shuffled = replace(shuffled, attributes={"id": np.array([f"train_{i:05d}" for i in order])})
    np.testing.assert_array_equal(at_rows(shuffled, np.array([4, 9]), order).x, POOL.x[[4, 9]])


def test_secmi_file_on_a_tfds_pool(tmp_path):
    order = np.random.default_rng(1).permutation(N)
    ids = np.array([f"train_{i:05d}" for i in order[:-1]] + ["test_00001"])
    shuffled = replace(renumbered(POOL.take(order)), attributes={"id": ids})
    made = from_secmi(secmi(tmp_path, order[:20], order[20:-1]), shuffled)
    np.testing.assert_array_equal(made.members.x, POOL.x[order[:20]])
    np.testing.assert_array_equal(made.members.rows, np.arange(20))
    with pytest.raises(InputError, match=rf"lacks 1 of the rows asked for \(row {order[-1]}\)"):
        from_secmi(secmi(tmp_path, order[:20], order[20:]), shuffled)


def test_secmi_overlap_by_content(tmp_path):
    pool = replace(POOL, x=POOL.x[np.where(np.arange(N) == 30, 2, np.arange(N))])
    path = secmi(tmp_path, np.arange(20), np.arange(20, 40))
    with pytest.raises(InputError, match=r"1 record is both in members and nonmembers \(rows 2 = 30\)"):
        from_secmi(path, pool)
    made = from_secmi(path, pool, duplicates="drop")
    assert (len(made.members), len(made.nonmembers)) == (20, 19)
    assert 30 not in made.nonmembers.rows


BAD = {
    "both sides": (([1, 2], [2, 3]), r"1 indices on both sides \(row 2\)"),
    "too large": (([1, 40], [2, 99]), r"forty lacks 1 of the rows asked for \(row 40\)"),
    "negative": (([-1], [2]), r"lacks 1 .*\(row -1\)"),
    "floats": (([1.0], [2]), r"indices float64 \(1,\), int64 \(1,\)"),
    "mask": ((np.ones(N, bool), [2]), r"indices bool \(40,\)"),
    "objects": ((np.array([{}]), [2]), "not an npz with mia_train_idxs"),
}


@pytest.mark.parametrize(("sides", "message"), BAD.values(), ids=BAD)
def test_bad_secmi_files_are_refused(tmp_path, sides, message):
    with pytest.raises(InputError, match=message):
        from_secmi(secmi(tmp_path, *sides), POOL)


def test_two_flipped_bytes_are_no_secmi_file(tmp_path):
    order = np.random.default_rng(0).permutation(N)
    np.savez_compressed(tmp_path / "s.npz", mia_train_idxs=order[:20], mia_eval_idxs=order[20:])
    whole = bytearray((tmp_path / "s.npz").read_bytes())
    at = whole.index(b"mia_train_idxs.npy") + 60  # inside the first array's compressed data
    for place in range(at, at + 40):
        (tmp_path / "s.npz").write_bytes(
            whole[:place] + bytes(byte ^ 255 for byte in whole[place : place + 2]) + whole[place + 2 :]
        )
        with pytest.raises(InputError, match=r"s.npz is not an npz with mia_train_idxs and mia_eval_idxs \("):
            from_secmi(tmp_path / "s.npz", POOL)


@pytest.mark.parametrize("make", [lambda p: np.savez(p, a=1), lambda p: p.write_text("no"), lambda p: None])
def test_other_files_are_not_secmi_files(tmp_path, make):
    make(tmp_path / "s.npz")
    with pytest.raises(InputError, match=r"s.npz is not an npz with mia_train_idxs and mia_eval_idxs"):
        from_secmi(tmp_path / "s.npz", POOL)
