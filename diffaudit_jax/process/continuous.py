"""Continuous processes: the diffusions of score SDEs, and EDM's.

    VP        alpha = exp(-B/2),   sigma^2 = 1 - exp(-B),       B(t) = beta_min t + (beta_max - beta_min) t^2/2
    sub-VP    alpha = exp(-B/2),   sigma   = 1 - exp(-B)
    VE        alpha = 1,           sigma   = sigma_min (sigma_max/sigma_min)^t
    EDM       alpha = 1,           sigma   = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho

VE and EDM are clean at t = 0 by definition: sigma jumps from 0 to sigma_min there. Each v = sigma_t^2 - a^2 sigma_s^2
is written as a product, for the difference of two nearly equal numbers has few digits in float32.

References:
  Song et al. 2021, https://arxiv.org/abs/2011.13456 (VP, sub-VP, VE)
  Karras et al. 2022, https://arxiv.org/abs/2206.00364 (EDM)
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from diffaudit_jax.process.discrete import check_levels
from diffaudit_jax.process.gaussian import Process
from diffaudit_jax.types import InputError, Key, Time

FIRST_TIME = 1e-5
"""The earliest time of training and likelihoods: scores are unbounded at 0."""


def vp_sde(beta_min: float = 0.1, beta_max: float = 20.0) -> Process:
    """The variance-preserving SDE dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, beta linear in t.

    Args:
      beta_min: beta at t = 0.
      beta_max: beta at t = 1.

    Raises:
      InputError: unless 0 < beta_min < beta_max.
    """
    big, inverse = _integrated(beta_min, beta_max)
    return Process(
        alpha=lambda t: jnp.exp(-big(t) / 2),
        sigma=lambda t: jnp.sqrt(-jnp.expm1(-big(t))),
        transition_var=lambda s, t: -jnp.expm1(big(s) - big(t)),
        time_at=lambda level: inverse(jnp.log1p(level**2)),
        num_steps=None,
        config={"name": "vp-sde", "beta_min": beta_min, "beta_max": beta_max},
        draw=_uniform,
    )


def sub_vp_sde(beta_min: float = 0.1, beta_max: float = 20.0) -> Process:
    """The sub-variance-preserving SDE dx = -beta(t)/2 x dt + sqrt(beta(t) (1 - exp(-2 B(t)))) dw.

    Args:
      beta_min: beta at t = 0.
      beta_max: beta at t = 1.

    Raises:
      InputError: unless 0 < beta_min < beta_max.
    """
    big, inverse = _integrated(beta_min, beta_max)
    return Process(
        alpha=lambda t: jnp.exp(-big(t) / 2),
        sigma=lambda t: -jnp.expm1(-big(t)),
        # (1 - a^2 e)^2 - a^2 (1 - e)^2 = (1 - a^2)(1 - a^2 e^2), with e = exp(-B_s)
        transition_var=lambda s, t: jnp.expm1(big(s) - big(t)) * jnp.expm1(-big(s) - big(t)),
        time_at=lambda level: inverse(2 * jnp.arcsinh(level / 2)),
        num_steps=None,
        config={"name": "sub-vp-sde", "beta_min": beta_min, "beta_max": beta_max},
        draw=_uniform,
    )


def ve_sde(sigma_min: float = 0.02, sigma_max: float = 100.0) -> Process:
    """The variance-exploding SDE, sigma geometric in t.

    Args:
      sigma_min: Least noise level, for images in [-1, 1]: twice what papers print for images in [0, 1].
      sigma_max: Greatest noise level, likewise.

    Raises:
      InputError: unless 0 < sigma_min < sigma_max.
    """
    check_levels(sigma_min, sigma_max)
    rise = math.log(sigma_max / sigma_min)
    return _exploding(
        level=lambda t: sigma_min * jnp.exp(rise * t),
        time_at=lambda level: jnp.log(level / sigma_min) / rise,
        config={"name": "ve-sde", "sigma_min": sigma_min, "sigma_max": sigma_max},
        draw=_uniform,
    )


def edm(
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    train_mean: float = -1.2,
    train_std: float = 1.2,
) -> Process:
    """EDM: noise levels spread by the power `rho`, trained at log-normal levels.

    Args:
      sigma_min: Least noise level.
      sigma_max: Greatest noise level.
      rho: Larger spends more of t on small levels.
      train_mean: Mean of ln sigma in training.
      train_std: Standard deviation of ln sigma in training.

    Raises:
      InputError: unless 0 < sigma_min < sigma_max and rho and train_std are positive.
    """
    check_levels(sigma_min, sigma_max)
    if not (rho > 0 and train_std > 0):
        raise InputError(f"rho and train_std must be positive, got {rho=}, {train_std=}.")
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    time_at = lambda level: (level ** (1 / rho) - low) / (high - low)  # noqa: E731

    def draw(key: Key) -> Time:
        level = jnp.exp(train_mean + train_std * jax.random.normal(key))
        return jnp.clip(time_at(level), FIRST_TIME, 1.0)

    config = {"name": "edm", "sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}
    config |= {"train_mean": train_mean, "train_std": train_std}
    return _exploding(lambda t: (low + t * (high - low)) ** rho, time_at, config, draw)


def _exploding(level: Callable, time_at: Callable, config: dict, draw: Callable[[Key], Time]) -> Process:
    def sigma(t: Time) -> Time:
        return jnp.where(t > 0, level(t), 0.0)

    def transition_var(s: Time, t: Time) -> Time:
        return (level(t) - sigma(s)) * (level(t) + sigma(s))

    return Process(
        alpha=lambda t: jnp.ones_like(jnp.asarray(t, jnp.float32)),
        sigma=sigma,
        transition_var=transition_var,
        time_at=lambda noise_level: jnp.clip(time_at(noise_level), FIRST_TIME, 1.0),
        num_steps=None,
        config=config,
        draw=draw,
    )


def _integrated(beta_min: float, beta_max: float) -> tuple[Callable[[Time], Time], Callable[[Time], Time]]:
    """Returns B(t), the integral of beta, and the time at which it has a given value."""
    if not 0 < beta_min < beta_max < float("inf"):
        raise InputError(f"betas must rise from above 0, got {beta_min=}, {beta_max=}.")
    slope = beta_max - beta_min

    def inverse(big: Time) -> Time:
        # The root of slope t^2/2 + beta_min t = B, in the form without cancellation.
        t = 2 * big / (beta_min + jnp.sqrt(beta_min**2 + 2 * slope * big))
        return jnp.clip(t, FIRST_TIME, 1.0)

    return lambda t: beta_min * t + slope * t**2 / 2, inverse


def _uniform(key: Key) -> Time:
    return jax.random.uniform(key, minval=FIRST_TIME, maxval=1.0)
