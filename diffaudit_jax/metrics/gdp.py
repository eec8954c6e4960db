"""One number, three ways to say it: mu of a Gaussian release, and the epsilon that it means at a delta.

    delta = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu)

is exact, and decreases in epsilon. Several releases count as one, of mu sqrt(T). Everything is computed as a logarithm:
exp(epsilon) overflows from mu = 37 on. The two terms cancel where mu is small: of delta a share of 1e-16/mu is lost.

References:
  Balle and Wang 2018, https://arxiv.org/abs/1805.06530; Dong, Roth and Su 2019, https://arxiv.org/abs/1905.02383
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.special import log_ndtr, ndtri

from diffaudit_jax.metrics.bounds import checked_mu
from diffaudit_jax.types import InputError


def gdp_delta(mu: ArrayLike, epsilon: ArrayLike) -> np.ndarray:
    """Returns the delta at which a mu-GDP release is (epsilon, delta)-private; shapes broadcast.

    Raises:
      InputError: if mu is not positive, or epsilon negative.
    """
    return np.exp(_log_delta(checked_mu(mu), _checked_epsilon(epsilon)))


def gdp_epsilon(mu: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Returns the epsilon of a mu-GDP release at delta; 0 where the release is (0, delta)-private.

    Args:
      mu: C/sigma, positive; any shape.
      delta: In (0, 1), broadcast against `mu`.

    Raises:
      InputError: if a number is out of range.
    """

    def solved(mu: float, delta: float) -> float:
        def excess(epsilon: float) -> float:
            return float(_log_delta(mu, epsilon)) - math.log(delta)

        # The first term of delta alone would reach it here, and the second makes it less.
        most = mu * (mu / 2 - float(ndtri(delta)))
        return 0.0 if excess(0.0) <= 0 else _root(excess, 0.0, most)

    return np.vectorize(solved, otypes=[np.float64])(checked_mu(mu), _checked_delta(delta))


def gdp_mu(epsilon: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Returns the mu of the Gaussian release that is (epsilon, delta)-private and no more.

    Args:
      epsilon: 0 or more; any shape.
      delta: In (0, 1), broadcast against `epsilon`.

    Raises:
      InputError: if a number is out of range.
    """

    def solved(epsilon: float, delta: float) -> float:
        def excess(mu: float) -> float:
            return float(_log_delta(mu, epsilon)) - math.log(delta)

        most = 1.0
        while excess(most) < 0:
            most *= 2
        least = most / 2
        while excess(least) > 0:
            least /= 2
        return _root(excess, least, most)

    return np.vectorize(solved, otypes=[np.float64])(_checked_epsilon(epsilon), _checked_delta(delta))


def _log_delta(mu: ArrayLike, epsilon: ArrayLike) -> np.ndarray:
    ratio = np.divide(epsilon, mu)
    first = log_ndtr(np.multiply(mu, 0.5) - ratio)
    second = epsilon + log_ndtr(np.multiply(mu, -0.5) - ratio)
    # Where rounding leaves nothing of the difference, next to nothing: roots are sought among finite numbers.
    return first + np.log(np.maximum(-np.expm1(second - first), 1e-300))


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    return float(root_scalar(excess, bracket=(low, high), xtol=1e-300, rtol=1e-14).root)


def _checked_epsilon(epsilon: ArrayLike) -> np.ndarray:
    values = np.asarray(epsilon, np.float64)
    if wrong := [float(value) for value in values.flat if not 0.0 <= value < math.inf]:
        raise InputError(f"epsilon is {wrong[0]:g}: it is finite and not negative, such as 8.")
    return values


def _checked_delta(delta: ArrayLike) -> np.ndarray:
    values = np.asarray(delta, np.float64)
    if wrong := [float(value) for value in values.flat if not 0.0 < value < 1.0]:
        raise InputError(f"delta is {wrong[0]:g}: it lies between 0 and 1, such as 1e-5.")
    return values
