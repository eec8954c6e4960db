"""Confidence intervals with coverage that holds in finite samples: binomial, quantile, and combinations of two.

Every interval takes ``level`` (0.95 unless told) and spends ``alpha/2 = (1 - level)/2`` on each side. The binomial
limits invert the exact tails, so they never collapse to a point: 0 of n still has an upper limit of about 3.7/n.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from diffaudit_jax.types import InputError


class Estimate(NamedTuple):
    """A number and the confidence interval around it."""

    value: float
    low: float
    high: float


def tail(level: float) -> float:
    """Returns the error that a two-sided interval spends on each side, (1 - level)/2.

    Raises:
      InputError: if `level` is not inside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}: a confidence level lies between 0 and 1, for example 0.95.")
    return (1.0 - level) / 2.0


def binomial_low(k: float | np.ndarray, n: float | np.ndarray, error: float) -> np.ndarray:
    """Lower Clopper-Pearson limit: the p at which P[Bin(n, p) >= k] = error.

    Args:
      k: Successes, any shape; need not be whole (see `auc`).
      n: Trials, broadcast against `k`.
      error: Probability that the limit lies above the truth, at most.

    Returns:
      Limits, float64; 0 where k = 0.
    """
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    return np.where(k > 0, betaincinv(np.where(k > 0, k, 1.0), n - k + 1.0, error), 0.0)


def binomial_high(k: float | np.ndarray, n: float | np.ndarray, error: float) -> np.ndarray:
    """Upper Clopper-Pearson limit: one minus the lower limit of the failures."""
    return 1.0 - binomial_low(np.subtract(n, k), n, error)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Estimate:
    """Estimates a probability from k successes in n trials, with the exact (conservative) interval.

    Args:
      k: Successes.
      n: Trials.
      level: Confidence level.

    Returns:
      k/n with its interval.

    Raises:
      InputError: if not 0 <= k <= n with n >= 1, or `level` is not inside (0, 1).

    References:
      Clopper and Pearson 1934, Biometrika 26:404.
    """
    checked_counts(k, n)
    error = tail(level)
    return Estimate(float(k / n), float(binomial_low(k, n, error)), float(binomial_high(k, n, error)))


def checked_counts(k: int, n: int) -> None:
    """Refuses counts that cannot be.

    Raises:
      InputError: if not 0 <= k <= n with n >= 1.
    """
    if not (0 <= k <= n and n >= 1):
        raise InputError(f"{k} successes in {n} trials: give 0 <= k <= n with at least one trial.")


class Ranks(NamedTuple):
    """Two order statistics that bracket a quantile, and the probability that each fails to.

    The rank-th largest of n values: rank 0 stands for +inf, rank n + 1 for -inf.
    """

    above: int
    below: int
    error_above: float
    error_below: float


def quantile_ranks(n: int, fraction: float, error: float) -> Ranks:
    """Ranks, from the top, of the order statistics that bracket the value exceeded with probability `fraction`.

    Of n draws a Bin(n, fraction) number exceeds that value, whatever the distribution, so the rank-th largest lies
    below it with P[Bin <= rank - 1] and above it with P[Bin >= rank]. Ties only lower both probabilities.

    Args:
      n: Sample size.
      fraction: Upper tail probability of the quantile, in (0, 1).
      error: What each side may fail with, at most.

    Returns:
      The nearest such ranks, with the probabilities attained (below `error`, as ranks are whole numbers).
    """
    above = int(binom.ppf(error, n, fraction))
    below = int(binom.isf(error, n, fraction)) + 1
    return Ranks(above, below, float(binom.cdf(above - 1, n, fraction)), float(binom.sf(below - 1, n, fraction)))


def scaled(weight: float, estimate: Estimate, offset: float = 0.0) -> Estimate:
    """Returns offset + weight * estimate; a negative weight swaps the limits."""
    ends = sorted(offset + weight * end for end in estimate[1:])
    return Estimate(offset + weight * estimate.value, *ends)


def difference(a: Estimate, b: Estimate, correlation: float = 0.0) -> Estimate:
    """Interval of a - b from the intervals of a and of b (MOVER).

    low = d - sqrt((a - a_low)^2 + (b_high - b)^2 - 2 r (a - a_low)(b_high - b)), and the mirror image for high: each
    side recovers the variances near its own limit, so asymmetric intervals stay asymmetric and none collapses.

    Args:
      a: First estimate.
      b: Second estimate, at the same level.
      correlation: Correlation r of the two estimators.

    References:
      Zou and Donner 2008, Statistics in Medicine 27:1693; Newcombe 1998, Statistics in Medicine 17:873, method 10.
    """

    def spread(u: float, v: float) -> float:
        return max(u * u + v * v - 2.0 * correlation * u * v, 0.0) ** 0.5

    d = a.value - b.value
    return Estimate(d, d - spread(a.value - a.low, b.high - b.value), d + spread(a.high - a.value, b.value - b.low))
