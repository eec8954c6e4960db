"""Validity gate: can members be told from non-members without asking the model at all?

If they can, the two pools differ by themselves, and an attack's AUC measures that difference too. The gate is a ridge
classifier on label-free features of the raw records, judged out of fold; whether it beats chance is settled by a
permutation test, which is exact for any classifier and any dependence between folds. Ridge regression is linear in the
labels, so all permutations are solved in one pass. People with several records are dealt to folds, and permuted, as
wholes: a classifier that has met a person elsewhere would recognise the person, not the side.

References:
  Das, Zhang and Tramer 2024, Blind baselines beat membership inference attacks, https://arxiv.org/abs/2406.16201
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.folds import DESIGN_EFFECT, assign, out_of_fold, shuffled, within_fold_auc
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.metrics.intervals import Estimate, difference
from diffaudit_jax.metrics.roc import auc, placements
from diffaudit_jax.metrics.samples import separate, truth
from diffaudit_jax.metrics.traces import blind_features
from diffaudit_jax.types import InputError

ALARM = 0.01  # one fair split in a hundred is called leaking, so that few detections are hidden behind a false alarm


class BlindBaseline(NamedTuple):
    """How well members are told from non-members without the model.

    Attributes:
      auc: Area under the ROC curve of the out-of-fold scores; of one record of each person; its interval allows for the
        folds' dependence.
      leaks: Whether it beats chance: p_value <= alarm. A fair split does with probability `alarm` at most.
      p_value: One-sided, from permuted labels; at least 1/(num_permutations + 1).
      num_permutations: How many.
      scores: The out-of-fold scores, float64 [n], for `advantage_over_blind`.
    """

    auc: Estimate
    leaks: bool
    p_value: float
    num_permutations: int
    scores: np.ndarray


class _Folds(NamedTuple):
    """What the classifier works on: k people with n records.

    Attributes:
      features: Columns [n, r].
      codes: Person of each record, int [n].
      member: Truth about each person, bool [k].
      fold: Fold of each person, int [k].
    """

    features: np.ndarray
    codes: np.ndarray
    member: np.ndarray
    fold: np.ndarray


def _prepare(x: ArrayLike, member: ArrayLike, groups: ArrayLike | None, seed: int, folds: int) -> _Folds:
    """Checks the arguments, makes the features and deals the people to folds."""
    member, x = truth(member), np.asarray(x)
    if len(x) != len(member):
        raise InputError(f"x has {len(x)} records but member has {len(member)} rows: give one truth per record.")
    codes = people(groups, member)
    member = member[np.unique(codes, return_index=True)[1]]
    fewest = int(min(np.count_nonzero(member), np.count_nonzero(~member)))
    if not 2 <= folds <= fewest:
        unit = "records" if groups is None else "groups"
        raise InputError(f"folds is {folds}: choose 2 to {fewest}, as the smaller class has {fewest} {unit}.")
    return _Folds(blind_features(x, seed), codes, member, assign(member, folds, np.random.default_rng(seed)))


def blind_scores(
    x: ArrayLike, member: ArrayLike, *, groups: ArrayLike | None = None, seed: int = 0, folds: int = 5
) -> np.ndarray:
    """Scores every record by a classifier trained on the other folds, without any model: higher = member.

    Args:
      x: Records [n, ...], uint8 or float: images, or rows of a table.
      member: Truth, bool [n].
      groups: Person of each record, int [n], if some have several: all of a person's are in one fold.
      seed: Seed of the folds and of the features' decomposition.
      folds: Number of folds; each gets its share of both classes.

    Returns:
      Scores, float64 [n], standardised within each fold.

    Raises:
      InputError: if the lengths differ, a value is not finite, a class is missing or smaller than `folds`, or a person
        is on both sides.
    """
    features, codes, member, fold = _prepare(x, member, groups, seed, folds)
    return out_of_fold(features, member[codes, None].astype(np.float64), fold[codes])[:, 0]


def blind_baseline(
    x: ArrayLike,
    member: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    alarm: float = ALARM,
    seed: int = 0,
    folds: int = 5,
    num_permutations: int = 499,
) -> BlindBaseline:
    """Tests whether a classifier that never queries a model beats chance on this split.

    The labels of people are permuted within folds, so features, folds and class counts stay; on a fair split every such
    labelling is as likely as the true one, hence P[leaks] <= alarm. A clean verdict says no more than that this
    classifier finds nothing.

    Args:
      x: Records [n, ...], uint8 or float.
      member: Truth, bool [n].
      groups: Person of each record, int [n], if some have several; without it every record is a person of its own, and
        a fair split by person looks like a leak.
      level: Confidence level of the interval.
      alarm: How often a fair split may be called leaking, in (0, 1).
      seed: Seed of the folds, the features' decomposition and the permutations.
      folds: Number of folds.
      num_permutations: Permutations; 1/(num_permutations + 1) is the smallest p-value.

    Raises:
      InputError: as `blind_scores`, or if `alarm` is not inside (0, 1) or so few permutations never reach it.
    """
    if not 0.0 < alarm < 1.0 or 1 / (num_permutations + 1) > alarm:
        raise InputError(
            f"alarm is {alarm} with {num_permutations} permutations: choose one inside (0, 1), and "
            "num_permutations of at least 1/alarm - 1."
        )
    features, codes, member, fold = _prepare(x, member, groups, seed, folds)
    rng = np.random.default_rng((seed, 1))  # its own stream: the folds do not depend on the number of permutations
    every = shuffled(member, fold, num_permutations, rng)
    every, fold = every[codes], fold[codes]  # from people to their records
    areas = within_fold_auc(out_of_fold(features, every, fold), every, fold)
    p_value = float(np.mean(areas >= areas[0]))  # the true labelling is one of them and counts
    scores, rows = out_of_fold(features, every[:, :1], fold)[:, 0], one_each(codes, seed)
    area = auc(scores[rows], every[rows, 0], level=level, design_effect=DESIGN_EFFECT)
    return BlindBaseline(area, p_value <= alarm, p_value, num_permutations, scores)


def advantage_over_blind(scores: ArrayLike, blind: ArrayLike, member: ArrayLike, *, level: float = 0.95) -> Estimate:
    """What an attack adds to the blind baseline: AUC(scores) - AUC(blind) on the same records.

    The interval combines the two of `auc` (MOVER) with DeLong's covariance of the two areas, so it does not collapse
    where an area is 1. The blind scores are taken to be out of fold, with twice the variance of independent ones.

    Args:
      scores: The attack's scores [n], higher = member.
      blind: Blind scores [n] of the same records.
      member: Truth, bool [n].
      level: Confidence level.

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class is missing.

    References:
      DeLong et al. 1988, Biometrics 44:837; Zou and Donner 2008, Statistics in Medicine 27:1693.
    """
    if np.shape(scores) != np.shape(blind):
        raise InputError(
            f"scores has shape {np.shape(scores)} but blind has {np.shape(blind)}: score the same records."
        )
    a = auc(scores, member, level=level)
    b = auc(blind, member, level=level, design_effect=DESIGN_EFFECT)
    x, y = separate(np.stack([scores, blind], axis=1), member, ndim=2)
    if min(len(x), len(y)) < 2:
        return difference(a, b)  # one row of a class tells no correlation
    v10, v01 = placements(x, y)
    covariance = np.cov(v10, rowvar=False) / len(x) + np.cov(v01, rowvar=False) / len(y)
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1] * DESIGN_EFFECT))
    return difference(a, b, float(covariance[0, 1]) / scale if scale > 0 else 0.0)
