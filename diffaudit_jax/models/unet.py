"""One U-Net whose options cover DDPM, improved-diffusion and guided-diffusion, with an optional space-to-depth stem.

References:
  Ho et al. 2020, https://arxiv.org/abs/2006.11239 (DDPM: `embedding="ddpm"`, `asymmetric=True`)
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
    Embedding,
    FourierFeatures,
    GroupNorm,
    depth_to_space,
    downsample,
    space_to_depth,
    time_embedding,
    upsample,
)
from diffaudit_jax.types import InputError


class ResBlock(nn.Module):
    """Norm, SiLU, 3x3; add the embedding; norm, SiLU, dropout, 3x3; plus the input.

    Attributes:
      features: Output channels.
      scale_shift: Whether the embedding scales and shifts the second norm (AdaGN) rather than being added before it.
      dropout: Dropout rate before the second convolution.
      resample: Applied to both branches (BigGAN up and down blocks), None for neither.
      groups: Groups of the norms, as in `GroupNorm`.
      epsilon: Of the norms.
      dtype: Compute type.
      shortcut: Whether the input passes a 1x1 convolution even where its channels fit.
      groups_in: Groups of the first norm, if others than those of the second.
    """

    features: int
    scale_shift: bool = False
    dropout: float = 0.0
    resample: Callable[[Array], Array] | None = None
    groups: int | None = None
    epsilon: float = 1e-5
    dtype: jnp.dtype | None = None
    shortcut: bool = False
    groups_in: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "h w c"], emb: Float[Array, " e"], deterministic: bool
    ) -> Float[Array, "h2 w2 features"]:
        """Transforms x, conditioned on the embedding of time and class."""
        y = nn.silu(GroupNorm(self.groups_in or self.groups, self.epsilon, name="norm1")(x))
        if self.resample is not None:
            x, y = self.resample(x), self.resample(y)
        y = Conv3x3(self.features, dtype=self.dtype, name="conv1")(y)
        width = 2 * self.features if self.scale_shift else self.features
        emb = nn.Dense(width, dtype=self.dtype, name="emb")(nn.silu(emb))[None, None, :]
        norm2 = GroupNorm(self.groups, self.epsilon, name="norm2")
        if self.scale_shift:
            scale, shift = jnp.split(emb, 2, axis=-1)
            y = norm2(y) * (1 + scale) + shift
        else:
            y = norm2(y + emb)
        y = nn.Dropout(self.dropout)(nn.silu(y), deterministic=deterministic)
        y = Conv3x3(self.features, zero_init=True, dtype=self.dtype, name="conv2")(y)
        if self.shortcut or x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype, name="skip")(x)
        return x + y


def conditioning(
    time: Float[Array, ""],
    label: Int[Array, ""] | None,
    channels: int,
    embedding: Embedding,
    num_classes: int | None,
    null_class: bool,
    dtype: jnp.dtype | None,
) -> Float[Array, " e"]:
    """Embeds time and class in 4 `channels` numbers; called inside a compact module, which owns the parameters.

    Raises:
      InputError: if the class is missing and there is no null class.
    """
    width = 4 * channels
    if embedding == "fourier":
        emb = FourierFeatures(2 * channels, name="fourier")(time)
    else:
        emb = time_embedding(time, channels, embedding)
    emb = nn.Dense(width, dtype=dtype, name="time1")(emb)
    emb = nn.Dense(width, dtype=dtype, name="time2")(nn.silu(emb))
    if num_classes is None:
        return emb
    if label is None and not null_class:
        raise InputError(f"this model has no null class: ask it with a class, 0 to {num_classes - 1}.")
    label = jnp.asarray(num_classes) if label is None else label
    return emb + nn.Embed(num_classes + null_class, width, dtype=dtype, name="label")(label)


class UNet(nn.Module):
    """U-Net over one image [h, w, c], conditioned on time and optionally on a class.

    Attributes:
      channels: Width that the multipliers are of, and a quarter of the embedding's.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level on the way down (one more on the way up).
      attention: Levels (0 = finest) that attend after each block.
      attention_up: Levels that attend on the way up, if others than on the way down.
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
      stem: Channels of the first convolution, if others than `channels`.
      embedding: How the time is embedded.
      epsilon: Of every norm.
      asymmetric: Whether strided convolutions pad on the right and below only, as in DDPM.
      null_class: Whether the class table ends with a null class, which a missing label stands for.
      middle_groups: Groups of the norm before the middle's attention, if others than everywhere; 0 for no norm.
      center: Whether to take 2 x - 1 of the image first.
      dtype: Compute type, e.g. bfloat16; parameters and the output are float32.
    """

    channels: int = 64
    mults: tuple[float, ...] = (1, 2)
    num_blocks: int = 2
    attention: tuple[int, ...] = (1,)
    attention_up: tuple[int, ...] | None = None
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
    stem: int | None = None
    embedding: Embedding = "guided"
    epsilon: float = 1e-5
    asymmetric: bool = False
    null_class: bool = True
    middle_groups: int | None = None
    center: bool = False
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
        conditions = (self.channels, self.embedding, self.num_classes, self.null_class, self.dtype)
        emb = conditioning(time, label, *conditions)
        x = 2 * x - 1 if self.center else x
        stem = Conv3x3(self.stem or self.channels, dtype=self.dtype, name="stem")
        h = stem(space_to_depth(x, self.patch))
        skips = [h]
        for level, mult in enumerate(self.mults):
            for i in range(self.num_blocks):
                h = self._block(h, emb, mult, deterministic, f"down{level}_{i}")
                if level in self.attention:
                    h = self._attention(f"down{level}_{i}_attention")(h)
                skips.append(h)
            if level + 1 < len(self.mults):
                h = self._down(h, emb, mult, deterministic, f"down{level}")
                skips.append(h)
        h = self._block(h, emb, self.mults[-1], deterministic, "middle_0")
        if self.middle_attention:
            h = self._attention("middle_attend", self.middle_groups)(h)
        h = self._block(h, emb, self.mults[-1], deterministic, "middle_1")
        for level, mult in reversed(tuple(enumerate(self.mults))):
            for i in range(self.num_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._block(h, emb, mult, deterministic, f"up{level}_{i}")
                if level in (self.attention if self.attention_up is None else self.attention_up):
                    h = self._attention(f"up{level}_{i}_attention")(h)
            if level:
                h = self._up(h, emb, mult, deterministic, f"up{level}")
        h = nn.silu(GroupNorm(self.groups, self.epsilon, name="norm_out")(h))
        h = Conv3x3(out_channels * self.patch**2, zero_init=True, dtype=self.dtype, name="head")(h)
        return depth_to_space(h, self.patch).astype(jnp.float32)

    def _block(
        self, h: Array, emb: Array, mult: float, deterministic: bool, name: str, resample: Callable | None = None
    ) -> Array:
        options = (self.scale_shift, self.dropout, resample, self.groups, self.epsilon, self.dtype)
        return ResBlock(round(self.channels * mult), *options, name=name)(h, emb, deterministic)

    def _attention(self, name: str, groups: int | None = None) -> Attention:
        groups = self.groups if groups is None else groups
        return Attention(self.head_channels, self.num_heads, groups, self.epsilon, self.dtype, name=name)

    def _down(self, h: Array, emb: Array, mult: float, deterministic: bool, name: str) -> Array:
        name = f"{name}_resample"
        if self.resblock_updown:
            return self._block(h, emb, mult, deterministic, name, downsample)
        return Conv3x3(h.shape[-1], stride=2, asymmetric=self.asymmetric, dtype=self.dtype, name=name)(h)

    def _up(self, h: Array, emb: Array, mult: float, deterministic: bool, name: str) -> Array:
        name = f"{name}_resample"
        if self.resblock_updown:
            return self._block(h, emb, mult, deterministic, name, upsample)
        return Conv3x3(h.shape[-1], dtype=self.dtype, name=name)(upsample(h))


def count_params(params: jax.typing.ArrayLike) -> int:
    """Returns the number of scalars in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
