"""Records that appear twice: equal content on two sides makes a non-member a member."""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np

from diffaudit_jax.data.pool import R, Records
from diffaudit_jax.types import InputError, known

Duplicates: TypeAlias = Literal["refuse", "drop"]


def distinct(pool: R) -> R:
    """Returns the first of each set of records with equal content, in the pool's order."""
    return pool.take(_is_first(pool.hashes()))


def dropped(pool: R, duplicates: Duplicates) -> R:
    """Returns `distinct(pool)` if duplicates are to be dropped, the pool itself if they are to be refused later.

    Raises:
      InputError: if `duplicates` is neither "refuse" nor "drop".
    """
    return distinct(pool) if _drops(duplicates) else pool


def kept(sides: Mapping[str, Records], duplicates: Duplicates) -> list[np.ndarray]:
    """Returns which records of each side to keep, bool [n] each, so that none is on two.

    Args:
      sides: The pools by the name a message calls them.
      duplicates: "refuse" equal records on two sides; or "drop" all but the first of all sides, in their order.

    Raises:
      InputError: if records overlap and are to be refused, or dropping them leaves a side empty.
    """
    if not _drops(duplicates):
        for (a, side_a), (b, side_b) in combinations(sides.items(), 2):
            check_overlap(side_a, side_b, (a, b))
        return [np.ones(len(side), bool) for side in sides.values()]
    first = _is_first(np.concatenate([side.hashes() for side in sides.values()]))
    masks = np.split(first, np.cumsum([len(side) for side in sides.values()])[:-1])
    for (name, side), mask in zip(sides.items(), masks, strict=True):
        if not mask.any():
            raise InputError(f"every one of the {len(side)} {name} is on a side before: give some that are not.")
    return masks


def check_overlap(a: Records, b: Records, sides: tuple[str, str] = ("members", "nonmembers")) -> None:
    """Refuses two pools that share a record, by content.

    Args:
      a: One side.
      b: The other.
      sides: What the message calls them.

    Raises:
      InputError: naming the first rows that are equal.
    """
    shared, in_a, in_b = np.intersect1d(a.hashes(), b.hashes(), return_indices=True)
    if len(shared):
        rows = sorted(zip(a.rows[in_a].tolist(), b.rows[in_b].tolist(), strict=True))
        raise InputError(_twice("", f"both in {sides[0]} and {sides[1]}", rows))


def check_distinct(pool: Records) -> None:
    """Refuses a pool that holds a record twice, naming the first rows that are equal."""
    _, first, inverse = np.unique(pool.hashes(), return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(pool)))
    if len(again):
        rows = sorted(zip(pool.rows[first[inverse][again]].tolist(), pool.rows[again].tolist(), strict=True))
        raise InputError(_twice(f" of {pool.name}", "there twice", rows))


def _drops(duplicates: Duplicates) -> bool:
    return known("duplicates", duplicates, ("refuse", "drop")) == "drop"


def _is_first(hashes: np.ndarray) -> np.ndarray:
    is_first = np.zeros(len(hashes), bool)
    is_first[np.unique(hashes, return_index=True)[1]] = True
    return is_first


def _twice(of: str, where: str, rows: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{i} = {j}" for i, j in rows[:3]) + (", ..." if len(rows) > 3 else "")
    count = f"1 record{of} is" if len(rows) == 1 else f"{len(rows)} records{of} are"
    return (
        f'{count} {where} (rows {shown}), so membership is not defined: pass duplicates="drop" (on the command line '
        "--duplicates drop) to keep the first of each, or remove them."
    )
