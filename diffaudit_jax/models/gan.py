"""A generator and a critic of ONE image, of residual blocks, and the spectral norm that bounds the critic.

As SNGAN's networks for images of 32 pixels, but for the generator's norms: batch norm joins the examples of a batch,
and what is generated would depend on what else is; group norm stands in for it. A class moves its scale and offset, and
the critic compares it with its features by an inner product (projection).

References:
  Miyato et al. 2018, https://arxiv.org/abs/1802.05957 (spectral norm)
  Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637 (projection)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffaudit_jax.models.grids import check_image
from diffaudit_jax.models.layers import Conv3x3, GroupNorm, depth_to_space, downsample, space_to_depth, upsample
from diffaudit_jax.models.vae import Code, Label, as_label, check_sizes, cropped
from diffaudit_jax.types import Example, InputError, Key, Params

Singular: TypeAlias = tuple[Float[Array, " out"], ...]
"""An estimate of the first right singular vector of each matrix among the critic's parameters, in their order."""


class Generator(nn.Module):
    """A dense layer to a grid, residual blocks that double it, and a convolution to the pixels.

    Attributes:
      shape: (height, width, channels) of one image.
      channels: Width.
      levels: Residual blocks.
      patch: Side of the blocks of pixels that one cell is at the end.
      num_classes: Classes, None for unconditional.
    """

    shape: tuple[int, ...]
    channels: int
    levels: int
    patch: int
    num_classes: int | None = None

    @nn.compact
    def __call__(self, z: Code, label: Label = None) -> Float[Array, "h w c"]:
        """Returns an image in [-1, 1].

        Args:
          z: Code.
          label: Class, of a conditional model.
        """
        coarse = tuple(-(-side // (self.patch * 2**self.levels)) for side in self.shape[:2])
        h = nn.Dense(coarse[0] * coarse[1] * self.channels, name="grid")(z).reshape(*coarse, self.channels)
        for level in range(self.levels):
            y = upsample(nn.relu(self._norm(h, label, f"block{level}_norm1")))
            y = Conv3x3(self.channels, name=f"block{level}_conv1")(y)
            y = nn.relu(self._norm(y, label, f"block{level}_norm2"))
            y = Conv3x3(self.channels, name=f"block{level}_conv2")(y)
            # A 1x1 convolution and a doubling commute, and it is cheaper before.
            h = upsample(nn.Dense(self.channels, name=f"block{level}_shortcut")(h)) + y
        h = nn.relu(self._norm(h, label, "norm"))
        h = Conv3x3(self.shape[2] * self.patch**2, name="end")(h)
        return jnp.tanh(cropped(depth_to_space(h, self.patch), self.shape))

    def _norm(self, x: Array, label: Label, name: str) -> Array:
        y = GroupNorm(name=name)(x)
        if self.num_classes is None:
            return y
        moved = nn.Embed(self.num_classes, 2 * x.shape[-1], embedding_init=nn.initializers.zeros, name=f"{name}_class")
        scale, offset = jnp.split(moved(label), 2)
        return y * (1 + scale)[None, None] + offset[None, None]


class Critic(nn.Module):
    """Residual blocks, of which the first ones halve the image, a sum over positions, and a score.

    Attributes:
      channels: Width.
      halvings: Blocks that halve the image.
      flat: Blocks after them.
      patch: Side of the space-to-depth stem's blocks; 1 for none.
      num_classes: Classes, None for unconditional.
    """

    channels: int
    halvings: int
    flat: int
    patch: int
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"], label: Label = None) -> Float[Array, ""]:
        """Returns how real an image looks.

        Args:
          x: Image in [-1, 1].
          label: Its class, of a conditional model.
        """
        h = space_to_depth(x, self.patch)
        for i in range(self.halvings + self.flat):
            y = nn.relu(h) if i else h  # the image itself is not to lose its darker half
            y = nn.relu(Conv3x3(self.channels, name=f"block{i}_conv1")(y))
            y = Conv3x3(self.channels, name=f"block{i}_conv2")(y)
            if i < self.halvings:
                h, y = downsample(h), downsample(y)
            h = y + (nn.Dense(self.channels, name=f"block{i}_shortcut")(h) if i < self.halvings else h)
        features = nn.relu(h).sum((0, 1))
        score = nn.Dense(1, name="score")(features)[0]
        if self.num_classes is None:
            return score
        return score + nn.Embed(self.num_classes, self.channels, name="label")(label) @ features


@dataclass(frozen=True)
class Gan:
    """A generator and its critic as pure functions of one example.

    Attributes:
      shape: Shape of one example.
      latent: Length of the code.
      generator: Module.
      critic: Module.
      num_classes: Classes of a conditional model, else None.
      config: JSON that makes it again.
    """

    shape: tuple[int, ...]
    latent: int
    generator: nn.Module
    critic: nn.Module
    num_classes: int | None
    config: Mapping[str, Any]

    def init(self, key: Key) -> tuple[Params, Params]:
        """Draws initial parameters of the generator and of the critic."""
        key_generator, key_critic = jax.random.split(key)
        label = None if self.num_classes is None else jnp.zeros((), jnp.int32)
        generator = self.generator.init(key_generator, jnp.zeros(self.latent), label)["params"]
        return generator, self.critic.init(key_critic, jnp.zeros(self.shape), label)["params"]

    def judge(self, params: Params, x: Example, cond: Any = None) -> Float[Array, ""]:
        """Returns the critic's score of one image; of the critic's parameters alone, normalised or not."""
        score = self.critic.apply({"params": params}, x, as_label(cond, self.num_classes))
        assert isinstance(score, jax.Array)
        return score

    def sample(self, params: Params, key: Key, cond: Any = None) -> Example:
        """Draws an image; of the generator's parameters alone.

        Raises:
          InputError: if a model of classes is given none.
        """
        z = jax.random.normal(key, (self.latent,))
        image = self.generator.apply({"params": params}, z, as_label(cond, self.num_classes))
        assert isinstance(image, jax.Array)
        return image


def gan(
    shape: tuple[int, int, int],
    *,
    channels: int = 256,
    levels: int = 3,
    latent: int = 128,
    critic_channels: int = 128,
    halvings: int = 2,
    flat: int = 2,
    patch: int = 1,
    num_classes: int | None = None,
) -> Gan:
    """A generator and a critic for images of `shape`; the defaults are SNGAN's at 32x32.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width of the generator.
      levels: Its residual blocks, each of which doubles the grid.
      latent: Length of the code.
      critic_channels: Width of the critic.
      halvings: Its residual blocks that halve the image.
      flat: Those that do not.
      patch: Side of the blocks of pixels that both treat as one cell; 1 for none.
      num_classes: Classes, None for unconditional.

    Raises:
      InputError: if this is not the shape of an image, a size is not positive, or the image does not divide.
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    check_image(shape)
    check_sizes({**config, "num_classes": 1 if num_classes is None else num_classes, "shape": min(shape)})
    cell = patch * 2**halvings
    if shape[0] % cell or shape[1] % cell:
        raise InputError(
            f"images of {shape[0]}x{shape[1]} do not divide into the critic's cells of {cell} (patch {patch}, "
            f"{halvings} halvings): use a smaller patch or fewer halvings."
        )
    generator = Generator(tuple(shape), channels, levels, patch, num_classes)
    critic = Critic(critic_channels, halvings, flat, patch, num_classes)
    record = {"name": "gan", "shape": list(shape), **config}
    return Gan(tuple(shape), latent, generator, critic, num_classes, record)


def singular(key: Key, params: Params) -> Singular:
    """Draws a start for the power iteration of every matrix among parameters."""
    widths = [leaf.shape[-1] for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    keys = jax.random.split(key, len(widths))
    return tuple(_unit(jax.random.normal(key, (width,))) for width, key in zip(widths, keys, strict=True))


def spectrally_normalised(params: Params, singular: Singular) -> tuple[Params, Singular]:
    """Divides every matrix by its greatest singular value, as one step of power iteration estimates it.

        v = W u/||W u||,     u' = W^T v/||W^T v||,     sigma = v^T W u'

    for W of [inputs, out], a convolution's taps being inputs. sigma never exceeds the true value. The gradient passes
    through W in sigma, and not through u and v.

    Args:
      params: Parameters, vectors and scalars among them, which stay as they are.
      singular: The estimates so far.

    Returns:
      Normalised parameters and the next estimates.
    """
    leaves, structure = jax.tree.flatten(params)
    before, after = iter(singular), []
    for i, leaf in enumerate(leaves):
        if leaf.ndim < 2:
            continue
        w = leaf.reshape(-1, leaf.shape[-1])
        fixed = jax.lax.stop_gradient(w)
        v = _unit(fixed @ next(before))
        after.append(_unit(fixed.T @ v))
        leaves[i] = leaf / (v @ w @ after[-1])
    return jax.tree.unflatten(structure, leaves), tuple(after)


def _unit(x: Float[Array, " d"]) -> Float[Array, " d"]:
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)
