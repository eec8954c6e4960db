"""A convolutional variational autoencoder of ONE image, and the two terms of its bound.

    q(z | x) = N(mu(x), diag exp(l(x)))        p(z) = N(0, I)        p(x | z) = N(m(z), s^2 I)
    -ln p(x) <= R + K,     R = -ln p(x | z),     K = KL(q(z | x) || p(z)),     z = mu + exp(l/2) eps

References:
  Kingma and Welling 2014, https://arxiv.org/abs/1312.6114
  Rybkin et al. 2021, https://arxiv.org/abs/2006.13202 (one learned scale s of the pixels)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.grids import check_image
from diffaudit_jax.models.layers import Conv3x3, GroupNorm, upsample
from diffaudit_jax.target import BoundTerms
from diffaudit_jax.types import Example, InputError, Key, Params

Label = Int[Array, ""] | None
Code = Float[Array, " latent"]

LEAST_LOG_VARIANCE = -8.0
"""Below it a pixel's s is 0.018, two levels of 255: the bound of a memorised image would grow without end."""


class Encoder(nn.Module):
    """Strided convolutions down to a grid, then mean and log variance of the code.

    Attributes:
      widths: Channels of each level; each level halves the image, rounded up.
      latent: Length of the code.
      num_classes: Classes, None for unconditional.
    """

    widths: tuple[int, ...]
    latent: int
    num_classes: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "h w c"], label: Label = None) -> tuple[Code, Code]:
        """Returns the mean and the log variance of q(z | x).

        Args:
          x: Image in [-1, 1].
          label: Its class, of a conditional model.
        """
        for level, width in enumerate(self.widths):
            x = nn.silu(GroupNorm(name=f"norm{level}")(Conv3x3(width, stride=2, name=f"conv{level}")(x)))
        h = _joined(x.reshape(-1), label, self.num_classes, self.widths[-1])
        mean, log_var = jnp.split(nn.Dense(2 * self.latent, name="code")(h), 2)
        return mean, log_var


