"""What denoising does without a learned prior: the attackers that a diffusion prior has to beat.

    clipped            y on [-1, 1]
    wiener             m + v/(v + sigma^2) (y - m), m and v of public images pixel by pixel: the best of linear estimates
                       that treat pixels apart
    total-variation    argmin_x ||x - y||^2/(2 w) + TV(x), with w = c sigma and c fitted on public images
    non-local-means    means of pixels with like surroundings, patches of 5 x 5 within 6 pixels, h = 0.6 sigma

On the host, float64, over sets of releases. Everything is clipped to [-1, 1] in `BASELINES`, as reconstructions are.
Total variation and non-local means keep the mean of y, which at sigma = 27 is all noise: then they are worse than a
guess, and only the public mean (Wiener) is one.

References:
  Chambolle 2004, https://doi.org/10.1023/B:JMIV.0000011325.36760.1e
  Buades et al. 2005, https://doi.org/10.1109/CVPR.2005.38
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.types import InputError, to_signed

Images: TypeAlias = Float[np.ndarray, "n *shape"]

# Fitted at these noise levels on this many images, among these factors: half a second of one core at 28 x 28.
_LEVELS, _NUM_FITTED = (0.1, 0.3, 1.0), 8
_FACTORS = tuple(float(factor) for factor in np.geomspace(0.2, 1.6, 7))


class Public(NamedTuple):
    """What baselines take from public images.

    Attributes:
      mean: Mean of each pixel, float64 [*shape].
      var: Variance of each pixel, float64 [*shape].
      tv_factor: c of total variation's weight, w = c sigma.
    """

    mean: Float[np.ndarray, "*shape"]
    var: Float[np.ndarray, "*shape"]
    tv_factor: float


def fit_baselines(images: UInt8[np.ndarray, "n h w c"] | Images, *, seed: int = 0) -> Public:
    """Fits the baselines to public images.

    tv_factor is the c with the least squared error in reconstructing noised images, relative to each level's best and
    averaged over levels 0.1, 0.3 and 1.

    Args:
      images: [n, h, w, c], uint8 or floats in [-1, 1]; 2 or more, none of them a target.
      seed: Seed of the noise; c is fitted on the first 8 images.

    Raises:
      InputError: if they are no images, or fewer than 2.
    """
    x = np.asarray(to_signed(np.asarray(images)), np.float64)
    if x.ndim != 4 or len(x) < 2:
        raise InputError(f"baselines are fitted to 2 or more images [n, h, w, c], got shape {x.shape}.")
    some = x[:_NUM_FITTED]
    noise = np.random.default_rng(seed).standard_normal(some.shape)
    loss = np.array([[_tv_error(some, sigma, factor, noise) for factor in _FACTORS] for sigma in _LEVELS])
    # Images without any variation are restored without error: no level then tells factors apart.
    relative = loss / np.maximum(loss.min(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return Public(x.mean(0), x.var(0, ddof=1), _FACTORS[int(relative.mean(0).argmin())])


def clipped(y: Images) -> Images:
    """Returns y clipped to [-1, 1], float64: what the release shows by itself."""
    return np.clip(np.asarray(y, np.float64), -1.0, 1.0)


def wiener(
    y: Images,
    sigma: Float[np.ndarray, " n"] | float,
    mean: Float[np.ndarray, "*shape"] | float,
    var: Float[np.ndarray, "*shape"] | float,
) -> Images:
    """Returns m + v/(v + sigma^2) (y - m), not clipped: the posterior mean of Gaussian pixels.

    Its mean squared error is v sigma^2/(v + sigma^2) for data of mean m and variance v, Gaussian or not.

    Args:
      y: Noisy images [n, *shape].
      sigma: Noise of each, [n], or of all.
      mean: Mean of each pixel, or of all.
      var: Variance of each pixel, or of all.

    Raises:
      InputError: if a variance is negative or the noise is not positive.
    """
    if not (np.asarray(var) >= 0).all() or not (np.asarray(sigma) > 0).all():
        raise InputError(f"variances are 0 or more and noise is above 0, got {np.min(var)=:.4g}, {np.min(sigma)=:.4g}.")
    y = np.asarray(y, np.float64)
    noise = np.asarray(sigma, np.float64).reshape(-1, *[1] * (y.ndim - 1)) ** 2
    return mean + var / (var + noise) * (y - mean)


def total_variation(y: Images, weight: Float[np.ndarray, " n"]) -> Images:
    """Returns argmin_x ||x - y||^2/(2 w) + TV(x) for each image, by at most 200 of Chambolle's iterations, not clipped.

    Args:
      y: Noisy images [n, h, w, c]; channels apart.
      weight: w of each, [n].

    Raises:
      InputError: if y are no images.
    """
    y = _images(y)
    return np.stack([denoise_tv_chambolle(one, weight=w, channel_axis=-1) for one, w in zip(y, weight, strict=True)])


def non_local_means(y: Images, sigma: Float[np.ndarray, " n"]) -> Images:
    """Returns non-local means of each image, not clipped.

    Args:
      y: Noisy images [n, h, w, c].
      sigma: Noise of each, [n].

    Raises:
      InputError: if y are no images.
    """
    y = _images(y)
    found = [
        denoise_nl_means(
            one, patch_size=5, patch_distance=6, h=0.6 * s, sigma=s, channel_axis=-1, preserve_range=True
        )
        for one, s in zip(y, np.asarray(sigma, np.float64), strict=True)
    ]
    return np.stack(found).reshape(y.shape)


def _total_variation(releases: Release, known: Public) -> Images:
    return clipped(total_variation(releases.y, known.tv_factor * np.asarray(releases.sigma, np.float64)))


BASELINES: Mapping[str, Callable[[Release, Public], Images]] = {
    "clipped": lambda releases, known: clipped(releases.y),
    "wiener": lambda releases, known: clipped(wiener(releases.y, releases.sigma, known.mean, known.var)),
    "total-variation": _total_variation,
    "non-local-means": lambda releases, known: clipped(non_local_means(releases.y, releases.sigma)),
}
"""By name: ``baseline(releases, public) -> [n, *shape]``, float64 in [-1, 1]."""


def _tv_error(x: Images, sigma: float, factor: float, noise: Images) -> float:
    found = clipped(total_variation(x + sigma * noise, np.full(len(x), factor * sigma)))
    return float(((found - x) ** 2).mean())


def _images(y: Images) -> Images:
    y = np.asarray(y, np.float64)
    if y.ndim != 4:
        raise InputError(f"neighbouring pixels are those of images [n, h, w, c], got shape {y.shape}: use wiener.")
    return y
