"""Several tests in one report, adjusted so that all of them together keep their error.

Holm's step-down procedure multiplies the smallest of k p-values by k, the next by k - 1, and so on:

    p~_(i) = max over j <= i of min(1, (k - j + 1) p_(j)),    p_(1) <= ... <= p_(k)

The chance that any true null hypothesis has p~ <= alpha is at most alpha, however the tests depend on each other. It
finds all that Bonferroni's k p_(i) finds.

References:
  Holm 1979, Scandinavian Journal of Statistics 6:65.
  Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57:289.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.special import betainc

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.types import InputError

TRIALS = 1e-6, 1e15  # between these lie the trials that an interval of any sample, and any level, is worth


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusts p-values for their number: reject where the adjusted one is at most alpha.

    Args:
      p_values: Of all tests that are looked at, [k].

    Returns:
      Adjusted p-values in the order of the tests, float64 [k].

    Raises:
      InputError: if a p-value lies outside [0, 1], or they are not a list.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Adjusts p-values: flagging those adjusted to q at most holds the false-discovery rate at q.

    p~_(i) = min over j >= i of min(1, k p_(j) / j),    p_(1) <= ... <= p_(k)

    It holds for p-values that are independent, or depend on each other positively, as ranks in one sample do.

    Args:
      p_values: Of all tests that are looked at, [k].

    Returns:
      Adjusted p-values in the order of the tests, float64 [k].

    Raises:
      InputError: if a p-value lies outside [0, 1], or they are not a list.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return adjusted


def _checked(p_values: ArrayLike) -> np.ndarray:
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1:
        raise InputError(f"p_values has shape {p.shape}: give one list of them.")
    if not ((p >= 0) & (p <= 1)).all():
        place = int(np.flatnonzero(~((p >= 0) & (p <= 1)))[0])
        raise InputError(f"p-value {place} is {p[place]}: a p-value lies in [0, 1].")
    return p


def auc_p_value(area: Estimate, level: float = 0.95) -> float:
    """Two-sided p-value of AUC = 1/2: the error 1 - level at which the interval of `auc` would first leave 1/2 out.

    That interval is Clopper-Pearson's for a proportion a in n trials, of which its lower limit tells n:

        P[Bin(n, low) >= a n] = (1 - level)/2,      p = 2 P[Bin(n, 1/2) >= a n],      and the mirror image for a < 1/2

    So p <= 1 - level exactly where the interval at `level` leaves 1/2 out, at every level. If scores know nothing of
    membership, P[p <= alpha] <= alpha for alpha of .0005 and more (below that up to 1.2 alpha, with ten of each class):
    enumerated over all orders of small samples, simulated for large ones. Like the interval it is conservative: of .05
    it spends .02 with ten of each class and .04 with 64 and 1,000; with ties it spends less.

    Args:
      area: What `auc` returned.
      level: The level at which it did.

    Raises:
      InputError: if `level` is not inside (0, 1), or the limits do not surround the value.
    """
    error = tail(level)
    a, low = (area.value, area.low) if area.value >= 0.5 else (1.0 - area.value, 1.0 - area.high)
    if not 0.0 < low < a <= 1.0:
        raise InputError(f"an AUC of {area.value} in [{area.low}, {area.high}] is no interval: give what auc returned.")

    def reached(log_n: float, p: float) -> float:
        n = math.exp(log_n)
        return float(betainc(a * n, n - a * n + 1.0, p))

    bracket = [math.log(trials) for trials in TRIALS]
    solved = root_scalar(lambda log_n: reached(log_n, low) - error, bracket=bracket, xtol=1e-12)
    return min(1.0, 2.0 * reached(solved.root, 0.5))
