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

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, TypeVar, get_args

import dp_accounting
from scipy.optimize import root_scalar
from scipy.stats import binom

from diffaudit_jax.types import InputError, known

Sampling = Literal["poisson", "shuffled", "fixed"]
Clipping = Literal["global", "per_layer"]
Preprocessing = Literal["fixed", "public", "declared", "private"]

_LEAST_DELTA = 1e-9  # PLDs are composed by FFT, and at 1e-11 its rounding counts
# Noise is sought between these powers of 2: from next to none to more than any gradient survives.
_LEAST_POWER, _MOST_POWER = -5, 14


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a DP run did, as far as its guarantee depends on it.

    Attributes:
      noise_multiplier: Standard deviation of the noise on the sum of gradients, over l2_clip_norm.
      l2_clip_norm: Bound on one example's whole gradient; per layer, the root of the sum of squares of their bounds.
      batch_size: Expected examples per step, q N.
      num_examples: N, the examples trained on.
      num_steps: Steps taken.
      delta: Probability with which epsilon may fail; below 1/N.
      max_batch_size: B, the examples that a padded batch holds; None if no batch is cut.
      num_noises: Draws of (t, eps) per example, averaged before clipping.
      sampling: How batches are drawn: "poisson", "shuffled" (one permutation per pass) or "fixed" (a random subset).
      clipping: "global", or "per_layer".
      preprocessing: What it was fitted on: nothing ("fixed"), "public" data, or members; "declared" if whoever trains
        has said so, "private" if not.
      noise_reused: Whether noise of one step was released with two batches.
      tuned_on_members: Whether hyper-parameters were chosen by looking at members.

    Raises:
      InputError: if a number is out of range, or a name unknown.
    """

    noise_multiplier: float
    l2_clip_norm: float
    batch_size: float
    num_examples: int
    num_steps: int
    delta: float
    max_batch_size: int | None = None
    num_noises: int = 1
    sampling: Sampling = "poisson"
    clipping: Clipping = "global"
    preprocessing: Preprocessing = "fixed"
    noise_reused: bool = False
    tuned_on_members: bool = False

    def __post_init__(self):
        n, batch, most = self.num_examples, self.batch_size, self.max_batch_size
        ranges = {
            "num_examples": (1 <= n < math.inf, "at least 1"),
            "num_steps": (1 <= self.num_steps < math.inf, "at least 1"),
            "num_noises": (1 <= self.num_noises < math.inf, "at least 1"),
            "noise_multiplier": (0 <= self.noise_multiplier < math.inf, "0 or more and finite"),
            "l2_clip_norm": (0 < self.l2_clip_norm < math.inf, "positive and finite"),
            "batch_size": (0 < batch <= n, f"positive and no larger than the data ({n} examples)"),
            "max_batch_size": (most is None or batch <= most < math.inf, f"at least batch_size ({batch})"),
            "delta": (
                _LEAST_DELTA <= self.delta < 1 / max(n, 1),
                f"at least {_LEAST_DELTA} and below 1/{n} (examples)",
            ),
        }
        for name, (holds, legal) in ranges.items():
            if not holds:
                raise InputError(f"{name} must be {legal}, got {getattr(self, name)}.")
        for name, names in (("sampling", Sampling), ("clipping", Clipping), ("preprocessing", Preprocessing)):
            known(name, getattr(self, name), get_args(names))

    @property
    def sampling_prob(self) -> float:
        """The probability q with which a step draws an example."""
        return self.batch_size / self.num_examples

    @property
    def max_drawn(self) -> int | None:
        """B where a batch may be cut, None where none can be."""
        return None if self.max_batch_size is None or self.max_batch_size >= self.num_examples else self.max_batch_size


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """What may be said of a run's privacy, and what that rests on.

    Attributes:
      ledger: What the run did.
      epsilon: Upper bound at the ledger's delta; None if the run broke an assumption.
      refusals: Why no epsilon is stated, a sentence each; empty if one is.
      truncation_epsilon: The part of epsilon that cutting over-full batches costs.
      epsilon_rdp: What RDP says of the same steps without cutting: looser, a check.
      mu: Parameter of Gaussian DP, with full participation only.
      neighbouring: Between which data sets the guarantee holds.
      accountant: Name and version of what computed epsilon.
      assumptions: What the guarantee rests on, a sentence each.
      notes: What else to know of epsilon, a sentence each.
    """

    ledger: Ledger
    epsilon: float | None
    refusals: tuple[str, ...]
    truncation_epsilon: float | None
    epsilon_rdp: float | None
    mu: float | None
    neighbouring: str
    accountant: str
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]


_Record = TypeVar("_Record", Ledger, Guarantee)


def from_json(kind: type[_Record], fields: Mapping[str, Any]) -> _Record:
    """Returns the ledger or guarantee whose `asdict` was stored as JSON.

    Raises:
      InputError: if a field is missing, unknown, or out of a ledger's range.
    """
    try:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        if kind is Guarantee:
            values["ledger"] = from_json(Ledger, fields["ledger"])
        return kind(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the stored record of DP is damaged ({error}): restore it, or train again.") from error


def guarantee(ledger: Ledger) -> Guarantee:
    """Returns what may be said of a run: its epsilon, or why there is none. A second or two on the host."""
    refusals = _refusals(ledger)
    mu = math.sqrt(ledger.num_steps) / ledger.noise_multiplier if ledger.sampling_prob == 1 and not refusals else None
    spent, cutting = (None, None) if refusals else _spent(ledger)
    return Guarantee(
        ledger=ledger,
        epsilon=spent,
        refusals=refusals,
        truncation_epsilon=cutting,
        epsilon_rdp=None if refusals else _by_rdp(ledger),
        mu=mu,
        neighbouring="add or remove one example",
        accountant=f"{'Gaussian DP' if mu else 'PLD'}, dp-accounting {version('dp-accounting')}",
        assumptions=_assumptions(ledger),
        notes=_notes(ledger),
    )


def epsilon(ledger: Ledger) -> float:
    """Returns the epsilon of a run at its ledger's delta, an upper bound. A second or two on the host.

    Raises:
      InputError: if the run broke an assumption, so that no epsilon holds.
    """
    refusals = _refusals(ledger)
    if refusals:
        raise InputError(f"no epsilon holds for this run: {refusals[0]}")
    return _spent(ledger)[0]


def noise_multiplier(target_epsilon: float, delta: float, **settings: Any) -> float:
    """Returns the least noise multiplier, to 1 part in 10,000, that keeps a run's `epsilon` within a target.

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
    while excess(power) > 0:  # a root may lie on either side
        power += 5e-5
    return 2.0**power


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


