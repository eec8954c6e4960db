"""The two transformers of CLIP, each on the tokens of ONE image or text; `models.clip` has the equations.

References:
  Radford et al. 2021, https://arxiv.org/abs/2103.00020
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Activation = Literal["quick_gelu", "gelu"]
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
}


class Tower(NamedTuple):
    """Sizes of one transformer: its width, its blocks, their heads, and the width between a block's last two layers."""

    width: int
    num_layers: int
    num_heads: int
    hidden: int
    activation: Activation = "quick_gelu"
    epsilon: float = 1e-5


class Table(nn.Module):
    """Numbers that are learned and depend on nothing.

    Attributes:
      shape: Of the table.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Array:
        """Returns the table."""
        return self.param("embedding", nn.initializers.normal(0.02), self.shape)


class Blocks(nn.Module):
    """The residual blocks of a tower, on the tokens [n, width] of ONE image or text.

    Attributes:
      tower: Sizes.
      causal: Whether a token attends to those before it, and itself, only.
    """

    tower: Tower
    causal: bool

    @nn.compact
    def __call__(self, h: Float[Array, "n w"]) -> Float[Array, "n w"]:
        """Transforms the tokens."""
        for i in range(self.tower.num_layers):
            h = h + self._attend(_norm(self.tower, f"{i}_norm1")(h), i)
            hidden = nn.Dense(self.tower.hidden, name=f"{i}_fc1")(_norm(self.tower, f"{i}_norm2")(h))
            h = h + nn.Dense(self.tower.width, name=f"{i}_fc2")(ACTIVATIONS[self.tower.activation](hidden))
        return h

    def _attend(self, h: Float[Array, "n w"], i: int) -> Float[Array, "n w"]:
        qkv = nn.Dense(3 * self.tower.width, name=f"{i}_qkv")(h)
        q, k, v = (part.reshape(len(h), self.tower.num_heads, -1) for part in jnp.split(qkv, 3, axis=-1))
        # Not jax.nn.dot_product_attention, whose softmax is float32 in float64 too.
        logits = jnp.einsum("qhd,khd->hqk", q * q.shape[-1] ** -0.5, k)
        if self.causal:
            logits = jnp.where(jnp.tri(len(h), dtype=bool)[None], logits, -jnp.inf)
        out = jnp.einsum("hqk,khd->qhd", jax.nn.softmax(logits), v)
        return nn.Dense(self.tower.width, name=f"{i}_out")(out.reshape(h.shape))


class ImageTower(nn.Module):
    """A vision transformer on ONE normalised image; returns its feature, not normalised.

    Attributes:
      tower: Sizes.
      patch: Side of the squares that become tokens.
      dim: Length of the feature.
    """

    tower: Tower
    patch: int
    dim: int

    @nn.compact
    def __call__(self, z: Float[Array, "side side 3"]) -> Float[Array, " dim"]:
        """Returns the projection of the class token."""
        width, square = self.tower.width, (self.patch, self.patch)
        patches = nn.Conv(width, square, square, "VALID", use_bias=False, name="patch")(z)
        h = jnp.concatenate([Table((width,), name="class")()[None], patches.reshape(-1, width)])
        h = _norm(self.tower, "norm_in")(h + Table(h.shape, name="position")())
        h = Blocks(self.tower, causal=False, name="blocks")(h)
        return nn.Dense(self.dim, use_bias=False, name="project")(_norm(self.tower, "norm_out")(h[0]))


class TextTower(nn.Module):
    """A causal transformer on ONE row of tokens; returns its feature, not normalised.

    Attributes:
      tower: Sizes.
      vocab: Number of tokens there are.
      eot: The token that ends a text; None for the greatest of the row.
      dim: Length of the feature.
    """

    tower: Tower
    vocab: int
    eot: int | None
    dim: int

    @nn.compact
    def __call__(self, ids: Int[Array, " context"]) -> Float[Array, " dim"]:
        """Returns the projection of the first token that ends the text."""
        h = nn.Embed(self.vocab, self.tower.width, name="token")(ids)
        h = Blocks(self.tower, causal=True, name="blocks")(h + Table(h.shape, name="position")())
        end = jnp.argmax(ids if self.eot is None else ids == self.eot)
        return nn.Dense(self.dim, use_bias=False, name="project")(_norm(self.tower, "norm_out")(h[end]))


def _norm(tower: Tower, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(tower.epsilon, use_fast_variance=False, name=name)
