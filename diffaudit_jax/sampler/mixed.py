"""Ancestral sampling of a table's records: numbers and categories take every step of the schedule together."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.process.gaussian import log_variance, posterior
from diffaudit_jax.process.mixed import BOUND, Mixed, gumbel
from diffaudit_jax.types import Example, Key, Prediction, Time


def mixed_ancestral(key: Key, process: Mixed, denoise: Callable[[Example, Time], Prediction]) -> Example:
    """Draws one record, from pure noise, over all T steps.

    numbers:     x_s ~ N(c0 x0' + ct x_t, v) with the large variance; the last step adds none
    categories:  x_s ~ q(x_s | x_t, x0'), the last step being a draw from x0'

    Estimates of numbers are clipped to scores that records have, which published code does not do: unclipped, a tenth
    of what a small network draws lies beyond the members.

    Args:
      key: Typed key.
      process: The noising.
      denoise: ``denoise(xt, t) -> Prediction``, with x0 = [numbers, probabilities].

    Returns:
      The record [d], its categories one-hot. Costs T network calls.

    References:
      Kotelnikov et al. 2023, https://arxiv.org/abs/2209.15421
    """
    schedule, blocks = process.schedule, process.blocks
    times = jnp.asarray(np.append(0.0, schedule.times()), jnp.float32)
    dim = process.num_numeric + sum(blocks.sizes)

    def step(xt: Example, drawn: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = drawn
        pred, luck = denoise(xt, t), jax.random.normal(key, (dim,))
        (numbers, categories), (numbers_hat, probs) = process.apart(xt), process.apart(pred.x0)
        noise, chance = process.apart(luck)
        # At the noisiest steps of a cosine schedule, an error of the noise is 30 times as large in the estimate.
        numbers_hat = jnp.clip(numbers_hat, -BOUND, BOUND)
        q, log_var = posterior(schedule, s, t), log_variance(schedule, pred, s, t, "fixed_large")
        moved = q.c0 * numbers_hat + q.ct * numbers
        moved = moved + jnp.where(s > 0, jnp.exp(0.5 * log_var), 0.0) * noise
        # The estimate at the first step is told x_1 already; the posterior would count it twice.
        last = jnp.log(jnp.maximum(probs, 1e-30))
        log_p = jnp.where(s > 0, process.log_posterior(probs, categories, s, t), last)
        return jnp.concatenate([moved, blocks.greatest(log_p + gumbel(chance))]), None

    key_start, key_steps = jax.random.split(key)
    luck = jax.random.normal(key_start, (dim,))
    noise, chance = process.apart(luck)
    start = jnp.concatenate([noise, blocks.greatest(jnp.log(blocks.uniform()) + gumbel(chance))])
    keys = jax.random.split(key_steps, len(times) - 1)
    return jax.lax.scan(step, start, (times[:0:-1], times[-2::-1], keys))[0]
