"""Success without the target: how far several stochastic reconstructions of one release lie from each other.

If x^(1), ..., x^(K) are independent draws from the posterior of x given y, then x itself is one more, and

    E ||x - x^(i)||^2 = E ||x^(i) - x^(j)||^2,    E ||x - mean_k x^(k)||^2 = (1 + 1/K)/2 E ||x^(i) - x^(j)||^2

so the mean pairwise error tells the reconstruction error, and half of it that of the posterior mean. Their standard
deviation, pixel by pixel, tells which features come from the release (they agree) and which the prior has invented.

The identity holds for posterior samples, on average over images drawn like the prior's data. For draws from some other
q(x | y), with mean m_q and covariance S_q, where the posterior has m and S,

    pairwise = 2 tr S_q,    error = tr S_q + tr S + ||m - m_q||^2

so whatever moves q's mean makes the estimate too small: a prior of other data, or a sigma that is wrong, is surer than
it is right. It is too large only where q spreads more than S, by more than that. DDIM with eta = 1 is such a q: few
steps spread too little (with exact estimates of Gaussian data, S_q nears S from below as steps grow), and a learned
network errs in the mean. Expect an underestimate. With eta < 1 reconstructions spread less, with eta = 0 not at all.

References:
  Schwethelm et al. 2024, https://arxiv.org/abs/2403.07588 (the idea)
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import norm, spearmanr

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.types import InputError


class Agreement(NamedTuple):
    """What K reconstructions of each of n releases say of themselves.

    Attributes:
      error: Estimate of each one's mean squared error per dimension, float64 [n].
      error_of_mean: Estimate of that of their mean, float64 [n].
      std: Standard deviation of each pixel over reconstructions, float64 [n, *shape]: the agreement map.
      ratio: `error` over that of unrelated images, float64 [n]: 1 is no more alike than these.
    """

    error: Float[np.ndarray, " n"]
    error_of_mean: Float[np.ndarray, " n"]
    std: Float[np.ndarray, "n *shape"]
    ratio: Float[np.ndarray, " n"]


def agreement(
    reconstructions: Float[np.ndarray, "n num *shape"], unrelated: Float[np.ndarray, "images *shape"]
) -> Agreement:
    """Estimates how well releases were reconstructed, from the reconstructions alone; no network calls.

    Args:
      reconstructions: Stochastic reconstructions in [-1, 1] (`reconstruct` with eta=1), 2 or more of each release.
      unrelated: Distinct public images in [-1, 1], 2 or more: what unrelated means.

    Raises:
      InputError: if there are fewer than 2 of either, their shapes differ, or the public images are all the same.
    """
    x = np.asarray(reconstructions, np.float64)
    if np.shape(unrelated)[1:] != x.shape[2:]:
        raise InputError(f"reconstructions of shape {x.shape[2:]} do not go with images of {np.shape(unrelated)[1:]}.")
    apart = float(pairwise_error(np.asarray(unrelated)[None])[0])
    if not apart:
        raise InputError("the unrelated images are all the same: give distinct ones.")
    error, num = pairwise_error(x), x.shape[1]
    return Agreement(error, error * (1 + 1 / num) / 2, x.std(axis=1, ddof=1), error / apart)


def pairwise_error(x: Float[np.ndarray, "n num *shape"]) -> Float[np.ndarray, " n"]:
    """Returns the mean over pairs i != j of mean (x_i - x_j)^2, float64 [n].

    It is twice the unbiased variance over `num`, mean over dimensions: no pair is formed.

    Raises:
      InputError: if `num` is less than 2, or x holds NaN.
    """
    x = np.asarray(x, np.float64)
    if x.ndim < 2 or x.shape[1] < 2:
        raise InputError(f"agreement takes 2 or more of each, got shape {x.shape}: reconstruct with eta=1, num=2.")
    if not np.isfinite(x).all():
        raise InputError("a reconstruction holds NaN or infinity: leave its release out.")
    return 2 * x.var(axis=1, ddof=1).reshape(len(x), -1).mean(axis=1)


def rank_correlation(estimated: ArrayLike, true: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Spearman's correlation of estimated and true errors over queries: does the attacker know where it succeeded?

    tanh(arctanh(r) +- z sqrt((1 + r^2/2)/(n - 3))). A perfect order has arctanh(r) infinite and is taken for one half a
    swap of neighbours away, 1 - 6/(n (n^2 - 1)), so that its interval does not collapse.

    Args:
      estimated: `Agreement.error`, [n].
      true: True errors in the same order, [n].
      level: Confidence level.

    Returns:
      The correlation with its interval over queries.

    Raises:
      InputError: if there are fewer than 4 queries or numbers that do not pair up, all errors of one side are the same,
        or `level` is not inside (0, 1).

    References:
      Bonett and Wright 2000, Psychometrika 65:23 (the variance)
    """
    a, b = np.asarray(estimated, np.float64), np.asarray(true, np.float64)
    n = a.size
    if a.ndim != 1 or a.shape != b.shape or n < 4:
        raise InputError(f"a correlation takes 4 or more pairs of errors, got shapes {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not (np.ptp(a) and np.ptp(b)):
        raise InputError("errors are finite and not all the same: there is no order to compare otherwise.")
    r = float(np.asarray(spearmanr(a, b))[0])
    most = 1 - 6 / (n * (n**2 - 1))
    centre = np.arctanh(np.clip(r, -most, most))
    half = norm.isf(tail(level)) * np.sqrt((1 + r**2 / 2) / (n - 3))
    return Estimate(r, min(r, float(np.tanh(centre - half))), max(r, float(np.tanh(centre + half))))
