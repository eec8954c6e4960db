"""NCSN++: a U-Net with an image pyramid on either side, resampled by a low-pass filter.

    down   h <- down(h) + W x_l,        x_l the image filtered down l times
    up     y <- up(y) + conv(h),        y the answer's pyramid, from the coarsest level to the finest
    out    y + head(h)

Residual sums are divided by sqrt(2). The answer is sigma times the score, so -eps: the last division of the published
network by sigma is left out.

References:
  Song et al. 2021, https://arxiv.org/abs/2011.13456 (in the form that diffusers gives it)
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.adapter import Model
from diffaudit_jax.models.fir import fir_downsample, fir_upsample
from diffaudit_jax.models.grids import attended, attending, check_divisors, check_rates, from_options, grids
from diffaudit_jax.models.layers import EMBEDDINGS, Attention, Conv3x3, Embedding, GroupNorm
from diffaudit_jax.models.precondition import Predicts, Told
from diffaudit_jax.models.unet import ResBlock, conditioning
from diffaudit_jax.types import InputError, known

SQRT2 = 2**0.5


class NCSNpp(nn.Module):
    """NCSN++ over one image [h, w, c], conditioned on time and optionally on a class.

    Attributes:
      channels: Width of the first level.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level on the way down (one more on the way up).
      attention: Levels (0 = finest) that attend, after each block on the way down.
      attention_up: Levels that attend on the way up, after the last block; None for those of the way down.
      middle_attention: Whether the middle attends.
      head_channels: Channels of an attention head; None for one head.
      groups: Groups of the middle's norms and the last; None for as many as 32, of 4 channels or more.
      attention_groups: Groups of the norms before attention and, where the way up attends, first in its blocks.
      middle_groups: Groups of the norm before the middle's attention, if others than `groups`; 0 for no norm.
      middle_scale: What residual sums of the middle are divided by.
      dropout: Dropout rate in residual blocks.
      num_classes: Number of classes, None for unconditional.
      scale_shift: Scale-shift norm (AdaGN).
      embedding: How the time is embedded.
      epsilon: Of every norm.
      center: Whether to take 2 x - 1 of the image first.
      null_class: Whether the class table ends with a null class, which a missing label stands for.
      dtype: Compute type, e.g. bfloat16; parameters and the output are float32.
    """

    channels: int = 128
    mults: tuple[float, ...] = (1, 2, 2, 2)
    num_blocks: int = 2
    attention: tuple[int, ...] = ()
    attention_up: tuple[int, ...] | None = None
    middle_attention: bool = True
    head_channels: int | None = None
    groups: int | None = None
    attention_groups: int | None = None
    middle_groups: int | None = None
    middle_scale: float = SQRT2
    dropout: float = 0.0
    num_classes: int | None = None
    scale_shift: bool = False
    embedding: Embedding = "fourier"
    epsilon: float = 1e-6
    center: bool = False
    null_class: bool = True
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
        """Returns sigma times the score."""
        conditions = (self.channels, self.embedding, self.num_classes, self.null_class, self.dtype)
        emb = conditioning(time, label, *conditions)
        x = 2 * x - 1 if self.center else x
        h = Conv3x3(self.channels, dtype=self.dtype, name="stem")(x)
        skips, image = [h], x
        for level, mult in enumerate(self.mults):
            for i in range(self.num_blocks):
                h = self._block(h, emb, mult, deterministic, f"down{level}_{i}") / SQRT2
                if level in self.attention:
                    h = self._attention(self.attention_groups, f"down{level}_{i}_attention")(h) / SQRT2
                skips.append(h)
            if level + 1 < len(self.mults):
                h = self._block(h, emb, mult, deterministic, f"down{level}_resample", fir_downsample) / SQRT2
                image = fir_downsample(image)
                h = h + nn.Dense(h.shape[-1], dtype=self.dtype, name=f"down{level}_pyramid")(image)
                skips.append(h)
        h = self._middle(h, emb, deterministic)
        y = jnp.zeros((*h.shape[:2], x.shape[-1]))
        for level, mult in reversed(tuple(enumerate(self.mults))):
            attends = level in (self.attention if self.attention_up is None else self.attention_up)
            first = self.attention_groups if attends else None
            for i in range(self.num_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, emb, mult, deterministic, f"up{level}_{i}", groups_in=first) / SQRT2
            if attends:
                h = self._attention(self.attention_groups, f"up{level}_attention")(h) / SQRT2
            if level:
                normed = nn.silu(GroupNorm(None, self.epsilon, name=f"up{level}_pyramid_norm")(h))
                y = y + Conv3x3(y.shape[-1], dtype=self.dtype, name=f"up{level}_pyramid")(normed)
                h = self._block(h, emb, mult, deterministic, f"up{level}_resample", fir_upsample) / SQRT2
                y = fir_upsample(y)
        h = nn.silu(GroupNorm(self.groups, self.epsilon, name="norm_out")(h))
        return (y + Conv3x3(y.shape[-1], zero_init=True, dtype=self.dtype, name="head")(h)).astype(jnp.float32)

    def _middle(self, h: Array, emb: Array, deterministic: bool) -> Array:
        block = lambda h, name: self._block(h, emb, self.mults[-1], deterministic, name, groups=self.groups)  # noqa: E731
        h = block(h, "middle_0") / self.middle_scale
        if self.middle_attention:
            groups = self.groups if self.middle_groups is None else self.middle_groups
            h = self._attention(groups, "middle_attend")(h) / self.middle_scale
        return block(h, "middle_1") / self.middle_scale

    def _block(
        self,
        h: Array,
        emb: Array,
        mult: float,
        deterministic: bool,
        name: str,
        resample: Callable[[Array], Array] | None = None,
        **groups: int | None,
    ) -> Array:
        options: dict[str, Any] = {"scale_shift": self.scale_shift, "dropout": self.dropout, "epsilon": self.epsilon}
        options |= {"resample": resample, "shortcut": resample is not None, "dtype": self.dtype, **groups}
        return ResBlock(round(self.channels * mult), **options, name=name)(h, emb, deterministic)

    def _attention(self, groups: int | None, name: str) -> Attention:
        return Attention(self.head_channels, 1, groups, self.epsilon, self.dtype, name=name)


def ncsnpp(
    shape: tuple[int, int, int],
    *,
    channels: int = 128,
    mults: tuple[float, ...] = (1, 2, 2, 2),
    num_blocks: int = 2,
    attention: tuple[int, ...] = (),
    attention_up: tuple[int, ...] | None = None,
    middle_attention: bool = True,
    head_channels: int | None = None,
    groups: int | None = None,
    attention_groups: int | None = None,
    middle_groups: int | None = None,
    middle_scale: float = SQRT2,
    dropout: float = 0.0,
    num_classes: int | None = None,
    scale_shift: bool = False,
    embedding: Embedding = "fourier",
    epsilon: float = 1e-6,
    center: bool = False,
    null_class: bool = True,
    predicts: Predicts = "score",
    told: Told = "log-noise",
    signed: bool = False,
    bfloat16: bool = False,
) -> Model:
    """An NCSN++ for images of `shape`.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width of the first level.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level; 4 as published for CIFAR-10, 2 for larger images.
      attention: Grid sides (e.g. 16 for 16x16) that attend.
      attention_up: Grid sides that attend on the way up, if others than on the way down.
      middle_attention: Whether the middle of the network attends.
      head_channels: Channels of an attention head; None for one head, as published.
      groups: Groups of the middle's norms and the last; None for as many as 32, of 4 channels or more.
      attention_groups: Groups of the norms where levels attend, likewise (diffusers: 32).
      middle_groups: Groups of the norm before the middle's attention, if others than `groups`; 0 for no norm.
      middle_scale: What residual sums of the middle are divided by.
      dropout: Dropout rate.
      num_classes: Classes, None for unconditional.
      scale_shift: Scale-shift norm.
      embedding: How the time is embedded.
      epsilon: Added to the variance in norms.
      center: Whether the network takes 2 x - 1 of the image first.
      null_class: Whether there is a class for "none", which guidance needs.
      predicts: What the output is (`models.precondition`).
      told: What the network is told of the time (`models.precondition`).
      signed: Whether it takes images in [-1, 1], else [0, 1].
      bfloat16: Compute in bfloat16 with float32 parameters.

    Raises:
      InputError: if the image does not divide into the grids, heads or groups do not divide the width, or a size is not
        positive.

    References:
      Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    known("embedding", embedding, EMBEDDINGS)
    sides, widths = grids(shape, channels, mults, num_blocks)
    down = attending(attention, sides)
    up = down if attention_up is None else attending(attention_up, sides)
    check_divisors([widths[0], widths[-1]], groups=groups)
    check_divisors(widths[-1:], middle_groups=middle_groups or None)
    check_divisors(attended(widths, down, up, middle_attention), head_channels=head_channels)
    # Where the way up attends, the first norm of a block also sees the channels of a neighbouring level.
    near = {level + step for level in up for step in (-1, 0, 1)} | set(down)
    check_divisors([w for level, w in enumerate(widths) if level in near], attention_groups=attention_groups)
    check_rates(num_classes, dropout)
    if not middle_scale > 0:
        raise InputError(f"middle_scale must be positive, got {middle_scale}.")
    module = from_options(NCSNpp, config, mults=tuple(mults), attention=down, attention_up=up)
    record = {"name": "ncsnpp", "shape": list(shape), **config}
    return Model(module, tuple(shape), predicts, False, num_classes, record, told, signed, null_class)
