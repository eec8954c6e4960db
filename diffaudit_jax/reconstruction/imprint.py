"""A leak behind which any network may stand: an imprint layer, here in front of a convolutional network.

Unit i measures one thing, h(x) the mean brightness, and fires above a threshold q_i:

    z_i = relu(h(x) - q_i)/a,   picture = a sum over i of z_i v/k,   L = cross-entropy(network(picture))

As all units speak to the network by the same v, those that fire share one delta_i = dL/dz_i, and the difference of
neighbours is left with the image where one fires and the next does not: x = (dW_i - dW_{i+1}) / (db_i - db_{i+1}).

References:
  Fowl et al. 2022, Robbing the Fed, https://arxiv.org/abs/2110.13057
"""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.reconstruction.leaks import Leak
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.types import Example, InputError, Key, Params

_GAIN = 1e4  # a: large, so that the imprint's own gradient is most of the norm that is clipped
_BEYOND = 1.5  # above and, negated, below the brightness of every image, rounding included
_CHANNELS = (8, 16)


def imprint(
    key: Key,
    shape: tuple[int, ...],
    thresholds: Sequence[float] = (0.0,),
    *,
    num_classes: int = 10,
    label: int = 0,
    bias_input: float | None = None,
) -> Leak:
    """A convolutional network behind an imprint layer that measures mean brightness.

    Of the differences between neighbours it takes the one that is largest in all (weights and bias), which is the bin
    that the image falls in, unless noise hides it. There

        dW = dW_i - dW_{i+1},  db = db_i - db_{i+1},  y = beta dW/db = x/(1 + e) + sigma n,  sigma = sqrt(2) beta s/|db|

    with beta the constant that biases are multiplied by. The noise is exactly that, given db. The scale is off by e,
    common to all pixels and of standard deviation sqrt(2) s/(beta |delta|), which is sigma/beta to first order: with
    beta = 1, as networks have it, the scale is lost where sigma reaches 1. Without noise the image is exact.

    Where clipping is active and F units fire, sigma = sqrt(2 F (||x||^2 + beta^2))/mu to first order, as the norm that
    is clipped holds every unit that fires, while one of them is used: bins, which tell the examples of a batch apart,
    cost a batch of one its quality. The rest of the network adds little to the norm (below 1 % of it in sixty that were
    drawn, at 28x28 and 32x32).

    Args:
      key: Typed key: the network's weights, and v.
      shape: Shape of one image [height, width, channels].
      thresholds: Increasing brightnesses in (-1, 1) between the bins; see `brightness_quantiles`. One below and one
        above all images are added, so that each image falls in a bin. The last unit never fires: its gradient is noise
        alone.
      num_classes: Classes of the network.
      label: Class that the loss is taken of.
      bias_input: beta; default sqrt(d)/2, the norm of a typical image of d pixels, at which sigma is sqrt(2) times as
        large as at 0.

    Returns:
      A leak of 2 k d coordinates and a few thousand, k = len(thresholds) + 2 units; a release holds about eight copies
      of them at once. The factor of clipping cancels from y and sigma.

    Raises:
      InputError: if the shape is not an image's, the thresholds do not increase within (-1, 1), there is no such class,
        or beta is not positive.
    """
    _check(shape, thresholds, num_classes, label, bias_input)
    beta = prod(shape) ** 0.5 / 2 if bias_input is None else bias_input

    def loss(params: Params, x: Example) -> Float[Array, ""]:
        z = jax.nn.relu(params["w"] @ x.ravel() + beta * params["b"])
        return -jax.nn.log_softmax(_network(params["network"], (z @ params["v"]).reshape(shape)))[label]

    def image(gradient: Params, stddev: Float[Array, ""]) -> Release:
        rows, biases = gradient["w"], gradient["b"]
        rows, biases = rows[:-1] - rows[1:], biases[:-1] - biases[1:]
        own = jnp.argmax(jnp.sum(rows**2, 1) + biases**2)
        y = beta * rows[own] / biases[own]
        return Release(y.reshape(shape), 2**0.5 * beta * stddev / jnp.abs(biases[own]))

    return Leak(
        name="imprint",
        shape=shape,
        params=_params(key, shape, (-_BEYOND, *thresholds, _BEYOND), num_classes, beta),
        loss=loss,
        image=image,
        pictures=lambda gradient: gradient["w"].reshape(-1, *shape),
        silent=lambda gradient: jnp.append(gradient["w"][-1], gradient["b"][-1]),
    )


def brightness_quantiles(images: Float[np.ndarray, "n h w c"], num_bins: int) -> tuple[float, ...]:
    """Returns the thresholds between bins of equal probability, from the mean brightness of public images.

    Args:
      images: Public images in [-1, 1], or uint8.
      num_bins: Bins, at least 2.

    Raises:
      InputError: if there are fewer than 2 bins, or fewer images than bins.
    """
    if not 2 <= num_bins <= len(images):
        raise InputError(f"num_bins must lie between 2 and the number of images ({len(images)}), got {num_bins}.")
    means = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64)
    means = means / 127.5 - 1 if images.dtype == np.uint8 else means
    return tuple(float(q) for q in np.quantile(means, np.arange(1, num_bins) / num_bins))


def _params(key: Key, shape: tuple[int, ...], q: Sequence[float], num_classes: int, beta: float) -> Params:
    size, k = prod(shape), len(q)
    key_v, *keys = jax.random.split(key, len(_CHANNELS) + 2)
    v = _GAIN / k * jax.random.normal(key_v, (size,))
    widths = [shape[-1], *_CHANNELS]
    kernels = [
        jax.random.normal(ki, (3, 3, m, n)) / (9 * m) ** 0.5 for ki, m, n in zip(keys, widths, widths[1:], strict=False)
    ]
    head = jax.random.normal(keys[-1], (widths[-1], num_classes)) / widths[-1] ** 0.5
    return {
        "w": jnp.full((k, size), 1 / (_GAIN * size)),
        "b": -jnp.asarray(q, jnp.float32) / (_GAIN * beta),
        "v": jnp.broadcast_to(v, (k, size)),
        "network": {"kernels": kernels, "head": head},
    }


def _network(params: Params, x: Float[Array, "h w c"]) -> Float[Array, " classes"]:
    """Convolutions of stride 2 under tanh, which leaves no unit without a gradient; their mean; logits."""
    h = x[None]
    for kernel in params["kernels"]:
        h = jnp.tanh(
            jax.lax.conv_general_dilated(h, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        )
    return h[0].mean((0, 1)) @ params["head"]


def _check(
    shape: tuple[int, ...], thresholds: Sequence[float], num_classes: int, label: int, beta: float | None
) -> None:
    if len(shape) != 3:
        raise InputError(f"an imprint layer reads images [height, width, channels], got shape {shape}.")
    q = np.asarray(thresholds, np.float64)
    if q.ndim != 1 or not (np.diff(np.concatenate([[-1.0], q, [1.0]])) > 0).all():
        raise InputError(f"thresholds must increase within (-1, 1), the range of brightness, got {list(thresholds)}.")
    if not 0 <= label < num_classes:
        raise InputError(f"label {label} is none of the network's classes: give one from 0 to {num_classes - 1}.")
    if beta is not None and not 0 < beta < float("inf"):
        raise InputError(f"bias_input must be above 0 and finite, got {beta}.")
