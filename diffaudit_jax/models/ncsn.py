"""The networks of NCSN and NCSNv2: one RefineNet of ONE example [h, w, c], with or without noise levels in its norms.

Four stages of two residual blocks each: the second halves the resolution, the third and fourth dilate by 2 and 4
instead. Four refine blocks then join them from the last to the first.

References:
  Song and Ermon 2019, https://arxiv.org/abs/1907.05600 (NCSN)
  Song and Ermon 2020, https://arxiv.org/abs/2006.09011 (NCSNv2)
  Lin et al. 2017, https://arxiv.org/abs/1611.06612 (RefineNet)
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.instance import InstanceNormPlus
from diffaudit_jax.models.layers import depth_to_space, downsample, space_to_depth
from diffaudit_jax.types import InputError

Level = Int[Array, ""] | None


class NCSN(nn.Module):
    """RefineNet over one image, whose output is sigma x score.

    Follows the released networks for images of 28 to 64 pixels: ELU, InstanceNorm++, widths c, 2c, 2c, 2c on the way
    down and 2c, 2c, c, c on the way back, bilinear interpolation with corners aligned. NCSN has a norm before each
    convolution of a refine block and averages in its pooling; NCSNv2 has none there and takes the maximum.

    Three things do not: the space-to-depth stem (`patch` > 1), the initial weights (LeCun's), and the scale of NCSN's
    output. NCSNv2 divides this output by sigma to have the score, and so does whoever reads it here, whereas the first
    paper's network gives the score itself.

    Attributes:
      channels: Width c of the first stage; 128 as published.
      num_levels: NCSN's number of noise levels; None for NCSNv2, which is not told the level.
      patch: Side of the space-to-depth stem's blocks; 1 for none, as published.
      dtype: Compute type, e.g. bfloat16; parameters, norms' moments and the output are float32.
    """

    channels: int = 128
    num_levels: int | None = None
    patch: int = 1
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "h w c"],
        time: Float[Array, ""],
        label: Int[Array, ""] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "h w c"]:
        """Returns sigma x score.

        Args:
          x: Noised image in [-1, 1] coordinates.
          time: Index of the noise level, 0 the smallest: the reverse of released weights, which begin at the largest.
          label: Not used: these networks are unconditional.
          deterministic: Not used: they have no dropout.

        Raises:
          InputError: if the image does not halve after the stem, or the width is below 2.
        """
        del label, deterministic
        height, width, out_channels = x.shape
        if height % (2 * self.patch) or width % (2 * self.patch) or self.channels < 2:
            raise InputError(
                f"NCSN halves its image after a stem of patch {self.patch}, and has 2 channels or more: give sides "
                f"that {2 * self.patch} divides, got {height}x{width} and channels={self.channels}."
            )
        level = None if self.num_levels is None else jnp.round(time).astype(jnp.int32)
        options = (self.num_levels, self.dtype)
        h = _conv(self.channels, dtype=self.dtype, name="begin")(space_to_depth(x, self.patch))
        stages = []
        for i, (mult, dilation) in enumerate(((1, 1), (2, 1), (2, 2), (2, 4))):
            for j in range(2):
                block = ResidualBlock(self.channels * mult, dilation, i > 0 and j == 0, *options, name=f"stage{i}_{j}")
                h = block(h, level)
            stages.append(h)
        h = RefineBlock(2 * self.channels, 1, *options, name="refine3")([stages[3]], level)
        for i, mult in ((2, 2), (1, 1), (0, 1)):
            last = 1 if i else 3
            h = RefineBlock(self.channels * mult, last, *options, name=f"refine{i}")([stages[i], h], level)
        h = nn.elu(InstanceNormPlus(self.num_levels, name="norm")(h, level))
        h = _conv(out_channels * self.patch**2, dtype=self.dtype, name="end")(h)
        return depth_to_space(h, self.patch).astype(jnp.float32)


class ResidualBlock(nn.Module):
    """Norm, ELU, 3x3; norm, ELU, 3x3; plus the input.

    Attributes:
      features: Output channels.
      dilation: Of both convolutions.
      opens: Whether it is the first of a later stage. Then both branches are halved by the mean of 2x2 blocks, the
        input after a 1x1 convolution; with a dilation, the input passes a dilated convolution and nothing is halved.
      num_levels: As of the norms.
      dtype: Compute type.
    """

    features: int
    dilation: int = 1
    opens: bool = False
    num_levels: int | None = None
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"], level: Level) -> Float[Array, "h2 w2 features"]:
        """Transforms x."""
        y = nn.elu(InstanceNormPlus(self.num_levels, name="norm1")(x, level))
        y = _conv(x.shape[-1], self.dilation, dtype=self.dtype, name="conv1")(y)
        y = nn.elu(InstanceNormPlus(self.num_levels, name="norm2")(y, level))
        y = _conv(self.features, self.dilation, dtype=self.dtype, name="conv2")(y)
        if not self.opens:
            return x + y
        if self.dilation > 1:
            return _conv(self.features, self.dilation, dtype=self.dtype, name="shortcut")(x) + y
        # A 1x1 convolution and a mean commute, and it is cheaper after.
        return nn.Dense(self.features, dtype=self.dtype, name="shortcut")(downsample(x)) + downsample(y)


class RefineBlock(nn.Module):
    """Residual convolutions of each input, their sum at the first one's resolution, chained pooling, and more of them.

    Attributes:
      features: Output channels.
      num_out: Residual units at the end; 3 in the last block, 1 elsewhere.
      num_levels: As of the norms; None for no norms.
      dtype: Compute type.
    """

    features: int
    num_out: int = 1
    num_levels: int | None = None
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, inputs: Sequence[Float[Array, "_h _w _c"]], level: Level) -> Float[Array, "h w features"]:
        """Joins one or two stages."""
        inputs = [self._residual(x, level, 2, f"adapt{i}") for i, x in enumerate(inputs)]
        h = inputs[0] if len(inputs) == 1 else self._fused(inputs, level)
        h = self._pooled(nn.elu(h), level)
        return self._residual(h, level, self.num_out, "out")

    def _residual(self, x: Array, level: Level, num_units: int, name: str) -> Array:
        for i in range(num_units):
            y = x
            for j in range(2):
                y = nn.elu(self._norm(y, level, f"{name}_norm{i}_{j}"))
                y = _conv(x.shape[-1], bias=False, dtype=self.dtype, name=f"{name}_conv{i}_{j}")(y)
            x = x + y
        return x

    def _fused(self, inputs: Sequence[Array], level: Level) -> Array:
        total = jnp.zeros((), inputs[0].dtype)
        for i, x in enumerate(inputs):
            x = self._norm(x, level, f"fuse_norm{i}")
            x = _conv(self.features, dtype=self.dtype, name=f"fuse_conv{i}")(x)
            total = bilinear(x, inputs[0].shape) + total
        return total

    def _pooled(self, x: Array, level: Level) -> Array:
        path = x
        for i in range(2):
            path = self._norm(path, level, f"pool_norm{i}")
            path = max_pool(path) if self.num_levels is None else nn.avg_pool(path, (5, 5), (1, 1), "SAME")
            path = _conv(self.features, bias=False, dtype=self.dtype, name=f"pool_conv{i}")(path)
            x = x + path
        return x

    def _norm(self, x: Array, level: Level, name: str) -> Array:
        return x if self.num_levels is None else InstanceNormPlus(self.num_levels, name=name)(x, level)


def max_pool(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Returns the maximum of the 5x5 pixels around each."""
    # Axis by axis, from shifted copies: on CPU the gradient of a window's maximum takes eleven times as long.
    for axis in (0, 1):
        edges = [(2, 2) if i == axis else (0, 0) for i in range(3)]
        wide, size = jnp.pad(x, edges, constant_values=-jnp.inf), x.shape[axis]
        x = functools.reduce(jnp.maximum, (jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(5)))
    return x


def bilinear(x: Float[Array, "h w c"], shape: tuple[int, ...]) -> Float[Array, "h2 w2 c"]:
    """Resizes to `shape` by linear interpolation between pixels, the corners of both grids on one another."""
    if x.shape[:2] == shape[:2]:
        return x
    rows, columns = (_hats(old, new) for old, new in zip(x.shape[:2], shape[:2], strict=True))
    return jnp.einsum("ih,jw,hwc->ijc", rows, columns, x.astype(jnp.float32)).astype(x.dtype)


def _hats(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Returns the weight of each old position at each new one: 1 there, and 0 at its neighbours and beyond."""
    at = np.linspace(0, old - 1, new)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(old)), 0).astype(np.float32)


def _conv(features: int, dilation: int = 1, *, bias: bool = True, dtype: jnp.dtype | None, name: str) -> nn.Conv:
    return nn.Conv(features, (3, 3), 1, dilation, kernel_dilation=dilation, use_bias=bias, dtype=dtype, name=name)
