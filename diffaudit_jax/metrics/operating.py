"""True positive rate at a fixed false positive rate, where the data can tell, with an interval that covers.

The threshold that has a false positive rate of phi in the population is itself unknown. An exact binomial interval at
the threshold of the sample ignores that and covers far less often than it says. Here the order statistics of the
non-members bracket the threshold, and exact binomial limits on the members follow at both ends of the bracket.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate, binomial_high, binomial_low, quantile_ranks, tail
from diffaudit_jax.metrics.roc import roc
from diffaudit_jax.metrics.samples import separate
from diffaudit_jax.types import InputError

# Part of each side's error spent on the threshold; what whole ranks leave of it goes to the members. Of .1 to .9, one
# half is within 7 % of the shortest interval over equal and unequal class sizes, weak and strong attacks.
THRESHOLD_SHARE = 0.5
WEAK_BELOW = 10  # expected false positives under which a rate rests on a handful of records


class OperatingPoint(NamedTuple):
    """What a sample says about the true positive rate at one false positive rate.

    Attributes:
      target_fpr: False positive rate asked for.
      resolvable: "yes"; "weak" if fewer than 10 false positives are allowed; "no" if not even one is.
      tpr: Largest rate with an empirical false positive rate of at most the target; None if not resolvable.
      fpr: False positive rate at that point; None if not resolvable.
      reason: Why it is "weak" or "no", else empty.
    """

    target_fpr: float
    resolvable: str
    tpr: Estimate | None
    fpr: float | None
    reason: str


def resolution(num_nonmembers: int, fpr: float) -> tuple[str, str]:
    """Says whether so many non-members can resolve a false positive rate: "yes", "weak" or "no", and why not.

    Raises:
      InputError: if `fpr` is not inside (0, 1).
    """
    if not 0.0 < fpr < 1.0:
        raise InputError(f"the false positive rate is {fpr}: it lies between 0 and 1, for example 0.01.")

    def needed(count: int) -> int:
        return math.ceil(count / fpr * (1.0 - 1e-12))

    if 1 / num_nonmembers > fpr:
        return "no", (
            f"{num_nonmembers} non-members cannot resolve a false positive rate of {fpr:g}: "
            f"the smallest above 0 is {1 / num_nonmembers:.2g}; query at least {needed(1)}."
        )
    if WEAK_BELOW / num_nonmembers > fpr:
        return "weak", (
            f"a false positive rate of {fpr:g} rests on {fpr * num_nonmembers:.3g} of {num_nonmembers} non-members: "
            f"query at least {needed(WEAK_BELOW)}."
        )
    return "yes", ""


def _interval(x: np.ndarray, y: np.ndarray, fpr: float, error: float) -> tuple[float, float]:
    """Limits of the true positive rate at `fpr`, each failing with probability `error` at most.

    Per side: if the bracket fails (probability e) nothing is claimed, else the binomial limit may fail with
    (error - e)/(1 - e); together e + (1 - e)(error - e)/(1 - e) = error, whatever the two distributions.
    """
    m, n = len(x), len(y)
    descending = np.sort(y)[::-1]
    ranks = quantile_ranks(n, fpr, THRESHOLD_SHARE * error)
    low, high = 0.0, 1.0
    if ranks.above >= 1:
        rest = (error - ranks.error_above) / (1.0 - ranks.error_above)
        low = float(binomial_low(int(np.count_nonzero(x > descending[ranks.above - 1])), m, rest))
    if ranks.below <= n:
        rest = (error - ranks.error_below) / (1.0 - ranks.error_below)
        high = float(binomial_high(int(np.count_nonzero(x >= descending[ranks.below - 1])), m, rest))
    return low, high


def tpr_at_fpr(scores: ArrayLike, member: ArrayLike, fpr: float, *, level: float = 0.95) -> OperatingPoint:
    """True positive rate at a false positive rate, refused where the non-members are too few.

    The interval holds for the population's rate at exactly `fpr`, for any two distributions of scores, ties included.
    Where few non-members exceed the threshold no valid lower limit above 0 exists, and low is 0: with 1,000
    non-members that is so at 0.1 %. A stratified bootstrap is shorter, but in simulation covers as little as .27 there.

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].
      fpr: False positive rate, in (0, 1).
      level: Confidence level.

    Raises:
      InputError: if the lengths differ, a score is not finite, a class is missing, or `fpr` is not inside (0, 1).
    """
    x, y = separate(scores, member)
    resolvable, reason = resolution(len(y), fpr)
    if resolvable == "no":
        return OperatingPoint(fpr, resolvable, None, None, reason)
    curve = roc(scores, member)
    point = np.flatnonzero(curve.fpr <= fpr)[-1]
    tpr = Estimate(float(curve.tpr[point]), *_interval(x, y, fpr, tail(level)))
    return OperatingPoint(fpr, resolvable, tpr, float(curve.fpr[point]), reason)
