"""LPIPS, the learned perceptual distance of TWO images [h, w, 1 or 3]: how far apart a network of vision sees them.

    z = (x - shift)/scale                        channel by channel, of an image in [-1, 1]
    f_l = trunk_l(z),   u_l = f_l/(|f_l| + e)    five layers, unit-normalised over channels, e = 1e-10
    d(x, y) = sum_l mean_{h, w} sum_c w_lc (u_lc(x) - u_lc(y))^2                          w_lc >= 0

This is version 0.1 of the published code, with the trunks of VGG16 and AlexNet. Weights are not part of this package:
`importers.lpips_weights` reads the published ones.

References:
  Zhang et al. 2018, https://arxiv.org/abs/1801.03924
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffaudit_jax.types import Example, InputError, Key, Params, known, to_signed

Net = Literal["vgg", "alex"]
Features: TypeAlias = tuple[Float[Array, "h w c"], ...]

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
HIGHEST = jax.lax.Precision.HIGHEST
SMALLEST = 64  # pixels of the shorter side: that of the patches that people judged


class Stage(NamedTuple):
    """Convolutions with ReLU between two layers whose features are compared: a max pool of stride 2 first, if any."""

    widths: tuple[int, ...]
    size: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0


STAGES: dict[Net, tuple[Stage, ...]] = {
    "vgg": (
        Stage((64, 64)),
        Stage((128, 128), pool=2),
        Stage((256, 256, 256), pool=2),
        Stage((512, 512, 512), pool=2),
        Stage((512, 512, 512), pool=2),
    ),
    "alex": (
        Stage((64,), size=11, stride=4, padding=2),
        Stage((192,), size=5, padding=2, pool=3),
        Stage((384,), pool=3),
        Stage((256,)),
        Stage((256,)),
    ),
}


class Trunk(nn.Module):
    """The convolutions of a classifier of photographs, on ONE image; returns what each stage ends in."""

    stages: tuple[Stage, ...]

    @nn.compact
    def __call__(self, z: Float[Array, "h w 3"]) -> Features:
        """Returns the features of every stage, after its last ReLU."""
        h, features, number = z, [], itertools.count()
        for widths, size, stride, padding, pool in self.stages:
            h = nn.max_pool(h, (pool, pool), (2, 2)) if pool else h
            for width in widths:
                # A float32 product is TF32 on a GPU unless asked for, and distances would depend on the device.
                conv = nn.Conv(width, (size, size), stride, padding, precision=HIGHEST, name=f"conv{next(number)}")
                h = nn.relu(conv(h))
            features.append(h)
        return tuple(features)


@dataclass(frozen=True)
class Lpips:
    """A perceptual distance: pure functions of parameters and of one pair of images, made by `lpips`.

    Attributes:
      net: Name of the trunk, which `importers.lpips_weights` takes too.
      stages: Its convolutions. Parameters are ``{"trunk": {"conv0": ..., ...}, "heads": (w_1, ..., w_5)}``.
    """

    net: Net
    stages: tuple[Stage, ...]

    def init(self, key: Key) -> Params:
        """Draws parameters that have learned nothing: random convolutions, and 1/c in every head.

        Features of random convolutions are a distance too, but not a perceptual one.
        """
        trunk = Trunk(self.stages).init(key, jnp.zeros((SMALLEST, SMALLEST, 3)))["params"]
        widths = [stage.widths[-1] for stage in self.stages]
        return {"trunk": trunk, "heads": tuple(jnp.full(c, 1 / c, jnp.float32) for c in widths)}

    def upsampled_to(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Returns the height and width at which images of this shape are compared; None if it is their own.

        Images whose shorter side has fewer than 64 pixels are enlarged until it has 64, bilinearly: of 28x28 pixels
        VGG16's last features are a single pixel, and AlexNet's none. A report that shows such a distance has to say so.

        Args:
          shape: Of one image, (h, w, c).

        Raises:
          InputError: if it is not the shape of a grey or a colour image.
        """
        if len(shape) != 3 or shape[2] not in (1, 3) or not shape[0] * shape[1]:
            raise InputError(f"LPIPS compares images (h, w, 1) or (h, w, 3), not {tuple(shape)}: reshape them.")
        height, width, least = shape[0], shape[1], min(shape[:2])
        if least >= SMALLEST:
            return None
        return round(height * SMALLEST / least), round(width * SMALLEST / least)

    def features(self, params: Params, x: Example) -> Features:
        """Returns u_1, ..., u_5 of one image, to compare it with many at the cost of one pass.

        Args:
          params: As `importers.lpips_weights` reads or `init` draws them.
          x: Image in [-1, 1], not clipped, or uint8; (h, w, 3), or (h, w, 1) whose channel is repeated.

        Returns:
          Arrays [h_l, w_l, c_l] with |u| = 1 over channels, or 0 where no feature is active.

        Raises:
          InputError: as `upsampled_to`.
        """
        size = self.upsampled_to(x.shape)
        # The one channel of a grey image broadcasts.
        z = (to_signed(x) - jnp.array(SHIFT)[None, None]) / jnp.array(SCALE)[None, None]
        z = z if size is None else jax.image.resize(z, (*size, 3), "linear")
        maps: Any = Trunk(self.stages).apply({"params": params["trunk"]}, z)
        return tuple(_unit(f) for f in maps)

    def between(self, params: Params, u: Features, v: Features) -> Float[Array, ""]:
        """Returns the distance of two images from their `features`; of params only the heads are used."""
        layers = zip(u, v, params["heads"], strict=True)
        return jnp.stack([(jnp.square(a - b) * w[None, None]).sum(-1).mean() for a, b, w in layers]).sum()

    def distance(self, params: Params, x: Example, y: Example) -> Float[Array, ""]:
        """Returns d(x, y): 0 for equal images, and higher the more they differ to the eye.

        Pure, symmetric, and to be vmapped over pairs; both images go through the trunk in one pass. The two pairs that
        the published code comes with, patches of a photograph, are 0.722 and 0.138 apart (AlexNet, published weights).

        The heads were fitted to people's judgements of patches of 64x64 pixels from colour photographs, on trunks that
        classify photographs. Whether the distance means as much for other images is not known: nobody has collected
        such judgements for grey images of 28x28 pixels. There it may order reconstructions of one kind; its size has no
        reading, is not to be compared with published ones, and goes beside SSIM or MSE, not in their place.

        Args:
          params: As `importers.lpips_weights` reads or `init` draws them.
          x: Image in [-1, 1], not clipped, or uint8; (h, w, 3), or (h, w, 1) whose channel is repeated. Small images
            are enlarged first (`upsampled_to`).
          y: Image of the same shape.

        Raises:
          InputError: if the shapes differ, or are not those of grey or colour images.

        References:
          Zhang et al. 2018, https://arxiv.org/abs/1801.03924
        """
        if x.shape != y.shape:
            raise InputError(f"LPIPS compares images of one shape, not {x.shape} and {y.shape}: crop or resize one.")
        pair = jnp.stack([to_signed(x), to_signed(y)])
        both = jax.vmap(lambda image: self.features(params, image))(pair)
        return self.between(params, tuple(u[0] for u in both), tuple(u[1] for u in both))


def lpips(net: Net = "vgg") -> Lpips:
    """Returns the perceptual distance LPIPS, version 0.1.

        d = lpips("vgg").distance(importers.lpips_weights("vgg"), x, y)

    Args:
      net: ``"vgg"`` (VGG16, 14.7 million weights) or ``"alex"`` (AlexNet, 2.5 million, a thirtieth of the arithmetic).
        Values of the two do not compare.

    Raises:
      InputError: if there is no such trunk.

    References:
      Zhang et al. 2018, https://arxiv.org/abs/1801.03924
    """
    known("trunk of LPIPS", net, STAGES)
    return Lpips(net, STAGES[net])


def _unit(f: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    # Where nothing is active the root's slope is infinite; ReLU's gradient there is 0 whatever it is given.
    return f / (jnp.sqrt(jnp.square(f).sum(-1, keepdims=True)) + EPSILON)
