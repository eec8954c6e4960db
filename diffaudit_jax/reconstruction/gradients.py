"""Denoising the gradient of a private step by what public examples tell of it, which costs no privacy.

A step of DP-SGD releases y = g + s n, with g the mean of a batch's clipped gradients, n standard normal, and s known.
Denoisers are functions of y, s, the weights and public data: post-processing.

    james_stein   (1 - (d - 2) s^2/||y||^2)_+ y of each row: errs less than y on average whatever g is, for d >= 3
    wiener        m + S (S + s^2 I)^-1 (y - m): the posterior mean of g ~ N(m, S)
    diffused      c + r E[x | x + (s/r) n = (y - c)/r] of each row, x by a diffusion prior: one network call a row

Rows are those of the first dense layer's weights: each is a weighted sum of images, and looks like one. m and S are
those of batches of a population some examples of which are public, at the weights as they are (`moments`); c is 0 or a
row of m, and r the root mean square that g - c should have by m and S.

All of them trade noise for bias. Noise is new at each step and averages out over steps; bias does not. That an
estimate of the gradient errs less does not make better weights of it.

References:
  Schwethelm et al. 2024, https://arxiv.org/abs/2403.07588 (asked whether priors could denoise for utility)
  James and Stein 1961; Balle and Wang 2018, https://arxiv.org/abs/1805.06530 (denoising a release, by James-Stein too)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from diffaudit_jax.models.precondition import DATA_STD
from diffaudit_jax.reconstruction.denoise import denoised, prior_of
from diffaudit_jax.target import Target
from diffaudit_jax.training.dpsgd import Denoise
from diffaudit_jax.training.mechanism import clipped_sum
from diffaudit_jax.training.state import Data
from diffaudit_jax.types import InputError, Params, Time

Examples = Callable[[Params], Float[Array, "m p"]]
"""Clipped gradients of m public examples at given weights, each in one row; see `public_gradients`."""


class Moments(NamedTuple):
    """What public examples tell of the mean gradient of a private batch: it is N(mean, root^T root).

    Attributes:
      mean: [p].
      root: [m + 1, p].
    """

    mean: Float[Array, " p"]
    root: Float[Array, "k p"]


class Frame(NamedTuple):
    """Where the rows of a layer's gradient should lie, and how far from there: a prior's coordinates.

    Attributes:
      center: c, [r, d].
      scale: Root mean square of a row less its center, [r].
    """

    center: Float[Array, "r d"]
    scale: Float[Array, " r"]


def james_stein(y: Float[Array, " d"], stddev: Time) -> Float[Array, " d"]:
    """Returns y shrunk towards 0 by the positive-part James-Stein estimator.

    Args:
      y: One row of a noisy gradient, of 3 numbers or more.
      stddev: s.
    """
    kept = 1 - (y.size - 2) * stddev**2 / jnp.maximum(jnp.sum(y**2), jnp.finfo(y.dtype).tiny)
    return jnp.maximum(kept, 0.0) * y


def public_gradients(loss: Callable, public: Data, l2_clip_norm: float) -> Examples:
    """Makes the function that clips the gradients of public examples as a private step clips those of members.

    Whole gradients are clipped, of one loss an example: `Privacy` with `per_layer`, or with several `num_noises`, makes
    others, of which these would be the wrong moments.

    Args:
      loss: Loss of one example, ``loss(params, key, x, label)``, that draws nothing: the key is the same for all.
      public: The examples.
      l2_clip_norm: C.
    """

    def one(params: Params, x: Array, label: Array | None) -> Float[Array, " p"]:
        grads = jax.grad(loss)(params, jax.random.key(0), x, label)
        alone = jax.tree.map(lambda leaf: leaf[None], grads)
        return ravel_pytree(clipped_sum(alone, jnp.ones(1, bool), l2_clip_norm)[0])[0]

    return lambda params: jax.vmap(one, (None, 0, 0))(params, *public)


def moments(grads: Float[Array, "m p"], batch_size: int, num_examples: int) -> Moments:
    """Returns the moments of the mean gradient of a private batch, as m examples of the same population tell them.

    With mu and V the mean and covariance of one example's gradient, n private examples, each in the batch with
    probability q = B/n, and mu known from the m public ones alone,

        g = (sum over the batch)/B,   E g = mu,   S = V (1/B + 1/m) + mu mu^T (1 - q)/B

    Args:
      grads: Clipped gradients of public examples, 2 or more.
      batch_size: B, expected.
      num_examples: n.
    """
    m, mean = len(grads), grads.mean(0)
    spread = (grads - mean[None]) * ((1 / batch_size + 1 / m) / (m - 1)) ** 0.5
    size = mean * ((1 - batch_size / num_examples) / batch_size) ** 0.5
    return Moments(mean, jnp.concatenate([spread, size[None]]))


def wiener(y: Float[Array, " p"], stddev: Time, known: Moments) -> Float[Array, " p"]:
    """Returns the posterior mean of g ~ N(mean, S) given y, with S = A^T A of low rank.

    S (S + s^2 I)^-1 = A^T (A A^T + s^2 I)^-1 A, which is a system of m + 1 equations and not of p.

    Args:
      y: Noisy gradient, all of it.
      stddev: s, positive.
      known: m and A.
    """
    dot = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    root, rest = known.root, y - known.mean
    gram = dot(root, root.T) + stddev**2 * jnp.eye(len(root))
    return known.mean + dot(jax.scipy.linalg.solve(gram, dot(root, rest), assume_a="pos"), root)


def frame(known: Moments, params: Params, layer: str, *, centred: bool) -> Frame:
    """Returns where the rows of a layer's gradient should lie.

    Args:
      known: Moments of the whole gradient.
      params: Weights, a dictionary of tensors; the layer's are [r, d].
      layer: Its name.
      centred: Whether rows are told from those of the public mean, else from 0.
    """
    unravel = ravel_pytree(params)[1]
    mean, var = (unravel(leaf)[layer] for leaf in (known.mean, jnp.sum(known.root**2, 0)))
    center = mean if centred else jnp.zeros_like(mean)
    return Frame(center, jnp.sqrt(jnp.mean((mean - center) ** 2 + var, 1)))


def framed(rows: Float[Array, "r d"], at: Frame) -> Float[Array, "r d"]:
    """Returns rows in a prior's coordinates, where their root mean square should be `DATA_STD`: what trains a prior."""
    return DATA_STD * (rows - at.center) / at.scale[:, None]


