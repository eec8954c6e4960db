"""A threshold fixed on non-members alone, before any member is asked about, and what it then does.

Of n non-members and one more from where they came, every order is equally likely, so the one more is above the k-th
largest of the n with probability k/(n + 1) at most, ties included. k = floor(fpr (n + 1)) keeps a false positive rate.
As nothing about the records that are judged had a say in the threshold, hits and false alarms among them are binomial
counts, with exact intervals.

References:
  Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, section 2.2 (conformal p-values).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.samples import checked
from diffaudit_jax.types import InputError


class Committed(NamedTuple):
    """Both rates of "score > threshold", for a threshold that was fixed before.

    Attributes:
      tpr: True positive rate.
      fpr: False positive rate, on non-members that had no say in the threshold.
      found: Members above it.
      accused: Non-members above it.
    """

    tpr: Estimate
    fpr: Estimate
    found: int
    accused: int


def fixed_threshold(nonmembers: ArrayLike, fpr: float) -> float:
    """Returns the score above which at most `fpr` of further non-members are, on average over draws of all.

    The floor(fpr (n + 1))-th largest of n scores: a record is accused if its score is greater, not if it is equal.

    Args:
      nonmembers: Scores of non-members, float [n], higher = member.
      fpr: False positive rate, in (0, 1).

    Raises:
      InputError: if a score is not finite, `fpr` is not inside (0, 1), or so few non-members fix no threshold for it.
    """
    scores = np.asarray(nonmembers, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise InputError(f"scores of non-members are finite numbers [n], got shape {scores.shape} or NaN or infinity.")
    check_fixes(len(scores), fpr)
    return float(np.sort(scores)[-_rank(len(scores), fpr)])


def check_fixes(num_nonmembers: int, fpr: float) -> None:
    """Refuses a rate for which so many non-members fix no threshold.

    Raises:
      InputError: if `fpr` is not inside (0, 1), or they are fewer than 1/fpr - 1.
    """
    if not 0.0 < fpr < 1.0:
        raise InputError(f"the false positive rate is {fpr}: it lies between 0 and 1, for example 0.01.")
    if _rank(num_nonmembers, fpr) < 1:
        raise InputError(
            f"{num_nonmembers} non-members fix no threshold for a false positive rate of {fpr:g}: "
            f"set it on at least {math.ceil(1 / fpr * (1 - 1e-12)) - 1}."
        )


def committed(scores: ArrayLike, member: ArrayLike, threshold: float, *, level: float = 0.95) -> Committed:
    """Counts what is above a threshold that was fixed before, with exact (Clopper-Pearson) intervals.

    Args:
      scores: Real numbers [n], higher = member; of none that set the threshold.
      member: Truth, bool [n].
      threshold: Of `fixed_threshold`.
      level: Confidence level of each interval.

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class is missing.
    """
    scores, member = checked(scores, member)
    above = scores > threshold
    found, accused = int(above[member].sum()), int(above[~member].sum())
    tpr, fpr = (clopper_pearson(count, int(side.sum()), level) for count, side in ((found, member), (accused, ~member)))
    return Committed(tpr, fpr, found, accused)


def _rank(n: int, fpr: float) -> int:
    # fpr is a decimal that binary fractions miss by a rounding: 0.29 of 100 is 29, not 28.
    return math.floor(fpr * (n + 1) * (1 + 1e-12))
