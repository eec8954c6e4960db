"""Layers of the image networks, each on ONE example [h, w, c], in the layouts that XLA runs fastest on CPU.

Written for one example and batched by vmap, a layer compiles to the same program as with a batch axis of its own; a
batch axis of size 1 kept inside vmap does not (the backward pass of GroupNorm was five times slower). Measured on
2 CPU cores (benchmarks/throughput.py --layers): GroupNorm from single-pass moments, nearest upsampling by broadcast,
1x1 convolutions as matrix products, attention normalised after the value product.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ZEROS = nn.initializers.zeros_init()


Embedding = Literal["guided", "ddpm", "guided-sin-first", "ddpm-cos-first", "fourier"]
EMBEDDINGS: tuple[Embedding, ...] = ("guided", "ddpm", "guided-sin-first", "ddpm-cos-first", "fourier")


def time_embedding(time: Float[Array, ""], dim: int, kind: Embedding = "guided") -> Float[Array, " dim"]:
    """Returns [cos(w t), sin(w t)] with `dim`/2 frequencies w, or [sin(w t), cos(w t)] as DDPM orders them.

    guided: w geometric from 1 down towards 1/10,000;  ddpm: the same, with 1/10,000 reached. Either may have the other
    order, as some configurations of diffusers do.

    References:
      Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; orders and spacings as in improved-diffusion and DDPM.
    """
    half = dim // 2
    span = half - kind.startswith("ddpm")
    freqs = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half, dtype=jnp.float32) / span)
    angles = time.astype(jnp.float32) * freqs
    cos_first = kind in ("guided", "ddpm-cos-first")
    parts = [jnp.cos(angles), jnp.sin(angles)] if cos_first else [jnp.sin(angles), jnp.cos(angles)]
    return jnp.pad(jnp.concatenate(parts), (0, dim - 2 * half))


class FourierFeatures(nn.Module):
    """Returns [sin(2 pi w t), cos(2 pi w t)] with `dim`/2 fixed frequencies w ~ N(0, `scale`^2), drawn at init.

    References:
      Song et al. 2021, https://arxiv.org/abs/2011.13456 (scale 16, t = ln sigma)
    """

    dim: int
    scale: float = 16.0

    @nn.compact
    def __call__(self, time: Float[Array, ""]) -> Float[Array, " dim"]:
        """Embeds the time."""
        w = self.param("frequencies", nn.initializers.normal(self.scale), (self.dim // 2,))
        angles = 2 * jnp.pi * time.astype(jnp.float32) * jax.lax.stop_gradient(w)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def upsample(x: Float[Array, "h w c"]) -> Float[Array, "2*h 2*w c"]:
    """Doubles height and width by nearest neighbour."""
    h, w, c = x.shape
    return jnp.broadcast_to(x[:, None, :, None, :], (h, 2, w, 2, c)).reshape(2 * h, 2 * w, c)


def downsample(x: Float[Array, "2*h 2*w c"]) -> Float[Array, "h w c"]:
    """Halves height and width by the mean of each 2x2 block."""
    h, w, c = x.shape
    return x.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))


def space_to_depth(x: Float[Array, "h w c"], patch: int) -> Float[Array, "h/p w/p p*p*c"]:
    """Moves each `patch` x `patch` block into the channels; exact and invertible."""
    h, w, c = x.shape
    x = x.reshape(h // patch, patch, w // patch, patch, c).transpose(0, 2, 1, 3, 4)
    return x.reshape(h // patch, w // patch, patch * patch * c)


def depth_to_space(x: Float[Array, "h w p*p*c"], patch: int) -> Float[Array, "h*p w*p c"]:
    """Inverse of `space_to_depth`."""
    h, w, c = x.shape
    x = x.reshape(h, w, patch, patch, c // patch**2).transpose(0, 2, 1, 3, 4)
    return x.reshape(h * patch, w * patch, c // patch**2)


class GroupNorm(nn.Module):
    """Group normalisation with float32 moments from one pass: var = E[x^2] - E[x]^2, floored at 0.

    Attributes:
      groups: Number of groups; None for as many as 32, of 4 channels or more.
      epsilon: Added to the variance.
    """

    groups: int | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """Normalises over space and the channels of a group."""
        c = x.shape[-1]
        # Groups of one channel make the backward pass five times slower on CPU.
        groups = self.groups or max(g for g in range(1, min(32, max(c // 4, 1)) + 1) if c % g == 0)
        scale = self.param("scale", nn.initializers.ones_init(), (c,))
        bias = self.param("bias", ZEROS, (c,))
        x32 = x.astype(jnp.float32)
        # Space first and groups after: sums over whole rows of channels are twice as fast as over parts of them.
        mean, square = (moment.mean((0, 1)).reshape(groups, -1).mean(1) for moment in (x32, x32 * x32))
        std = jnp.sqrt(jnp.maximum(square - mean**2, 0.0) + self.epsilon)
        # One multiply-add over the big array: everything per channel is folded first.
        mean, std = (jnp.repeat(moment, c // groups) for moment in (mean, std))
        gain = scale / std
        offset = bias - mean * gain
        return (x32 * gain[None, None] + offset[None, None]).astype(x.dtype)


class Conv3x3(nn.Module):
    """A 3x3 convolution with zero padding 1 on each side, as improved- and guided-diffusion use (also for stride 2).

    Attributes:
      features: Output channels.
      stride: 1, or 2 to halve height and width.
      zero_init: Whether the kernel starts at 0, so that a residual branch starts as the identity.
      asymmetric: Whether to pad on the right and below only, as DDPM does for stride 2.
      dtype: Compute type; parameters stay float32.
    """

    features: int
    stride: int = 1
    zero_init: bool = False
    asymmetric: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w features"]:
        """Convolves."""
        init = ZEROS if self.zero_init else nn.initializers.lecun_normal()
        padding = ((0, 1), (0, 1)) if self.asymmetric else ((1, 1), (1, 1))
        return nn.Conv(self.features, (3, 3), self.stride, padding, kernel_init=init, dtype=self.dtype, name="conv")(x)


class Attention(nn.Module):
    """Self-attention over positions with a residual connection: x + W softmax(q k^T / sqrt(d)) v.

    The softmax is divided out after the value product, on [positions, d] instead of [positions, positions].

    Attributes:
      head_channels: Channels d of a head; None for c/`num_heads`.
      num_heads: Heads, if `head_channels` is None.
      groups: Groups of the norm before it, as in `GroupNorm`; 0 for no norm.
      epsilon: Of the norm.
      dtype: Compute type; logits and sums are float32.
    """

    head_channels: int | None = None
    num_heads: int = 1
    groups: int | None = None
    epsilon: float = 1e-5
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """Attends."""
        h, w, c = x.shape
        d = self.head_channels or c // self.num_heads
        y = x if self.groups == 0 else GroupNorm(self.groups, self.epsilon, name="norm")(x)
        qkv = jnp.split(nn.Dense(3 * c, dtype=self.dtype, name="qkv")(y.reshape(h * w, c)), 3, axis=1)
        heads = () if c == d else (c // d,)  # on CPU, an axis of one head takes as long as the attention itself
        attend = jax.vmap(_head, 1, 1) if heads else _head
        out = attend(*(part.reshape(h * w, *heads, d) for part in qkv))
        out = nn.Dense(c, kernel_init=ZEROS, dtype=self.dtype, name="out")(out.reshape(h * w, c))
        return x + out.reshape(h, w, c)


def _head(q: Float[Array, "n d"], k: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    logits = jnp.einsum("qd,kd->qk", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    # What is subtracted cancels, so that nothing flows back through it.
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    return jnp.einsum("qk,kd->qd", weights.astype(v.dtype), v) / total.astype(v.dtype)