def _refusals(ledger: Ledger) -> tuple[str, ...]:
    sigma, least = ledger.noise_multiplier, 2.0**_LEAST_POWER
    shuffled = f"batches were {ledger.sampling}, and the accountant's are Poisson: train with Poisson sampling."
    broken = [
        (sigma < least, f"a noise_multiplier of {sigma} is next to no noise: train with {least} or more."),
        (ledger.sampling != "poisson" and ledger.sampling_prob < 1, shuffled),
        (ledger.noise_reused, "two batches got the same noise, so their difference has none: train with another key."),
        (ledger.preprocessing == "private", "preprocessing was fitted on members: fit it on public data, or say so."),
    ]
    return tuple(sentence for holds, sentence in broken if holds)


def _assumptions(ledger: Ledger) -> tuple[str, ...]:
    clipped = "clipped" if ledger.clipping == "global" else "clipped layer by layer, all layers together"
    n, q, most = ledger.num_examples, ledger.sampling_prob, ledger.max_drawn
    always = (
        f"Each step draws each example on its own with probability {q:.6g}, the same for neighbouring data sets.",
        f"The gradient of an example's own loss is {clipped} to an l2 norm of {ledger.l2_clip_norm}.",
        "An example is one row: of a person with several rows, one is protected.",
        "Only weights are released: losses, gradient norms and batch sizes, as in the log, are without noise.",
        "The run's key, which run.json holds, is secret and no small number: with it the noise can be subtracted.",
        "Pseudo-random noise in floating point stands for exact Gaussian noise.",
    )
    if most is None:
        return always
    cut = f"A batch of more than {most} is cut to {most} at random, with probability {binom.sf(most, n, q):.2g} a step"
    return (*always, f"{cut}; of two neighbouring data sets the larger has {n} examples.")


def _notes(ledger: Ledger) -> tuple[str, ...]:
    several = f"The mean gradient of {ledger.num_noises} draws is clipped as one: they cost no privacy."
    told = [
        (ledger.tuned_on_members, "Hyper-parameters were chosen by looking at members: epsilon leaves that out."),
        (ledger.preprocessing == "declared", "Preprocessing was fitted on members: epsilon leaves that out."),
        (ledger.num_noises > 1, several),
    ]
    return tuple(sentence for holds, sentence in told if holds)
