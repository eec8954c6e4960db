"""Leaks: models whose gradient on one example gives the example away, and the way back from the gradient.

A linear unit with L = w . x has dL/dw = x. The first dense layer of any network, z = W x + b, has with delta = dL/dz

    dL/dW_i = delta_i x,   dL/db_i = delta_i,   so   x = dL/dW_i / dL/db_i   for each unit that fires.

The attacker chose or knows the parameters; of the gradient's noise a leak is told the standard deviation s alone.

References:
  Schwethelm et al. 2025, https://arxiv.org/abs/2403.07588
  Boenisch et al. 2023, When the Curious Abandon Honesty, https://arxiv.org/abs/2112.02918
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.types import Example, InputError, Key, Params

LINEAR = "linear_unit"
"""Name of the leak that bounds are about."""
Layer = tuple[Float[Array, "out in"], Float[Array, " out"]]


@dataclass(frozen=True, eq=False)
class Leak:
    """A model that leaks, and how its gradient is read. Pure functions of one example.

    Attributes:
      name: What it is called.
      shape: Shape of one image.
      params: Parameters of the model; large ones are better passed as an argument to what is compiled, and replaced
        there.
      loss: ``loss(params, x) -> scalar``, of one image in [-1, 1].
      image: ``image(gradient, stddev) -> Release``: the way back from a gradient with noise of that standard deviation.
      pictures: ``pictures(gradient) -> [units, *shape]``: the coordinates that are images but for a factor each.
      silent: ``silent(gradient) -> [n]``: the coordinates known to carry no signal; None where there are none.
      mend: How to get such coordinates, for the message.
    """

    name: str
    shape: tuple[int, ...]
    params: Params
    loss: Callable[[Params, Example], Float[Array, ""]]
    image: Callable[[Params, Float[Array, ""]], Release]
    pictures: Callable[[Params], Float[Array, "units *shape"]]
    silent: Callable[[Params], Float[Array, " n"]] | None = None
    mend: str = ""

    def gradient(self, x: Example) -> Params:
        """Returns the gradient of the loss on one image by all parameters; one call of the model, and back."""
        # Inside `stream` a gradient by what all devices share would be summed over them, and so over their images. What
        # was chosen by looking at x is shared no more; the compiler removes the choice.
        varying = lambda leaf: jnp.where(jnp.isnan(x.ravel()[0]), leaf, leaf)  # noqa: E731
        # In TF32, a gradient would be the image rounded to three digits.
        with jax.default_matmul_precision("highest"):
            return jax.grad(self.loss)(jax.tree.map(varying, self.params), x)


def linear_unit(shape: tuple[int, ...], *, padding: int = 0) -> Leak:
    """A single linear unit, L = w . x: its gradient is the image, and nothing leaks more.

    dL/dw = x,   y = g~,   sigma = s

    Args:
      shape: Shape of one image, of any rank.
      padding: Zeros that the model shows the unit beside the image. Their gradient is noise alone, which tells its
        standard deviation and costs the image nothing.

    Returns:
      A leak whose gradient has prod(shape) + padding coordinates; a release holds about eight copies of them at once.

    Raises:
      InputError: if `padding` is negative.
    """
    if padding < 0:
        raise InputError(f"padding must be 0 or more, got {padding}.")
    size = prod(shape)

    def loss(w: Float[Array, " n"], x: Example) -> Float[Array, ""]:
        return jnp.sum(w * jnp.pad(x.ravel(), (0, padding)))

    def image(gradient: Float[Array, " n"], stddev: Float[Array, ""]) -> Release:
        return Release(gradient[:size].reshape(shape), stddev)

    return Leak(
        name=LINEAR,
        shape=shape,
        params=jnp.zeros(size + padding),
        loss=loss,
        image=image,
        pictures=lambda gradient: gradient[:size].reshape(1, *shape),
        silent=(lambda gradient: gradient[size:]) if padding else None,
        mend="give it some with `padding`",
    )


def dense(params: Sequence[Layer], shape: tuple[int, ...], *, label: int = 0) -> Leak:
    """A multilayer perceptron (ReLU) under cross-entropy, as anyone might train it; its first layer leaks.

    All k units that may fire are combined by least squares of the rows W~ on the biases' gradients b~. These are noisy
    too, b~ = delta + s m and W~_i = delta_i x + s n_i (errors in variables), so that with A = sum of b~_i^2

        sum b~_i W~_i / A = x (delta . b~)/A + s/sqrt(A) n

    shrinks the image towards 0, by the factor |delta|^2/(|delta|^2 + k s^2) at large k. It is divided by an estimate of
    that factor, 1 - k s^2/A:

        y = sum b~_i W~_i / D = (1 + e) x + sigma n,   D = A - k s^2,   sigma = s sqrt(A)/D

    The noise is exactly that, given b~. The expectations of delta . b~ and D agree. What is left is an error e of the
    scale, common to all pixels, of standard deviation s/|delta| (which is sigma) to first order; where that is not
    small beside 1, the biases tell the scale of nothing. So that D stays above 0, it is taken to be no less than what
    noise alone gives with one standard deviation, s^2 sqrt(2 k).

    With C the clip norm, sigma is ||g||/(mu |delta|) to first order where clipping is active: at least
    sqrt(||x||^2 + 1)/mu, and more by what the other layers' gradients add to ||g||.

    Args:
      params: Weights and biases of each layer, the first one's first; see `random_mlp`.
      shape: Shape of one image.
      label: Class that the loss is taken of.

    Returns:
      A leak with as many coordinates as the network has parameters; a release holds about eight copies of them at once.
      Units whose bias keeps them from firing on any image in [-1, 1] are its coordinates without signal. The factor of
      clipping cancels from y and sigma.

    Raises:
      InputError: if the layers do not fit each other or the image, or there is no such class.
    """
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in params]
    _check_layers(layers, shape, label)
    mute = _never_fire(*layers[0]) if len(layers) > 1 else np.zeros(len(layers[0][1]), bool)
    fires, silent = np.flatnonzero(~mute), np.flatnonzero(mute)

    def loss(params: Sequence[Layer], x: Example) -> Float[Array, ""]:
        (w, b), *layers = params
        h = w @ x.ravel() + b
        for w, b in layers:
            h = w @ jax.nn.relu(h) + b
        return -jax.nn.log_softmax(h)[label]

    def image(gradient: Sequence[Layer], stddev: Float[Array, ""]) -> Release:
        rows, biases = (leaf[fires] for leaf in gradient[0])
        square, variance = jnp.sum(biases**2), stddev**2
        divisor = jnp.maximum(square - len(fires) * variance, variance * (2 * len(fires)) ** 0.5)
        y = jnp.tensordot(biases, rows, 1, precision=jax.lax.Precision.HIGHEST) / divisor
        return Release(y.reshape(shape), stddev * jnp.sqrt(square) / divisor)

    def noise(gradient: Sequence[Layer]) -> Float[Array, " n"]:
        return jnp.concatenate([leaf[silent].ravel() for leaf in gradient[0]])

    return Leak(
        name="dense",
        shape=shape,
        params=layers,
        loss=loss,
        image=image,
        pictures=lambda gradient: gradient[0][0].reshape(-1, *shape),
        silent=noise if len(silent) else None,
        mend="give its first layer units that never fire (`num_silent` of random_mlp)",
    )


def random_mlp(
    key: Key, shape: tuple[int, ...], widths: Sequence[int] = (64, 10), *, num_silent: int = 0
) -> tuple[Layer, ...]:
    """Draws a perceptron: weights N(0, 2/inputs), biases 0.

    Args:
      key: Typed key.
      shape: Shape of one image.
      widths: Units of each layer; the last are the classes.
      num_silent: How many units of the first layer get a bias that keeps them from firing on any image in [-1, 1].

    Raises:
      InputError: if a width is below 1, or every unit of the first layer or more would be silent.
    """
    if not widths or min(widths) < 1 or not 0 <= num_silent < widths[0] or (num_silent and len(widths) < 2):
        raise InputError(
            f"a perceptron needs widths of at least 1 and, where units are to be silent, a second layer and one unit "
            f"that fires, got widths {list(widths)} and num_silent {num_silent}."
        )
    sizes = [prod(shape), *widths]
    keys = jax.random.split(key, len(widths))
    draws = [jax.random.normal(k, (n, m)) * (2 / m) ** 0.5 for k, m, n in zip(keys, sizes, widths, strict=False)]
    (first, *rest), count = draws, widths[0] - num_silent
    bias = jnp.zeros(widths[0]).at[count:].set(-2 * jnp.abs(first[count:]).sum(1))
    return (first, bias), *((w, jnp.zeros(len(w))) for w in rest)


def _never_fire(w: Float[Array, "out in"], b: Float[Array, " out"]) -> np.ndarray:
    most = np.abs(np.asarray(w, np.float64)).sum(axis=1)
    return most * (1 + w.shape[1] * np.finfo(np.float32).eps) + np.asarray(b, np.float64) <= 0


def _check_layers(params: Sequence[Layer], shape: tuple[int, ...], label: int) -> None:
    sizes = [prod(shape), *(len(b) for _, b in params)]
    wanted = [(n, m) for m, n in pairwise(sizes)]
    found = [w.shape for w, _ in params]
    if not params or found != wanted:
        raise InputError(f"layers of a perceptron on images {shape} must have weights {wanted}, got {found}.")
    if not 0 <= label < sizes[-1]:
        raise InputError(f"label {label} is none of the network's classes: give one from 0 to {sizes[-1] - 1}.")
