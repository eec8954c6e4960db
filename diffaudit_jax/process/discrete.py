"""Discrete schedules: the step i of T (0-based, as published code counts) lives at t = (i + 1)/T.

    betas    abar_i = prod_{j<=i} (1 - beta_j),   alpha = sqrt(abar),   sigma = sqrt(1 - abar)
    ladder   alpha = 1,                           sigma_i rises geometrically

Tables are computed in float64 on the host and stored in float32, so the one-step v equals beta_i to rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.process.gaussian import Process, time_of
from diffaudit_jax.types import InputError, Time

Table = Float[np.ndarray, " steps"]


def discrete(beta: Table, config: Mapping[str, Any]) -> Process:
    """Builds the process of a variance-preserving table of betas.

    Args:
      beta: float64 [T], each in (0, 1).
      config: JSON that `from_config` turns back into this process.

    Raises:
      InputError: if a beta lies outside (0, 1).
    """
    beta = np.asarray(beta, np.float64)
    if beta.ndim != 1 or not beta.size or not ((beta > 0) & (beta < 1)).all():
        shown = f"{beta.min():.3g} to {beta.max():.3g} of shape {beta.shape}" if beta.size else "none"
        raise InputError(f"a schedule needs a row of betas inside (0, 1), got {shown}.")
    log_abar = np.cumsum(np.log1p(-beta))
    log_abar32 = np.append(0.0, log_abar).astype(np.float32)
    beta32 = np.append(0.0, beta).astype(np.float32)

    def transition_var(i: Int[Array, ""], j: Int[Array, ""]) -> Time:
        strided = -jnp.expm1(jnp.asarray(log_abar32)[j] - jnp.asarray(log_abar32)[i])
        # The difference of two logs loses digits over one step; there the table is exact.
        return jnp.where(j - i == 1, jnp.asarray(beta32)[j], strided)

    return _tabled(np.exp(log_abar / 2), np.sqrt(-np.expm1(log_abar)), transition_var, config)


def ladder(sigma: Table, config: Mapping[str, Any]) -> Process:
    """Builds the process x_t = x0 + sigma_t eps of a rising table of noise levels.

    Args:
      sigma: float64 [T], positive and increasing, for images in [-1, 1].
      config: JSON that `from_config` turns back into this process.

    Raises:
      InputError: if the levels are not positive and increasing.
    """
    sigma = np.asarray(sigma, np.float64)
    if sigma.ndim != 1 or not sigma.size or not ((sigma > 0) & (np.diff(sigma, prepend=0) > 0)).all():
        raise InputError(f"a ladder's noise levels are positive and rise, got {sigma[:3]} to {sigma[-3:]}.")
    sigma32 = np.append(0.0, sigma).astype(np.float32)
    log32 = np.append(0.0, np.log(sigma)).astype(np.float32)

    def transition_var(i: Int[Array, ""], j: Int[Array, ""]) -> Time:
        table, log = jnp.asarray(sigma32), jnp.asarray(log32)
        return jnp.where(i > 0, table[i] ** 2 * jnp.expm1(2 * (log[j] - log[i])), table[j] ** 2)

    return _tabled(np.ones_like(sigma), sigma, transition_var, config)


def ddpm_linear(num_steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 2e-2) -> Process:
    """DDPM with betas linear from `beta_min` to `beta_max`, both scaled by 1000/T.

    Args:
      num_steps: Steps T, at least 21 with the default betas (the scaled betas must stay below 1).
      beta_min: First beta of a schedule of 1,000 steps.
      beta_max: Last beta of a schedule of 1,000 steps.

    Raises:
      InputError: if a scaled beta leaves (0, 1).

    References:
      Ho et al. 2020, https://arxiv.org/abs/2006.11239
    """
    _check_steps(num_steps)
    scale = 1000.0 / num_steps
    if not 0 < beta_min * scale <= beta_max * scale < 1:
        raise InputError(
            f"the linear schedule's betas {beta_min * scale:.3g} to {beta_max * scale:.3g} at {num_steps=} must rise "
            f"inside (0, 1): use more steps than {int(1000 * beta_max)}, or the cosine schedule."
        )
    beta = np.linspace(beta_min * scale, beta_max * scale, num_steps)
    config = {"name": "ddpm-linear", "num_steps": num_steps, "beta_min": beta_min, "beta_max": beta_max}
    return discrete(beta, config)


def ddpm_cosine(num_steps: int = 1000, offset: float = 0.008, beta_max: float = 0.999) -> Process:
    """DDPM with abar(u) = f(u)/f(0), f(u) = cos^2(pi/2 (u + offset)/(1 + offset)), betas capped at `beta_max`.

    Args:
      num_steps: Steps T.
      offset: Keeps the first betas from vanishing.
      beta_max: Cap on each beta; the last step would otherwise reach 1.

    Raises:
      InputError: if `num_steps` is not positive.

    References:
      Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672
    """
    _check_steps(num_steps)
    u = np.arange(num_steps + 1) / num_steps
    f = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    beta = np.minimum(1 - f[1:] / f[:-1], beta_max)
    config = {"name": "ddpm-cosine", "num_steps": num_steps, "offset": offset, "beta_max": beta_max}
    return discrete(beta, config)


def betas(betas: Table) -> Process:
    """DDPM with betas as a checkpoint records them.

    Args:
      betas: [T], each in (0, 1).

    Raises:
      InputError: if a beta lies outside (0, 1).
    """
    return discrete(np.asarray(betas), {"name": "betas", "betas": np.asarray(betas, np.float64).tolist()})


def ncsn(num_steps: int = 232, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Process:
    """NCSN: x_t = x0 + sigma_t eps, sigma geometric from `sigma_min` to `sigma_max` over the steps.

    Args:
      num_steps: Noise levels L; 10 in the first paper, 232 for CIFAR-10 in the second.
      sigma_min: Least noise level, for images in [-1, 1]: twice what papers print for images in [0, 1].
      sigma_max: Greatest noise level, likewise.

    Raises:
      InputError: if the levels do not rise.

    References:
      Song and Ermon 2019, https://arxiv.org/abs/1907.05600; 2020, https://arxiv.org/abs/2006.09011
    """
    _check_steps(num_steps)
    check_levels(sigma_min, sigma_max)
    config = {"name": "ncsn", "num_steps": num_steps, "sigma_min": sigma_min, "sigma_max": sigma_max}
    return ladder(np.geomspace(sigma_min, sigma_max, num_steps), config)


def check_levels(sigma_min: float, sigma_max: float) -> None:
    """Refuses noise levels that do not rise from above 0.

    Raises:
      InputError: unless 0 < sigma_min < sigma_max, both finite.
    """
    if not 0 < sigma_min < sigma_max < float("inf"):
        raise InputError(f"noise levels must rise from above 0, got {sigma_min=}, {sigma_max=}.")


def _tabled(alpha: Table, sigma: Table, transition_var: Callable, config: Mapping[str, Any]) -> Process:
    num_steps = len(alpha)
    log_level = (np.log(sigma) - np.log(alpha)).astype(np.float32)
    alpha32, sigma32 = np.append(1.0, alpha).astype(np.float32), np.append(0.0, sigma).astype(np.float32)

    # Round, not floor: floor(t T) is one step off for some t = i/T in float32.
    def index(t: Time) -> Int[Array, ""]:
        return jnp.clip(jnp.round(t * num_steps).astype(jnp.int32), 0, num_steps)

    def time_at(noise_level: Time) -> Time:
        nearest = jnp.argmin(jnp.abs(jnp.asarray(log_level) - jnp.log(noise_level)))
        return time_of(nearest + 1, num_steps)

    return Process(
        alpha=lambda t: jnp.asarray(alpha32)[index(t)],
        sigma=lambda t: jnp.asarray(sigma32)[index(t)],
        transition_var=lambda s, t: transition_var(index(s), index(t)),
        time_at=time_at,
        num_steps=num_steps,
        config=dict(config),
        draw=lambda key: time_of(jax.random.randint(key, (), 1, num_steps + 1), num_steps),
    )


def _check_steps(num_steps: int) -> None:
    if num_steps < 2:
        raise InputError(f"a schedule needs at least 2 steps, got {num_steps=}.")
