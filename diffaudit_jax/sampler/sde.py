"""The reverse-time SDE of a process, in the process's own coordinates, and its discretisations.

    forward    dx = f x dt + g dw,                      f = d ln alpha/dt,   g^2 = d sigma^2/dt - 2 f sigma^2
    reverse    dx = [f x - g^2 score] dt + g dw,        score = -eps/sigma

Both samplers walk a grid down to its last positive time and step from there into t = 0 by denoising alone: the sample
is x0_hat, without noise, in place of the noise-free last step of score SDEs (which it equals where alpha = 1).

References:
  Song et al. 2021, https://arxiv.org/abs/2011.13456
"""

import jax
import jax.numpy as jnp

from diffaudit_jax.process import Process
from diffaudit_jax.sampler.grids import Denoise, Times, scan
from diffaudit_jax.sampler.langevin import langevin_update
from diffaudit_jax.types import Example, InputError, Key, Time


def euler_maruyama(key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], times: Times) -> Example:
    """Draws one example by Euler-Maruyama steps: x_s = x_t + (s - t) [f x_t - g^2 score] + g sqrt(t - s) z.

    Args:
      key: Typed random key.
      process: A continuous process: f and g are derivatives in t.
      denoise: The model.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0 (see `grid`).

    Returns:
      One sample; costs len(times) - 1 network calls.

    Raises:
      InputError: if the process is discrete.

    References:
      Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    if process.num_steps is not None:
        raise InputError(
            f"Euler-Maruyama needs a continuous process, and {process.config.get('name')!r} has {process.num_steps} "
            f"steps: use predictor_corrector, which takes both."
        )
    key_init, key_steps = jax.random.split(key)

    def step(xt: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        pred = denoise(xt, t)
        f, g2 = coefficients(process, t)
        slope = f * xt + g2 * pred.eps / process.sigma(t)
        xs = xt + (s - t) * slope + jnp.sqrt(g2 * (t - s)) * jax.random.normal(key, shape)
        return jnp.where(s > 0, xs, pred.x0), None

    return scan(step, key_init, key_steps, process, shape, times)


def predictor_corrector(
    key: Key,
    process: Process,
    denoise: Denoise,
    shape: tuple[int, ...],
    times: Times,
    *,
    snr: float = 0.16,
    num_corrector: int = 1,
) -> Example:
    """Draws one example by Langevin corrections at each time and reverse-diffusion predictions between them.

    With a = alpha_t/alpha_s and v the variance of x_t given x_s, the grid's own, and a fresh z each time:

        correct    x_t <- x_t + d score + sqrt(2 d) z,     d = 2 a^2 (snr |z|/|score|)^2      `num_corrector` times
        predict    x_s = (2 - a) x_t + v score + sqrt(v) z

    Norms are those of the one example. Published code takes their mean over the batch it happens to draw, so that
    samples depend on their neighbours; over images of many pixels the two are nearly the same.

    Args:
      key: Typed random key.
      process: Noising process, discrete or continuous.
      denoise: The model.
      shape: Shape of one example.
      times: Decreasing, from 1 to 0 (see `grid`).
      snr: Signal-to-noise ratio of the corrections, |d score|/|sqrt(2 d) z| = a snr; 0.16 as published for CIFAR-10.
      num_corrector: Corrections at each time, 0 or more.

    Returns:
      One sample; costs (len(times) - 1) x (num_corrector + 1) network calls.

    Raises:
      InputError: if `snr` is not positive or `num_corrector` is negative.

    References:
      Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    if not 0 < snr < float("inf") or num_corrector < 0:
        raise InputError(f"snr is above 0 and num_corrector 0 or more, got {snr=}, {num_corrector=}.")
    key_init, key_steps = jax.random.split(key)

    def step(xt: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        key_predict, key_correct = jax.random.split(key)
        sigma, a = process.sigma(t), process.alpha(t) / process.alpha(s)

        def correct(xt: Example, key: Key) -> tuple[Example, None]:
            score, z = -denoise(xt, t).eps / sigma, jax.random.normal(key, shape)
            size = jnp.linalg.norm(score.ravel())
            ratio = jnp.where(size > 0, jnp.linalg.norm(z.ravel()) / size, 0.0)  # a score of 0 corrects nothing
            return langevin_update(xt, score, z, 2 * (a * snr * ratio) ** 2), None

        if num_corrector:  # a scan of length 0 is refused where jit is off, as for models that run on the host
            xt, _ = jax.lax.scan(correct, xt, jax.random.split(key_correct, num_corrector))
        pred, v = denoise(xt, t), process.transition_var(s, t)
        xs = (2 - a) * xt - v / sigma * pred.eps + jnp.sqrt(v) * jax.random.normal(key_predict, shape)
        return jnp.where(s > 0, xs, pred.x0), None

    return scan(step, key_init, key_steps, process, shape, times)


def coefficients(process: Process, t: Time) -> tuple[Time, Time]:
    """Returns f and g^2 of the forward SDE at t in (0, 1], of a continuous process."""
    f = jax.grad(lambda t: jnp.log(process.alpha(t)))(t)
    return f, jax.grad(lambda t: process.sigma(t) ** 2)(t) - 2 * f * process.sigma(t) ** 2
