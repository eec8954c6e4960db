"""Images and records of tables as points of one space, and which of them are the same."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Int, UInt8

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.mixed import Mixed, mixed
from diffaudit_jax.metrics.tables import matched
from diffaudit_jax.types import InputError

Images: TypeAlias = UInt8[np.ndarray, "n *shape"]
Points: TypeAlias = Images | Mixed


def points(sides: Mapping[str, Images | Table]) -> list[Points]:
    """Returns sets of records as points of one space.

    Numbers of a table are taken in ranges of all sides but the first, which is what a generator drew.

    Args:
      sides: Images or tables, by the name that a message calls them; `members` among them.

    Raises:
      InputError: if a side is empty, or not of the kind, the shape or the columns that the members are of.
    """
    members = sides["members"]
    if isinstance(members, Table):
        tables = [matched(members, _table(side, name), name) for name, side in sides.items()]
        return list(mixed(tables, tables[1:]))
    return [_images(side, name, members) for name, side in sides.items()]


def distinct(records: Images | Table) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Returns where each different record is first, in order, and how often it is there."""
    _, first, times = np.unique(_keys(records), return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], times[order]


def check_apart(members: Images | Table, heldout: Images | Table) -> None:
    """Refuses sets that share a record.

    Raises:
      InputError: if they do.
    """
    if shared := len(np.intersect1d(_keys(members), _keys(heldout))):
        raise InputError(f"{shared} held-out records are members as well: take them out of one side.")


def joined(sides: Sequence[Points]) -> Points:
    """Returns sets of one space as one."""
    first = sides[0]
    if not isinstance(first, Mixed):
        return np.concatenate([side for side in sides if not isinstance(side, Mixed)])
    tables = [side for side in sides if isinstance(side, Mixed)]
    columns = [table[1:] for table in tables]
    parts = (
        {name: np.concatenate([part[name] for part in each]) for name in each[0]} for each in zip(*columns, strict=True)
    )
    return Mixed(sum(table.size for table in tables), *parts)


def take(side: Points, rows: Int[np.ndarray, " some"]) -> Points:
    """Returns the records at these positions."""
    return side.take(rows) if isinstance(side, Mixed) else side[rows]


def size(side: Points) -> int:
    """Returns how many records there are."""
    return side.size if isinstance(side, Mixed) else len(side)


def _keys(records: Images | Table) -> np.ndarray:
    """Returns what is equal for equal records and no others."""
    if isinstance(records, Table):
        return records.hashes()
    rows = np.ascontiguousarray(records.reshape(len(records), -1))
    return rows.view(f"V{rows.shape[1]}")[:, 0]


def _table(side: Images | Table, name: str) -> Table:
    if not isinstance(side, Table):
        raise InputError(f"{name} holds images and members are a table: give images or tables throughout.")
    return side


def _images(side: Images | Table, name: str, members: Images) -> Images:
    if isinstance(side, Table) or side.dtype != np.uint8 or side.ndim < 2 or not len(side):
        told = f"the table {side.name}" if isinstance(side, Table) else f"{side.dtype} {side.shape}"
        raise InputError(f"{name} is {told}: give images, uint8 [n, *shape], or tables throughout.")
    if side.shape[1:] != members.shape[1:]:
        raise InputError(f"{name} has images of {side.shape[1:]}, members of {members.shape[1:]}: resize one set.")
    return side
