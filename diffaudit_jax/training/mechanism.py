"""The Gaussian mechanism on sums of gradients: what one example can change, and the noise that hides it.

Both are our own code, which tests hold against jax-privacy's. Its `clipped_grad` takes 1.4 times as long on CPU (0.65 M
parameters, 16x16, batch 64), as it writes the clipped gradients down before it sums them; here the sum is one product
with the scales. Its noise, drawn tensor by tensor, takes eight times as long to compile (110 tensors).

References:
  Abadi et al. 2016, Deep Learning with Differential Privacy, https://arxiv.org/abs/1607.00133
  Holohan and Braghin 2021, Secure Random Sampling in Differential Privacy, https://arxiv.org/abs/2107.10138
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from diffaudit_jax.training.state import Data
from diffaudit_jax.types import InputError, Key, Params


def clipped_sum(
    grads: Params, mask: Bool[Array, " m"], l2_clip_norm: float, *, per_layer: bool = False
) -> tuple[Params, Float[Array, " m"], Bool[Array, " m"]]:
    """Sums gradients, each scaled to a norm of at most C: sum over i of mask_i min(1, C/||g_i||) g_i.

    Masked rows, and gradients that are not finite, contribute exactly zero.

    Args:
      grads: Gradients of m examples, on the leading axis of every leaf.
      mask: Whether an example counts.
      l2_clip_norm: C.
      per_layer: Whether to scale each of the L leaves on its own, to a norm of at most C/sqrt(L).

    Returns:
      The sum; the norms of whole gradients before clipping; and whether any part of a gradient was scaled down.
    """
    leaves, tree = jax.tree.flatten(grads)
    squares = jnp.stack([jnp.sum(leaf * leaf, tuple(range(1, leaf.ndim))) for leaf in leaves])
    square = squares.sum(0)
    bounded = squares if per_layer else jnp.broadcast_to(square, squares.shape)
    bound = l2_clip_norm / len(leaves) ** 0.5 if per_layer else l2_clip_norm
    kept = mask & jnp.isfinite(square)
    scales = jnp.where(kept[None], jnp.minimum(1.0, bound / jnp.sqrt(bounded)), 0.0)

    def total(scale: Float[Array, " m"], leaf: Array) -> Array:
        # Selected too, as 0 times NaN is NaN; in full precision, as a rounded scale could break the bound.
        finite = jnp.where(kept.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, 0.0)
        return jnp.tensordot(scale, finite, 1, precision=jax.lax.Precision.HIGHEST)

    return tree.unflatten(map(total, scales, leaves)), jnp.sqrt(square), kept & (scales < 1).any(0)


def standard_normal(key: Key, like: Params) -> Params:
    """Draws N(0, I) in the shape of a tree, as half the sum of four draws.

    One float32 draw lies on a grid of 2^23 numbers that ends at 5.4 standard deviations. What lies beyond would betray
    the sum it was added to, with a probability that is no longer small beside delta; four of them reach 10.8.

    Args:
      key: Typed key.
      like: A tree of arrays.
    """
    flat, unravel = ravel_pytree(like)
    # Drawn as a table: XLA divides the work among the cores of a CPU by the first axis, but not that of a vector.
    shape, keys = (_ROWS, -(-flat.size // _ROWS)), jax.random.split(key, 4)
    # Zeros made of the key: inside shard_map a carry must vary over devices as what is added to it does.
    zeros = jnp.full(shape, 0 * jax.random.key_data(keys)[0, 0], jnp.float32)
    total = jax.lax.fori_loop(0, 4, lambda i, sum_: sum_ + jax.random.normal(keys[i], shape), zeros)
    return unravel(total.reshape(-1)[: flat.size] / 2)


_ROWS = 128


def check_separable(key: Key, loss: Callable[..., Float[Array, ""]], params: Params, data: Data) -> None:
    """Refuses a loss that reads the other examples of its batch: clipping would not bound what one of them changes.

    Losses of one example are batched by vmap, so that no layer sees a batch. What could are functions that bring a rule
    of their own for it (`jax.custom_batching`, a callback that takes the batch whole), and layers that carry
    statistics from one batch to the next, which a Model has no place for. The first example of the data is shown beside
    one random image and beside another, of another label and with other draws: its loss must be the same to the last
    bit.

    Args:
      key: Typed key: images, draws, and weights moved at random, since a head of zeros hides what lies behind.
      loss: Loss of one example.
      params: Parameters of the network.
      data: The members; one is looked at.

    Raises:
      InputError: if the loss reads other examples, or the network keeps statistics of the batch.
    """
    key_params, key_loss, *key_images = jax.random.split(key, 4)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key_params, len(leaves))
    moved = tree.unflatten(
        [leaf + 0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )
    first = data.x[:1]
    batched = jax.jit(jax.vmap(loss, (None, 0, 0, 0)))

    def beside(key: Key, label: int | Array) -> Array:
        """Returns the loss of the first example beside a random image with a label and draws of its own."""
        keys = jnp.stack([key_loss, jax.random.fold_in(key, 1)])
        labels = None if data.labels is None else jnp.stack([data.labels[0], jnp.asarray(label, data.labels.dtype)])
        return batched(moved, keys, jnp.concatenate([first, _random_image(key, first)]), labels)[0]

    most = 0 if data.labels is None else data.labels.max()
    try:
        one, other = (beside(key, label) for key, label in zip(key_images, (0, most), strict=True))
    except Exception as error:  # flax's, which only models may import
        if "batch_stats" not in str(error):
            raise
        raise InputError(_SEPARATE.format("keeps statistics of the batch")) from error
    if not jnp.array_equal(one, other, equal_nan=True):
        raise InputError(_SEPARATE.format("reads other examples of the batch"))


_SEPARATE = (
    "this network {}, as BatchNorm does, and clipping cannot bound one example's part in it: "
    "use a norm of one example, such as GroupNorm."
)


def _random_image(key: Key, like: Array) -> Array:
    if like.dtype == jnp.uint8:
        return jax.random.bits(key, like.shape, jnp.uint8)
    return jax.random.uniform(key, like.shape, like.dtype, -1.0, 1.0)
