"""What samplers share: the model as they see it, grids of times, and the loop over a grid."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.process import Process
from diffaudit_jax.types import Example, InputError, Key, Prediction, Time

Denoise: TypeAlias = Callable[[Example, Time], Prediction]
Times: TypeAlias = Float[np.ndarray, " times"]


def grid(process: Process, num_steps: int) -> Times:
    """Returns `num_steps` + 1 times from 1 down to 0, evenly strided over the process's steps.

    Raises:
      InputError: if `num_steps` is not between 1 and the process's own number.
    """
    return np.append(process.times(num_steps)[::-1], np.float32(0))


def descent(process: Process, t: float, num_steps: int) -> Times:
    """Returns `num_steps` + 1 times from t down to 0, evenly spaced over the steps of a discrete process.

    Raises:
      InputError: if t is fewer than `num_steps` steps of a discrete process from clean data.
    """
    share = np.arange(num_steps, -1, -1) / num_steps
    if process.num_steps is None:
        return (t * share).astype(np.float32)
    step = round(t * process.num_steps)
    if step < num_steps:
        raise InputError(
            f"t = {t:.4g} is step {step} of {process.num_steps}, and {num_steps} steps are to lead from there to clean "
            f"data: ask for fewer, or for a larger t."
        )
    return (np.round(step * share) / process.num_steps).astype(np.float32)


def scan(
    step: Callable[[Example, tuple[Time, Time, Key]], tuple[Example, None]],
    key_init: Key,
    key_steps: Key,
    process: Process,
    shape: tuple[int, ...],
    times: Times,
) -> Example:
    """Starts from noise and takes `step` from each time of the grid to the next, with a key of its own.

    Args:
      step: ``step(xt, (t, s, key)) -> (xs, None)``.
      key_init: Key of the noise sampling starts from.
      key_steps: Key of the steps.
      process: Noising process.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0.
    """
    times = np.asarray(times, np.float32)
    x1 = process.prior_std * jax.random.normal(key_init, shape)
    keys = jax.random.split(key_steps, len(times) - 1)
    x0, _ = jax.lax.scan(step, x1, (jnp.asarray(times[:-1]), jnp.asarray(times[1:]), keys))
    return x0
