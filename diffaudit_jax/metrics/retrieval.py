"""Success on a scale that images of any size and kind share: against unrelated images, and among them.

With d any distance between images, r_i the reconstruction of target x_i, and i != j:

    relative error   mean of d(r_i, x_i) over the mean of d(x_i, x_j): 1 is no better than another target
    top-1            share of i whose r_i is nearer to x_i than to any of N - 1 other targets: 1/N by chance
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from diffaudit_jax.metrics.intervals import Estimate, binomial_high, binomial_low, tail
from diffaudit_jax.metrics.resampling import limits, weights
from diffaudit_jax.types import InputError


class Retrieval(NamedTuple):
    """How often the target is picked from among N.

    Attributes:
      top1: Share of reconstructions nearest to their own target, with its interval: that of further releases of these
        targets.
      among: N, the target and N - 1 others.
      chance: 1/N.
    """

    top1: Estimate
    among: int
    chance: float


def relative_error(
    errors: ArrayLike, between: ArrayLike, *, seed: int = 0, num_resamples: int = 2000, level: float = 0.95
) -> Estimate:
    """Error of reconstructions over that of taking one target for another.

    The interval at 0.95 covers about .93 of skewed errors (simulated with 10 to 300 targets).

    Args:
      errors: Of each reconstruction to its target, [n]: a distance, such as MSE, LPIPS or 1 - SSIM.
      between: The same distance between targets, [n, n]; the diagonal is not looked at.
      seed: Seed of the resamples.
      num_resamples: How often targets are drawn anew for the interval, which is over targets.
      level: Confidence level.

    Raises:
      InputError: if shapes differ, a number is not finite, all targets are the same, or there are fewer than 2.
    """
    error, table = np.asarray(errors, np.float64), np.asarray(between, np.float64)
    n = len(error) if error.ndim == 1 else 0
    if table.shape != (n, n) or not np.isfinite(error).all():
        raise InputError(f"errors has shape {error.shape} and between {table.shape}: give finite [n] and [n, n].")
    others = np.where(np.eye(n, dtype=bool), 0.0, table)
    if not np.isfinite(others).all():
        raise InputError("between holds a distance that is not finite: mend or drop that target.")
    drawn = weights(np.random.default_rng(seed), n, num_resamples)
    if not others.sum() > 0:
        raise InputError("all targets are the same: no error is relative to the distance between them.")

    def ratio(w: np.ndarray) -> np.ndarray:
        # Pairs of copies of one target are no pairs of targets.
        pairs = w.sum(axis=1) ** 2 - (w**2).sum(axis=1)
        unrelated = ((w @ others) * w).sum(axis=1)
        return np.divide(w @ error / n * pairs, unrelated, out=np.full(len(w), np.inf), where=unrelated > 0)

    resampled = ratio(drawn)
    # A resample of copies of one target has no pair, and says nothing of the distance between targets.
    return Estimate(float(ratio(np.ones((1, n)))[0]), *limits(resampled[np.isfinite(resampled)], n, level))


def retrieval(distances: ArrayLike, among: int | None = None, *, level: float = 0.95) -> Retrieval:
    """Share of reconstructions that are nearest to their own target.

    Fewer than all targets may be set against it, so that sets of different size compare: every choice of N - 1 others
    counts, in closed form. A tie is broken at random, in expectation.

    Reconstructions of given targets succeed independently, each with a chance of its own. Their number varies no more
    than a binomial one of the same mean, so the exact binomial interval holds for the mean chance.

    Args:
      distances: Of each reconstruction to each target, [n, n]; its own is on the diagonal.
      among: N, from 2 to n; all n by default.
      level: Confidence level.

    Raises:
      InputError: if the distances are no square matrix of 2 targets or more, one is not a number, or N is out of range.

    References:
      Hoeffding 1956, Annals of Mathematical Statistics 27:713
    """
    table = np.asarray(distances, np.float64)
    n = len(table) if table.ndim else 0
    if table.shape != (n, n) or n < 2 or np.isnan(table).any():
        raise InputError(f"distances has shape {table.shape}: give [n, n] numbers, of reconstructions to targets.")
    size = n if among is None else among
    if not 2 <= size <= n:
        raise InputError(f"among is {size}: with {n} targets it lies between 2 and {n}.")
    own = np.diag(table)[:, None]
    worse, ties = (table > own).sum(axis=1), (table == own).sum(axis=1) - 1
    # P[none of N - 1 others is among those at least as near], by the number w of those farther: C(w, N-1)/C(n-1, N-1).
    w = np.arange(n)
    possible = w >= size - 1
    log_ways = np.where(possible, gammaln(w + 1) - gammaln(np.maximum(w - size + 2, 1)), -np.inf)
    sums = np.concatenate([[0.0], np.exp(log_ways - log_ways[-1]).cumsum()])
    hits = float(((sums[worse + ties + 1] - sums[worse]) / (ties + 1)).sum())  # among ties, any place is as likely
    error = tail(level)
    limits_ = (float(limit(hits, n, error)) for limit in (binomial_low, binomial_high))
    return Retrieval(Estimate(hits / n, *limits_), size, 1.0 / size)
