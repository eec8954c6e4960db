"""The types of a table's columns: shown as they were inferred, and changed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from diffaudit_jax.data.table import MISSING, Table, checked, typed


class Described(NamedTuple):
    """What was inferred of one column.

    `kind` is "numeric" or "categorical"; `distinct` counts the values that are not missing; `typical` shows the
    smallest and largest number, or the most frequent text and its share of the records.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    typical: str


def described(table: Table) -> list[Described]:
    """Returns a row for each column, in the table's order, for a command to show."""
    return [
        _numeric(name, column) if column.dtype.kind == "f" else _categorical(name, column)
        for name, column in table.columns.items()
    ]


def as_types(table: Table, types: Mapping[str, str]) -> Table:
    """Returns the table with columns of other types than were inferred.

    A number becomes its shortest text, 5.0 "5" and 0.10 "0.1", and a missing one ""; a text becomes the number it
    reads as, and "" and "?" become NaN. Leading zeros that were read as a number are gone: say so to `read_csv`.

    Args:
      table: Records.
      types: "numeric" or "categorical" by column; the other columns are left as they are.

    Raises:
      InputError: if there is no such column or type, or a text is no finite number.
    """
    checked(types, list(table.columns))
    return replace(table, columns={key: _as(table, key, types.get(key)) for key in table.columns})


def texts(numbers: np.ndarray) -> np.ndarray:
    """Returns the shortest text that reads as each number, str [n]; "" where it is missing."""
    values, codes = np.unique(numbers + 0.0, return_inverse=True)
    shortest = ["" if np.isnan(value) else repr(value).removesuffix(".0") for value in values.tolist()]
    return np.array(shortest, dtype=str)[codes]


def _as(table: Table, key: str, kind: str | None) -> np.ndarray:
    column = table.columns[key]
    if kind == "categorical" and column.dtype.kind == "f":
        return texts(column)
    if kind == "numeric" and column.dtype.kind == "U":
        return typed(column, kind, f"{table.name}: column {key!r}", [f"in row {row}" for row in table.rows])
    return column


def _numeric(name: str, column: np.ndarray) -> Described:
    present = column[~np.isnan(column)]
    ends = f"{texts(present.min()[None])[0]} .. {texts(present.max()[None])[0]}" if len(present) else ""
    return Described(name, "numeric", len(np.unique(present)), len(column) - len(present), ends)


def _categorical(name: str, column: np.ndarray) -> Described:
    counts = Counter(column.tolist())
    missing = sum(counts.pop(mark, 0) for mark in MISSING)
    # Of equally frequent texts the first in sorted order, whatever the records' order.
    text, count = min(counts.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    typical = f"{text} ({count / len(column):.0%})" if count else ""
    return Described(name, "categorical", len(counts), missing, typical)
