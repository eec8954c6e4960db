"""What a DP-SGD run guarantees: its steps composed by dp-accounting, and what that rests on.

One step draws each of N examples with probability q, cuts a batch of more than B to B at random, and releases

    sum over the batch of clip(mean over draws of (t, eps) of the gradient) + N(0, (noise_multiplier l2_clip_norm)^2 I)

Several draws of an example are averaged before clipping, so it still moves the sum by at most l2_clip_norm: noise
multiplicity costs no privacy. Steps are composed as privacy loss distributions (PLD), rounded so that every epsilon is
an upper bound; Renyi DP (RDP) checks them. With full participation (q = 1) all steps are one Gaussian mechanism:

    mu = sqrt(num_steps)/noise_multiplier,   delta = Phi(-epsilon/mu + mu/2) - exp(epsilon) Phi(-epsilon/mu - mu/2)

Cutting costs: where the other N - 1 examples alone fill the batch, with probability P[Bin(N - 1, q) >= B], an example
that is drawn and kept takes another's place, and moves the sum by 2 l2_clip_norm. A step is the mixture of both cases.

References:
  Abadi et al. 2016, https://arxiv.org/abs/1607.00133; Dong, Roth and Su 2019 (mu), https://arxiv.org/abs/1905.02383
  Doroshenko et al. 2022 (PLD), https://arxiv.org/abs/2207.04380; cut batches: https://arxiv.org/abs/2508.15089
"""

import itertools
import math
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import dp_accounting
from scipy.optimize import root_scalar

from diffaudit_jax.training.ledger import LEAST_NOISE, Guarantee, Ledger, assumptions, notes, refusals
from diffaudit_jax.types import InputError

# Noise is sought between these powers of 2: from next to none to more than any gradient survives.
_LEAST_POWER, _MOST_POWER = round(math.log2(LEAST_NOISE)), 14


def guarantee(ledger: Ledger) -> Guarantee:
    """Returns what may be said of a run: its epsilon, or why there is none. A second or two on the host."""
    refused = refusals(ledger)
    mu = math.sqrt(ledger.num_steps) / ledger.noise_multiplier if ledger.sampling_prob == 1 and not refused else None
    spent, cutting = (None, None) if refused else _spent(ledger)
    return Guarantee(
        ledger=ledger,
        epsilon=spent,
        refusals=refused,
        truncation_epsilon=cutting,
        epsilon_rdp=None if refused else _by_rdp(ledger),
        mu=mu,
        neighbouring="add or remove one example",
        accountant=f"{'Gaussian DP' if mu else 'PLD'}, dp-accounting {version('dp-accounting')}",
        assumptions=assumptions(ledger),
        notes=notes(ledger),
    )


def epsilon(ledger: Ledger) -> float:
    """Returns the epsilon of a run at its ledger's delta, an upper bound. A second or two on the host, or several.

    Raises:
      InputError: if the run broke an assumption, so that no epsilon holds.
    """
    refused = refusals(ledger)
    if refused:
        raise InputError(f"no epsilon holds for this run: {refused[0]}")
    return _spent(ledger)[0]


def noise_multiplier(target_epsilon: float, delta: float, **settings: Any) -> float:
    """Returns the least noise multiplier, to 4 digits, that keeps a run's `epsilon` within a target.

    Some ten to twenty epsilons are computed on the way, each a second or two on the host.

    Args:
      target_epsilon: Epsilon to stay within, positive.
      delta: Probability with which epsilon may fail.
      **settings: The other fields of the run's `Ledger`: at least batch_size, num_examples, num_steps, l2_clip_norm.

    Raises:
      InputError: if no noise reaches the target (it says what is reached), or no epsilon would hold for the run.
    """
    if not 0 < target_epsilon < math.inf:
        raise InputError(f"target_epsilon must be positive and finite, got {target_epsilon}.")
    ledger = Ledger(noise_multiplier=1.0, delta=delta, **settings)

    @cache
    def excess(power: float) -> float:
        return epsilon(replace(ledger, noise_multiplier=2.0**power)) - target_epsilon

    power, step = 0.0, 1 if excess(0.0) > 0 else -1
    while (excess(power + step) > 0) == (step > 0):
        power += step
        if power == _LEAST_POWER:
            most = (excess(power) + target_epsilon) / 1.1
            raise InputError(f"target_epsilon {target_epsilon} needs next to no noise: ask for at most {most:.2g}.")
        if power == _MOST_POWER:
            raise InputError(
                f"no noise reaches target_epsilon {target_epsilon} at delta {delta} in {ledger.num_steps} steps of "
                f"{ledger.batch_size} out of {ledger.num_examples} examples: ask for "
                f"{1.1 * (excess(power) + target_epsilon):.2g} or more."
            )
    power = root_scalar(excess, bracket=(power, power + step), xtol=5e-5).root
    # Four digits: one more would tell one version of the accountant from the next, and a run from itself.
    digit = 10.0 ** (math.floor(power * math.log10(2)) - 3)
    least = math.floor(2.0**power * (1 - 1e-4) / digit)  # the root may lie on either side
    noises = (float(f"{count * digit:.4g}") for count in itertools.count(least))
    return next(noise for noise in noises if epsilon(replace(ledger, noise_multiplier=noise)) <= target_epsilon)


def _spent(ledger: Ledger) -> tuple[float, float]:
    """Returns epsilon, and the part of it that cutting costs."""
    sigma, q, most = ledger.noise_multiplier, ledger.sampling_prob, ledger.max_drawn
    if q == 1:
        return float(dp_accounting.get_epsilon_gaussian(sigma / math.sqrt(ledger.num_steps), ledger.delta)), 0.0
    # Most losses of a step are near q/sigma, the largest near reach, and those of all steps go past epsilon: a grid too
    # coarse for none, and not too long. An upper bound comes of any grid.
    reach = (1 if most is None else 2) / sigma
    reach += reach**2
    grid = min(q / sigma / 20, 5e-4 * max(1.0, reach))
    grid = max(grid, 1e-5 * reach, 1e-6 * _by_rdp(ledger))

    def composed(event: dp_accounting.DpEvent) -> float:
        accountant = dp_accounting.pld.PLDAccountant(value_discretization_interval=grid)
        return float(accountant.compose(event, ledger.num_steps).get_epsilon(ledger.delta))

    uncut = composed(dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(sigma)))
    if most is None:
        return uncut, 0.0
    # The larger, as a cost below the accountant's rounding may come out negative.
    event = dp_accounting.TruncatedSubsampledGaussianDpEvent(ledger.num_examples, q, most, sigma)
    spent = max(uncut, composed(event))
    return spent, spent - uncut


def _by_rdp(ledger: Ledger) -> float:
    gaussian = dp_accounting.GaussianDpEvent(ledger.noise_multiplier)
    # Of whole orders the moments are finite sums; between them, series that may not converge.
    accountant = dp_accounting.rdp.RdpAccountant([*range(2, 64), 128, 256, 512, 1024])
    accountant.compose(dp_accounting.PoissonSampledDpEvent(ledger.sampling_prob, gaussian), ledger.num_steps)
    return float(accountant.get_epsilon(ledger.delta))
