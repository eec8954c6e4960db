"""Is this set in the training data? Suspect against unpublished records of one source, by many features at once.

Where one record's membership cannot be told, that of a set can: weak evidence adds up. A ridge classifier learns to
tell suspect from unpublished records by what the model did with them, and ranks records that it did not learn from. If
the model never saw either set, who is suspect is a label that the features know nothing of: every other dealing of it
was as likely, and the share of dealings that the classifier tells as well or better is an exact p-value, whatever the
features, their number and their distribution.

Published work halves the sets, learns on one half and tests the other by Welch's t. Halved sets are noisy twice, and
the p-values of several halvings, which depend on each other, cost a factor of 2 (twice their median). Simulated with
60 features that have 8 factors in common, 15 halvings of a logistic regression find .04, .06 and .17 of differences of
which one test of all records finds .25, .18 and .30 (30, 60 and 120 records a side); Mann-Whitney's test in place of
Welch's finds no more.

References:
  Dubinski et al. 2024, CDI: Copyrighted Data Identification in Diffusion Models, https://arxiv.org/abs/2411.12858
  Meinshausen, Meier and Buehlmann 2009, JASA 104:1671 (twice the median)
  Phipson and Smyth 2010, https://arxiv.org/abs/1603.05766 (an exact p-value of random permutations)
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from diffaudit_jax.metrics.folds import DESIGN_EFFECT, RIDGE, assign, out_of_fold, shuffled, within_fold_auc
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.metrics.roc import auc
from diffaudit_jax.metrics.traces import standardised
from diffaudit_jax.types import InputError

FEWEST, FOLDS = 20, 5
MOST_EFFECT = 100.0  # where each side's scores are all the same, a ratio of roundings would say more


class DatasetVerdict(NamedTuple):
    """How well suspect records are told from unpublished ones by what a model did with them.

    Attributes:
      p_value: One-sided; at least 1/(num_permutations + 1).
      auc: Area under the ROC curve of the out-of-fold scores, of one record of each person; its interval allows for the
        folds' dependence.
      effect: Mean out-of-fold score of suspect less that of unpublished records, in standard deviations of either; cut
        off at 100 either way, where the sides are told completely.
      num_permutations: How many.
      scores: The out-of-fold scores, float64 [n + m], suspect records first.
    """

    p_value: float
    auc: Estimate
    effect: float
    num_permutations: int
    scores: np.ndarray


def dataset_verdict(
    suspect: ArrayLike,
    unpublished: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
    num_permutations: int = 1999,
) -> DatasetVerdict:
    """Tests whether a model treats a suspect set otherwise than an unpublished one of the same source.

    p = (1 + #{b : A_b >= A_0}) / (1 + num_permutations),   A = mean over folds of the AUC of out-of-fold ridge scores

    A_0 is of the true labels and A_b of the b-th shuffle within folds. If records (with groups: people) of both sets
    are exchangeable, P[p <= alpha] <= alpha for every alpha. That the sets differ by themselves makes p small too: ask
    `blind_baseline` of the records beside it.

    Args:
      suspect: What the model did with each suspect record, real numbers [n, d], e.g. logarithms of losses.
      unpublished: The same of records that it cannot have been trained on, [m, d].
      groups: Person of each record, int or str [n + m], suspect ones first; None if every record is a person's own.
      level: Confidence level of the AUC's interval.
      seed: Seed of the folds and the shuffles.
      num_permutations: Shuffles.

    Raises:
      InputError: if a side has fewer than 20 records or people, a feature is not finite, the numbers of features
        differ, a person is on both sides, or there is no shuffle.
    """
    if num_permutations < 1:
        raise InputError(f"num_permutations is {num_permutations}: give 1 at least, for example 1999.")
    features, suspected, codes = prepared(suspect, unpublished, groups)
    with threadpool_limits(1, "blas"):  # the matrices are small: threads would wait for each other
        scores, p_value = tested(features, suspected, codes, seed, num_permutations)
    rows = one_each(codes, seed)
    area = auc(scores[rows], suspected[rows], level=level, design_effect=DESIGN_EFFECT)
    return DatasetVerdict(p_value, area, _effect(scores[suspected], scores[~suspected]), num_permutations, scores)


def shared(level: float, tests: int, num_permutations: int) -> float:
    """Returns the greatest p-value at which each of several tests holds its share of an error, but for roundings.

    Args:
      level: Confidence level of all tests together.
      tests: How many.
      num_permutations: Shuffles of each.

    Raises:
      InputError: if so few shuffles never reach it.
    """
    share = 2 * tail(level) / tests * (1 + 1e-12)
    if share * (num_permutations + 1) < 1:
        raise InputError(
            f"num_permutations is {num_permutations}, and {tests} tests at level {level:g} ask for p-values of "
            f"{share:.2g}: give at least {math.ceil((1 - 1e-9) / share) - 1}."
        )
    return share


def tested(
    features: np.ndarray, suspected: np.ndarray, codes: np.ndarray, seed: int, num_permutations: int
) -> tuple[np.ndarray, float]:
    """Returns the out-of-fold scores [n], and the p-value of their AUC."""
    side = suspected[np.unique(codes, return_index=True)[1]]
    fold = assign(side, FOLDS, np.random.default_rng(seed))
    every = shuffled(side, fold, num_permutations, np.random.default_rng((seed, 1)))[codes]
    fold = fold[codes]
    scores = out_of_fold(features, every, fold)
    areas = within_fold_auc(scores, every, fold)
    # Equal areas of two orders may differ by roundings of a sum: such a tie counts against the claim.
    return scores[:, 0].copy(), float(np.mean(areas >= areas[0] - 1e-12))


def checked_features(features: ArrayLike, name: str) -> np.ndarray:
    """Returns features as float64 [n, d].

    Raises:
      InputError: if they are no such array, or one is not finite.
    """
    try:
        values = np.asarray(features).astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} holds things that are not numbers: give features [records, features].") from None
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"{name} has shape {list(values.shape)}: give features [records, features].")
    if len(place := np.argwhere(~np.isfinite(values))):
        row, column = map(int, place[0])
        raise InputError(f"feature {column} of record {row} of {name} is {values[row, column]}: give finite features.")
    return values


def of_both(suspect: ArrayLike, unpublished: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of both sides, float64 [n + m, d], and who of them is suspected.

    Raises:
      InputError: as `checked_features`, or if the numbers of features differ.
    """
    sides = [checked_features(side, name) for side, name in ((suspect, "suspect"), (unpublished, "unpublished"))]
    if sides[0].shape[1] != sides[1].shape[1]:
        raise InputError(
            f"suspect has {sides[0].shape[1]} features and unpublished {sides[1].shape[1]}: ask the same of both."
        )
    features = np.concatenate(sides)
    return features, np.arange(len(features)) < len(sides[0])


def prepared(
    suspect: ArrayLike, unpublished: ArrayLike, groups: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features, who is suspected, and the person of each record."""
    features, suspected = of_both(suspect, unpublished)
    codes = people(groups, suspected)
    for name, side in (("suspect", suspected), ("unpublished", ~suspected)):
        if (count := len(np.unique(codes[side]))) < FEWEST:
            what = "records" if groups is None else "people"
            raise InputError(f"{name} has {count} {what}, too few for a verdict on a set: give at least {FEWEST}.")
    return components(features), suspected, codes


def components(features: np.ndarray) -> np.ndarray:
    """Returns standardised features as their principal components, [n, r] of mean squared length 1.

    No label is used. Losses at neighbouring times say nearly the same: a thousand features have some two hundred
    components that a ridge does not shrink to less than a tenth, and the others are left out.
    """
    u, s, _ = np.linalg.svd(standardised(features), full_matrices=False)
    share = s**2 / ((s**2).sum() or 1.0)
    kept = share > RIDGE / 10
    return (u * s)[:, kept] * np.sqrt(len(features) / ((s**2).sum() or 1.0))


def _effect(x: np.ndarray, y: np.ndarray) -> float:
    spread, apart = np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2), x.mean() - y.mean()
    if abs(apart) >= MOST_EFFECT * spread:
        return float(np.sign(apart)) * MOST_EFFECT
    return float(apart / spread)
