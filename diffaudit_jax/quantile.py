"""Scores against what an example that looks like this one scores, learned from known non-members; no shadow models.

Runs on the host, in float64, on stored observations and the examples themselves; it asks no network.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from diffaudit_jax.auditing import Observations
from diffaudit_jax.calibration import check_disjoint
from diffaudit_jax.types import InputError

Rows = Float[np.ndarray, "n d"]
FEWEST_FALSE = 10
"""Non-members that are to score above their own quantile, at the least."""
COMPONENTS = 8
"""Principal components of images."""
LEAST_WIDTH = 0.1
"""Least distance between median and upper quantile of an example, as a share of that of all of them."""


def quantile(
    seen: Observations,
    x: np.ndarray,
    population: Observations,
    population_x: np.ndarray,
    *,
    fpr: float = 0.1,
    bags: int = 8,
    seed: int = 0,
) -> Float[np.ndarray, " n"]:
    """How far a score is above the upper quantile of what non-members that look like it score.

    u(x) = (s - q_1/2(x)) / (q_{1-fpr}(x) - q_1/2(x)),  score(x) = u(x) - c

    The quantiles q of a non-member's score given the example alone are learned by gradient boosting of the pinball loss
    on `bags` bootstrap samples of the population, and averaged. c is the quantile 1 - fpr of u over the population, by
    the bags without each of its records: a score above 0 is the published attack at a false-positive rate of fpr, also
    where the learned quantiles are too narrow. Records are regressed on as they are; images on the mean, contrast and
    roughness that make them easy or hard, and on COMPONENTS principal components of the population.

    Args:
      seen: Observations of the target.
      x: Its queries, uint8 or float [n, *shape].
      population: Observations of the target by the same attack of records it was not trained on.
      population_x: These records, [m, *shape].
      fpr: False-positive rate at which quantiles are learned, in (0, 1/2).
      bags: Bootstrap samples, 2 or more.
      seed: Seed of these.

    Returns:
      Scores float64 [n], higher = member, in the order of `seen`; no network calls.

    Raises:
      InputError: if examples do not fit the observations or each other, a record is in both, something is NaN or
        infinite, the population is too small for fpr or its scores do not vary.

    References:
      Bertran et al. 2023, Scalable Membership Inference Attacks via Quantile Regression,
      https://arxiv.org/abs/2307.03694
      Tang et al. 2024, the same of diffusion models with bags, https://arxiv.org/abs/2312.05140
    """
    _check(seen, x, population, population_x, fpr, bags)
    describe = _described(population_x, seed)
    rows, known = describe(x), describe(population_x)
    scores = np.asarray(population.scores, np.float64)
    middle, upper = np.quantile(scores, [0.5, 1 - fpr])
    if not upper > middle:
        raise InputError("the population's scores hardly vary, so nothing can be learned from them: ask about others.")
    inside = _bootstrap(len(scores), bags, seed)
    fitted = [[_fit(known[some], scores[some], level, seed) for level in (0.5, 1 - fpr)] for some in inside]

    def above(values: Float[np.ndarray, " k"], of: Rows, judged: Bool[np.ndarray, "bags k"]) -> Float[np.ndarray, " k"]:
        answers = np.array([[one(of) for one in both] for both in fitted])  # bags, 2, k
        median, top = np.moveaxis(answers, 1, 0)
        median, top = (np.mean(one, axis=0, where=judged) for one in (median, top))
        return (values - median) / np.maximum(top - median, LEAST_WIDTH * (upper - middle))

    outside = np.stack([~np.isin(np.arange(len(scores)), some) for some in inside])
    judged = outside.any(axis=0)  # a few are in every bag, and judge nothing
    own = above(scores[judged], known[judged], outside[:, judged])
    threshold = np.quantile(own, 1 - fpr, method="higher")
    return above(np.asarray(seen.scores, np.float64), rows, np.ones((bags, len(rows)), bool)) - threshold


def _check(
    seen: Observations, x: np.ndarray, population: Observations, population_x: np.ndarray, fpr: float, bags: int
) -> None:
    if not 0 < fpr < 0.5:
        raise InputError(f"fpr is a false-positive rate in (0, 0.5), got {fpr}.")
    if bags < 2:
        raise InputError(f"records are judged by the bags without them, which takes at least 2, got {bags}.")
    for whose, observed, examples in (("queries", seen, x), ("population", population, population_x)):
        if len(examples) != len(observed.scores):
            raise InputError(
                f"{len(observed.scores)} scores of the {whose} need as many examples, got {len(examples)}."
            )
        fine = np.isfinite(np.asarray(observed.scores, np.float64))
        fine &= np.isfinite(np.asarray(examples, np.float64)).reshape(len(fine), -1).all(axis=1)
        if len(bad := np.flatnonzero(~fine)):
            raise InputError(f"row {observed.rows[bad[0]]} of the {whose} holds NaN or infinity (of {len(bad)} such).")
    if x.shape[1:] != population_x.shape[1:]:
        raise InputError(f"queries of shape {x.shape[1:]} are not like a population of shape {population_x.shape[1:]}.")
    least = int(np.ceil(FEWEST_FALSE / fpr))
    if len(population_x) < least:
        raise InputError(
            f"quantiles at a false-positive rate of {fpr} are learned from at least {least} known non-members, got "
            f"{len(population_x)}: give more, or a higher rate."
        )
    check_disjoint(population, seen)


def _bootstrap(num: int, bags: int, seed: int) -> np.ndarray:
    """Returns the rows of each bag, int [bags, num]."""
    return np.random.default_rng(seed).integers(num, size=(bags, num))


def _described(population_x: np.ndarray, seed: int) -> Callable[[np.ndarray], Rows]:
    """Returns what examples are regressed on, float64 [n, d]."""
    if population_x.ndim == 2:
        return lambda x: np.asarray(x, np.float64)
    flat = _signed(population_x).reshape(len(population_x), -1)
    kept = PCA(min(COMPONENTS, *flat.shape), svd_solver="randomized", random_state=seed).fit(flat)

    def describe(x: np.ndarray) -> Rows:
        images = _signed(x)
        axes = tuple(range(1, images.ndim))
        rough = sum(np.abs(np.diff(images, axis=axis)).mean(axis=axes) for axis in axes[:-1])
        told = np.stack([images.mean(axis=axes), images.std(axis=axes), rough], axis=1)
        return np.concatenate([told, kept.transform(images.reshape(len(images), -1))], axis=1)

    return describe


def _signed(x: np.ndarray) -> np.ndarray:
    """Maps uint8 to [-1, 1], float64."""
    return np.asarray(x, np.float64) / 127.5 - 1 if x.dtype == np.uint8 else np.asarray(x, np.float64)


def _fit(rows: Rows, scores: Float[np.ndarray, " n"], level: float, seed: int) -> Callable[[Rows], Any]:
    # One thread: see `calibration`. Shallow and slow: a leaf's quantile needs a leaf full of records.
    alone = threadpool_limits.wrap(limits=1, user_api="openmp")
    model = HistGradientBoostingRegressor(
        loss="quantile", quantile=level, max_iter=60, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed
    )
    return alone(alone(model.fit)(rows, scores).predict)
