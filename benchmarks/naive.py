"""The layers as one would write them first: what diffaudit_jax.models.layers is measured against."""

import flax.linen as nn
import jax.numpy as jnp

from diffaudit_jax.models import layers


class GroupNorm(nn.Module):
    """Two-pass moments: the mean, then the mean of squared differences."""

    groups: int | None = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x):
        """Normalises over space and the channels of a group."""
        h, w, c = x.shape
        groups = self.groups or max(g for g in range(1, min(32, max(c // 4, 1)) + 1) if c % g == 0)
        grouped = x.reshape(h, w, groups, c // groups)
        mean = grouped.mean((0, 1, 3), keepdims=True)
        var = ((grouped - mean) ** 2).mean((0, 1, 3), keepdims=True)
        normal = ((grouped - mean) / jnp.sqrt(var + self.epsilon)).reshape(h, w, c)
        scale = self.param("scale", nn.initializers.ones_init(), (c,))
        return normal * scale[None, None] + self.param("bias", layers.ZEROS, (c,))[None, None]


def upsample(x):
    """Nearest neighbour by repetition."""
    return jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)


class Pointwise(nn.Module):
    """A 1x1 convolution as a convolution."""

    features: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        """Mixes channels."""
        return nn.Conv(self.features, (1, 1), dtype=self.dtype)(x)


class Attention(nn.Module):
    """Heads of 8 channels, softmax normalised before the value product, 1x1 convolutions."""

    head_channels: int | None = None
    num_heads: int = 1
    groups: int | None = None
    epsilon: float = 1e-5
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x):
        """Attends."""
        h, w, c = x.shape
        d = self.head_channels or 8
        qkv = Pointwise(3 * c)(GroupNorm()(x)).reshape(h * w, 3, c // d, d)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]
        weights = nn.softmax(jnp.einsum("qnd,knd->nqk", q * d**-0.5, k), axis=-1)
        out = jnp.einsum("nqk,knd->qnd", weights, v).reshape(h, w, c)
        return x + Pointwise(c)(out)
