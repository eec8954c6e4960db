"""What no attack can beat: reconstruction robustness (ReRo) of a release, for a prior that is right once in 1/kappa.

Let kappa be the chance that a guess from the prior alone is right (within eta of the target). With nu the law of the
release without the target and m its law with it, an attack that sees the release is right with probability at most

    gamma(kappa) = sup { m(E) : nu(E) <= kappa }

the power of the most powerful test of nu at size kappa. For T releases by the Gaussian mechanism of mu = C/sigma (the
norm that gradients are clipped to, over the standard deviation of the noise; 1/noise_multiplier)

    gamma(kappa) = Phi(Phi^-1(kappa) + mu sqrt(T))

References:
  Balle, Cherubin and Hayes 2022, Reconstructing Training Data with Informed Adversaries, https://arxiv.org/abs/2201.04845
  Hayes, Mahloujifar and Balle 2023, Bounding Training Data Reconstruction in DP-SGD, https://arxiv.org/abs/2302.07225
  Kaissis et al. 2023, Bounding data reconstruction attacks with the hypothesis testing interpretation of DP,
  https://arxiv.org/abs/2307.03928
"""

import math

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtr, ndtri

from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.types import InputError


def rero(kappa: ArrayLike, mu: ArrayLike, num_releases: ArrayLike = 1) -> np.ndarray:
    """Bounds reconstruction from T full-batch Gaussian releases: gamma = Phi(Phi^-1(kappa) + mu sqrt(T)).

    Both functions are accurate in the lower tail, so gamma is too where it and kappa are far below 1e-16.

    Args:
      kappa: Chance of the best guess from the prior alone, in (0, 1); any shape.
      mu: C/sigma of one release, positive; broadcast against `kappa`.
      num_releases: T, of the same target with independent noise.

    Returns:
      gamma, float64.

    Raises:
      InputError: if a number is out of range.

    References:
      Kaissis et al. 2023, https://arxiv.org/abs/2307.03928
    """
    return ndtr(ndtri(checked_kappa(kappa)) + checked_mu(mu) * np.sqrt(checked_count("num_releases", num_releases)))


def candidate_success(num_candidates: ArrayLike, mu: ArrayLike, num_releases: ArrayLike = 1) -> np.ndarray:
    """Success rate of the attack that knows the target to be one of M orthogonal candidates, all of them clipped.

    P = integral of phi(z - mu sqrt(T)) Phi(z)^(M - 1) dz      <= rero(1/M, mu, T)

    Args:
      num_candidates: M, 2 or more; any shape.
      mu: C/sigma of one release, positive; broadcast against `num_candidates`.
      num_releases: T.

    Returns:
      P, float64, with an error below 1e-12 for up to 1e12 candidates.

    Raises:
      InputError: if a number is out of range.
    """
    others = checked_count("num_candidates", num_candidates, least=2) - 1
    shift = checked_mu(mu) * np.sqrt(checked_count("num_releases", num_releases))
    others, shift = (a[..., None] for a in np.broadcast_arrays(others, shift))
    # Beyond 9 standard deviations lies 1e-19; the second factor is the steeper the more candidates there are.
    nodes, weights = leggauss(512)
    z = 9.0 * nodes
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    return (9.0 * weights * density * np.exp(others * log_ndtr(z + shift))).sum(axis=-1)


def prior_kappa(distances: ArrayLike, eta: float, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Estimates kappa: the chance that the best of some guesses made from the prior alone lies within eta of a target.

    The guess that is best on a random half of the targets is tried on the other half, so the exact binomial interval
    holds; where none of n is hit it ends near 3.7/n. kappa of the definition is the best over all guesses there are:
    what is estimated here lies below it, unless the best guess is among them. A bound at `high` is the cautious one.

    Args:
      distances: Of each guess (a draw from the prior, its mean) to each target, [guesses, targets]. Targets are
        independent, and no guess is made from them.
      eta: How near counts as reconstructed, in the same units.
      seed: Seed of the halves.
      level: Confidence level.

    Returns:
      kappa with its interval, of half the targets (of all, if there is one guess only).

    Raises:
      InputError: if the distances are no finite matrix or `eta` is negative, or there are fewer than 2 targets.

    References:
      Balle, Cherubin and Hayes 2022, https://arxiv.org/abs/2201.04845
    """
    matrix = np.asarray(distances, np.float64)
    if matrix.ndim != 2 or not len(matrix) or matrix.shape[1] < 2 or not np.isfinite(matrix).all():
        raise InputError(f"distances has shape {matrix.shape}: give finite numbers [guesses, targets], for 2 targets.")
    if not eta >= 0:
        raise InputError(f"eta is {eta}: a distance within which an image counts as reconstructed is not negative.")
    order = np.random.default_rng(seed).permutation(matrix.shape[1])
    hits = matrix[:, order] <= eta
    chosen, tried = (hits, hits) if len(hits) == 1 else np.split(hits, [len(order) // 2], axis=1)
    best = tried[chosen.sum(axis=1).argmax()]
    return clopper_pearson(int(best.sum()), len(best), level)


def checked_kappa(kappa: ArrayLike) -> np.ndarray:
    """Returns kappa as float64.

    Raises:
      InputError: if it lies outside (0, 1).
    """
    values = np.asarray(kappa, np.float64)
    if wrong := [float(value) for value in values.flat if not 0.0 < value < 1.0]:
        raise InputError(f"kappa is {wrong[0]:g}: the chance of a guess from the prior lies between 0 and 1.")
    return values


def checked_mu(mu: ArrayLike) -> np.ndarray:
    """Returns mu as float64.

    Raises:
      InputError: if it is not positive and finite.
    """
    values = np.asarray(mu, np.float64)
    if wrong := [float(value) for value in values.flat if not 0.0 < value < math.inf]:
        raise InputError(f"mu is {wrong[0]:g}: it is the clipping norm over the noise, positive and finite, such as 5.")
    return values


def checked_count(name: str, count: ArrayLike, least: int = 1) -> np.ndarray:
    """Returns a count as float64.

    Raises:
      InputError: if it is not a whole number of `least` or more.
    """
    values = np.asarray(count, np.float64)
    if wrong := [float(value) for value in values.flat if not (value >= least and value == round(value))]:
        raise InputError(f"{name} is {wrong[0]:g}: give a whole number of {least} or more.")
    return values
