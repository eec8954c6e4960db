"""Intervals for sums over cells of a table: a bootstrap inside each cell that covers in small cells too.

A cell c holds n_c records of a fixed number, each with one of a few outcomes; a statistic is

    T = sum over cells of the mean of v_c over the cell's records

A resample of 12 records of one outcome never shows another, so the plain bootstrap is sure of it. Here each resample
weighs the records of a cell by Dirichlet(1, ..., 1) (the Bayesian bootstrap), with one record more, whose outcome is
the one that speaks most for the side of the limit: the largest v_c for the upper, the smallest for the lower. For a
share in one cell the limits are those of Clopper and Pearson; of a difference of two they are melded from theirs; and
a cell's mean has Gaffke's bound. Records of one outcome weigh Gamma(their number) together, so counts are enough.

References:
  Rubin 1981, The Bayesian Bootstrap, Annals of Statistics 9:130
  Fay, Proschan and Brittain 2015, Combining One-Sample Confidence Procedures, Biometrics 71:146
  Learned-Miller and Thomas 2019, https://arxiv.org/abs/1905.06208 (Gaffke's bound; that it holds is a conjecture)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffaudit_jax.metrics.intervals import Estimate, tail

FEWEST_DRAWS = 10_000
IN_TAIL = 20
"""Resamples beyond a limit, at the least."""


class Draws(NamedTuple):
    """What the records of each cell weigh in each of B resamples, before they are divided by their sum.

    Attributes:
      counts: Records by cell and outcome, int [c, o].
      weights: Gamma(counts), float64 [c, o, B].
      more: Weight of the one more record of each cell, float64 [c, B].
      total: Weight of a cell, that record included, float64 [c, B].
    """

    counts: np.ndarray
    weights: np.ndarray
    more: np.ndarray
    total: np.ndarray


def draws(counts: np.ndarray, error: float, seed: int) -> Draws:
    """Draws resamples of a table, enough of them for limits that fail with `error` a side.

    Args:
      counts: Records by cell and outcome, int [c, o]; no cell is empty.
      error: The smallest error that a limit will be asked for.
      seed: Seed of the weights.
    """
    rng, num = np.random.default_rng(seed), max(FEWEST_DRAWS, int(np.ceil(IN_TAIL / error)))
    weights = rng.standard_gamma(counts[..., None].astype(np.float64), (*counts.shape, num))
    more = rng.standard_exponential((len(counts), num))
    return Draws(counts, weights, more, weights.sum(axis=1) + more)


def value(counts: np.ndarray, v: np.ndarray) -> float:
    """Returns T of the records as they are."""
    return float(((counts * v).sum(axis=1) / counts.sum(axis=1)).sum())


def high(drawn: Draws, v: np.ndarray, error: float) -> float:
    """Upper limit of T: above it in truth with probability `error` at most.

    Args:
      drawn: Resamples.
      v: What each outcome counts in each cell, float64 [c, o].
      error: Probability that the limit fails.
    """
    spread = np.ptp(v, axis=1) > 0  # elsewhere all outcomes are worth the same, whatever they weigh
    w = v[spread]
    sums = np.einsum("co,cob->cb", w, drawn.weights[spread]) + w.max(axis=1)[:, None] * drawn.more[spread]
    resampled = (sums / drawn.total[spread]).sum(axis=0) + v[~spread, 0].sum()
    beyond = int(error * len(resampled))  # of two resamples that the limit lies between, the outer
    return float(np.partition(resampled, -beyond)[-beyond])


def low(drawn: Draws, v: np.ndarray, error: float) -> float:
    """Lower limit of T: the mirror image of `high`."""
    return -high(drawn, -v, error)


def two_sided(drawn: Draws, v: np.ndarray, level: float) -> Estimate:
    """Estimates T, with an interval."""
    error = tail(level)
    return Estimate(value(drawn.counts, v), low(drawn, v, error), high(drawn, v, error))


def widest(drawn: Draws, contrasts: Sequence[np.ndarray], level: float) -> Estimate:
    """Estimates the largest of several T, each of which has its negative among them: a gap.

    The largest true T is one of them, so that the upper limit is the largest of the uppers, each at the error of one;
    any of the lowers may be the one that is too high, so that these share the error.

    Args:
      drawn: Resamples.
      contrasts: What each outcome counts in each cell, float64 [c, o], of each T.
      level: Confidence level.
    """
    error = tail(level)
    return Estimate(
        max(value(drawn.counts, v) for v in contrasts),
        max(0.0, *(low(drawn, v, 2.0 * error / len(contrasts)) for v in contrasts)),
        max(high(drawn, v, error) for v in contrasts),
    )


def change_of_widest(drawn: Draws, before: Sequence[np.ndarray], after: Sequence[np.ndarray], level: float) -> Estimate:
    """Estimates how much wider one gap of the same records is than another.

        max_i a_i - max_j b_j = max_i min_j (a_i - b_j) = min_j max_i (a_i - b_j)

    Each a_i - b_j is a T of its own, in which what the two have in common cancels. Its upper limits are put into the
    first form, where those of the widest a fail only with one of the b, which share the error; its lower limits into
    the second, the mirror image. Costs len(before) len(after) pairs of limits.

    Args:
      drawn: Resamples.
      before: What each outcome counts in each cell, float64 [c, o], of each b.
      after: The same of each a.
      level: Confidence level.
    """
    error = tail(level)
    gap = max(value(drawn.counts, a) for a in after) - max(value(drawn.counts, b) for b in before)
    lows = [[low(drawn, a - b, error / len(after)) for a in after] for b in before]
    highs = [[high(drawn, a - b, error / len(before)) for b in before] for a in after]
    return Estimate(gap, min(map(max, lows)), max(map(min, highs)))
