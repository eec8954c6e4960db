"""CLIP: features of ONE image and of ONE text, to be compared with each other.

    image   z = (y - mean)/std,              h = norm([class, patches of z] + positions),  u = W norm(blocks(h)[class])
    text    ids = start, ..., end, padding,  h = tokens + positions,                       v = W norm(blocks(h)[end])
    block   h <- h + attend(norm(h)),        h <- h + W2 act(W1 norm(h))                   text attends backwards only
    p(text j | image) = softmax_j(exp(s) <u/|u|, v_j/|v_j|>)

y is the image in [0, 1], brought to the network's side. Weights are not part of this package: `importers.clip.load`
reads a local folder of them.

References:
  Radford et al. 2021, https://arxiv.org/abs/2103.00020
"""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.clip_towers import ImageTower, TextTower, Tower
from diffaudit_jax.types import Example, InputError, Key, Params, to_signed

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the photographs that CLIP was trained on, channel by channel, in [0, 1]."""


@dataclass(frozen=True)
class Clip:
    """An architecture of CLIP: pure functions of parameters and of one image or one row of tokens.

    Attributes:
      vision: Sizes of the image tower.
      text: Sizes of the text tower.
      dim: Length of a feature.
      side: Height and width of the images that the network sees.
      patch: Side of the squares that become tokens.
      vocab: Number of tokens there are.
      context: Tokens in a row.
      eot: The token that ends a text; None for the greatest of a row, as published configurations that name token 2 do.
      mean: Subtracted from an image in [0, 1], channel by channel.
      std: What it is divided by then.
    """

    vision: Tower
    text: Tower
    dim: int
    side: int
    patch: int
    vocab: int
    context: int
    eot: int | None = None
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def init(self, key: Key) -> Params:
        """Draws parameters that have learned nothing: {"vision": ..., "text": ..., "logit_scale": {"scale": [s]}}."""
        key_vision, key_text = jax.random.split(key)
        vision = self._vision.init(key_vision, jnp.zeros((self.side, self.side, 3)))["params"]
        text = self._text.init(key_text, jnp.zeros(self.context, jnp.int32))["params"]
        return {"vision": vision, "text": text, "logit_scale": {"scale": jnp.full(1, math.log(1 / 0.07))}}

    def pixels(self, x: Example) -> Float[Array, "side side 3"]:
        """Returns what the network sees of an image.

        The shorter side is resized to `side` and the longer in proportion, bicubically (a = -1/2), with the kernel
        widened where pixels are dropped and the result clipped to the range; the centre is cut out; mean and std are
        those of CLIP. This is CLIP's own preprocessing but for one thing: there a resized image is rounded to bytes,
        after each of its axes, and here it is not. An image that has the network's size is not resized.

        Args:
          x: Image in [-1, 1], or uint8; (h, w, 3), or (h, w, 1) whose channel is repeated.

        Raises:
          InputError: if it is not the shape of a grey or a colour image.
        """
        if len(x.shape) != 3 or x.shape[2] not in (1, 3) or not x.shape[0] * x.shape[1]:
            raise InputError(f"CLIP sees images (h, w, 1) or (h, w, 3), not {tuple(x.shape)}: reshape them.")
        y, least = to_signed(x).astype(float), min(x.shape[:2])
        h, w = (length * self.side // least for length in x.shape[:2])
        if least != self.side:
            y = jnp.clip(jax.image.resize(y, (h, w, x.shape[2]), "cubic"), -1, 1)
        top, left = (h - self.side) // 2, (w - self.side) // 2
        y = (y[top : top + self.side, left : left + self.side] + 1) / 2
        # The one channel of a grey image broadcasts.
        return (y - jnp.array(self.mean)[None, None]) / jnp.array(self.std)[None, None]

    def image_features(self, params: Params, x: Example) -> Float[Array, " dim"]:
        """Returns u/|u| of one image; of params only "vision" is used.

        Args:
          params: As `importers.clip.load` reads or `init` draws them.
          x: Image in [-1, 1], or uint8; (h, w, 3) or (h, w, 1), brought to the network's size by `pixels`.

        Raises:
          InputError: as `pixels`.
        """
        return _applied(self._vision, params["vision"], self.pixels(x))

    def text_features(self, params: Params, ids: Int[Array, " context"]) -> Float[Array, " dim"]:
        """Returns v/|v| of one text; of params only "text" is used.

        Args:
          params: As `importers.clip.load` reads or `init` draws them.
          ids: Tokens, of which one ends the text; those after it do not matter.
        """
        return _applied(self._text, params["text"], ids)

    @property
    def _vision(self) -> ImageTower:
        return ImageTower(self.vision, self.patch, self.dim)

    @property
    def _text(self) -> TextTower:
        return TextTower(self.text, self.vocab, self.eot, self.dim)


def _applied(module: nn.Module, params: Params, x: Array) -> Float[Array, " dim"]:
    # A float32 product is TF32 on a GPU unless asked for, and features would depend on the device.
    with jax.default_matmul_precision("highest"):
        feature: Any = module.apply({"params": params}, x)
    return feature / jnp.linalg.norm(feature)
