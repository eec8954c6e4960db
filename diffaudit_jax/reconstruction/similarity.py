"""How like its target a reconstruction is: pure functions of one pair of images in [-1, 1].

Reconstructions are compared as they are: clip them to [-1, 1] first, or what lies outside counts as error.
"""

from typing import NamedTuple

import jax.numpy as jnp

from diffaudit_jax.attacks.variation import ssim
from diffaudit_jax.types import Example, Time

DATA_RANGE = 2.0  # of images in [-1, 1]


class Similarity(NamedTuple):
    """Every metric of a pair that needs no network: mean squared error, and three that rise with likeness."""

    mse: Time
    psnr: Time
    ssim: Time
    ncc: Time


# Of an image with itself; PSNR has no such value.
BEST = {"mse": 0.0, "ssim": 1.0, "ncc": 1.0}


def similarity(x: Example, y: Example) -> Similarity:
    """Compares two images.

    Args:
      x: Image in [-1, 1], (height, width, channels).
      y: Another of its shape.
    """
    return Similarity(mse(x, y), psnr(x, y), ssim(x, y), ncc(x, y))


def mse(x: Example, y: Example) -> Time:
    """Returns the mean squared difference over pixels and channels."""
    return jnp.mean((x - y) ** 2)


def psnr(x: Example, y: Example) -> Time:
    """Returns the peak signal-to-noise ratio in dB, 10 log10(R^2/MSE) with R = 2; infinite for equal images."""
    return 10.0 * jnp.log10(DATA_RANGE**2 / mse(x, y))


def ncc(x: Example, y: Example) -> Time:
    """Returns the normalised cross-correlation in [-1, 1]: Pearson's, over all pixels; 0 if an image is flat."""
    u, v = x - jnp.mean(x), y - jnp.mean(y)
    norms = jnp.sqrt(jnp.sum(u * u)) * jnp.sqrt(jnp.sum(v * v))
    return jnp.where(norms > 0, jnp.sum(u * v) / jnp.where(norms > 0, norms, 1.0), 0.0)
