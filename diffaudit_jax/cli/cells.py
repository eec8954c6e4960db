"""Labelled images or records with a sensitive group: what poisoning and fairness start from, and mistakes in it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffaudit_jax import data
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.table_columns import opened, values_of
from diffaudit_jax.report.nouns import IMAGE, RECORD
from diffaudit_jax.types import InputError

MOST_GROUPS = 5
"""Groups at most: the time of an interval of a gap grows as the fourth power of their number."""


class Cells(NamedTuple):
    """Images or records, each in a cell (S, Y).

    Attributes:
      pool: The images, whose labels are Y, or the records, of which S and Y are columns.
      s: Group of each, 0, 1, ... in the order of `groups`, [n].
      groups: What the groups are called.
      y: Label of each, 0 or 1, [n].
      values: What the labels 0 and 1 are called in a table.
    """

    pool: data.Pool | data.Table
    s: Int[np.ndarray, " n"]
    groups: tuple[str, ...]
    y: Int[np.ndarray, " n"]
    values: tuple[str, ...] = ("0", "1")

    @property
    def images(self) -> data.Pool:
        """The images."""
        assert isinstance(self.pool, data.Pool), "these are records"
        return self.pool

    @property
    def records(self) -> data.Table:
        """The records."""
        assert isinstance(self.pool, data.Table), "these are images"
        return self.pool

    @property
    def noun(self) -> str:
        """What one is called."""
        return IMAGE if isinstance(self.pool, data.Pool) else RECORD

    @property
    def counts(self) -> Int[np.ndarray, "groups 2"]:
        """Images (or records) of every cell."""
        table = np.zeros((len(self.groups), 2), int)
        np.add.at(table, (self.s, self.y), 1)
        return table

    def take(self, indices: np.ndarray) -> "Cells":
        """Returns those at these positions, or where a bool [n] is true."""
        return self._replace(pool=self.pool.take(indices), s=self.s[indices], y=self.y[indices])


def celled(source: str, labels: str, sensitive: str) -> Cells:
    """Loads images or records with a label and a sensitive group each.

    Args:
      source: Where they are, as in `data.load`.
      labels: Attribute or column that is the label, of two values.
      sensitive: Attribute or column that is the group, of two values or a few more.

    Raises:
      InputError: if an attribute is missing, the labels are not 0 and 1 (or two words), there is one group or too many,
        or a cell is empty. Of a table also if a record lacks either.
    """
    if is_table(source):
        return _celled_records(source, labels, sensitive)
    pool = data.load(source, labels=labels, groups=sensitive)
    assert isinstance(pool, data.Pool), "labels are of images only"
    assert pool.labels is not None
    assert pool.groups is not None
    assert pool.attributes is not None
    values = np.unique(pool.labels)
    if len(values) > 2 or not np.isin(values, (0, 1)).all():
        raise InputError(
            f"{labels!r} of {source} takes the {len(values)} values {_some(values)}: give a label that is 0 or 1."
        )
    numbers, s = np.unique(pool.groups, return_inverse=True)
    named = pool.attributes[sensitive].dtype.kind in "US"
    names = np.unique(pool.attributes[sensitive].astype(str)) if named else numbers
    groups = tuple(map(str, names.tolist()))
    return _filled(Cells(pool, s, groups, pool.labels), source, labels, sensitive)


def _celled_records(source: str, labels: str, sensitive: str) -> Cells:
    table = opened(source)
    y, values = values_of(table, labels, "label")
    if len(values) != 2:
        raise InputError(
            f"{labels!r} of {source} takes the {len(values)} values {_some(np.array(values))}: give a label of two."
        )
    s, groups = values_of(table, sensitive, "group")
    return _filled(Cells(table, s, groups, y, values), source, labels, sensitive)


def _filled(found: Cells, source: str, labels: str, sensitive: str) -> Cells:
    groups, noun = found.groups, found.noun
    if len(groups) == 1:
        kind = "an attribute" if noun == IMAGE else "a column"
        raise InputError(f"{sensitive!r} is {groups[0]} in all {noun}s of {source}: name {kind} of two groups.")
    if len(groups) > MOST_GROUPS:
        raise InputError(f"{sensitive!r} of {source} has {len(groups)} groups: join some, {MOST_GROUPS} are the most.")
    check_filled(found.counts, groups, source, labels, sensitive, noun=noun)
    return found


def dealt(cells: Cells, seed: Sequence[int], held: int, most: int | None = None) -> tuple[Cells, Cells]:
    """Draws as many images of every cell, and returns the others and them, both in the order of the source.

    Args:
      cells: Images, at least `held` in every cell.
      seed: Seed of the draw.
      held: How many are drawn of every cell.
      most: How many of the others are kept of every cell, drawn too; all, if None.
    """
    rng = np.random.default_rng(seed)
    kept, drawn = [], []
    for group, label in np.ndindex(*cells.counts.shape):
        rows = rng.permutation(np.flatnonzero((cells.s == group) & (cells.y == label)))
        drawn.append(rows[:held])
        kept.append(rows[held:][:most])
    others, these = (cells.take(np.sort(np.concatenate(rows))) for rows in (kept, drawn))
    return others, these


def check_filled(
    counts: np.ndarray,
    groups: Sequence[str],
    source: str,
    labels: str,
    sensitive: str,
    least: int = 1,
    noun: str = IMAGE,
) -> None:
    """Refuses cells that hold too few images (or records), and says how many each holds.

    Args:
      counts: Images of every group and label.
      groups: What the groups are called.
      source: What the images are called.
      labels: What the label is called.
      sensitive: What the group is called.
      least: Images that every cell must hold.
      noun: What one is called.

    Raises:
      InputError: naming each cell that holds fewer.
    """
    if (counts >= least).all():
        return
    cells = {f"({sensitive} = {groups[g]}, {labels} = {y})": int(counts[g, y]) for g, y in np.ndindex(*counts.shape)}
    lacking = " and ".join(cell for cell, count in cells.items() if count < least)
    held = ", ".join(f"{cell} {count}" for cell, count in cells.items())
    wanted = f"no {noun}" if least == 1 else f"fewer than {least} {noun}s"
    raise InputError(f"{source} has {wanted} in {lacking} (there are {held}): give some in every cell.")


def alphas_of(words: Sequence[str]) -> tuple[float, ...]:
    """Returns the ratios that were written, in their order.

    Raises:
      InputError: if one is no number, or not in [0, 1], or is there twice.
    """
    parts = [part.strip() for word in words for part in word.split(",") if part.strip()]
    try:
        alphas = tuple(float(part) for part in parts)
    except ValueError:
        raise InputError(f"--alpha takes numbers such as 0,0.1,0.3, got {' '.join(parts)!r}.") from None
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha:g}: the share that is not drawn but chosen lies between 0 and 1.")
    if twice := sorted({alpha for alpha in alphas if alphas.count(alpha) > 1}):
        raise InputError(f"alpha = {twice[0]:g} is there twice: give each ratio once.")
    return alphas


def _some(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def print_values(cells: Cells, labels: str) -> None:
    """Prints which of two values of a table's label is 1; those of images are 0 and 1."""
    if cells.noun == RECORD:
        print(f"{labels}: 0 is {cells.values[0]!r}, 1 is {cells.values[1]!r}")
