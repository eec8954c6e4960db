"""Columns of tables as labels, groups and properties: few values, none missing; and which records two tables share."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from diffaudit_jax import data
from diffaudit_jax.data.columns import as_types, texts
from diffaudit_jax.data.table import MISSING
from diffaudit_jax.types import InputError, known

MOST_VALUES = 20
NONE = "(missing)"
"""What a value that is empty is called."""


def opened(source: str | Path) -> data.Table:
    """Loads a table.

    Raises:
      InputError: if there is none, or these are images.
    """
    table = data.load(source)
    if not isinstance(table, data.Table):
        raise InputError(f"{source} holds images, and this is about a table: give a table.")
    return table


def values_of(
    table: data.Table, name: str, role: str, *, missing: bool = False
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
    """Returns the number of each record's value, and the values that there are, in sorted order.

    Args:
      table: Records.
      name: A column.
      role: What the column is for, in messages: "label", "group", "property".
      missing: Whether a missing value is one, too.

    Raises:
      InputError: if there is no such column, values are missing and may not, or there are too many numbers to be names.
    """
    column = table.columns[known("column", name, table.columns)]
    lacking = np.isnan(column) if column.dtype.kind == "f" else np.isin(column, MISSING)
    if lacking.any() and not missing:
        raise InputError(
            f"{name!r} of {table.name} is missing in {lacking.sum()} of {len(table)} records, so it is no {role} of "
            "theirs: drop them."
        )
    found, codes = np.unique(column, return_inverse=True)
    if len(found) > MOST_VALUES:
        raise InputError(
            f"{name!r} of {table.name} has {len(found)} different values, too many for a {role}: bin it, or name "
            "another column."
        )
    names = texts(found) if column.dtype.kind == "f" else found
    return codes, tuple(str(each) or NONE for each in names.tolist())


def numbered(
    table: data.Table, name: str, role: str, values: Sequence[str], *, missing: bool = False
) -> Int[np.ndarray, " n"]:
    """Returns the number of each record's value among values that another table has.

    Raises:
      InputError: as `values_of`, and if a record has another value.
    """
    codes, own = values_of(table, name, role, missing=missing)
    if other := sorted(set(own) - set(values)):
        raise InputError(
            f"{name!r} of {table.name} is {other[0]!r} in {int((codes == own.index(other[0])).sum())} records, and is "
            f"one of {', '.join(values)} elsewhere: give the same values."
        )
    return np.array([values.index(value) for value in own])[codes]


def shared_with(table: data.Table, other: data.Table) -> Bool[np.ndarray, " n"]:
    """Returns which records of a table are in another one, by the content of all columns that both have."""
    names = [name for name in table.columns if name in other.columns]
    if not names:
        return np.zeros(len(table), bool)
    kinds = {n: "categorical" for n in names if table.columns[n].dtype.kind != other.columns[n].dtype.kind}
    one, two = (
        as_types(replace(each, columns={name: each.columns[name] for name in names}, groups=None), kinds)
        for each in (table, other)
    )
    return np.isin(one.hashes(), two.hashes())


def joined(blocks: Sequence[data.Table], name: str) -> data.Table:
    """Returns tables of the same columns as one."""
    columns = {key: np.concatenate([block.columns[key] for block in blocks]) for key in blocks[0].columns}
    return data.Table(columns, np.arange(sum(map(len, blocks))), name)