def diffused(prior: Target, y: Float[Array, "r d"], stddev: Time, at: Frame) -> Float[Array, "r d"]:
    """Returns each row's posterior mean by a diffusion prior; one network call a row.

    Args:
      prior: A diffusion model of rows in their frame, each an image; it should not clip.
      y: Noisy rows.
      stddev: s, positive.
      at: Their frame, by public data.

    Raises:
      InputError: if the prior offers samples only.
    """
    key = jax.random.key(0)  # the posterior mean draws nothing

    def one(row: Float[Array, " d"], level: Time) -> Float[Array, " d"]:
        return denoised(key, prior, row.reshape(prior.shape), level, method="posterior-mean").ravel()

    # A unit that is dead on public examples has no scale: nothing of its row is believed.
    at = at._replace(scale=jnp.maximum(at.scale, _LEAST_SCALE * stddev))
    x = jax.vmap(one)(framed(y, at), DATA_STD * stddev / at.scale)
    return at.center + x * at.scale[:, None] / DATA_STD


_LEAST_SCALE = 1e-6
"""Of a row's scale, in units of the noise."""


def by_james_stein(layer: str) -> Denoise:
    """Makes the denoiser that shrinks each row of one layer, named as in the dictionary of weights."""

    def denoise(params: Params, grads: Params, stddev: Time) -> Params:
        return {**grads, layer: jax.vmap(james_stein, (0, None))(grads[layer], stddev)}

    return jax.jit(denoise)


def by_wiener(examples: Examples, batch_size: int, num_examples: int) -> Denoise:
    """Makes the denoiser of the whole gradient by its moments, told from public examples at each step.

    Args:
      examples: Public gradients.
      batch_size: B of private steps.
      num_examples: n of private steps.
    """

    def denoise(params: Params, grads: Params, stddev: Time) -> Params:
        flat, unravel = ravel_pytree(grads)
        return unravel(wiener(flat, stddev, moments(examples(params), batch_size, num_examples)))

    return jax.jit(denoise)


def by_diffusion(
    prior: Target, layer: str, examples: Examples, batch_size: int, num_examples: int, *, centred: bool = False
) -> Denoise:
    """Makes the denoiser of one layer's rows by a diffusion prior, in the frame that public examples tell at each step.

    Args:
      prior: A diffusion model of such rows, trained in the same frame (`framed`).
      layer: Name of the layer, in the dictionary of weights; the others' gradients are left as they are.
      examples: Public gradients.
      batch_size: B of private steps.
      num_examples: n of private steps.
      centred: Whether the prior is of rows less the public mean's.

    Raises:
      InputError: if the prior offers samples only, or clips to [-1, 1] what is no image.
    """
    prior_of(prior)
    if prior.config.get("clip", True):
        raise InputError("a prior of gradients' rows must not clip them to [-1, 1]: build its target with clip=False.")

    def denoise(params: Params, grads: Params, stddev: Time) -> Params:
        at = frame(moments(examples(params), batch_size, num_examples), params, layer, centred=centred)
        return {**grads, layer: diffused(prior, grads[layer], stddev, at)}

    return jax.jit(denoise)
