"""Ancestral sampling and DDIM: a decreasing grid of times, one network call a step.

References:
  Ho et al. 2020, https://arxiv.org/abs/2006.11239
  Song et al. 2020, https://arxiv.org/abs/2010.02502
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.process import Process, Variance, log_variance, posterior
from diffaudit_jax.sampler.grids import Denoise, scan
from diffaudit_jax.types import Example, InputError, Key, Prediction, Time


def ancestral(
    key: Key,
    process: Process,
    denoise: Denoise,
    shape: tuple[int, ...],
    times: Float[np.ndarray, " times"],
    *,
    variance: Variance = "fixed_small",
    clip: bool = True,
) -> Example:
    """Draws one example by DDPM's ancestral sampling: x_s = c0 x0_hat + ct x_t + s_theta z.

    Args:
      key: Typed random key.
      process: Noising process.
      denoise: The model.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0 (see `grid`); fewer than every step respaces the schedule.
      variance: Reverse variance. Over a strided grid it is that of the strided step.
      clip: Whether x0_hat is clipped to [-1, 1] at every step.

    Returns:
      One sample; costs len(times) - 1 network calls.

    References:
      Ho et al. 2020, https://arxiv.org/abs/2006.11239
    """
    key_init, key_steps = jax.random.split(key)

    def step(xt: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        pred = denoise(xt, t)
        q = posterior(process, s, t)
        x0_hat = jnp.clip(pred.x0, -1.0, 1.0) if clip else pred.x0
        std = jnp.exp(0.5 * log_variance(process, pred, s, t, variance))
        noise = jnp.where(s > 0, std, 0.0) * jax.random.normal(key, shape)
        return q.c0 * x0_hat + q.ct * xt + noise, None

    return scan(step, key_init, key_steps, process, shape, times)


def ddim(
    key: Key,
    process: Process,
    denoise: Denoise,
    shape: tuple[int, ...],
    times: Float[np.ndarray, " times"],
    *,
    eta: float = 0.0,
    clip: bool = True,
) -> Example:
    """Draws one example by DDIM: x_s = alpha_s x0_hat + sqrt(sigma_s^2 - S^2) eps_hat + S z.

    S = eta sqrt(v~), with v~ the variance of x_s given x_t and x0: eta = 0 is deterministic given x_1, eta = 1 is
    ancestral sampling with fixed_small variance.

    Args:
      key: Typed random key.
      process: Noising process.
      denoise: The model.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0 (see `grid`).
      eta: Noise added at each step, 0 or more.
      clip: Whether x0_hat is clipped to [-1, 1]; eps_hat is then derived from it.

    Returns:
      One sample; costs len(times) - 1 network calls.

    Raises:
      InputError: if `eta` is negative.

    References:
      Song et al. 2020, https://arxiv.org/abs/2010.02502
    """
    if eta < 0:
        raise InputError(f"DDIM's eta is 0 (deterministic) or more, got {eta}.")
    key_init, key_steps = jax.random.split(key)

    def step(xt: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        return ddim_step(process, denoise(xt, t), xt, t, s, jax.random.normal(key, shape), eta=eta, clip=clip), None

    return scan(step, key_init, key_steps, process, shape, times)


def ddim_step(
    process: Process, pred: Prediction, xt: Example, t: Time, s: Time, z: Example, *, eta: float, clip: bool
) -> Example:
    """Returns x_s after one DDIM step from x_t; with eta = 0 `s` may also lie above `t` (inversion)."""
    x0_hat, eps_hat = pred.x0, pred.eps
    if clip:
        x0_hat = jnp.clip(x0_hat, -1.0, 1.0)
        eps_hat = (xt - process.alpha(t) * x0_hat) / process.sigma(t)
    if not eta:
        return process.alpha(s) * x0_hat + process.sigma(s) * eps_hat
    var = eta**2 * posterior(process, s, t).var
    along = jnp.sqrt(jnp.maximum(process.sigma(s) ** 2 - var, 0.0))
    return process.alpha(s) * x0_hat + along * eps_hat + jnp.sqrt(var) * z
