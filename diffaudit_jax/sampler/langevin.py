"""Annealed Langevin dynamics over the noise levels sigma_1 < ... < sigma_L of a ladder.

    x <- x + a_i score + sqrt(2 a_i) z,      a_i = step_size (sigma_i/sigma_1)^2,      score = -eps/sigma_i

Step sizes here are for images in [-1, 1], and papers print them for images in [0, 1]: with x = 2 x' - 1 the score
halves, so 2 a' score' = 4 a' score and 2 sqrt(2 a') z = sqrt(2 (4 a')) z. A step here is four times theirs.

References:
  Song and Ermon 2019, https://arxiv.org/abs/1907.05600 (the sampler)
  Song and Ermon 2020, https://arxiv.org/abs/2006.09011 (the choice of its step, the final denoising)
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import optimize

from diffaudit_jax.process import Process
from diffaudit_jax.sampler.grids import Denoise
from diffaudit_jax.types import Example, InputError, Key, Time


def annealed_langevin(
    key: Key,
    process: Process,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    num_inner: int = 5,
    step_size: float | None = None,
    final_denoise: bool = True,
) -> Example:
    """Draws one example by annealed Langevin dynamics, from the largest noise level to the smallest.

    It starts from noise uniform on [-1, 1], as published, and not from the process's `prior_std`: the first levels
    bring the variance up to theirs.

    Args:
      key: Typed random key.
      process: A ladder, e.g. `process.ncsn`.
      denoise: The model.
      shape: Shape of one example.
      num_inner: Updates at each level; 100 in the first paper, 5 or 3 in the second.
      step_size: Step at the smallest level, for images in [-1, 1]: four times what papers print. None for
        `langevin_step`.
      final_denoise: Whether x + sigma_1^2 score is returned rather than x, as the second paper does.

    Returns:
      One sample; costs num_steps x num_inner network calls, and one more to denoise.

    Raises:
      InputError: if the process is no ladder, or a number is not positive.

    References:
      Song and Ermon 2019, https://arxiv.org/abs/1907.05600
    """
    smallest = float(_levels(process)[0])
    if num_inner < 1 or not (step_size is None or 0 < step_size < float("inf")):
        raise InputError(f"num_inner is 1 or more and step_size is above 0, got {num_inner=}, {step_size=}.")
    step = langevin_step(process, num_inner) if step_size is None else step_size
    key_init, key_steps = jax.random.split(key)

    def level(x: Example, inputs: tuple[Time, Key]) -> tuple[Example, None]:
        t, key = inputs
        sigma = process.sigma(t)

        def update(x: Example, key: Key) -> tuple[Example, None]:
            score, z = -denoise(x, t).eps / sigma, jax.random.normal(key, shape)
            return langevin_update(x, score, z, step * (sigma / smallest) ** 2), None

        return jax.lax.scan(update, x, jax.random.split(key, num_inner))

    times = jnp.asarray(process.times()[::-1])
    x = jax.random.uniform(key_init, shape, minval=-1.0, maxval=1.0)
    x, _ = jax.lax.scan(level, x, (times, jax.random.split(key_steps, len(times))))
    return x - smallest * denoise(x, times[-1]).eps if final_denoise else x


def langevin_update(x: Example, score: Example, z: Example, step: Time | float) -> Example:
    """Returns x + step score + sqrt(2 step) z."""
    return x + step * score + jnp.sqrt(2 * jnp.asarray(step)) * z


def langevin_step(process: Process, num_inner: int) -> float:
    """Chooses the step that loses least between two levels (technique 4 of NCSNv2).

    For data at a single point, x arrives at a level with variance gamma^2 sigma^2, gamma the ratio of two levels.
    With e = step/sigma_1^2 an update makes of u sigma^2 the variance ((1 - e)^2 u + 2 e) sigma^2, so after T updates

        u_T = (1 - e)^(2T) (gamma^2 - u*) + u*,      u* = 2/(2 - e).

    It is above 1 for every e in (0, 1), and the step is that of its minimum, computed on the host.

    Args:
      process: A ladder; of one that is not geometric, gamma is the geometric mean of the ratios.
      num_inner: Updates T at each level.

    Returns:
      The step at the smallest level, for images in [-1, 1]; no network call.

    Raises:
      InputError: if the process is no ladder of two levels or more, or `num_inner` is not positive.

    References:
      Song and Ermon 2020, https://arxiv.org/abs/2006.09011
    """
    levels = _levels(process)
    if len(levels) < 2 or num_inner < 1:
        raise InputError(
            f"a step is chosen for 2 or more levels and 1 or more updates at each, got {len(levels)} and {num_inner}."
        )
    gamma2 = (levels[-1] / levels[0]) ** (2 / (len(levels) - 1))

    def variance(e: float) -> float:
        return (1 - e) ** (2 * num_inner) * (gamma2 - 2 / (2 - e)) + 2 / (2 - e)

    best = optimize.minimize_scalar(variance, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    return float(best.x * levels[0] ** 2)  # pyright: ignore[reportAttributeAccessIssue]


def _levels(process: Process) -> Float[np.ndarray, " steps"]:
    """Returns a ladder's noise levels, float64 and rising."""
    if process.num_steps is None:
        raise InputError(
            f"annealed Langevin dynamics needs discrete noise levels, and {process.config.get('name')!r} is "
            f"continuous: use process.ncsn, or another sampler."
        )
    # A sampler is called inside jit, where even a table's entries are traced unless asked for at once.
    with jax.ensure_compile_time_eval():
        times = jnp.asarray(process.times())
        alpha, sigma = (np.asarray(jax.vmap(f)(times), np.float64) for f in (process.alpha, process.sigma))
    if (alpha != 1).any():
        raise InputError(
            f"annealed Langevin dynamics needs a process without signal decay (alpha = 1), and "
            f"{process.config.get('name')!r} shrinks to {alpha[-1]:.3g}: use process.ncsn, or another sampler."
        )
    return sigma