class Decoder(nn.Module):
    """A dense layer to a grid, then convolutions and doublings up to the image, whose edges are cropped.

    Attributes:
      shape: (height, width, channels) of one image.
      widths: As of the encoder, which are walked backwards.
      num_classes: Classes, None for unconditional.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...]
    num_classes: int | None = None

    @nn.compact
    def __call__(self, z: Code, label: Label = None) -> Float[Array, "h w c"]:
        """Returns the mean of the pixels, in [-1, 1].

        Args:
          z: Code.
          label: Class, of a conditional model.
        """
        levels = len(self.widths)
        coarse = tuple(-(-side // 2**levels) for side in self.shape[:2])
        z = _joined(z, label, self.num_classes, self.widths[-1])
        x = nn.Dense(coarse[0] * coarse[1] * self.widths[-1], name="grid")(z).reshape(*coarse, -1)
        for level in reversed(range(levels)):
            x = nn.silu(GroupNorm(name=f"norm{level}")(Conv3x3(self.widths[level], name=f"conv{level}")(x)))
            x = upsample(x)
        return jnp.tanh(Conv3x3(self.shape[2], name="end")(cropped(x, self.shape)))


@dataclass(frozen=True)
class Vae:
    """A variational autoencoder as pure functions of one example.

    Attributes:
      shape: Shape of one example.
      latent: Length of the code.
      encoder: Module.
      decoder: Module.
      num_classes: Classes of a conditional model, else None.
      deviation: Standard deviation s of the pixels; None to learn it.
      config: JSON that makes it again.
    """

    shape: tuple[int, ...]
    latent: int
    encoder: nn.Module
    decoder: nn.Module
    num_classes: int | None
    deviation: float | None
    config: Mapping[str, Any]

    def init(self, key: Key) -> Params:
        """Draws initial parameters."""
        key_encoder, key_decoder = jax.random.split(key)
        label = None if self.num_classes is None else jnp.zeros((), jnp.int32)
        params = {
            "encoder": self.encoder.init(key_encoder, jnp.zeros(self.shape), label)["params"],
            "decoder": self.decoder.init(key_decoder, jnp.zeros(self.latent), label)["params"],
        }
        return params if self.deviation is not None else {**params, "log_variance": jnp.zeros(())}

    def encode(self, params: Params, x: Example, cond: Any = None) -> tuple[Code, Code]:
        """Returns mean and log variance of q(z | x)."""
        mean, log_var = self.encoder.apply({"params": params["encoder"]}, x, self.label(cond))
        assert isinstance(mean, jax.Array)
        assert isinstance(log_var, jax.Array)
        return mean, log_var

    def decode(self, params: Params, z: Code, cond: Any = None) -> Example:
        """Returns the mean of p(x | z)."""
        mean = self.decoder.apply({"params": params["decoder"]}, z, self.label(cond))
        assert isinstance(mean, jax.Array)
        return mean

    def log_variance(self, params: Params) -> Float[Array, ""]:
        """Returns ln s^2, a learned one from `LEAST_LOG_VARIANCE` on."""
        if self.deviation is not None:
            return 2 * jnp.log(jnp.float32(self.deviation))
        return LEAST_LOG_VARIANCE + jax.nn.softplus(params["log_variance"] - LEAST_LOG_VARIANCE)

    def terms(self, params: Params, key: Key, x: Example, cond: Any = None) -> BoundTerms:
        """Returns the terms of the bound at one draw of the code. One call of encoder and decoder."""
        mean, log_var = self.encode(params, x, cond)
        eps = jax.random.normal(key, mean.shape)
        decoded = self.decode(params, mean + jnp.exp(log_var / 2) * eps, cond)
        return bound_terms(x, decoded, self.log_variance(params), mean, log_var, eps)

    def sample(self, params: Params, key: Key, cond: Any = None) -> Example:
        """Draws a code and returns the mean of its pixels: their noise is no part of the picture."""
        return self.decode(params, jax.random.normal(key, (self.latent,)), cond)

    def label(self, cond: Any) -> Label:
        """Returns a condition as a label.

        Raises:
          InputError: if a model of classes is given none.
        """
        return as_label(cond, self.num_classes)


def bound_terms(
    x: Example, decoded: Example, log_s2: Float[Array, ""], mean: Code, log_var: Code, eps: Code
) -> BoundTerms:
    """Returns the terms of the bound at z = mean + exp(log_var/2) eps, in nats.

        reconstruction = 1/2 sum [(x - m(z))^2/s^2 + ln(2 pi s^2)]
        kl             = 1/2 sum [exp(l) + mu^2 - 1 - l]
        ratio          = ln q(z | x) - ln p(z) = 1/2 sum [z^2 - eps^2 - l]

    Args:
      x: Image.
      decoded: m(z).
      log_s2: ln s^2 of the pixels.
      mean: mu(x).
      log_var: l(x).
      eps: The draw.
    """
    z = mean + jnp.exp(log_var / 2) * eps
    squares = (x - decoded) ** 2 * jnp.exp(-log_s2)
    return BoundTerms(
        reconstruction=0.5 * jnp.sum(squares + log_s2 + jnp.log(2 * jnp.pi)),
        # expm1, not exp - 1: of a code that says nothing of x both terms vanish, and their digits with them.
        kl=0.5 * jnp.sum(jnp.expm1(log_var) - log_var + mean**2),
        ratio=0.5 * jnp.sum(z**2 - eps**2 - log_var),
    )


def vae(
    shape: tuple[int, int, int],
    *,
    channels: int = 32,
    mults: tuple[float, ...] = (1, 2, 2),
    latent: int = 32,
    deviation: float | None = None,
    num_classes: int | None = None,
) -> Vae:
    """A convolutional VAE for images of `shape`.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width that the multipliers are of.
      mults: Width multiplier of each level; each level halves the image.
      latent: Length of the code.
      deviation: Standard deviation of the pixels; None to learn one for all of them.
      num_classes: Classes, None for unconditional.

    Raises:
      InputError: if this is not the shape of an image, or a size is not positive.
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    check_image(shape)
    widths = tuple(round(channels * mult) for mult in mults)
    sizes = {"channels": channels, "latent": latent, "num_classes": 1 if num_classes is None else num_classes}
    check_sizes({**sizes, "shape": min(shape), "mults": min(widths, default=0)})
    if deviation is not None and not 0 < deviation < float("inf"):
        raise InputError(f"deviation must be above 0 and finite, or None to be learned, got {deviation}.")
    encoder, decoder = Encoder(widths, latent, num_classes), Decoder(tuple(shape), widths, num_classes)
    record = {"name": "vae", "shape": list(shape), **config}
    return Vae(tuple(shape), latent, encoder, decoder, num_classes, deviation, record)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuses sizes below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} must be positive, got {size}.")


def as_label(cond: Any, num_classes: int | None) -> Label:
    """Returns a condition as a label; None of an unconditional model, whatever it is given.

    Raises:
      InputError: if a model of classes is given none.
    """
    if num_classes is None:
        return None
    if cond is None:
        raise InputError(f"this model has classes 0 to {num_classes - 1} and none for no class: ask for one of them.")
    return jnp.asarray(cond, jnp.int32)


def cropped(x: Float[Array, "_h _w c"], shape: tuple[int, ...]) -> Float[Array, "h w c"]:
    """Returns the middle of a grid, of the height and width of `shape`."""
    top, left = ((size - side) // 2 for size, side in zip(x.shape[:2], shape[:2], strict=True))
    return x[top : top + shape[0], left : left + shape[1]]


def _joined(h: Float[Array, " d"], label: Label, num_classes: int | None, dim: int) -> Float[Array, " e"]:
    if num_classes is None:
        return h
    return jnp.concatenate([h, nn.Embed(num_classes, dim, name="label")(label)])
