"""Noising processes x_t = alpha(t) x0 + sigma(t) eps, with t in (0, 1].

t = 0 is clean data (alpha = 1, sigma = 0). Between two times s < t the process is Gaussian again:

    x_t | x_s    ~ N(a x_s, v),                        a = alpha_t/alpha_s,   v = sigma_t^2 - a^2 sigma_s^2
    x_s | x_t,x0 ~ N(c0 x0 + ct x_t, v~),              v~ = v sigma_s^2/sigma_t^2
    c0 = alpha_s v/sigma_t^2,   ct = a sigma_s^2/sigma_t^2

A discrete schedule's step i = 0..T-1 (0-based, as published code counts) lives at t = (i + 1)/T. A continuous process
is defined at every t; its bound and its grids are those of a discretisation into `RESOLUTION` steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.types import Example, InputError, Key, Prediction, Time

Variance = Literal["fixed_small", "fixed_large", "learned"]
VARIANCES: tuple[Variance, ...] = ("fixed_small", "fixed_large", "learned")
RESOLUTION = 1000
"""Steps into which a continuous process is cut where steps are needed."""


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
      draw: ``draw(key) -> t``, the times a model is trained at.
    """

    alpha: Callable[[Time], Time]
    sigma: Callable[[Time], Time]
    transition_var: Callable[[Time, Time], Time]
    time_at: Callable[[Time], Time]
    num_steps: int | None
    config: Mapping[str, Any]
    draw: Callable[[Key], Time]

    @property
    def steps(self) -> int:
        """The number of steps: T, or `RESOLUTION` of a continuous process."""
        return self.num_steps or RESOLUTION

    @property
    def prior_std(self) -> Time:
        """Standard deviation of the Gaussian that sampling starts from: that of x_1 for data of unit variance."""
        end = jnp.float32(1)
        return jnp.sqrt(self.alpha(end) ** 2 + self.sigma(end) ** 2)

    def noise_level(self, t: Time) -> Time:
        """Returns sigma(t)/alpha(t), the unit in which families are compared."""
        return self.sigma(t) / self.alpha(t)

    def corrupt(self, x0: Example, t: Time, eps: Example) -> Example:
        """Returns x_t = alpha(t) x0 + sigma(t) eps."""
        return self.alpha(t) * x0 + self.sigma(t) * eps

    def step(self, t: Time) -> Int[Array, ""]:
        """Returns the 1-based step nearest to t: round(t T), 0 for clean data."""
        return jnp.round(t * self.steps).astype(jnp.int32)

    def before(self, t: Time) -> Time:
        """Returns the time one step earlier, 0 at (and, in a continuous process, up to) the first."""
        if self.num_steps is not None:
            return time_of(self.step(t) - 1, self.num_steps)
        first = 1 / RESOLUTION
        return jnp.where(t > first * (1 + 1e-5), t - first, 0.0)  # the first step itself may be a rounding above

    def times(self, num: int | None = None) -> Float[np.ndarray, " times"]:
        """Returns times of the steps, increasing and ending at 1: all of them, or `num` evenly strided.

        Raises:
          InputError: if `num` is not between 1 and the number of steps.
        """
        num = self.steps if num is None else num
        if not 1 <= num <= self.steps:
            raise InputError(f"a grid on this schedule has 1 to {self.steps} times, got {num}.")
        steps = np.round(np.arange(1, num + 1) * (self.steps / num))
        return (steps / self.steps).astype(np.float32)

    def matched(self, like: "Process", times: Float[np.ndarray, " times"]) -> Float[np.ndarray, " some"]:
        """Returns this process's times of the noise levels that `like` has at `times`.

        Levels outside this process's range are left out, and so are repetitions.

        Args:
          like: The process whose times are meant.
          times: Times of `like`.

        Raises:
          InputError: if no level lies in the range.
        """
        levels = np.asarray(jax.vmap(like.noise_level)(jnp.asarray(times, jnp.float32)), np.float64)
        ends = np.asarray(jax.vmap(self.noise_level)(jnp.asarray([1 / self.steps, 1], jnp.float32)), np.float64)
        inside = levels[(levels >= ends[0] * (1 - 1e-5)) & (levels <= ends[1] * (1 + 1e-5))]
        if not inside.size:
            raise InputError(
                f"none of the noise levels {levels.min():.3g} to {levels.max():.3g} lies in this process's range "
                f"{ends[0]:.3g} to {ends[1]:.3g}: ask for other times."
            )
        return np.unique(np.asarray(jax.vmap(self.time_at)(jnp.asarray(inside, jnp.float32))))


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
    first = 1 / process.steps
    s_small, t_small = jnp.where(s > 0, s, first), jnp.where(s > 0, t, jnp.maximum(t, 2 * first))
    small, large = jnp.log(posterior(process, s_small, t_small).var), jnp.log(process.transition_var(s, t))
    if variance == "fixed_small":
        return small
    if variance == "fixed_large":
        return jnp.where(s > 0, large, small)
    if pred.var_fraction is None:
        raise InputError("variance='learned' needs a network with learned sigma; use 'fixed_small' for this one.")
    return pred.var_fraction * large + (1 - pred.var_fraction) * small


def time_of(step: Int[Array, ""], num_steps: int) -> Time:
    """Returns step/T, rounded as `Process.times` rounds it."""
    # A table, because XLA divides by a constant through its reciprocal: i/T would be a rounding off.
    return jnp.asarray(np.arange(num_steps + 1) / num_steps, jnp.float32)[step]
