"""Resampling by a short low-pass filter, (1, 3, 3, 1)/8 along each axis, as StyleGAN2 and NCSN++ resample.

    down   y_i = (x_{2i-1} + 3 x_{2i} + 3 x_{2i+1} + x_{2i+2})/8
    up     y_{2i} = (x_{i-1} + 3 x_i)/4,   y_{2i+1} = (3 x_i + x_{i+1})/4

with zeros beyond the border. Written as shifted sums, which XLA fuses: a convolution per channel is slow on CPU.

References:
  Karras et al. 2019, https://arxiv.org/abs/1912.04958; Song et al. 2021, https://arxiv.org/abs/2011.13456
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def fir_downsample(x: Float[Array, "2*h 2*w c"]) -> Float[Array, "h w c"]:
    """Halves height and width."""
    for axis in (0, 1):
        x = jnp.moveaxis(_halved(jnp.moveaxis(x, axis, 0)), 0, axis)
    return x


def fir_upsample(x: Float[Array, "h w c"]) -> Float[Array, "2*h 2*w c"]:
    """Doubles height and width."""
    for axis in (0, 1):
        x = jnp.moveaxis(_doubled(jnp.moveaxis(x, axis, 0)), 0, axis)
    return x


def _halved(x: Float[Array, "2*n m c"]) -> Float[Array, "n m c"]:
    even, odd = x[0::2], x[1::2]
    before, after = jnp.pad(odd, ((1, 0), (0, 0), (0, 0)))[:-1], jnp.pad(even, ((0, 1), (0, 0), (0, 0)))[1:]
    return (before + 3 * (even + odd) + after) / 8


def _doubled(x: Float[Array, "n m c"]) -> Float[Array, "2*n m c"]:
    before, after = jnp.pad(x, ((1, 0), (0, 0), (0, 0)))[:-1], jnp.pad(x, ((0, 1), (0, 0), (0, 0)))[1:]
    pairs = jnp.stack([before + 3 * x, 3 * x + after], axis=1)
    return pairs.reshape(-1, *x.shape[1:]) / 4
