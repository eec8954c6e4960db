"""What an encoder remembers of a column of few values, and how it turns values into choices and back.

A column gives at most one number and any blocks of choices, each choice an index that becomes a one-hot block:

    Numeric       a number (`data.quantiles`); and a choice (0 there, 1 missing) if members lack values
    Categorical   a choice among the members' values in sorted order
    Constant      nothing: one value for all members; and the choice above if members lack it
    Label         nothing: the class that a conditional model is told
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from diffaudit_jax.data.columns import texts
from diffaudit_jax.data.table import MISSING
from diffaudit_jax.types import InputError

MOST_CLASSES = 20
FREE_TEXT = 50


class Code(NamedTuple):
    """A column's share of an encoded table: float z [n] or None, and int [n] for each block of choices."""

    number: np.ndarray | None
    choices: tuple[np.ndarray, ...]


def shown(value: str | float) -> str:
    """Returns a value's shortest text."""
    return value if isinstance(value, str) else str(texts(np.array([value], np.float64))[0])


@dataclass(frozen=True)
class Categorical:
    """A categorical column, or a label, and the members' values in sorted order."""

    role: ClassVar[str] = "categorical"
    name: str
    values: tuple[str, ...] | tuple[float, ...]

    @property
    def blocks(self) -> tuple[int, ...]:
        """The sizes of the blocks of choices."""
        return (len(self.values),)

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return not isinstance(self.values[0], str)

    def unseen(self, column: np.ndarray) -> np.ndarray:
        """Returns where the column holds what no member has, bool [n]."""
        return np.array(self.values)[self._nearest(column)] != column

    def encode(self, column: np.ndarray) -> Code:
        """Returns each value's place among the members' values, none of them unseen."""
        return Code(None, (self._nearest(column),))

    def decode(self, code: Code) -> np.ndarray:
        """Returns the values at these places."""
        return np.array(self.values)[code.choices[0]]

    def policy(self) -> str | None:
        """Returns what is done with missing values, None if there are none."""
        marks = " and ".join(repr(mark) for mark in MISSING if mark in self.values)
        return f"column {self.name!r} has missing values ({marks}): they are a category." if marks else None

    def _nearest(self, column: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(np.array(self.values), column), len(self.values) - 1)


@dataclass(frozen=True)
class Label(Categorical):
    """The column that a conditional model is told, numbered in sorted order; it is no part of x."""

    role: ClassVar[str] = "label"

    @property
    def blocks(self) -> tuple[int, ...]:
        """No block."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names."""
        return tuple(shown(value) for value in self.values)


@dataclass(frozen=True)
class Constant:
    """A column with one value for all members, None for a number that is always missing."""

    role: ClassVar[str] = "constant"
    name: str
    value: str | float | None
    missing: bool = False

    @property
    def blocks(self) -> tuple[int, ...]:
        """The sizes of the blocks of choices."""
        return (2,) if self.missing else ()

    @property
    def numeric(self) -> bool:
        """Whether the value is a number."""
        return not isinstance(self.value, str)

    def unseen(self, column: np.ndarray) -> np.ndarray:
        """Returns where the column holds what no member has, bool [n]: another text, or a missing number."""
        if isinstance(self.value, str):
            return column != self.value
        return np.zeros(len(column), bool) if self.missing or self.value is None else np.isnan(column)

    def encode(self, column: np.ndarray) -> Code:
        """Returns where the value is missing, if it may be."""
        return Code(None, (np.isnan(column).astype(np.int64),) if self.missing else ())

    def decode(self, code: Code, n: int) -> np.ndarray:
        """Returns the value n times."""
        column = np.full(n, np.nan if self.value is None else self.value)
        return np.where(code.choices[0] == 1, np.nan, column) if self.missing else column

    def policy(self) -> str:
        """Returns what is done with the column."""
        held = "missing" if self.value is None else shown(self.value) or "empty"
        where = "wherever it is not missing, which a block says" if self.missing else "for every member"
        return f"column {self.name!r} is {held} {where}: it is left out of the model and written back."


def fit_categorical(name: str, column: np.ndarray, where: str) -> Categorical | Constant:
    """Returns what is remembered of the members' texts."""
    values = _texts(column, where)
    return Constant(name, values[0]) if len(values) == 1 else Categorical(name, values)


def fit_label(name: str, column: np.ndarray, where: str) -> Label:
    """Returns the members' classes."""
    if column.dtype.kind == "U":
        values = _texts(column, where)
    else:
        values = tuple(np.unique(column).tolist())
        if np.isnan(column).any():
            raise InputError(f"{where} is missing for {np.isnan(column).sum()} members: leave them out.")
        if len(values) > MOST_CLASSES:
            raise InputError(f"{where} has {len(values)} different numbers, too many for classes: bin it.")
    if len(values) == 1:
        raise InputError(
            f"{where} is {shown(values[0])} for every member: give members of at least 2 classes, or no label."
        )
    if len(values) == len(column):
        raise InputError(f"{where} has as many classes as there are members, {len(column)}: bin it, or give more.")
    return Label(name, values)


def _texts(column: np.ndarray, where: str) -> tuple[str, ...]:
    values = tuple(sorted(set(column.tolist())))
    if len(values) > max(FREE_TEXT, len(column) / 2):
        raise InputError(
            f"{where} has {len(values)} different texts in {len(column)} records, which are no categories: leave it "
            "out (drop), or bin it."
        )
    return values
