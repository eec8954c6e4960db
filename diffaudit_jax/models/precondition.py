"""What a module is fed and how its answer is read: all that tells one family's network from another's.

With xbar = x_t/alpha the example in unscaled coordinates, s = sigma/alpha its noise level and d = `DATA_STD`:

    predicts "eps"      eps = F                              x0 = (x_t - sigma eps)/alpha
             "x0"       x0 = F                               eps = (x_t - alpha x0)/sigma
             "v"        x0 = alpha x_t - sigma F,            eps = sigma x_t + alpha F        (alpha^2 + sigma^2 = 1)
             "score"    F = sigma score, so eps = -F
             "edm"      x0 = d^2/(s^2 + d^2) xbar + s d/sqrt(s^2 + d^2) F, fed xbar/sqrt(s^2 + d^2)

    told     "step"         the 0-based step, t T - 1
             "step-of-1000" (t T - 1) 1000/T: improved-diffusion's rescaled timesteps
             "time"         999 t: score SDEs
             "log-noise"    ln s
             "edm"          ln(s)/4

With a learned variance the second half of the output channels is v in [-1, 1], and u = (v + 1)/2. A network trained on
images in [0, 1] is fed (x_t + alpha)/2, where its own noise level is half of ours; eps is the same.

References:
  Karras et al. 2022, https://arxiv.org/abs/2206.00364 (the table of preconditionings)
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from diffaudit_jax.process import Process
from diffaudit_jax.types import Example, Prediction, Time

Predicts = Literal["eps", "x0", "v", "score", "edm"]
PREDICTS: tuple[Predicts, ...] = ("eps", "x0", "v", "score", "edm")
Told = Literal["step", "step-of-1000", "time", "log-noise", "edm"]
DATA_STD = 0.5

TOLD: Mapping[str, Callable[[Process, Time], Time]] = {
    "step": lambda process, t: (process.step(t) - 1).astype(jnp.float32),
    "step-of-1000": lambda process, t: (process.step(t) - 1).astype(jnp.float32) * (1000 / process.steps),
    "time": lambda process, t: 999.0 * t,
    "log-noise": lambda process, t: jnp.log(process.noise_level(t)),
    "edm": lambda process, t: jnp.log(process.noise_level(t)) / 4,
}


def fed(predicts: Predicts, process: Process, xt: Example, t: Time, *, signed: bool = True) -> Example:
    """Returns the module's input at x_t.

    Args:
      predicts: What the module's output is.
      process: Noising process.
      xt: Noised example.
      t: Time in (0, 1].
      signed: Whether the module was trained on images in [-1, 1], else [0, 1].
    """
    if predicts == "edm":
        return xt / (process.alpha(t) * jnp.sqrt(process.noise_level(t) ** 2 + DATA_STD**2))
    return xt if signed else (xt + process.alpha(t)) / 2


def told(kind: Told, process: Process, t: Time, *, signed: bool = True) -> Time:
    """Returns what the module is told of the time."""
    value = TOLD[kind](process, t)
    return value - jnp.log(2.0) if kind == "log-noise" and not signed else value


def read(predicts: Predicts, learn_sigma: bool, process: Process, out: jax.Array, xt: Example, t: Time) -> Prediction:
    """Turns a module's output into eps, x0 and the variance fraction (equations in the module docstring)."""
    fraction = None
    if learn_sigma:
        out, v = jnp.split(out, 2, axis=-1)
        fraction = (v + 1) / 2
    alpha, sigma = process.alpha(t), process.sigma(t)
    if predicts == "x0":
        return Prediction((xt - alpha * out) / sigma, out, fraction)
    if predicts == "v":
        return Prediction(sigma * xt + alpha * out, alpha * xt - sigma * out, fraction)
    if predicts == "edm":
        xbar, s = xt / alpha, sigma / alpha
        total = jnp.sqrt(s**2 + DATA_STD**2)
        x0 = (DATA_STD / total) ** 2 * xbar + s * DATA_STD / total * out
        # (xbar - x0)/s, without the difference of two nearly equal numbers at small s
        return Prediction(s / total**2 * xbar - DATA_STD / total * out, x0, fraction)
    eps = out if predicts == "eps" else -out
    return Prediction(eps, (xt - sigma * eps) / alpha, fraction)


def weight(predicts: Predicts, process: Process, t: Time) -> Time:
    """Returns the weight of eps-MSE in training: 1, or EDM's, under which F's own error counts alike at every level.

    EDM's (s^2 + d^2)/(s d)^2 on x0-MSE is (s^2 + d^2)/d^2 on eps-MSE, because x0' - x0 = -s (eps' - eps).
    """
    return 1 + (process.noise_level(t) / DATA_STD) ** 2 if predicts == "edm" else jnp.ones(())
