"""What denoising does without a learned prior: the attackers that a diffusion prior has to beat.

    clipped            y on [-1, 1]
    wiener             m + v/(v + sigma^2) (y - m), m and v of public images pixel by pixel: the best linear estimate
                       that treats pixels apart
    total-variation    argmin_x ||x - y||^2/(2 w) + TV(x), with w = c(sigma) sigma and c fitted on public images
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

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from diffaudit_jax.types import InputError, to_signed

Images: TypeAlias = Float[np.ndarray, "n *shape"]

TV_LEVELS = (0.1, 0.5, 2.5, 10.0)
"""Noise levels at which total variation is fitted."""
TV_FACTORS = tuple(2.0 ** (k / 2) for k in range(-3, 4))
"""What it is fitted among: c from 0.35 to 2.8."""
# Of so many images, and so many pixels of each side: 0.6 s of one core for grey images, 2 s for colours.
_NUM_FITTED, _SIDE = 4, 32


class Public(NamedTuple):
    """What baselines take from public images.

    Attributes:
      mean: Mean of each pixel, float64 [*shape].
      var: Variance of each pixel, float64 [*shape].
      tv_factors: c of total variation's weight w = c sigma at each of `TV_LEVELS`, float64 [levels].
    """

    mean: Float[np.ndarray, "*shape"]
    var: Float[np.ndarray, "*shape"]
    tv_factors: Float[np.ndarray, " levels"]


def fit_baselines(images: UInt8[np.ndarray, "n h w c"] | Images, *, seed: int = 0) -> Public:
    """Fits the baselines to public images.

    c is what reconstructs noised images with the least squared error, chosen at each level by itself; it rises with the
    noise, from about 0.5 at 0.1 to 1 at 2.5.

    Args:
      images: [n, h, w, c], uint8 or floats in [-1, 1]; 2 or more, none of them a target.
      seed: Seed of the noise; c is fitted on the middle 32 x 32 pixels of the first 4 images.

    Raises:
      InputError: if they are no images, or fewer than 2.
    """
    x = np.asarray(to_signed(jnp.asarray(images)), np.float64)
    if x.ndim != 4 or len(x) < 2:
        raise InputError(f"baselines are fitted to 2 or more images [n, h, w, c], got shape {x.shape}.")
    top, left = (max(side - _SIDE, 0) // 2 for side in x.shape[1:3])
    some = x[:_NUM_FITTED, top : top + _SIDE, left : left + _SIDE]
    noise = np.random.default_rng(seed).standard_normal(some.shape)
    loss = np.array([[_tv_error(some, sigma, factor, noise) for factor in TV_FACTORS] for sigma in TV_LEVELS])
    return Public(x.mean(0), x.var(0, ddof=1), np.asarray(TV_FACTORS)[loss.argmin(axis=1)])


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
    """Returns argmin_x ||x - y||^2/(2 w) + TV(x) for each image, by 200 of Chambolle's iterations, not clipped.

    Args:
      y: Noisy images [n, h, w, c]; channels apart.
      weight: w of each, [n].

    Raises:
      InputError: if y are no images.
    """
    # eps = 0: what it is compared with is the energy of the start, and that is so large under a large weight that the
    # iteration would stop at once (error .29 for .25 on pictures of clothes at sigma = 2.8).
    run = lambda one, w: denoise_tv_chambolle(one, weight=w, eps=0, max_num_iter=200, channel_axis=-1)  # noqa: E731
    return np.stack([run(one, w) for one, w in zip(_images(y), weight, strict=True)])


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
        denoise_nl_means(one, patch_size=5, patch_distance=6, h=0.6 * s, sigma=s, channel_axis=-1, preserve_range=True)
        for one, s in zip(y, np.asarray(sigma, np.float64), strict=True)
    ]
    return np.stack(found).reshape(y.shape)


def _total_variation(y: Images, sigma: Float[np.ndarray, " n"], known: Public) -> Images:
    factor = np.exp(np.interp(np.log(sigma), np.log(TV_LEVELS), np.log(known.tv_factors)))
    return clipped(total_variation(y, factor * sigma))


Baseline: TypeAlias = Callable[[Images, Float[np.ndarray, " n"], Public], Images]
BASELINES: Mapping[str, Baseline] = {
    "clipped": lambda y, sigma, known: clipped(y),
    "wiener": lambda y, sigma, known: clipped(wiener(y, sigma, known.mean, known.var)),
    "total-variation": _total_variation,
    "non-local-means": lambda y, sigma, known: clipped(non_local_means(y, sigma)),
}
"""By name: ``baseline(y [n, h, w, c], sigma [n], public)`` returns images, float64 in [-1, 1]."""


def _tv_error(x: Images, sigma: float, factor: float, noise: Images) -> float:
    found = clipped(total_variation(x + sigma * noise, np.full(len(x), factor * sigma)))
    return float(((found - x) ** 2).mean())


def _images(y: Images) -> Images:
    y = np.asarray(y, np.float64)
    if y.ndim != 4:
        raise InputError(f"neighbouring pixels are those of images [n, h, w, c], got shape {y.shape}: use wiener.")
    return y
