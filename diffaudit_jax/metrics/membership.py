"""Everything a report says about one membership attack, from its scores and the truth."""

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.operating import OperatingPoint, tpr_at_fpr
from diffaudit_jax.metrics.roc import Roc, auc, roc
from diffaudit_jax.metrics.samples import separate
from diffaudit_jax.metrics.transfer import Decision, Transfer, decision, transfer
from diffaudit_jax.types import InputError

FEWEST = 10  # of each class: halves of five are the smallest that the intervals were checked on


class MembershipStats(NamedTuple):
    """Statistics of one attack; every interval holds on its own, at `level`, for the one model that was audited.

    Attributes:
      num_members: Members queried.
      num_nonmembers: Non-members queried.
      level: Confidence level of every interval.
      auc: Area under the ROC curve.
      points: True positive rates at fixed false positive rates, on all records.
      transfers: The same rates with the threshold fixed on one half and tested on the other.
      decision: Threshold of best balanced accuracy, fixed on one half and tested on the other.
      roc: The curve.
    """

    num_members: int
    num_nonmembers: int
    level: float
    auc: Estimate
    points: tuple[OperatingPoint, ...]
    transfers: tuple[Transfer, ...]
    decision: Decision
    roc: Roc


def membership_stats(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    fprs: Sequence[float] = (0.1, 0.01, 0.001),
    level: float = 0.95,
    seed: int = 0,
) -> MembershipStats:
    """Computes the statistics of one membership attack.

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].
      fprs: False positive rates of `points` and `transfers`.
      level: Confidence level of each interval.
      seed: Seed of the split in halves: one split serves all thresholds.

    Raises:
      InputError: if the lengths differ, a score is not finite (the message names its row), a class has fewer than 10
        rows, or a rate or `level` is not inside (0, 1).
    """
    x, y = separate(scores, member)
    for name, sample in (("members", x), ("non-members", y)):
        if len(sample) < FEWEST:
            few = f"1 {name[:-1]} is" if len(sample) == 1 else f"{len(sample)} {name} are"
            raise InputError(f"{few} too few for statistics: at least {FEWEST} are needed.")
    return MembershipStats(
        num_members=len(x),
        num_nonmembers=len(y),
        level=level,
        auc=auc(scores, member, level=level),
        points=tuple(tpr_at_fpr(scores, member, fpr, level=level) for fpr in fprs),
        transfers=tuple(transfer(scores, member, fpr, level=level, seed=seed) for fpr in fprs),
        decision=decision(scores, member, level=level, seed=seed),
        roc=roc(scores, member),
    )
