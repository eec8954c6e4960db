"""How near an attacker comes who has no prior: the noisy image itself, y = x + s n, and what its errors are like.

One release, its gradient clipped, shows an image of d pixels at a noise of s = ||x||/mu. Without a prior nothing
unbiased is nearer than y. With v the variance of x over its pixels, N standard normal and chi^2_k independent of it,

    MSE  = s^2 chi^2_d/d
    PSNR = 10 log10(R^2/MSE)
    NCC  = (a + N)/sqrt((a + N)^2 + chi^2_(d - 2)),   a = sqrt(d v)/s

exactly: centring takes one direction from the noise, x fills another, and NCC sqrt(d - 2)/sqrt(1 - NCC^2) is
non-central t. About sqrt(v/(v + s^2)) is to be expected of NCC.

References:
  Ziller et al. 2024, Bounding Reconstruction Attack Success of Adversaries Without Data Priors,
  https://arxiv.org/abs/2402.12861 (MSE, PSNR)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad
from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv, psi
from scipy.stats import nct

from diffaudit_jax.metrics.bounds import checked_mu
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Law:
    """The distribution of one metric.

    Attributes:
      mean: Its expectation.
      cdf: ``values -> P(metric <= value)``, any shape.
      quantile: The inverse: ``probabilities -> values``.
    """

    mean: float
    cdf: Callable[[ArrayLike], np.ndarray]
    quantile: Callable[[ArrayLike], np.ndarray]


class Uninformed(NamedTuple):
    """Distributions of the noisy image's errors over the noise; `ncc` is None where the variance was not given."""

    mse: Law
    psnr: Law
    ncc: Law | None


def uninformed(
    norm: float,
    dims: int,
    mu: float,
    *,
    variance: float | None = None,
    num_releases: int = 1,
    data_range: float = 2.0,
) -> Uninformed:
    """Distributions of MSE, PSNR and NCC of an attacker without a prior, for one target.

    Args:
      norm: ||x|| of the target, in the units of the metric: of images in [-1, 1], if `data_range` is 2.
      dims: d, its pixels times channels.
      mu: C/sigma of one release, positive. Clipping is active; where it is not, ||x||/(noise) takes its place.
      variance: v, the variance of the target over pixels and channels; NCC asks for it.
      num_releases: T releases that are averaged: mu sqrt(T).
      data_range: R of PSNR.

    Raises:
      InputError: if a number is not positive, there are too few pixels (3 for NCC), or the variance is more than a
        target of such a norm can have, ||x||^2/d.
    """
    for name, value in (("norm", norm), ("dims", dims), ("data_range", data_range), ("num_releases", num_releases)):
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}: it must be positive and finite.")
    scale = norm / (float(checked_mu(mu)) * math.sqrt(num_releases))
    ncc = None if variance is None else _ncc(variance, norm, dims, scale)
    return Uninformed(_mse(dims, scale), _psnr(dims, scale, data_range), ncc)


def wiener_mse(variance: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Error of the best linear estimate from y = x + sigma n: v sigma^2/(v + sigma^2), with v the prior's variance.

    A prior that does no better has taught the attacker nothing beyond a mean and a variance.

    Args:
      variance: v, of each pixel about its mean, not negative; any shape.
      sigma: Standard deviation of the noise, positive, broadcast against `variance`.

    Raises:
      InputError: if a variance is negative or a noise not positive.
    """
    v, s = np.asarray(variance, np.float64), np.asarray(sigma, np.float64)
    if not ((v >= 0).all() and (s > 0).all()):
        raise InputError("a variance is negative or a noise is not positive: give variances >= 0 and sigma > 0.")
    return v / (1.0 + v / s**2)


def _mse(dims: int, scale: float) -> Law:
    half, unit = dims / 2, 2 * scale**2 / dims
    return Law(
        scale**2,
        lambda m: gammainc(half, np.maximum(m, 0.0) / unit),
        lambda p: unit * gammaincinv(half, p),
    )


def _psnr(dims: int, scale: float, data_range: float) -> Law:
    half, unit = dims / 2, 2 * scale**2 / dims
    return Law(
        10 * (2 * math.log(data_range) - math.log(unit) - float(psi(half))) / math.log(10),
        lambda p: gammaincc(half, data_range**2 * 10 ** (-np.asarray(p, np.float64) / 10) / unit),
        lambda p: 10 * np.log10(data_range**2 / (unit * gammainccinv(half, p))),
    )


def _ncc(variance: float, norm: float, dims: int, scale: float) -> Law:
    if not 0 < variance <= norm**2 / dims * (1 + 1e-6):  # both may have been summed in float32
        raise InputError(f"variance is {variance}: for {norm=} and {dims=} it lies in (0, {norm**2 / dims:.4g}].")
    if dims < 3:
        raise InputError(f"dims is {dims}: a correlation of pixels has a distribution from 3 on.")
    a, k = math.sqrt(dims * variance) / scale, dims - 2

    # With 1/||u|| = integral of exp(-s ||u||^2)/sqrt(pi s) ds, the mean of u_1/||u|| is an integral over [0, 1]:
    def density(t: float) -> float:
        return math.exp(0.5 * (k * math.log1p(-t * t) - (a * t) ** 2))

    reach = min(1.0, 9.0 / math.sqrt(a * a + k))  # what lies beyond is below 1e-17 of the whole
    mean = a * math.sqrt(2 / math.pi) * quad(density, 0.0, reach, epsabs=0.0, epsrel=1e-12)[0]

    def cdf(r: ArrayLike) -> np.ndarray:
        inside = np.clip(np.asarray(r, np.float64), -1.0, 1.0)
        with np.errstate(divide="ignore"):
            return np.where(abs(inside) < 1, nct.cdf(inside * np.sqrt(k / (1 - inside**2)), k, a), inside > 0)

    def quantile(p: ArrayLike) -> np.ndarray:
        t = nct.ppf(p, k, a)
        return t / np.sqrt(t * t + k)

    return Law(mean, cdf, quantile)
