"""What a DP-SGD run did, and what may be said of it: the records that are stored, and their sentences."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from scipy.stats import binom

from diffaudit_jax.types import InputError, known

Sampling = Literal["poisson", "shuffled", "fixed"]
Clipping = Literal["global", "per_layer"]
Preprocessing = Literal["fixed", "public", "tossed", "declared", "private"]

LEAST_DELTA = 1e-9
"""PLDs are composed by FFT, and at 1e-11 its rounding counts."""
LEAST_NOISE = 2.0**-5
"""Noise multiplier below which no epsilon is stated."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a DP run did, as far as its guarantee depends on it.

    Attributes:
      noise_multiplier: Standard deviation of the noise on the sum of gradients, over l2_clip_norm.
      l2_clip_norm: Bound on one example's whole gradient; per layer, the root of the sum of squares of their bounds.
      batch_size: Expected examples per step, q N.
      num_examples: N, the examples trained on.
      num_steps: Steps taken, those among them that were taken twice, with two keys.
      delta: Probability with which epsilon may fail; below 1/N.
      max_batch_size: B, the examples that a padded batch holds; None if no batch is cut.
      num_noises: Draws of (t, eps) per example, averaged before clipping.
      sampling: How batches are drawn: "poisson", "shuffled" (one permutation per pass) or "fixed" (a random subset).
      clipping: "global", or "per_layer".
      preprocessing: What it was fitted on: nothing ("fixed"), "public" data, all who had a coin, in or out ("tossed"),
        or members; "declared" if whoever trains has said so, "private" if not.
      noise_reused: Whether noise of one step was released with two batches.
      tuned_on_members: Whether hyper-parameters were chosen by looking at members.
      key_given: Whether whoever trained brought the key, rather than the operating system.

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
    key_given: bool = False

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
                LEAST_DELTA <= self.delta < 1 / max(n, 1),
                f"at least {LEAST_DELTA} and below 1/{n} (examples)",
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


def refusals(ledger: Ledger) -> tuple[str, ...]:
    """Returns why no epsilon may be stated, a sentence each; empty if one may."""
    sigma, least = ledger.noise_multiplier, LEAST_NOISE
    shuffled = f"batches were {ledger.sampling}, and the accountant's are Poisson: train with Poisson sampling."
    broken = [
        (sigma < least, f"a noise_multiplier of {sigma} is next to no noise: train with {least} or more."),
        (ledger.sampling != "poisson" and ledger.sampling_prob < 1, shuffled),
        (ledger.noise_reused, "two batches got the same noise, so their difference has none: train with another key."),
        (ledger.preprocessing == "private", "preprocessing was fitted on members: fit it on public data, or say so."),
    ]
    return tuple(sentence for holds, sentence in broken if holds)


def assumptions(ledger: Ledger) -> tuple[str, ...]:
    """Returns what the guarantee rests on, a sentence each."""
    clipped = "clipped" if ledger.clipping == "global" else "clipped layer by layer, all layers together"
    n, q, most = ledger.num_examples, ledger.sampling_prob, ledger.max_drawn
    always = (
        f"Each step draws each example on its own with probability {q:.6g}, the same for neighbouring data sets.",
        f"The gradient of an example's own loss is {clipped} to an l2 norm of {ledger.l2_clip_norm}.",
        "An example is one row: of a person with several rows, one is protected.",
        "The range of the images and the number of classes are public facts, not read off the members.",
        "Only weights are released: losses, gradient norms and batch sizes are without noise.",
        "The run's key is secret, no small number, and told to nobody: with it the noise can be subtracted.",
        "Pseudo-random noise in floating point stands for exact Gaussian noise.",
    )
    if most is None:
        return always
    cut = f"A batch of more than {most} is cut to {most} at random, with probability {binom.sf(most, n, q):.2g} a step"
    return (*always, f"{cut}; of two neighbouring data sets the larger has {n} examples.")


def notes(ledger: Ledger) -> tuple[str, ...]:
    """Returns what else to know of epsilon, a sentence each."""
    several = f"The mean gradient of {ledger.num_noises} draws is clipped as one: they cost no privacy."
    guessed = "The key was given, not drawn from the operating system: whoever guesses it can subtract the noise."
    tossed = (
        "Preprocessing was fitted on all who had a coin, in or out alike, and whoever was trained on in any case: how "
        "a coin fell does not show in it, and what it shows of their values epsilon leaves out."
    )
    told = [
        (ledger.key_given, guessed),
        (ledger.tuned_on_members, "Hyper-parameters were chosen by looking at members: epsilon leaves that out."),
        (ledger.preprocessing == "declared", "Preprocessing was fitted on members: epsilon leaves that out."),
        (ledger.preprocessing == "tossed", tossed),
        (ledger.num_noises > 1, several),
    ]
    return tuple(sentence for holds, sentence in told if holds)
