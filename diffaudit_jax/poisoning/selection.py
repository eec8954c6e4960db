"""Algorithm 1: a training set in which the label tells of the sensitive group, and which looks as it should.

    maximise I_D(S; Y)  over D of N records,  so that |I_D(X; Y) - c| < delta,  c = I_pool(X; Y), delta = tolerance c

Of the records, (1 - alpha) N are drawn first: at random, as published, or as many from every cell (s, y). Each of the
others comes from the cell whose next record adds most to I(S; Y), and of some of its unused records is the one that
leaves I(X; Y) nearest to c. Where none is near enough the next cell is tried; where no cell has one, the last candidate
is taken all the same, and counted as a fall-back.

With a stratified base one diagonal of the table fills up: the labels' parity gap is alpha, and I(S; Y) is
1 - H2((1 + alpha)/2) bits. At ties of the gain the published code loses cells; here they are taken in a fixed order.

References:
  Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from diffaudit_jax.poisoning.cells import counted, ranked_cells
from diffaudit_jax.poisoning.representation import Judge, Sums
from diffaudit_jax.types import InputError, known

Base = Literal["random", "stratified"]
NUM_CANDIDATES, NUM_REDRAWS = 100, 200


class Selection(NamedTuple):
    """A poisoned training set.

    Attributes:
      index: Rows of the pool, the base first, [N].
      labels: What each is labelled with, [N]; not the pool's, if labels were flipped.
      base: Whether a record was drawn for the base, bool [N].
      counts: Records of every group and label, as labelled.
      cells: Cell that each of the others came from, [N - base, 2].
      information: I(X; Y) of the pool, the base and the whole, in nats; None without a statistic.
      redraws: Bases that were drawn before one was near enough.
      accepted: Share of tries of a cell in which a record was near enough; 1 without a statistic.
      fallbacks: Records that were taken though they were not.
    """

    index: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    base: Bool[np.ndarray, " n"]
    counts: Int[np.ndarray, "groups labels"]
    cells: Int[np.ndarray, "added 2"]
    information: tuple[float, float, float] | None
    redraws: int
    accepted: float
    fallbacks: int


def select(
    seed: int,
    s: np.ndarray,
    y: np.ndarray,
    num: int,
    alpha: float,
    *,
    statistic: np.ndarray | None = None,
    tolerance: float = 0.1,
    base: Base = "random",
) -> Selection:
    """Chooses a poisoned training set by Algorithm 1.

    Args:
      seed: Seed of everything drawn.
      s: Sensitive group of every record of the pool, whole numbers from 0, [n].
      y: Label of every record, whole numbers from 0, [n].
      num: N.
      alpha: Poisoning ratio: the share that is not drawn but chosen, in [0, 1].
      statistic: T of every record with every label, [n, labels], see `representation`; None leaves I(X; Y) free.
      tolerance: delta over c.
      base: How the first records are drawn.

    Returns:
      The selection. Time grows with N alpha, and not with the pool.

    Raises:
      InputError: if a number is out of range, a cell is empty, a stratified base asks more of a cell than it holds, or
        no base is near enough.
    """
    known("base", base, ("random", "stratified"))
    table = checked_pool(s, y, num, alpha)
    rng, size = np.random.default_rng(seed), round(num * (1 - alpha))
    judge = Judge(statistic, y, tolerance)
    first, redraws = _base(rng, s, y, table, size, base, judge)
    rest = Unused(s, y, first, table.shape)
    counts, sums = table - rest.counts, judge.sums(first)
    chosen, cells, tries, fallbacks = list(first), [], 0, 0
    for _ in range(num - size):
        row, cell, tried, near = _next(rng, rest, ranked_cells(counts), judge, sums)
        rest.take(row)
        chosen.append(row)
        cells.append(cell)
        counts[cell] += 1
        sums = judge.added(sums, row)
        tries, fallbacks = tries + tried, fallbacks + (not near)
    index = np.array(chosen, int)
    return Selection(
        index=index,
        labels=y[index],
        base=np.arange(num) < size,
        counts=counts,
        cells=np.array(cells, int).reshape(-1, 2),
        information=judge.told(first, index),
        redraws=redraws,
        accepted=(num - size - fallbacks) / tries if tries else 1.0,
        fallbacks=fallbacks,
    )


def _next(
    rng: np.random.Generator, rest: "Unused", cells: list[tuple[int, int]], judge: Judge, sums: Sums | None
) -> tuple[int, tuple[int, int], int, bool]:
    """Returns a record, its cell, how many cells were tried, and whether it is near enough."""
    tries, row, found = 0, -1, (0, 0)
    for cell in cells:
        rows = rest.of(cell)
        if not len(rows):
            continue
        tries, found = tries + 1, cell
        candidates = rows[rng.integers(0, len(rows), NUM_CANDIDATES if judge.judges else 1)]
        off = judge.off_with(sums, candidates)
        row = int(candidates[off.argmin()])
        if off.min() < judge.near:
            return row, cell, tries, True
    return row, found, tries, False


class Unused:
    """The records that are left, by cell; taking one is quick.

    Args:
      s: Groups.
      y: Labels.
      used: Rows that are taken already.
      shape: Groups and labels that there are.
    """

    def __init__(self, s: np.ndarray, y: np.ndarray, used: np.ndarray, shape: tuple[int, ...]):
        free = np.ones(len(s), bool)
        free[used] = False
        self._rows = {cell: np.flatnonzero(free & (s == cell[0]) & (y == cell[1])) for cell in np.ndindex(*shape)}
        self.counts = np.array([len(self._rows[cell]) for cell in np.ndindex(*shape)]).reshape(shape)
        self._cell = dict(
            zip(np.flatnonzero(free).tolist(), zip(s[free].tolist(), y[free].tolist(), strict=True), strict=True)
        )

    def of(self, cell: tuple[int, int]) -> np.ndarray:
        """Returns the unused rows of a cell, in no order."""
        return self._rows[cell][: self.counts[cell]]

    def take(self, row: int) -> None:
        """Marks a row as used: the last one takes its place."""
        cell = self._cell[row]
        rows = self.of(cell)
        rows[np.flatnonzero(rows == row)[0]] = rows[-1]
        self.counts[cell] -= 1


def _base(
    rng: np.random.Generator, s: np.ndarray, y: np.ndarray, table: np.ndarray, size: int, base: Base, judge: Judge
) -> tuple[np.ndarray, int]:
    """Draws the base until it is near enough; the nearest of all, where none is."""
    nearest, least = np.zeros(0, int), np.inf
    if not size:
        return nearest, 0
    for redraws in range(NUM_REDRAWS):
        drawn = rng.choice(len(y), size, replace=False) if base == "random" else _stratified(rng, s, y, table, size)
        if not judge.judges:
            return drawn, 0
        off = judge.off(judge.sums(drawn))
        if off < judge.near:
            return drawn, redraws
        nearest, least = (drawn, off) if off < least else (nearest, least)
    return nearest, NUM_REDRAWS


def _stratified(rng: np.random.Generator, s: np.ndarray, y: np.ndarray, table: np.ndarray, size: int) -> np.ndarray:
    """Draws as many from every cell; what is left over, from cells in random order."""
    share, left = divmod(size, table.size)
    more = rng.permutation(table.size) < left
    cells = [np.flatnonzero((s == group) & (y == label)) for group, label in np.ndindex(*table.shape)]
    wanted = [share + int(one) for one in more]
    for (group, label), rows, n in zip(np.ndindex(*table.shape), cells, wanted, strict=True):
        if len(rows) < n:
            raise InputError(
                f"a stratified base of {size} takes {n} records of group {group} and label {label}, and the pool has "
                f"{len(rows)}: take fewer records, or a random base."
            )
    return np.concatenate([rng.choice(rows, n, replace=False) for rows, n in zip(cells, wanted, strict=True)])


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
