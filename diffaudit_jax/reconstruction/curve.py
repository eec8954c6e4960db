"""The prior-aware curve: how well a prior denoises images of a kind, before any of them is attacked.

    e(sigma) = E ||D(x + sigma n; sigma) - x||^2/d,     D(y; sigma) = E_prior[x | y]

over held-out public images x of the kind that will be attacked. No estimate from y alone has a smaller mean squared
error than the posterior mean of the images' own distribution, the MMSE, so e(sigma) >= MMSE(sigma), with equality for a
perfect prior. Read at sigma_eff = ||x||/mu, e is what this prior reaches, and an estimate from above of the floor under
every attacker who knows the images' distribution and not the image. It is that floor only as far as the prior is
perfect: an attacker with a better one gets below it.

Assumed: targets are drawn like the public images, none of which trained the prior (else its memory is measured); the
prior's network is asked as an attacker asks it (`denoise.denoised`), at the nearest level of a discrete process.

References:
  Guo, Shamai and Verdu 2005, https://arxiv.org/abs/cs/0412108 (MMSE and information)
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from diffaudit_jax.reconstruction.denoise import denoised, prior_of
from diffaudit_jax.stream import stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Query, Time, to_signed


class Curve(NamedTuple):
    """The denoising error of a prior by noise level.

    Attributes:
      sigmas: Noise levels, increasing, in units of images in [-1, 1]; float64 [sigmas].
      errors: Squared error per dimension of every image, mean over noises; float64 [n, sigmas].
      mean: e(sigma), mean over images; float64 [sigmas].
      se: Its standard error over images; float64 [sigmas]. Errors at neighbouring levels share images and noise: their
        differences are surer than this.
    """

    sigmas: Float[np.ndarray, " sigmas"]
    errors: Float[np.ndarray, "n sigmas"]
    mean: Float[np.ndarray, " sigmas"]
    se: Float[np.ndarray, " sigmas"]


def denoising_curve(
    key: Key,
    target: Target,
    images: UInt8[np.ndarray, "n *shape"] | Float[np.ndarray, "n *shape"],
    sigmas: Float[np.ndarray, " sigmas"],
    *,
    num_noises: int = 4,
    cond: Int[np.ndarray, " n"] | None = None,
    block: int = 64,
) -> Curve:
    """Measures how far the prior's posterior mean lies from held-out images, at each noise level.

    Image i at draw k has the noise of (key, i, k) at every sigma: common random numbers, so that the curve is smooth.

    Args:
      key: Typed random key.
      target: The prior.
      images: Public images that the prior was not trained on, uint8 or floats in [-1, 1]; at least 2.
      sigmas: Noise levels, positive and increasing.
      num_noises: Noise draws per image.
      cond: Classes [n] of a conditional prior, or None.
      block: Images per dispatch; num_noises of each are on the device at once.

    Returns:
      The curve. Costs n x len(sigmas) x num_noises network calls.

    Raises:
      InputError: if the prior offers samples only or has another shape, there are fewer than 2 images, or a number is
        not positive.
    """
    prior_of(target)
    levels = np.asarray(sigmas, np.float64)
    _check(target, np.asarray(images), levels, num_noises, cond)

    def one(shared: tuple[Any, Float[Array, " sigmas"]], key: Key, query: Query) -> Float[Array, " sigmas"]:
        params, levels = shared
        prior, x = replace(target, params=params), to_signed(query.x)
        keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(num_noises))
        noises = jax.vmap(lambda key: jax.random.normal(key, x.shape))(keys)

        def error(sigma: Time, noise: Example) -> Time:
            y = x + sigma * noise
            return jnp.mean((denoised(key, prior, y, sigma, cond=query.cond, method="posterior-mean") - x) ** 2)

        with jax.default_matmul_precision("highest"):
            return jax.lax.map(lambda sigma: jax.vmap(error, (None, 0))(sigma, noises).mean(), levels)

    asked = Query(np.asarray(images), None if cond is None else np.asarray(cond), np.arange(len(images)))
    shared = target.params, np.asarray(levels, np.float32)
    errors = np.asarray(stream(one, shared, key, asked, block=block, host=target.host), np.float64)
    return Curve(levels, errors, errors.mean(0), errors.std(0, ddof=1) / np.sqrt(len(errors)))


def error_at(curve: Curve, sigma: Float[np.ndarray, "*any"] | float) -> Float[np.ndarray, "*any"]:
    """Reads the curve at any noise level, straight between its points in log sigma and log error.

    The error of Gaussian data of variance v, v sigma^2/(v + sigma^2), lies above its chords by no more than the factor
    exp(h^2/8), h the distance of neighbouring levels in log sigma: 6 % for levels that double.

    Args:
      curve: The prior's curve.
      sigma: Noise levels within its range, any shape; e.g. ||x||/mu of every target.

    Returns:
      e(sigma), float64.

    Raises:
      InputError: if a level lies outside the curve's.
    """
    sigma, levels = np.asarray(sigma, np.float64), curve.sigmas
    # A level that comes from float32 arithmetic may lie a rounding outside.
    slack = 1 + 1e-6
    if not ((sigma * slack >= levels[0]) & (sigma <= levels[-1] * slack)).all():
        raise InputError(
            f"the curve runs from sigma = {levels[0]:.4g} to {levels[-1]:.4g} and was read at {sigma.min():.4g} to "
            f"{sigma.max():.4g}: measure it there too."
        )
    # A prior that knows the images by heart errs by 0.
    return np.exp(np.interp(np.log(sigma), np.log(levels), np.log(np.maximum(curve.mean, np.finfo(np.float64).tiny))))


def _check(
    target: Target, images: np.ndarray, levels: Float[np.ndarray, " sigmas"], num_noises: int, cond: Any
) -> None:
    shape = tuple(target.shape)
    if images.shape[1:] != shape or len(images) < 2:
        raise InputError(f"images have shape {images.shape}: the prior needs at least 2 of shape {shape}.")
    if images.dtype != np.uint8 and not (np.abs(images) <= 1).all():  # also where one is NaN
        raise InputError(f"floating images lie in [-1, 1], got {images.min():.4g} to {images.max():.4g}: rescale them.")
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (np.diff(levels, prepend=0) > 0)).all():
        raise InputError(f"noise levels are a row of positive, increasing numbers, got {levels}.")
    if not np.isfinite(levels).all() or num_noises < 1:
        raise InputError(f"noise levels are finite and drawn at least once, got {levels[-1]=}, {num_noises=}.")
    if cond is not None and np.shape(cond) != images.shape[:1]:
        raise InputError(f"every image has its class, got classes of shape {np.shape(cond)} for {len(images)}.")
