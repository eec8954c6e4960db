"""Which people are in the training data: one verdict a person, with the share of false ones held.

A person's records are one answer: the mean of a classifier's scores of them. Its p-value is its rank among people who
cannot have been trained on, and Benjamini and Hochberg's procedure over all people holds the expected share of false
verdicts among the verdicts (false-discovery rate).

The classifier must not know whom it judges. It learns half of the unpublished people against everybody else, the
suspects and the other half of unpublished people together, and is never told which of these are which. To it a suspect
whom the model never saw is one more of that other half, so that its p-value is valid, p-values depend on each other in
the way that the procedure allows, and the classifier still learns what the model does with people it was trained on.
Learning on half of the suspects to judge the other half is valid too, but then each half has half the people to be
ranked among and half the error to spend: of 60 suspects, 30 of them trained on, and 60 unpublished people it finds .01
where this finds .85.

Treated otherwise is not trained on: attacks that learn nothing from these people can be asked to agree. Their threshold
is of the unpublished people learned from, and rules people out among suspects and those ranked among alike, so that
p-values stay valid.

References:
  Bates et al. 2023, Testing for outliers with conformal p-values, https://arxiv.org/abs/2104.08279
  Marandon et al. 2024, Adaptive novelty detection with false discovery rate guarantee, https://arxiv.org/abs/2208.06685
  Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57:289
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from diffaudit_jax.metrics.dataset import FEWEST, components, of_both
from diffaudit_jax.metrics.folds import RIDGE
from diffaudit_jax.metrics.groups import people
from diffaudit_jax.metrics.multiple import benjamini_hochberg
from diffaudit_jax.types import InputError


class PeopleVerdicts(NamedTuple):
    """One verdict a person.

    Attributes:
      names: What the suspects are called in `suspect_people`, [k], in the order in which they first appear.
      records: Records of each, int [k].
      scores: Mean score of each, float64 [k]; higher = trained on, and minus infinity if `attacks` say the contrary.
      p_values: Rank among unpublished people, float64 [k].
      adjusted: The least false-discovery rate at which a person is flagged, float64 [k].
      flagged: Whether that is at most the rate asked for, bool [k].
      ranked: Number of unpublished people who are ranked among.
    """

    names: np.ndarray
    records: np.ndarray
    scores: np.ndarray
    p_values: np.ndarray
    adjusted: np.ndarray
    flagged: np.ndarray
    ranked: int


def people_verdicts(
    suspect: ArrayLike,
    unpublished: ArrayLike,
    suspect_people: ArrayLike,
    unpublished_people: ArrayLike,
    *,
    attacks: ArrayLike | None = None,
    fdr: float = 0.1,
    seed: int = 0,
) -> PeopleVerdicts:
    """Judges every person by all of their records, so that of those flagged a share of `fdr` is wrong, on average.

    p_j = (1 + #{unpublished people ranked among with a score of at least that of j}) / (1 + #ranked among)

    It is valid if people the model never saw are exchangeable with unpublished people, their numbers of records
    included. No p-value is below 1/(1 + #ranked among): with half of m unpublished people ranked among, a single person
    of k can be flagged only if m > 2 k / fdr, many of them together with less.

    Args:
      suspect: What the model did with each suspect record, real numbers [n, d], e.g. logarithms of losses.
      unpublished: The same of records that it cannot have been trained on, [m, d].
      suspect_people: Person of each suspect record, int or str [n].
      unpublished_people: Person of each unpublished record [m]; nobody is on both sides.
      attacks: A score of each record that learns nothing from these sets, [n + m], suspect ones first, higher =
        member. People whose mean is no higher than the median of the unpublished people learned from have a p-value
        of 1: a classifier alone finds who is treated otherwise, also whom the model knows less. None for no such check.
      fdr: False-discovery rate, in (0, 1).
      seed: Seed of who is learned from and who is ranked among.

    Raises:
      InputError: if a feature or score is not finite, the shapes differ, a person is on both sides, there are fewer
        than 20 unpublished people, or `fdr` is not inside (0, 1).
    """
    if not 0.0 < fdr < 1.0:
        raise InputError(f"the false-discovery rate is {fdr}: it lies between 0 and 1, for example 0.1.")
    features, suspected = of_both(suspect, unpublished)
    called = np.asarray(suspect_people)
    codes = people(np.concatenate([called, np.asarray(unpublished_people)]), suspected)
    side = suspected[np.unique(codes, return_index=True)[1]]
    if (count := int((~side).sum())) < FEWEST:
        raise InputError(f"unpublished has {count} people, too few to rank anybody among: give at least {FEWEST}.")
    learned = np.zeros(len(side), bool)
    learned[np.random.default_rng((seed, 4)).permutation(np.flatnonzero(~side))[: count // 2]] = True
    with threadpool_limits(1, "blas"):
        mean = _mean(_scores(features, ~learned[codes]), codes)
    if attacks is not None:
        known = _mean(_attacked(attacks, len(features)), codes)
        mean[known <= np.median(known[learned])] = -np.inf
    ranked = np.sort(mean[~side & ~learned])
    above = len(ranked) - np.searchsorted(ranked, mean[side], side="left")
    p_values = (1 + above) / (1 + len(ranked))
    adjusted = benjamini_hochberg(p_values)
    first = np.sort(np.unique(codes[suspected], return_index=True)[1])
    records = np.bincount(codes)[side]
    return PeopleVerdicts(called[first], records, mean[side], p_values, adjusted, adjusted <= fdr, len(ranked))


def _mean(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes, scores) / np.bincount(codes)


def _attacked(attacks: ArrayLike, count: int) -> np.ndarray:
    scores = np.asarray(attacks, np.float64)
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise InputError(f"attacks has shape {scores.shape}: give one finite score for each of the {count} records.")
    return scores


def _scores(features: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Scores all records by ridge regression of who is not learned from: the order of these cannot matter."""
    f, y = components(features), mixed.astype(np.float64)
    return f @ np.linalg.solve(f.T @ f + RIDGE * len(f) * np.eye(f.shape[1]), f.T @ (y - y.mean()))
