"""The pool a sharer chooses from: what may be asked of it, the cells of an objective, and what is left in each."""

from typing import Literal

import numpy as np

from diffaudit_jax.poisoning.cells import Cell, counted
from diffaudit_jax.types import InputError, known

Objective = Literal["parity", "odds", "opportunity"]
OBJECTIVES: tuple[Objective, ...] = ("parity", "odds", "opportunity")


def checked_pool(s: np.ndarray, y: np.ndarray, num: int, alpha: float) -> np.ndarray:
    """Returns the pool's table of counts, if a set can be chosen from it.

    Raises:
      InputError: if a number is out of range, or a cell is empty.
    """
    table = counted(s, y)
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}: the share that is chosen lies between 0 and 1.")
    if not 1 <= num <= len(y):
        raise InputError(f"{num} records of a pool of {len(y)}: choose 1 to {len(y)}.")
    if min(table.shape) < 2:
        which = "one group" if table.shape[0] < 2 else "one label"
        raise InputError(f"the pool has {which} only, and nothing to tell of it: give 2 or more.")
    if (table == 0).any():
        group, label = map(int, np.argwhere(table == 0)[0])
        raise InputError(f"no record is of group {group} and label {label} (counts {table.tolist()}): give some.")
    return table


def columns(objective: Objective, reference: np.ndarray | None, s: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the cell (r, s, y) of every record, so that the objective is I(S; Y | R) of their table.

    Raises:
      InputError: if the reference does not fit the objective.
    """
    known("objective", objective, OBJECTIVES)
    if objective == "parity":
        if reference is not None:
            raise InputError("parity looks at no reference: leave it out, or take the objective odds or opportunity.")
        return np.zeros_like(s), s, y
    if reference is None:
        raise InputError(f"{objective} needs a reference: what a classifier that sees the features alone calls each.")
    r = np.asarray(reference)
    counted(s, y, r)
    if objective == "odds":
        return r, s, y
    ones = r == 1
    if not ones.any():
        raise InputError(f"no record has reference 1 (it has {np.unique(r).tolist()}): opportunity has none to choose.")
    # All others make one cell, which tells nothing; what is taken of it is drawn from all of them alike.
    return ones.astype(int), np.where(ones, s, 0), np.where(ones, y, 0)


class Unused:
    """The records that are left, by cell; taking one is quick.

    Args:
      columns: Reference, group and label of every record.
      used: Rows that are taken already.
      shape: References, groups and labels that there are.
    """

    def __init__(self, columns: tuple[np.ndarray, ...], used: np.ndarray, shape: tuple[int, ...]):
        self._cell = np.stack(columns, axis=1)
        code = np.ravel_multi_index(columns, shape)
        code[used] = -1
        self._rows = {cell: np.flatnonzero(code == i) for i, cell in enumerate(np.ndindex(*shape))}
        self.counts = np.array([len(rows) for rows in self._rows.values()]).reshape(shape)

    def of(self, cell: Cell) -> np.ndarray:
        """Returns the unused rows of a cell, in no order."""
        return self._rows[cell][: self.counts[cell]]

    def take(self, row: int) -> None:
        """Marks a row as used: the last one takes its place."""
        cell = tuple(self._cell[row].tolist())
        rows = self.of(cell)
        rows[np.flatnonzero(rows == row)[0]] = rows[-1]
        self.counts[cell] -= 1
