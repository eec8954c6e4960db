"""Thresholds fixed on one half of the records and tested on the other: what an attacker who must commit would get.

A threshold that is chosen and judged on the same records looks better than it is. On records that had no say in it,
hits and false alarms are plain binomial counts with exact intervals.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson, difference, scaled
from diffaudit_jax.metrics.operating import resolution
from diffaudit_jax.metrics.roc import roc
from diffaudit_jax.metrics.samples import checked, truth
from diffaudit_jax.types import InputError


class Transfer(NamedTuple):
    """A threshold for one false positive rate, fixed on half A; both rates of "score >= threshold" on half B.

    Attributes:
      target_fpr: False positive rate asked for.
      threshold: Lowest score of half A whose false positive rate there is at most the target; None if "no".
      fpr: False positive rate on half B: does the target hold on records that did not set it?
      tpr: True positive rate on half B.
      num_members: Members in half B.
      num_nonmembers: Non-members in half B.
      resolvable: "yes", "weak" or "no", by the non-members of half A.
      reason: Why it is "weak" or "no", else empty.
    """

    target_fpr: float
    threshold: float | None
    fpr: Estimate | None
    tpr: Estimate | None
    num_members: int
    num_nonmembers: int
    resolvable: str
    reason: str


class Decision(NamedTuple):
    """The threshold of best balanced accuracy on half A, judged on half B.

    Attributes:
      threshold: A record counts as a member if its score is at least this.
      balanced_accuracy: (TPR + 1 - FPR)/2; 0.5 is guessing.
      accuracy: Share of half B's records decided rightly: depends on its prevalence.
      f1: 2 TP/(2 TP + FP + FN) at half B's prevalence, which must be quoted with it.
      tpr: True positive rate on half B.
      fpr: False positive rate on half B.
      prevalence: Share of members in half B.
    """

    threshold: float
    balanced_accuracy: Estimate
    accuracy: Estimate
    f1: Estimate
    tpr: Estimate
    fpr: Estimate
    prevalence: float


def halves(member: ArrayLike, seed: int | np.random.Generator) -> np.ndarray:
    """Marks a random half of the members and a random half of the non-members as half A.

    Args:
      member: Truth, bool [n].
      seed: Seed, or a generator, of the split.

    Returns:
      bool [n]: True in half A; an odd record goes to half B.

    Raises:
      InputError: if a class has fewer than two rows.
    """
    member, rng = truth(member), np.random.default_rng(seed)
    first = np.zeros(len(member), bool)
    for name, kind in (("members", member), ("non-members", ~member)):
        rows = np.flatnonzero(kind)
        if len(rows) < 2:
            raise InputError(f"{len(rows)} {name} cannot be split in two halves: query at least 2.")
        first[rng.permutation(rows)[: len(rows) // 2]] = True
    return first


def _rates(scores: np.ndarray, member: np.ndarray, threshold: float, level: float) -> tuple[Estimate, Estimate]:
    """True and false positive rate of "score >= threshold", each with its exact interval."""
    hit = scores >= threshold
    tpr = clopper_pearson(int(np.count_nonzero(hit[member])), int(np.count_nonzero(member)), level)
    fpr = clopper_pearson(int(np.count_nonzero(hit[~member])), int(np.count_nonzero(~member)), level)
    return tpr, fpr


def transfer(
    scores: ArrayLike, member: ArrayLike, fpr: float, *, level: float = 0.95, seed: int | np.random.Generator = 0
) -> Transfer:
    """Fixes the threshold for a false positive rate on half A and measures both rates on half B.

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].
      fpr: False positive rate, in (0, 1).
      level: Confidence level of each interval.
      seed: Seed, or a generator, of the split.

    Raises:
      InputError: if the lengths differ, a score is not finite, a class has fewer than two rows, or `fpr` is not inside
        (0, 1).
    """
    scores, member = checked(scores, member)
    first = halves(member, seed)
    m, n = int(np.count_nonzero(member & ~first)), int(np.count_nonzero(~member & ~first))
    resolvable, reason = resolution(int(np.count_nonzero(~member & first)), fpr)
    reason = reason and f"in the half that sets the threshold, {reason}"
    if resolvable == "no":
        return Transfer(fpr, None, None, None, m, n, resolvable, reason)
    curve = roc(scores[first], member[first])
    threshold = float(curve.thresholds[np.flatnonzero(curve.fpr <= fpr)[-1]])
    tpr, achieved = _rates(scores[~first], member[~first], threshold, level)
    return Transfer(fpr, threshold, achieved, tpr, m, n, resolvable, reason)


def _f1(tpr: float, fpr: float, odds: float) -> float:
    """F1 = 2 TPR/(TPR + 1 + odds FPR), odds = non-members per member: rises with TPR, falls with FPR."""
    return 2.0 * tpr / (tpr + 1.0 + odds * fpr)


def decision(
    scores: ArrayLike, member: ArrayLike, *, level: float = 0.95, seed: int | np.random.Generator = 0
) -> Decision:
    """Picks the threshold of best balanced accuracy on half A and judges it on half B.

    The balanced accuracy on the half that picked the threshold would be biased upwards. Intervals: Clopper-Pearson for
    the two rates, MOVER for their weighted difference (at least 95 % for a nominal 95 % wherever each half has 10 or
    more of each class, .94 with 5), and for F1 the worst corner of two rates of half the error each (conservative).

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].
      level: Confidence level of each interval.
      seed: Seed, or a generator, of the split.

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class has fewer than two rows.
    """
    scores, member = checked(scores, member)
    first = halves(member, seed)
    curve = roc(scores[first], member[first])
    # The vertex at +inf names nobody a member: the last vertex is as good, and finite.
    threshold = float(curve.thresholds[1:][np.argmax((curve.tpr - curve.fpr)[1:])])
    x, truths = scores[~first], member[~first]
    tpr, fpr = _rates(x, truths, threshold, level)
    prevalence = float(truths.mean())
    odds = (1.0 - prevalence) / prevalence
    tpr_wide, fpr_wide = _rates(x, truths, threshold, (1.0 + level) / 2.0)

    def share_right(weight: float) -> Estimate:
        right = difference(scaled(weight, tpr), scaled(1.0 - weight, fpr))
        return scaled(1.0, right, offset=1.0 - weight)

    f1 = Estimate(
        _f1(tpr.value, fpr.value, odds),
        _f1(tpr_wide.low, fpr_wide.high, odds),
        _f1(tpr_wide.high, fpr_wide.low, odds),
    )
    return Decision(threshold, share_right(0.5), share_right(prevalence), f1, tpr, fpr, prevalence)
