"""The probability-flow ODE in unscaled coordinates xbar = x_t/alpha, with the noise level s = sigma/alpha as time.

    dxbar/ds = eps(alpha xbar, t)                                       for every process alike
    log p_0(xbar_0) = log p_1(xbar_1) + integral over s of div eps,     div = trace of d eps/d xbar

so DDIM with eta = 0 is its Euler method, and EDM's sampler its Heun method.

References:
  Song et al. 2021, https://arxiv.org/abs/2011.13456 (the ODE and its likelihood)
  Karras et al. 2022, https://arxiv.org/abs/2206.00364 (Heun steps, churn, the grid)
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.process import Process
from diffaudit_jax.sampler.grids import Denoise, Times
from diffaudit_jax.types import Example, InputError, Key, Time


def edm_grid(process: Process, num_steps: int, rho: float = 7.0, *, least: float = 0.0) -> Times:
    """Returns times from 1 down to 0 whose noise levels are evenly spaced in level^(1/rho), and then 0.

    Args:
      process: Noising process. Of a discrete one, levels go to the nearest steps and repetitions are left out.
      num_steps: Levels above 0.
      rho: Larger spends more steps on small levels.
      least: Smallest level above 0, or the process's own where that is greater. VP and sub-VP start lower than is
        worth sampling, at 1e-3 and 1e-6.

    Returns:
      At most `num_steps` + 1 times, decreasing.

    Raises:
      InputError: if `num_steps` or `rho` is not positive, or `least` is not below the process's greatest level.

    References:
      Karras et al. 2022, https://arxiv.org/abs/2206.00364
    """
    if num_steps < 1 or rho <= 0:
        raise InputError(f"num_steps is 1 or more and rho above 0, got {num_steps=}, {rho=}.")
    # A sampler is called inside jit, where even constants are traced unless asked for at once.
    with jax.ensure_compile_time_eval():
        low, high = (float(process.noise_level(t)) for t in (process.time_at(jnp.float32(0)), jnp.float32(1)))
        if not least < high:
            raise InputError(f"the least level lies below this process's greatest, {high:.3g}, got {least=}.")
        levels = np.linspace(high ** (1 / rho), max(least, low) ** (1 / rho), num_steps) ** rho
        times = np.array(jax.vmap(process.time_at)(jnp.asarray(levels, jnp.float32)))
    times[0] = 1  # time_at may be a rounding below
    return np.append(np.unique(times)[::-1], np.float32(0))


def heun(
    key: Key,
    process: Process,
    denoise: Denoise,
    shape: tuple[int, ...],
    times: Times,
    *,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = float("inf"),
    churn_noise: float = 1.0,
) -> Example:
    """Draws one example by EDM's sampler: Heun steps of the ODE, the last one into s = 0 by Euler.

        d = eps(xbar, s),   x' = xbar + (s' - s) d,   xbar <- xbar + (s' - s)(d + eps(x', s'))/2

    With churn, each level s in [churn_min, churn_max] is first raised to (1 + g) s by noise of standard deviation
    churn_noise sqrt((1 + g)^2 - 1) s, g = min(churn/steps, sqrt(2) - 1), though never above the process's greatest.

    Args:
      key: Typed random key.
      process: Noising process; continuous if there is churn.
      denoise: The model.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0 (see `edm_grid`).
      churn: EDM's S_churn, 0 or more; 0 is deterministic given x_1.
      churn_min: Least noise level that is raised (S_min), for images in [-1, 1].
      churn_max: Greatest noise level that is raised (S_max).
      churn_noise: Factor on the noise added (S_noise).

    Returns:
      One sample; costs 2 (len(times) - 1) - 1 network calls.

    Raises:
      InputError: if `churn` is negative, or positive with a discrete process.

    References:
      Karras et al. 2022, https://arxiv.org/abs/2206.00364
    """
    if churn < 0:
        raise InputError(f"churn is 0 (deterministic) or more, got {churn}.")
    if churn and process.num_steps is not None:
        raise InputError(
            f"churn raises noise levels to ones between the {process.num_steps} steps of "
            f"{process.config.get('name')!r}: use churn=0, or a continuous process."
        )
    times, factor = np.asarray(times, np.float32), min(churn / (len(times) - 1), math.sqrt(2) - 1)
    key_init, key_steps = jax.random.split(key)

    def raised(xbar: Example, t: Time, key: Key) -> tuple[Example, Time]:
        if not factor:
            return xbar, t
        level = process.noise_level(t)
        inside = (level >= churn_min) & (level <= churn_max)
        t_hat = jnp.where(inside, jnp.maximum(process.time_at(level * (1 + factor)), t), t)
        # The level of the time found, not the one asked for: the network is told the time.
        rise = jnp.maximum(process.noise_level(t_hat) ** 2 - level**2, 0.0)
        return xbar + churn_noise * jnp.sqrt(rise) * jax.random.normal(key, shape), t_hat

    def step(xbar: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        xbar, t = raised(xbar, t, key)
        ds = process.noise_level(s) - process.noise_level(t)
        d = _slope(process, denoise, xbar, t)
        return xbar + ds * (d + _slope(process, denoise, xbar + ds * d, s)) / 2, None

    keys = jax.random.split(key_steps, len(times) - 1)
    xbar = process.prior_std * jax.random.normal(key_init, shape) / process.alpha(jnp.float32(1))
    if len(times) > 2:  # a scan of length 0 is refused where jit is off, as for models that run on the host
        xbar, _ = jax.lax.scan(step, xbar, (jnp.asarray(times[:-2]), jnp.asarray(times[1:-1]), keys[:-1]))
    xbar, t = raised(xbar, jnp.asarray(times[-2]), keys[-1])
    return xbar - process.noise_level(t) * _slope(process, denoise, xbar, t)


def log_likelihood(
    key: Key, process: Process, denoise: Denoise, x0: Example, times: Times, *, num_probes: int = 1
) -> Time:
    """Returns the log density of an example in nats, by the change of variables along the ODE.

    The example is taken for an x_t of the first time above 0, in unscaled coordinates, and walked up to the last by
    Heun steps, with the trapezoid rule for the integral; the prior there is N(0, 1 + s^2), as of data of unit variance.
    The divergence is the mean of v . (d eps/d xbar) v over random signs v (Hutchinson), the same all along the path.

    Density is per unit of x0 in [-1, 1]. Of 8-bit images of D numbers, dequantised by uniform noise of one level,
    bits per dimension are log2(127.5) - log_likelihood/(D ln 2).

    Args:
      key: Typed random key of the signs.
      process: Noising process.
      denoise: The model, differentiable in its first argument.
      x0: One example.
      times: In any order, 0 left out (see `edm_grid`).
      num_probes: Arrays of signs drawn.

    Returns:
      A scalar; over k times above 0 it costs 2 (k - 1) network calls, and `num_probes` directional derivatives of each.

    Raises:
      InputError: if `num_probes` is not positive, or fewer than two times are above 0.

    References:
      Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    times = np.unique(np.asarray(times, np.float32))
    times = times[times > 0]
    if num_probes < 1 or len(times) < 2:
        raise InputError(f"a likelihood needs 2 or more times above 0 and 1 probe, got {len(times)}, {num_probes=}.")
    probes = jax.random.rademacher(key, (num_probes, *x0.shape), jnp.float32)

    def slope(xbar: Example, t: Time) -> tuple[Example, Time]:
        along = lambda v: jax.jvp(lambda xbar: _slope(process, denoise, xbar, t), (xbar,), (v,))  # noqa: E731
        d, turned = jax.vmap(along, out_axes=(None, 0))(probes)
        return d, jnp.sum(probes * turned) / num_probes

    def step(xbar: Example, inputs: tuple[Time, Time]) -> tuple[Example, Time]:
        s, t = inputs
        ds = process.noise_level(t) - process.noise_level(s)
        d, div = slope(xbar, s)
        d_end, div_end = slope(xbar + ds * d, t)
        return xbar + ds * (d + d_end) / 2, ds * (div + div_end) / 2

    # Summed after the loop: a total carried from a constant 0 is refused inside shard_map.
    xbar, parts = jax.lax.scan(step, x0, (jnp.asarray(times[:-1]), jnp.asarray(times[1:])))
    std = jnp.sqrt(1 + process.noise_level(jnp.asarray(times[-1])) ** 2)
    return parts.sum() - jnp.sum((xbar / std) ** 2) / 2 - x0.size * (jnp.log(std) + math.log(2 * math.pi) / 2)


def _slope(process: Process, denoise: Denoise, xbar: Example, t: Time) -> Example:
    return denoise(process.alpha(t) * xbar, t).eps
