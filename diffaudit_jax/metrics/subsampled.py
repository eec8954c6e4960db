"""The same bound for DP-SGD with Poisson sampling, where no closed form is known: simulated in both worlds.

With z_k the output of step k along the target's gradient, in units of the noise, the most powerful test of "no step
saw the target" rejects for

    log r(z) = sum over k of log(1 - q + q exp(mu z_k - mu^2/2)) > c

Draws from nu, where every z_k is N(0, 1), place c; draws from m, where z_k is N(mu, 1) with probability q, tell how
often it is passed. (The mean of r over draws from nu has the same limit and, from mu = 5 on, no use: the draws that
carry it are never seen.)

References:
  Hayes, Mahloujifar and Balle 2023, https://arxiv.org/abs/2302.07225 (whose estimate is the mean in one world)
"""

import math

import numpy as np

from diffaudit_jax.metrics.bounds import checked_count, checked_kappa, checked_mu
from diffaudit_jax.metrics.intervals import Estimate, quantile_ranks, tail
from diffaudit_jax.metrics.operating import THRESHOLD_SHARE, tpr_at_fpr
from diffaudit_jax.types import InputError

BLOCK = 2**16  # draws whose likelihood ratios are summed at once: a few arrays of half a MiB


def rero_subsampled(
    kappa: float,
    mu: float,
    sampling_prob: float,
    num_steps: int,
    *,
    num_draws: int = 100_000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Bounds reconstruction from DP-SGD with Poisson sampling: gamma = P_m(log r > c), with P_nu(log r > c) = kappa.

    Both stages err. Order statistics bracket c whatever the law of r, and the interval takes binomial limits at both
    ends of the bracket, so it covers gamma with probability `level` or more.

    Args:
      kappa: Chance of the best guess from the prior alone, in (0, 1).
      mu: C/sigma of one step, positive.
      sampling_prob: q, chance that a step sees the target, in (0, 1].
      num_steps: Steps.
      num_draws: Draws from each world. The time is that of 2 num_draws x num_steps normal numbers; the memory does not
        depend on num_steps.
      seed: Seed of the draws.
      level: Confidence level.

    Returns:
      gamma with its interval.

    Raises:
      InputError: if a number is out of range, or the draws are too few for a lower limit of gamma (it says how many are
        needed: about 4.4/kappa at a level of 0.95).

    References:
      Hayes, Mahloujifar and Balle 2023, https://arxiv.org/abs/2302.07225
    """
    size, shift = float(checked_kappa(kappa)), float(checked_mu(mu))
    if not 0.0 < sampling_prob <= 1.0:
        raise InputError(f"sampling_prob is {sampling_prob}: the chance of being sampled lies in (0, 1], such as 0.01.")
    steps, draws = (int(checked_count(*named)) for named in (("num_steps", num_steps), ("num_draws", num_draws)))
    error = THRESHOLD_SHARE * tail(level)
    if quantile_ranks(draws, size, error).above < 1:
        needed = math.ceil(math.log(error) / math.log1p(-size))
        raise InputError(f"{draws} draws cannot place the threshold of kappa {size:g}: take {needed} or more.")
    rng = np.random.default_rng(seed)
    ratios = [log_ratios(rng, shift, sampling_prob, steps, draws, within=within) for within in (True, False)]
    tpr = tpr_at_fpr(np.concatenate(ratios), np.arange(2 * draws) < draws, size, level=level).tpr
    assert tpr is not None  # fewer draws than that were refused above
    return tpr


def log_ratios(
    rng: np.random.Generator, mu: float, sampling_prob: float, num_steps: int, num_draws: int, *, within: bool
) -> np.ndarray:
    """Draws log r(z), float64 [num_draws].

    Args:
      rng: Where the draws come from.
      mu: C/sigma of one step.
      sampling_prob: q.
      num_steps: Steps.
      num_draws: Draws.
      within: Whether from the world in which steps see the target, each with probability q.
    """
    unseen = math.log1p(-sampling_prob) if sampling_prob < 1 else -math.inf
    total = np.zeros(num_draws)
    for block in np.split(total, range(BLOCK, num_draws, BLOCK)):  # views
        for _ in range(num_steps):
            z = rng.standard_normal(len(block))
            if within:
                z += mu * (rng.random(len(block)) < sampling_prob)
            block += np.logaddexp(unseen, math.log(sampling_prob) + mu * z - mu**2 / 2)
    return total
