"""Splits on disk: the library's own JSON records, and the index files that published models come with."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data.arrays import DAMAGED
from diffaudit_jax.data.located import located
from diffaudit_jax.data.overlap import Duplicates, kept
from diffaudit_jax.data.pool import Pool, R
from diffaudit_jax.data.splits import Split
from diffaudit_jax.types import InputError, known

SIDES = ("members", "nonmembers", "reference", "always")
TFDS_ID = re.compile(r"train_(\d+)")


def to_record(split: Split[Any]) -> dict[str, Any]:
    """Returns the split as plain JSON: the pool's name, what was dealt and how, each side's rows and content hashes."""
    sides = {side: getattr(split, side) for side in SIDES}
    # Only where there was one, so that a run goes on whose record was made before there were coins.
    coin = {} if split.coin is None else {"coin": split.coin}
    return {"pool": split.members.name, "by": split.by, **coin} | {
        side: {"rows": pool.rows.tolist(), "hashes": pool.hashes().tolist()}
        for side, pool in sides.items()
        if pool is not None
    }


def from_record(record: Mapping[str, Any], pool: R) -> Split[R]:
    """Returns the split that `to_record` recorded, from the pool it was made from (for `pair`, the renumbered union).

    Raises:
      InputError: if the record is not one, the pool lacks rows, an image has changed since (the rows are named), or
        the split was made by group and the pool has no groups.
    """
    by = record.get("by", "record")
    known("by", by, ("record", "group"))
    if by == "group" and pool.groups is None:
        raise InputError(f"the split was made by group but {pool.name} has no groups: load it with the same groups.")
    sides = {side: record[side] for side in SIDES if side in record}
    for side in dict.fromkeys((*SIDES[:2], *sides)):
        stored = sides.get(side, {})
        if not {"rows", "hashes"} <= set(stored) or len(stored["rows"]) != len(stored["hashes"]):
            raise InputError(f"the split's record lacks a row and a hash for each of {side}: make it with to_record.")
    parts = {side: at_rows(pool, np.asarray(stored["rows"], np.int64)) for side, stored in sides.items()}
    changed = [part.rows[part.hashes() != np.asarray(sides[side]["hashes"], "<U64")] for side, part in parts.items()]
    if len(rows := np.sort(np.concatenate(changed))):
        raise InputError(
            f"{len(rows)} records of {pool.name} differ from those the split was made of ({_some(rows)}): load "
            f"{record.get('pool', 'the pool')} as it was, or split anew."
        )
    return Split(**parts, by=by, coin=record.get("coin"))


def from_secmi(path: str | os.PathLike, pool: Pool, *, duplicates: Duplicates = "refuse") -> Split:
    """Reads the index file of a published model, e.g. SecMI's ``CIFAR10_train_ratio0.5.npz``.

    `mia_train_idxs` are the members and `mia_eval_idxs` the non-members, counted in the order of the original files
    (CIFAR: data_batch_1 to 5, as torchvision reads them). TFDS stores another order, so there the number in its `id`
    ("train_00042") is used; a pool from anywhere else must be in the original order, which nothing here can check.

    Args:
      path: An npz with those two keys; `ratio` is not needed.
      pool: The whole training set.
      duplicates: "refuse" equal records on two sides, or "drop" all but the first.

    Raises:
      InputError: if the file is damaged or lacks a key, an index is on both sides or not in the pool, or records
        overlap.

    References:
      Duan et al. 2023, https://arxiv.org/abs/2302.01316
    """
    path = Path(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            members, nonmembers = (np.asarray(stored[key]) for key in ("mia_train_idxs", "mia_eval_idxs"))
    except (KeyError, TypeError, *DAMAGED) as error:
        raise InputError(
            f"{path} is not an npz with mia_train_idxs and mia_eval_idxs ({error}): see SecMI's member_splits."
        ) from error
    if members.dtype.kind not in "iu" or nonmembers.dtype.kind not in "iu" or members.ndim != 1 or nonmembers.ndim != 1:
        raise InputError(f"{path} has indices {members.dtype} {members.shape}, {nonmembers.dtype} {nonmembers.shape}.")
    if len(both := np.intersect1d(members, nonmembers)):
        raise InputError(f"{path} has {len(both)} indices on both sides ({_some(both)}): remove them from one.")
    order = _original(pool)
    sides = {"members": at_rows(pool, members, order), "nonmembers": at_rows(pool, nonmembers, order)}
    return Split(*(side.take(keep) for side, keep in zip(sides.values(), kept(sides, duplicates), strict=True)))


def at_rows(pool: R, rows: np.ndarray, order: np.ndarray | None = None) -> R:
    """Returns the images of these rows, in their order.

    Args:
      pool: Where to take them from.
      rows: Integers [m].
      order: The row of each image in `pool`, int [n]; `pool.rows` if None.

    Raises:
      InputError: naming rows that the pool lacks.
    """
    order = pool.rows if order is None else order
    at, there = located(rows, order)
    if len(lacking := rows[~there]):
        raise InputError(f"{pool.name} lacks {len(lacking)} of the rows asked for ({_some(lacking)}): load all of it.")
    return pool.take(at)


def _original(pool: Pool) -> np.ndarray:
    ids = (pool.attributes or {}).get("id")
    if ids is None or not any(found := [TFDS_ID.fullmatch(str(i)) for i in ids]):
        return pool.rows
    return np.array([int(match[1]) if match else np.iinfo(np.int64).min for match in found])


def _some(rows: np.ndarray) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', ...' if len(rows) > 5 else ''}"
