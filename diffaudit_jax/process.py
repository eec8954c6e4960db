"""Noising processes x_t = alpha(t) x0 + sigma(t) eps, with t in (0, 1].

A discrete schedule beta_1..beta_T (0-based step i = 0..T-1) lives at t = (i + 1)/T:

    abar_i = prod_{j<=i} (1 - beta_j),    alpha = sqrt(abar),    sigma = sqrt(1 - abar)

and t = 0 is clean data (alpha = 1, sigma = 0). Between two times s < t the process is Gaussian again:

    x_t | x_s    ~ N(a x_s, v),                        a = alpha_t/alpha_s,   v = sigma_t^2 - a^2 sigma_s^2
    x_s | x_t,x0 ~ N(c0 x0 + ct x_t, v~),              v~ = v sigma_s^2/sigma_t^2
    c0 = alpha_s v/sigma_t^2,   ct = a sigma_s^2/sigma_t^2

Tables are computed in float64 on the host and stored in float32, so the one-step v equals beta_i to rounding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.types import Example, InputError, Prediction, Time, known

Variance = Literal["fixed_small", "fixed_large", "learned"]
VARIANCES: tuple[Variance, ...] = ("fixed_small", "fixed_large", "learned")


@dataclass(frozen=True)
class Process:
    """x_t = alpha(t) x0 + sigma(t) eps, as functions of time.

    Attributes:
      alpha: Signal scale at t; 1 at t = 0.
      sigma: Noise scale at t; 0 at t = 0.
      transition_var: ``transition_var(s, t)``, the variance v of x_t given x_s, for 0 <= s < t.
      time_at: The time whose noise level sigma/alpha is nearest (in log) to the one given.
      num_steps: Steps T of a discrete schedule, None for a continuous process.
      config: What made it, as JSON; `from_config` makes it again.
    """

    alpha: Callable[[Time], Time]
    sigma: Callable[[Time], Time]
    transition_var: Callable[[Time, Time], Time]
    time_at: Callable[[Time], Time]
    num_steps: int | None
    config: Mapping[str, Any]

    def noise_level(self, t: Time) -> Time:
        """Returns sigma(t)/alpha(t), the unit in which families are compared."""
        return self.sigma(t) / self.alpha(t)

    def corrupt(self, x0: Example, t: Time, eps: Example) -> Example:
        """Returns x_t = alpha(t) x0 + sigma(t) eps."""
        return self.alpha(t) * x0 + self.sigma(t) * eps

    def step(self, t: Time) -> Int[Array, ""]:
        """Returns the 1-based step of a discrete schedule: round(t T), 0 for clean data."""
        return jnp.round(t * self.steps).astype(jnp.int32)

    def before(self, t: Time) -> Time:
        """Returns the time one step earlier on a discrete schedule, 0 at the first."""
        return _time(self.step(t) - 1, self.steps)

    def times(self, num: int | None = None) -> Float[np.ndarray, " times"]:
        """Returns times of a discrete schedule, increasing and ending at 1: all T, or `num` of them evenly strided.

        Raises:
          InputError: if `num` is not between 1 and T.
        """
        num = self.steps if num is None else num
        if not 1 <= num <= self.steps:
            raise InputError(f"a grid on this schedule has 1 to {self.steps} times, got {num}.")
        steps = np.round(np.arange(1, num + 1) * (self.steps / num))
        return (steps / self.steps).astype(np.float32)

    @property
    def steps(self) -> int:
        """The number of steps T.

        Raises:
          InputError: if the process is continuous.
        """
        if self.num_steps is None:
            raise InputError("this process is continuous and has no steps; give an explicit grid of times instead.")
        return self.num_steps


class Posterior(NamedTuple):
    """x_s | x_t, x0 ~ N(c0 x0 + ct x_t, var)."""

    c0: Time
    ct: Time
    var: Time


def posterior(process: Process, s: Time, t: Time) -> Posterior:
    """Returns the Gaussian of x_s given x_t and x0 (equations in the module docstring).

    Args:
      process: The noising process.
      s: Earlier time, 0 <= s < t.
      t: Later time in (0, 1].
    """
    v = process.transition_var(s, t)
    a, sigma2_s, sigma2_t = process.alpha(t) / process.alpha(s), process.sigma(s) ** 2, process.sigma(t) ** 2
    return Posterior(process.alpha(s) * v / sigma2_t, a * sigma2_s / sigma2_t, v * sigma2_s / sigma2_t)


def log_variance(process: Process, pred: Prediction, s: Time, t: Time, variance: Variance) -> Example | Time:
    """Returns log s_theta^2 of the reverse step from t to s.

    fixed_small: log v~;  fixed_large: log v;  learned: u log v + (1 - u) log v~. Into clean data (s = 0), where v~ is
    0, published code reads v~ at the second step instead, and so does this: log is finite everywhere.

    Raises:
      InputError: if `variance` is learned and the network has none.
    """
    first = 1 / process.num_steps if process.num_steps else 0.0
    s_small, t_small = jnp.where(s > 0, s, first), jnp.where(s > 0, t, jnp.maximum(t, 2 * first))
    small, large = jnp.log(posterior(process, s_small, t_small).var), jnp.log(process.transition_var(s, t))
    if variance == "fixed_small":
        return small
    if variance == "fixed_large":
        return jnp.where(s > 0, large, small)
    if pred.var_fraction is None:
        raise InputError("variance='learned' needs a network with learned sigma; use 'fixed_small' for this one.")
    return pred.var_fraction * large + (1 - pred.var_fraction) * small


def discrete(beta: Float[np.ndarray, " steps"], config: Mapping[str, Any]) -> Process:
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
    num_steps = len(beta)
    log_abar = np.concatenate([[0.0], np.cumsum(np.log1p(-beta))])
    alpha_table = np.exp(log_abar / 2).astype(np.float32)
    sigma_table = np.sqrt(-np.expm1(log_abar)).astype(np.float32)
    beta_table = np.concatenate([[0.0], beta]).astype(np.float32)
    log_level = 0.5 * (np.log(-np.expm1(log_abar[1:])) - log_abar[1:]).astype(np.float32)
    log_abar = log_abar.astype(np.float32)

    # Round, not floor: floor(t T) is one step off for some t = i/T in float32.
    def index(t: Time) -> Int[Array, ""]:
        return jnp.clip(jnp.round(t * num_steps).astype(jnp.int32), 0, num_steps)

    def transition_var(s: Time, t: Time) -> Time:
        i, j = index(s), index(t)
        strided = -jnp.expm1(jnp.asarray(log_abar)[j] - jnp.asarray(log_abar)[i])
        # The difference of two logs loses digits over one step; there the table is exact.
        return jnp.where(j - i == 1, jnp.asarray(beta_table)[j], strided)

    def time_at(noise_level: Time) -> Time:
        nearest = jnp.argmin(jnp.abs(jnp.asarray(log_level) - jnp.log(noise_level)))
        return _time(nearest + 1, num_steps)

    return Process(
        alpha=lambda t: jnp.asarray(alpha_table)[index(t)],
        sigma=lambda t: jnp.asarray(sigma_table)[index(t)],
        transition_var=transition_var,
        time_at=time_at,
        num_steps=num_steps,
        config=dict(config),
    )


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


SCHEDULES: Mapping[str, Callable[..., Process]] = {"ddpm-linear": ddpm_linear, "ddpm-cosine": ddpm_cosine}


def from_config(config: Mapping[str, Any]) -> Process:
    """Makes a process again from its `config`.

    Raises:
      InputError: if the name is none of `SCHEDULES`.
    """
    arguments = dict(config)
    return SCHEDULES[known("schedule", arguments.pop("name"), SCHEDULES)](**arguments)


def _time(step: Int[Array, ""], num_steps: int) -> Time:
    # A table, because XLA divides by a constant through its reciprocal: i/T would be a rounding off `Process.times`.
    return jnp.asarray(np.arange(num_steps + 1) / num_steps, jnp.float32)[step]


def _check_steps(num_steps: int) -> None:
    if num_steps < 2:
        raise InputError(f"a schedule needs at least 2 steps, got {num_steps=}.")
