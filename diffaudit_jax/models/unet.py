"""One U-Net whose options cover DDPM, improved-diffusion and guided-diffusion, with an optional space-to-depth stem.

References:
  Ho et al. 2020, https://arxiv.org/abs/2006.11239 (DDPM)
  Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672 (scale-shift norm, learned sigma)
  Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233 (64-channel heads, residual up and down blocks)
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.layers import (
    Attention,
    Conv3x3,
    GroupNorm,
    depth_to_space,
    downsample,
    space_to_depth,
    time_embedding,
    upsample,
)


class ResBlock(nn.Module):
    """Norm, SiLU, 3x3; add the embedding; norm, SiLU, dropout, 3x3; plus the input.

    Attributes:
      features: Output channels.
      scale_shift: Whether the embedding scales and shifts the second norm (AdaGN) rather than being added before it.
      dropout: Dropout rate before the second convolution.
      resample: Applied to both branches (BigGAN up and down blocks), None for neither.
      groups: Groups of the norms, as in `GroupNorm`.
      dtype: Compute type.
    """

    features: int
    scale_shift: bool = False
    dropout: float = 0.0
    resample: Callable[[Array], Array] | None = None
    groups: int | None = None
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "h w c"], emb: Float[Array, " e"], deterministic: bool
    ) -> Float[Array, "h2 w2 features"]:
        """Transforms x, conditioned on the embedding of time and class."""
        y = nn.silu(GroupNorm(self.groups, name="norm1")(x))
        if self.resample is not None:
            x, y = self.resample(x), self.resample(y)
        y = Conv3x3(self.features, dtype=self.dtype, name="conv1")(y)
        width = 2 * self.features if self.scale_shift else self.features
        emb = nn.Dense(width, dtype=self.dtype, name="emb")(nn.silu(emb))[None, None, :]
        if self.scale_shift:
            scale, shift = jnp.split(emb, 2, axis=-1)
            y = GroupNorm(self.groups, name="norm2")(y) * (1 + scale) + shift
        else:
            y = GroupNorm(self.groups, name="norm2")(y + emb)
        y = nn.Dropout(self.dropout)(nn.silu(y), deterministic=deterministic)
        y = Conv3x3(self.features, zero_init=True, dtype=self.dtype, name="conv2")(y)
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype, name="skip")(x)
        return x + y


class UNet(nn.Module):
    """U-Net over one image [h, w, c], conditioned on time and optionally on a class.

    Attributes:
      channels: Width of the first level.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level on the way down (one more on the way up).
      attention: Levels (0 = finest) that attend after each block.
      middle_attention: Whether the middle attends, as in all published models.
      head_channels: Channels of an attention head; None to give `num_heads` instead.
      num_heads: Attention heads, if `head_channels` is None.
      groups: Groups of every norm; None for as many as 32, of 4 channels or more.
      dropout: Dropout rate in residual blocks.
      num_classes: Number of classes, None for unconditional. Class index `num_classes` is the null class.
      scale_shift: Scale-shift norm (AdaGN).
      resblock_updown: Resample inside residual blocks rather than by strided convolutions.
      learn_sigma: Also predict the variance, as a second half of the output channels.
      patch: Side of the space-to-depth stem's blocks; 1 for none.
      dtype: Compute type, e.g. bfloat16; parameters and the output are float32.
    """

    channels: int = 64
    mults: tuple[int, ...] = (1, 2)
    num_blocks: int = 2
    attention: tuple[int, ...] = (1,)
    middle_attention: bool = True
    head_channels: int | None = None
    num_heads: int = 1
    groups: int | None = None
    dropout: float = 0.0
    num_classes: int | None = None
    scale_shift: bool = False
    resblock_updown: bool = False
    learn_sigma: bool = False
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
    ) -> Float[Array, "h w out"]:
        """Returns the network's raw output: c channels, or 2c with a learned variance."""
        out_channels = x.shape[-1] * (2 if self.learn_sigma else 1)
        emb = self._embed(time, label)
        h = Conv3x3(self.channels, dtype=self.dtype, name="stem")(space_to_depth(x, self.patch))
        skips = [h]
        for level, mult in enumerate(self.mults):
            for i in range(self.num_blocks):
                h = self._block(h, emb, mult, deterministic, f"down{level}_{i}")
                h = self._attend(h, level, f"down{level}_{i}_attention")
                skips.append(h)
            if level + 1 < len(self.mults):
                h = self._down(h, emb, mult, deterministic, f"down{level}")
                skips.append(h)
        h = self._block(h, emb, self.mults[-1], deterministic, "middle_0")
        if self.middle_attention:
            h = self._attention("middle_attend")(h)
        h = self._block(h, emb, self.mults[-1], deterministic, "middle_1")
        for level, mult in reversed(tuple(enumerate(self.mults))):
            for i in range(self.num_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, emb, mult, deterministic, f"up{level}_{i}")
                h = self._attend(h, level, f"up{level}_{i}_attention")
            if level:
                h = self._up(h, emb, mult, deterministic, f"up{level}")
        h = nn.silu(GroupNorm(self.groups, name="norm_out")(h))
        h = Conv3x3(out_channels * self.patch**2, zero_init=True, dtype=self.dtype, name="head")(h)
        return depth_to_space(h, self.patch).astype(jnp.float32)

    def _embed(self, time: Float[Array, ""], label: Int[Array, ""] | None) -> Float[Array, " e"]:
        width = 4 * self.channels
        emb = nn.Dense(width, dtype=self.dtype, name="time1")(time_embedding(time, self.channels))
        emb = nn.Dense(width, dtype=self.dtype, name="time2")(nn.silu(emb))
        if self.num_classes is None:
            return emb
        label = jnp.asarray(self.num_classes) if label is None else label
        return emb + nn.Embed(self.num_classes + 1, width, dtype=self.dtype, name="label")(label)

    def _block(
        self, h: Array, emb: Array, mult: int, deterministic: bool, name: str, resample: Callable | None = None
    ) -> Array:
        width = self.channels * mult
        return ResBlock(width, self.scale_shift, self.dropout, resample, self.groups, self.dtype, name=name)(
            h, emb, deterministic
        )

    def _attend(self, h: Array, level: int, name: str) -> Array:
        return self._attention(name)(h) if level in self.attention else h

    def _attention(self, name: str) -> Attention:
        return Attention(self.head_channels, self.num_heads, self.groups, self.dtype, name=name)

    def _down(self, h: Array, emb: Array, mult: int, deterministic: bool, name: str) -> Array:
        if self.resblock_updown:
            return self._block(h, emb, mult, deterministic, f"{name}_resample", downsample)
        return Conv3x3(h.shape[-1], stride=2, dtype=self.dtype, name=f"{name}_resample")(h)

    def _up(self, h: Array, emb: Array, mult: int, deterministic: bool, name: str) -> Array:
        if self.resblock_updown:
            return self._block(h, emb, mult, deterministic, f"{name}_resample", upsample)
        return Conv3x3(h.shape[-1], dtype=self.dtype, name=f"{name}_resample")(upsample(h))


def receptive_grid(module: UNet, side: int) -> list[int]:
    """Returns the side length of each level's grid for images of `side` pixels."""
    return [side // module.patch // 2**level for level in range(len(module.mults))]


def count_params(params: jax.typing.ArrayLike) -> int:
    """Returns the number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
