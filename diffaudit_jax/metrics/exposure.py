"""Who is exposed more: one attack's AUC and hits by group, and the gap between the groups.

An attacker sets one threshold for all. So besides the AUC within each group there are, at ONE threshold set on all
non-members, the share of each group's members that is found and the share of its non-members that is wrongly accused.

The gap of k groups is max theta_g - min theta_g. A bootstrap of it is never 0, and where a rate is 0 or 1 it does not
move; neither covers. Here, with d_gh the interval of theta_g - theta_h (MOVER),

    high = max over pairs of d_gh's high, at the level asked for: the widest true gap is one of the pairs;
    low  = max over pairs of d_gh's low, with the error shared among the pairs, and at least 0.
"""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson, difference
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.metrics.operating import resolution
from diffaudit_jax.metrics.roc import auc, roc
from diffaudit_jax.metrics.samples import checked
from diffaudit_jax.metrics.shuffles import same_or_wider, shuffled, spread_of_areas, spread_of_rates
from diffaudit_jax.types import InputError

Rates = Callable[[float], Sequence[Estimate]]  # level -> an estimate of each group


class Threshold(NamedTuple):
    """The lowest score with at most the target's false positive rate on all non-members together.

    Attributes:
      target_fpr: False positive rate asked for.
      resolvable: "yes", "weak" or "no", by all non-members.
      score: The threshold; None if "no".
    """

    target_fpr: float
    resolvable: str
    score: float | None


class Group(NamedTuple):
    """How exposed one group is; without numbers if it has fewer than 10 members or non-members.

    Attributes:
      name: The group's.
      num_members: Its members.
      num_nonmembers: Its non-members.
      auc: AUC among its own records.
      tprs: Share of its members found, at each common threshold: given the threshold a binomial count, so exact.
      fprs: Share of its non-members wrongly accused there. They had a say in the threshold; coverage is simulated.
    """

    name: str
    num_members: int
    num_nonmembers: int
    auc: Estimate | None
    tprs: tuple[Estimate | None, ...]
    fprs: tuple[Estimate | None, ...]


class Gap(NamedTuple):
    """The widest difference between groups.

    Attributes:
      most: The group of the largest value.
      least: The group of the smallest.
      size: Their difference, with an interval of the widest true difference; it holds for all groups together.
      p_value: Share of shuffles of who is in which group, within members and within non-members, with so wide a gap.
    """

    most: str
    least: str
    size: Estimate
    p_value: float


class Exposure(NamedTuple):
    """One attack, group by group.

    Attributes:
      groups: Every group, by name; those too small to measure too.
      thresholds: The common thresholds.
      auc_gap: Gap of the AUC; None if fewer than two groups can be measured.
      tpr_gaps: Gap of the share found, at each threshold; None too where the threshold is not resolvable.
    """

    groups: tuple[Group, ...]
    thresholds: tuple[Threshold, ...]
    auc_gap: Gap | None
    tpr_gaps: tuple[Gap | None, ...]


def strata_codes(strata: ArrayLike, n: int) -> tuple[list[str], np.ndarray]:
    """Returns the groups' names, sorted, and the group of each record, int [n].

    Args:
      strata: Group of each record, integers or strings [n].
      n: Number of records.

    Raises:
      InputError: if a length is wrong, or a group is missing (NaN, None) or something else.
    """
    groups = np.asarray(strata, object)  # as objects first: NumPy would make a string of a missing value among strings
    if groups.shape != (n,):
        raise InputError(f"strata has shape {list(groups.shape)}: give one group for each of the {n} records.")
    if wrong := [row for row, group in enumerate(groups) if not isinstance(group, int | str)]:
        missing = [row for row in wrong if groups[row] is None or groups[row] != groups[row]]
        row = (missing or wrong)[0]
        raise InputError(
            f"strata is {groups[row]!r} in row {row}: name every record's group by an integer or a string."
        )
    names, codes = np.unique(np.array(groups.tolist()), return_inverse=True)
    return [str(name) for name in names], codes


def _threshold(scores: np.ndarray, member: np.ndarray, fpr: float) -> Threshold:
    resolvable, _ = resolution(int(np.count_nonzero(~member)), fpr)
    if resolvable == "no":
        return Threshold(fpr, resolvable, None)
    curve = roc(scores, member)
    return Threshold(fpr, resolvable, float(curve.thresholds[np.flatnonzero(curve.fpr <= fpr)[-1]]))


