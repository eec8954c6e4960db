"""How many records of each side a claim on a set needs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from diffaudit_jax.metrics.dataset import FEWEST, prepared, shared, tested
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.types import InputError

SURE = 0.8  # share of draws that must be told for a number of records to be called enough


class Power(NamedTuple):
    """How many records of each side a claim needs.

    Attributes:
      sizes: People of each side, or records where everybody has one, int [k], ascending.
      rejected: Share of draws whose p-value is 1 - level at most, at each size; the interval is over draws from these
        records.
      median: Median p-value of the draws, at each size.
      needed: The smallest size from which on four draws in five are told; None if there is none.
    """

    sizes: tuple[int, ...]
    rejected: tuple[Estimate, ...]
    median: tuple[float, ...]
    needed: int | None


def power(
    suspect: ArrayLike,
    unpublished: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
    repeats: int = 40,
    level: float = 0.95,
    tests: int = 1,
    seed: int = 0,
    num_permutations: int = 99,
) -> Power:
    """How many records a claim needs: the test on random parts of growing size, as many of each side.

    Parts of one size overlap the more, the larger they are, and all are of these records: a share near 1 at the largest
    size says little more than that the whole test rejects.

    Args:
      suspect: As in `dataset_verdict`, [n, d].
      unpublished: Likewise, [m, d].
      groups: Likewise; parts are then of whole people.
      sizes: People, or records, of each side; by default 20, 40, 80, ... and as many as the smaller side has.
      repeats: Random parts of each size.
      level: Confidence level of the intervals, and what all tests together are held to.
      tests: Sets that are judged together: a part counts as told if its p-value is (1 - level)/tests at most.
      seed: Seed of the parts.
      num_permutations: Shuffles in each test.

    Raises:
      InputError: as `dataset_verdict`, or if a size is no whole number, below 20 or above what the smaller side has,
        nothing is repeated, or so few shuffles never tell a part.
    """
    share = shared(level, tests, num_permutations)
    if repeats < 1:
        raise InputError(f"repeats is {repeats}: draw 1 part of each size at least.")
    features, suspected, codes = prepared(suspect, unpublished, groups)
    side = suspected[np.unique(codes, return_index=True)[1]]
    most = int(min(side.sum(), (~side).sum()))
    sizes = _doubling(most) if sizes is None else tuple(sorted(sizes))
    if not sizes or sizes[0] < FEWEST or sizes[-1] > most or any(size != int(size) for size in sizes):
        raise InputError(
            f"sizes are {list(sizes)}: choose whole numbers from {FEWEST} to {most}, what the smaller side has."
        )
    sizes = tuple(int(size) for size in sizes)
    rng = np.random.default_rng((seed, 3))

    def p_value(size: int, repeat: int) -> float:
        drawn = [rng.choice(np.flatnonzero(side == kind), size, replace=False) for kind in (True, False)]
        part = np.isin(codes, np.concatenate(drawn))
        again = np.unique(codes[part], return_inverse=True)[1]
        return tested(features[part], suspected[part], again, seed + repeat, num_permutations)[1]

    with threadpool_limits(1, "blas"):
        p = np.array([[p_value(size, repeat) for repeat in range(repeats)] for size in sizes])
    told = tuple(clopper_pearson(int(row.sum()), repeats, level) for row in p <= share)
    short = [i for i, share in enumerate(told) if share.value < SURE]
    first = short[-1] + 1 if short else 0
    needed = sizes[first] if first < len(sizes) else None
    return Power(sizes, told, tuple(float(each) for each in np.median(p, axis=1)), needed)


def _doubling(most: int) -> tuple[int, ...]:
    sizes = [FEWEST]
    while 2 * sizes[-1] <= most:
        sizes.append(2 * sizes[-1])
    # What is left over is worth a size of its own only if it is not nearly the last one again.
    return tuple([*sizes, most] if most >= 1.25 * sizes[-1] else sizes)
