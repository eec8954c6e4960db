"""Classifiers that whoever receives generated images trains on them, each of ONE image in [-1, 1].

All answer (features, logits), the features being the last layer but one. Dropout is on where a key is passed
(``rngs={"dropout": key}``) and off without.

References:
  Luo et al. 2024, https://arxiv.org/abs/2402.18607 (`LeNet`, as their released code trains it)
  He et al. 2016, https://arxiv.org/abs/1603.05027 (`ResNet`: norms and nonlinearities before convolutions)
  Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929 (`ViT`)
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
from jaxtyping import Array, Float

from diffaudit_jax.models.layers import Conv3x3, GroupNorm, space_to_depth
from diffaudit_jax.types import InputError

LEAST_SIDE = 16
"""Of the images that `LeNet` takes."""


class LeNet(nn.Module):
    """Two 5x5 convolutions, each followed by the greatest of every 2x2 block, and three dense layers.

    A colour image of 32x32 is flattened to 400 numbers, then 100, 20 and the logits.

    Attributes:
      num_classes: Classes.
      dropout: Dropout rate after each dense layer but the last.
    """

    num_classes: int
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> tuple[Float[Array, " 20"], Float[Array, " classes"]]:
        """Returns features and logits.

        Raises:
          InputError: if a side is below `LEAST_SIDE`.
        """
        if min(x.shape[:2]) < LEAST_SIDE:
            raise InputError(
                f"images of {x.shape} leave this receiver's convolutions nothing: give {LEAST_SIDE}x{LEAST_SIDE} or "
                "more."
            )
        drop = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))
        for i, channels in enumerate((6, 16)):
            x = _greatest(nn.relu(nn.Conv(channels, (5, 5), padding="VALID", name=f"conv{i}")(x)))
        h = drop(nn.relu(nn.Dense(100, name="dense")(x.reshape(-1))))
        features = nn.Dense(20, name="features")(h)
        return features, nn.Dense(self.num_classes, name="logits")(drop(nn.relu(features)))


def _greatest(x: Float[Array, "h w c"]) -> Float[Array, "h/2 w/2 c"]:
    """The greatest of each 2x2 block; an odd row or column is left out."""
    h, w, c = (x.shape[0] // 2, x.shape[1] // 2, x.shape[2])
    return x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, c).max((1, 3))


class ResNet(nn.Module):
    """A 3x3 convolution, three residual stages of one block, the later two at half the resolution each, and a mean.

    Attributes:
      num_classes: Classes.
      channels: Width of each stage.
    """

    num_classes: int
    channels: tuple[int, ...] = (16, 32, 64)

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> tuple[Float[Array, " features"], Float[Array, " classes"]]:
        """Returns features and logits."""
        h = Conv3x3(self.channels[0], name="stem")(x)
        for i, channels in enumerate(self.channels):
            stride = 2 if i else 1
            y = nn.relu(GroupNorm(name=f"norm{i}a")(h))
            if i:
                # Not a product of y[::2, ::2]: compiling that for a GPU ends the process (XLA of jax 0.11).
                h = nn.Conv(channels, (1, 1), 2, use_bias=False, name=f"skip{i}")(y)
            y = Conv3x3(channels, stride, name=f"conv{i}a")(y)
            h = h + Conv3x3(channels, name=f"conv{i}b")(nn.relu(GroupNorm(name=f"norm{i}b")(y)))
        features = nn.relu(GroupNorm(name="norm")(h)).mean((0, 1))
        return features, nn.Dense(self.num_classes, name="logits")(features)


class Mlp(nn.Module):
    """Dense layers on the pixels.

    Attributes:
      num_classes: Classes.
      widths: Width of each hidden layer.
    """

    num_classes: int
    widths: tuple[int, ...] = (256, 128)

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> tuple[Float[Array, " features"], Float[Array, " classes"]]:
        """Returns features and logits."""
        h = x.reshape(-1)
        features = h
        for i, width in enumerate(self.widths):
            features = nn.Dense(width, name=f"dense{i}")(h)
            h = nn.relu(features)
        return features, nn.Dense(self.num_classes, name="logits")(h)


class ViT(nn.Module):
    """A transformer over patches: learned positions, norms before attention and before the MLP, and a mean at the end.

    Attributes:
      num_classes: Classes.
      patch: Side of a patch.
      width: Width of a token.
      depth: Layers.
      num_heads: Attention heads.
    """

    num_classes: int
    patch: int = 4
    width: int = 64
    depth: int = 3
    num_heads: int = 2

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"]) -> tuple[Float[Array, " width"], Float[Array, " classes"]]:
        """Returns features and logits.

        Raises:
          InputError: if a side is no multiple of the patch.
        """
        if x.shape[0] % self.patch or x.shape[1] % self.patch:
            raise InputError(f"images of {x.shape} are not whole patches of {self.patch}: resize them.")
        tokens = space_to_depth(x, self.patch)
        h = nn.Dense(self.width, name="embed")(tokens.reshape(-1, tokens.shape[-1]))
        h = h + self.param("positions", nn.initializers.normal(0.02), h.shape)
        for i in range(self.depth):
            y = nn.LayerNorm(name=f"norm{i}a")(h)
            h = h + nn.MultiHeadDotProductAttention(self.num_heads, name=f"attention{i}")(y)
            y = nn.gelu(nn.Dense(2 * self.width, name=f"wide{i}")(nn.LayerNorm(name=f"norm{i}b")(h)))
            h = h + nn.Dense(self.width, name=f"narrow{i}")(y)
        features = nn.LayerNorm(name="norm")(h).mean(0)
        return features, nn.Dense(self.num_classes, name="logits")(features)


RECEIVERS: Mapping[str, Callable[[int], nn.Module]] = {"lenet": LeNet, "resnet": ResNet, "mlp": Mlp, "vit": ViT}
"""Constructor of each receiver, by name; it takes the number of classes."""