def _areas(scores: np.ndarray, member: np.ndarray, inside: Sequence[np.ndarray]) -> Rates:
    return lambda level: [auc(scores[rows], member[rows], level=level) for rows in inside]


def _shares(hit: np.ndarray, inside: Sequence[np.ndarray]) -> Rates:
    return lambda level: [clopper_pearson(int(hit[rows].sum()), int(rows.sum()), level) for rows in inside]


def widest(rates: Rates, level: float) -> Estimate:
    """Estimates the widest difference between independent groups, as the module says.

    Args:
      rates: Level -> the estimate of each of k >= 2 groups, at that level.
      level: Confidence level of the gap.
    """
    alone = rates(level)
    pairs = list(permutations(range(len(alone)), 2))
    shared = rates(1.0 - 2.0 * (1.0 - level) / len(pairs))
    gaps = [difference(alone[g], alone[h]) for g, h in pairs]
    low = max(difference(shared[g], shared[h]).low for g, h in pairs)
    return Estimate(max(gap.value for gap in gaps), max(0.0, low), max(gap.high for gap in gaps))


def _gap(names: Sequence[str], rates: Rates, level: float, widths: np.ndarray) -> Gap:
    values = [estimate.value for estimate in rates(level)]
    most, least = names[int(np.argmax(values))], names[int(np.argmin(values))]
    return Gap(most, least, widest(rates, level), same_or_wider(widths))


def exposure(
    scores: ArrayLike,
    member: ArrayLike,
    strata: ArrayLike,
    *,
    fprs: Sequence[float] = (0.1, 0.01),
    level: float = 0.95,
    seed: int = 0,
    num_permutations: int = 999,
) -> Exposure:
    """Measures how exposed each group is, and the widest gap between groups.

    Every interval of a group holds on its own; that of a gap for all groups together. The p-value is exact if group and
    score are independent among members, and among non-members. Each record counts: where people have several, pass one
    of each.

    Args:
      scores: The attack's, real numbers [n], higher = member.
      member: Truth, bool [n].
      strata: Group of each record (a label, a sensitive attribute), integers or strings [n].
      fprs: False positive rates that the common thresholds are set for, each in (0, 1).
      level: Confidence level of each interval.
      seed: Seed of the shuffles.
      num_permutations: Shuffles; 1/(num_permutations + 1) is the smallest p-value.

    Raises:
      InputError: if lengths differ, a score is not finite, a group is missing or no integer or string, a class is
        missing, or a rate or `level` lies outside (0, 1).
    """
    scores, member = checked(scores, member)
    names, codes = strata_codes(strata, len(member))
    counts = np.stack([np.bincount(codes[side], minlength=len(names)) for side in (member, ~member)], axis=1)
    large = np.flatnonzero(counts.min(axis=1) >= FEWEST)
    inside = [codes == g for g in large]
    thresholds = tuple(_threshold(scores, member, fpr) for fpr in fprs)
    hits = [None if t.score is None else scores >= t.score for t in thresholds]
    areas = _areas(scores, member, inside)
    found, accused = (
        [None if hit is None else _shares(hit, [rows & side for rows in inside]) for hit in hits]
        for side in (member, ~member)
    )

    def of_each(rates: Rates | None) -> list[Estimate | None]:
        """One entry for every group, None for those too small."""
        measured = {} if rates is None else dict(zip(large.tolist(), rates(level), strict=True))
        return [measured.get(g) for g in range(len(names))]

    own, tprs, fprs_ = of_each(areas), [*map(of_each, found)], [*map(of_each, accused)]
    groups = tuple(
        Group(name, m, n, own[g], tuple(rates[g] for rates in tprs), tuple(rates[g] for rates in fprs_))
        for g, (name, (m, n)) in enumerate(zip(names, counts.tolist(), strict=True))
    )
    if len(large) < 2:
        return Exposure(groups, thresholds, None, (None,) * len(hits))
    rows, measurable = np.isin(codes, large), [names[g] for g in large]
    scores, member = scores[rows], member[rows]
    labels = shuffled(np.searchsorted(large, codes[rows]), member, num_permutations, seed)
    tpr_gaps = tuple(
        None
        if hit is None or rates is None
        else _gap(measurable, rates, level, spread_of_rates(hit[rows], member, labels))
        for hit, rates in zip(hits, found, strict=True)
    )
    return Exposure(
        groups, thresholds, _gap(measurable, areas, level, spread_of_areas(scores, member, labels)), tpr_gaps
    )
