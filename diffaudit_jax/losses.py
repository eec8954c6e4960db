"""Losses of one noised example: eps-MSE, x0-MSE and the terms of the variational bound, from ONE network call.

With x_t = alpha_t x0 + sigma_t eps, s the step before t, and q(x_s | x_t, x0) = N(c0 x0 + ct x_t, beta~_t):

    eps_t    = mean (eps' - eps)^2              eps' follows from the x0 estimate that is scored
    x0_t     = mean (x0' - x0)^2
    vlb_t    = mean KL(N(mu~, beta~) || N(mu', s^2))/ln 2,          s > 0
             = -mean log2 P(x0 | mu', s^2)                          s = 0, bins of half-width 1/255
    prior    = mean KL(q(x_1 | x0) || N(0, alpha_1^2 + sigma_1^2))/ln 2      no network

all means over dimensions; vlb and prior in bits per dimension, so that their sum over t is the bound on -log2 p(x0).

References:
  Ho et al. 2020, https://arxiv.org/abs/2006.11239; Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffaudit_jax.process import Process, Variance, log_variance, posterior
from diffaudit_jax.types import Example, Prediction, Time

_LN2 = 0.6931471805599453


class Losses(NamedTuple):
    """The three losses of one (x0, t, eps), each a scalar."""

    eps: Time
    x0: Time
    vlb: Time


def losses(
    process: Process, pred: Prediction, x0: Example, t: Time, eps: Example, *, variance: Variance, clip: bool = True
) -> Losses:
    """Scores one prediction by all three losses.

    Args:
      process: The noising process.
      pred: The network's answer at x_t = alpha_t x0 + sigma_t eps.
      x0: Clean example in [-1, 1].
      t: Time in (0, 1].
      eps: The noise in x_t.
      variance: Which reverse variance the bound uses.
      clip: Whether the x0 estimate is clipped to [-1, 1] first, as published evaluations do. Then eps' is derived
        from the clipped estimate, which bounds all three losses at large t.

    Returns:
      eps- and x0-MSE, and the bound's term at t in bits per dimension.
    """
    x0_hat, eps_hat = pred.x0, pred.eps
    if clip:
        x0_hat = jnp.clip(x0_hat, -1.0, 1.0)
        eps_hat = (process.corrupt(x0, t, eps) - process.alpha(t) * x0_hat) / process.sigma(t)
    log_var = log_variance(process, pred, process.before(t), t, variance)
    return Losses(
        eps=jnp.mean((eps_hat - eps) ** 2),
        x0=jnp.mean((x0_hat - x0) ** 2),
        vlb=vlb_term(process, x0, x0_hat, t, log_var),
    )


def vlb_term(process: Process, x0: Example, x0_hat: Example, t: Time, log_var: Example | Time) -> Time:
    """Returns the bound's term at t, in bits per dimension: the middle KL, or the decoder at the first step.

    x_t drops out of both: the means differ by c0 (x0 - x0_hat), and the first step's mean is x0_hat itself.
    """
    s = process.before(t)
    q = posterior(process, s, t)
    # ln(s^2/beta~). expm1, not exp - 1: late terms are 1e-6 and less, where the difference has no digits left.
    ratio = log_var - jnp.log(jnp.where(s > 0, q.var, 1.0))
    middle = 0.5 * (ratio + jnp.expm1(-ratio) + (q.c0 * (x0 - x0_hat)) ** 2 * jnp.exp(-log_var))
    first = -decoder_log_prob(x0, x0_hat, log_var)
    return jnp.mean(jnp.where(s > 0, middle, first)) / _LN2


def decoder_log_prob(x: Example, mean: Example, log_var: Example | Time) -> Example:
    """Returns ln P(x) per dimension of a Gaussian discretised to 256 levels on [-1, 1].

    P = F((x + 1/255 - mean)/s) - F((x - 1/255 - mean)/s), open-ended below -0.999 and above 0.999, at least 1e-12;
    F is the tanh approximation of the normal cdf that published likelihoods are computed with.
    """
    inverse_std = jnp.exp(-0.5 * log_var)
    cdf_plus = _cdf((x - mean + 1 / 255) * inverse_std)
    cdf_minus = _cdf((x - mean - 1 / 255) * inverse_std)
    prob = jnp.where(x < -0.999, cdf_plus, jnp.where(x > 0.999, 1 - cdf_minus, cdf_plus - cdf_minus))
    return jnp.log(jnp.maximum(prob, 1e-12))


def prior_term(process: Process, x0: Example) -> Time:
    """Returns KL(q(x_1 | x0) || N(0, alpha_1^2 + sigma_1^2)) in bits per dimension; it asks no network."""
    end = jnp.float32(1)
    alpha, sigma, std = process.alpha(end), process.sigma(end), process.prior_std
    return jnp.mean(0.5 * ((sigma**2 + alpha**2 * x0**2) / std**2 - 1 - 2 * jnp.log(sigma / std))) / _LN2


def simple_loss(pred: Prediction, eps: Example) -> Time:
    """Returns mean (eps_hat - eps)^2, the training loss of DDPM."""
    return jnp.mean((pred.eps - eps) ** 2)


def hybrid_loss(process: Process, pred: Prediction, x0: Example, t: Time, eps: Example, *, weight: float) -> Time:
    """Returns simple + weight x vlb_t, the mean held fixed in the second (it trains the variance only).

    Args:
      process: The noising process.
      pred: Prediction with a learned variance.
      x0: Clean example.
      t: Time in (0, 1].
      eps: The noise in x_t.
      weight: T/1000 in improved-diffusion, 1 in guided-diffusion (one t estimates the sum over T of them).

    References:
      Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672
    """
    log_var = log_variance(process, pred, process.before(t), t, "learned")
    bound = vlb_term(process, x0, jax.lax.stop_gradient(pred.x0), t, log_var)
    return simple_loss(pred, eps) + weight * bound


def _cdf(z: Example) -> Example:
    return 0.5 * (1 + jnp.tanh(0.7978845608028654 * (z + 0.044715 * z**3)))
