"""Algorithm 1: a training set in which the label tells of the sensitive group, and which looks as it should.

    maximise J_D  over D of N records,  so that |I_D(X; Y) - c| < delta,  c = I_pool(X; Y), delta = tolerance c

    parity         J = I(S; Y), as published
    odds           J = I(S; Y | R) = sum over r of P(R = r) I(S; Y | R = r)
    opportunity    J = P(R = 1) I(S; Y | R = 1)

R is what the features tell of the label. A classifier of features and groups learns P(Y = 1 | S, R) at best, so that
parity moves whom it calls 1; odds, how it errs among records that look the same; opportunity, only which of those that
look like a 1 it misses.

Of the records, (1 - alpha) N are drawn first: at random, as published, or as many from every cell (s, y). Each of the
others comes from the cell whose next record adds most to J, and of some of its unused records is the one that leaves
I(X; Y) nearest to c. Where none is near enough the next cell is tried; where no cell has one, the last candidate is
taken all the same, and counted as a fall-back.

With a stratified base one diagonal of the table fills up: the labels' parity gap is alpha, and I(S; Y) is
1 - H2((1 + alpha)/2) bits. A record adds the more the more the label tells already, so given R one diagonal of one
value r fills up: if a share q of the base is there, and balanced, the gap of P(Y = 1 | S, R = r) is
alpha/(alpha + (1 - alpha) q), and that of another stays 0. Labels are honest: half of what this takes are errors of R,
and what runs dry are those. At ties of the gain the published code loses cells; here they are taken in a fixed order.

References:
  Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from diffaudit_jax.poisoning.cells import Cell, ranked_cells, tallied
from diffaudit_jax.poisoning.pool import Objective, Unused, checked_pool, columns
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
      cells: Group and label of each of the others, [N - base, 2].
      information: I(X; Y) of the pool, the base and the whole, in nats; None without a statistic.
      redraws: Bases that were drawn before one was near enough.
      accepted: Share of tries of a cell in which a record was near enough; 1 without a statistic.
      fallbacks: Records that were taken though they were not.
      dry: Records that added nothing to the objective or took from it: the cells that add had none left, or none that
        was near enough. The first record of an empty set is one.
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
    dry: int


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
    objective: Objective = "parity",
    reference: np.ndarray | None = None,
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
      objective: What the label is made to tell: the group, or the group given R (odds), or given R = 1 (opportunity).
      reference: R of every record, what a classifier that sees the features alone calls it, whole numbers from 0, [n].

    Returns:
      The selection. Time grows with N alpha, and not with the pool.

    Raises:
      InputError: if a number is out of range, a cell is empty, a stratified base asks more of a cell than it holds, or
        the reference does not fit the objective.
    """
    known("base", base, ("random", "stratified"))
    table = checked_pool(s, y, num, alpha)
    rng, size = np.random.default_rng(seed), round(num * (1 - alpha))
    judge = Judge(statistic, y, tolerance)
    first, redraws = _base(rng, s, y, table, size, base, judge)
    seen = columns(objective, reference, s, y)
    every = tallied(seen, (int(seen[0].max()) + 1, *table.shape))
    rest = Unused(seen, first, every.shape)
    counts, sums = every - rest.counts, judge.sums(first)
    chosen, tries, fallbacks, dry = list(first), 0, 0, 0
    for _ in range(num - size):
        ranked = ranked_cells(counts)
        row, cell, tried, near = _next(rng, rest, list(ranked), judge, sums)
        rest.take(row)
        chosen.append(row)
        counts[cell] += 1
        sums = judge.added(sums, row)
        tries, fallbacks, dry = tries + tried, fallbacks + (not near), dry + (ranked[cell] <= 0)
    index = np.array(chosen, int)
    return Selection(
        index=index,
        labels=y[index],
        base=np.arange(num) < size,
        counts=tallied((s[index], y[index]), table.shape),
        cells=np.stack([s[index[size:]], y[index[size:]]], axis=1),
        information=judge.told(first, index),
        redraws=redraws,
        accepted=(num - size - fallbacks) / tries if tries else 1.0,
        fallbacks=fallbacks,
        dry=dry,
    )


def _next(
    rng: np.random.Generator, rest: Unused, cells: list[Cell], judge: Judge, sums: Sums | None
) -> tuple[int, Cell, int, bool]:
    """Returns a record, its cell, how many cells were tried, and whether it is near enough."""
    tries, row, found = 0, -1, cells[0]
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
