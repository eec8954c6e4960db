"""What losses, gradients and training ask of a model's noising, be its records images or rows of a table.

A `Process` gives one by `gaussian`; a table's records, whose categories no Gaussian noises, have their own, `mixed`.
With T the steps, C the categorical columns, and q, p the reverse steps of x0 and of its estimate,

    numeric      mean (eps' - eps)^2 over numbers
    categorical  mean over columns of T KL(q || p) at t, of -T log p(x0) at the first step, plus KL(q(x_T | x0) || 1/K)
    eps          numeric + categorical: what TabDDPM is trained by
    x0           mean (x0' - x0)^2 over all of the record; of categories it is Brier's score
    vlb          the bound's term at t in bits per column: numbers by their Gaussian density, categories by KL

References:
  Kotelnikov et al. 2023, TabDDPM, https://arxiv.org/abs/2209.15421
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from diffaudit_jax.losses import losses, simple_loss
from diffaudit_jax.process import Process, Variance, log_variance, posterior
from diffaudit_jax.process.mixed import Mixed
from diffaudit_jax.types import Example, Prediction, Time

_LN2 = 0.6931471805599453


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A noising, by what can be asked of it.

    Attributes:
      corrupt: ``corrupt(x0, t, eps) -> x_t``, eps being N(0, I) of the record's shape.
      losses: ``losses(pred, x0, t, eps, *, variance, clip)`` -> a NamedTuple of scalars, with `eps`, `x0` and `vlb`.
      objective: ``objective(pred, x0, t, eps)``, what training minimises.
      schedule: The Gaussian process itself, or that of the numbers: its times, steps and noise levels.
    """

    corrupt: Callable[[Example, Time, Example], Example]
    losses: Callable[..., Any]
    objective: Callable[[Prediction, Example, Time, Example], Time]
    schedule: Process


class TableLosses(NamedTuple):
    """The losses of one (x0, t, eps), each a scalar."""

    eps: Time
    x0: Time
    vlb: Time
    numeric: Time
    categorical: Time


def gaussian(process: Process) -> Diffusion:
    """The noising of a Gaussian process, trained by eps-MSE."""
    objective = lambda pred, x0, t, eps: simple_loss(pred, eps)  # noqa: E731
    return Diffusion(process.corrupt, partial(losses, process), objective, process)


def mixed(process: Mixed) -> Diffusion:
    """The noising of a table's records, trained by TabDDPM's loss."""
    found = partial(table_losses, process)
    objective = lambda pred, x0, t, eps: found(pred, x0, t, eps).eps  # noqa: E731
    return Diffusion(process.corrupt, found, objective, process.schedule)


def table_losses(
    process: Mixed,
    pred: Prediction,
    x0: Example,
    t: Time,
    eps: Example,
    *,
    variance: Variance = "fixed_small",
    clip: bool = False,
) -> TableLosses:
    """Scores one prediction about a record, by the formulas above.

    Args:
      process: The noising.
      pred: The network's answer at x_t: eps' of the numbers, and probabilities of the categories in x0.
      x0: The record [d].
      t: Time in (0, 1].
      eps: The noise in x_t [d].
      variance: Says nothing here: the numbers' reverse variance is the small one, the categories have none.
      clip: Says nothing here: numbers are not bounded.
    """
    del variance, clip
    schedule, s = process.schedule, process.schedule.before(t)
    steps, columns = schedule.steps, max(len(process.blocks.sizes), 1)
    (numbers, categories), (noise, _) = process.apart(x0), process.apart(eps)
    (numbers_hat, probs), (noise_hat, _) = process.apart(pred.x0), process.apart(pred.eps)
    _, xt = process.apart(process.corrupt(x0, t, eps))
    numeric = _mean((noise_hat - noise) ** 2)
    nats = _categorical(process, categories, probs, xt, s, t)
    prior = _kl(process, jnp.log(process.marginal(categories, jnp.float32(1))), jnp.log(process.blocks.uniform()))
    categorical = (steps * nats + prior) / columns
    density = _numeric_nats(process, numbers, numbers_hat, pred, s, t)
    total = process.num_numeric + len(process.blocks.sizes)
    return TableLosses(
        eps=numeric + categorical,
        x0=jnp.mean((pred.x0 - x0) ** 2),
        vlb=(density + nats) / total / _LN2,
        numeric=numeric,
        categorical=categorical,
    )


def _categorical(process: Mixed, x0: Example, probs: Example, xt: Example, s: Time, t: Time) -> Time:
    """Returns the sum over columns of KL(q(x_s | x_t, x0) || q(x_s | x_t, x0')), at s = 0 of -log p(x0)."""
    log_q, log_p = (process.log_posterior(of, xt, s, t) for of in (x0, probs))
    first = -jnp.sum(x0 * jnp.log(jnp.maximum(probs, 1e-30)))
    return jnp.where(s > 0, _kl(process, log_q, log_p), first)


def _kl(process: Mixed, log_q: Example, log_p: Example) -> Time:
    del process  # summed over all columns: which category is of which does not matter
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p))


def _numeric_nats(process: Mixed, x0: Example, x0_hat: Example, pred: Prediction, s: Time, t: Time) -> Time:
    """Returns the bound's term of the numbers at t in nats: a KL, at the first step minus the log density of x0."""
    schedule = process.schedule
    log_var, q = log_variance(schedule, pred, s, t, "fixed_small"), posterior(schedule, s, t)
    middle = 0.5 * (q.c0 * (x0 - x0_hat)) ** 2 * jnp.exp(-log_var)
    first = 0.5 * ((x0 - x0_hat) ** 2 * jnp.exp(-log_var) + log_var + jnp.log(2 * jnp.pi))
    return jnp.sum(jnp.where(s > 0, middle, first))


def _mean(x: Example) -> Time:
    return jnp.sum(x) / max(x.size, 1)
