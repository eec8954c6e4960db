"""Property inference: which share of a generator's training data has a property, from samples and a discriminator.

    p^ = (1/n) sum over i of h(x_i),   x_i drawn from the generator,   h a discriminator with errors of its own

What separates p^ from the share in the training data is, in this order: sampling, which n buys off
(`metrics.plan_samples`); the discriminator, which labelled images tell (`metrics.rogan_gladen`); and coverage, how far
the generator's own share is from that of its data, which no number of samples tells.

References:
  Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from diffaudit_jax.metrics.anytime import anytime
from diffaudit_jax.metrics.corrected import Corrected, Rates, rogan_gladen
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.planning import empirical_bernstein, hoeffding_interval
from diffaudit_jax.types import InputError

Images = UInt8[np.ndarray, "n *shape"]
Discriminator = Callable[[Images], Bool[np.ndarray, " n"]]


class Budget(NamedTuple):
    """Half the width of an estimate's interval, and where it comes from; coverage is not in it.

    Attributes:
      sampling: By the luck of the samples, were the rates of the discriminator what they were measured to be.
      discriminator: What is added because they are measured on so many labelled images only.
    """

    sampling: float
    discriminator: float


class Inferred(NamedTuple):
    """The share of a property behind n samples.

    Attributes:
      has: What the discriminator calls each sample, bool [n], in the order in which they were drawn.
      corrected: The share, corrected for its errors, with an interval for all that is uncertain but coverage.
      raw: What it calls positive, by rule: "hoeffding", "exact", "bernstein" hold for this n, "anytime" for all n.
      budget: Where the width of the interval comes from.
      stopped: Whether the interval was narrow enough before samples ran out; False if no error was asked for.
    """

    has: Bool[np.ndarray, " n"]
    corrected: Corrected
    raw: dict[str, Estimate]
    budget: Budget
    stopped: bool


def property_share(
    samples: Iterable[Images],
    discriminator: Discriminator,
    rates: Rates,
    *,
    error: float | None = None,
    level: float = 0.95,
) -> Inferred:
    """Infers the share of a property from a generator's samples.

    Args:
      samples: Blocks of images, as `bank.drawn` or a folder gives them; no more are asked for than are needed.
      discriminator: ``images -> whether each has the property``.
      rates: Its calls on labelled images that have not trained it.
      error: Stop at the first block after which the share that is called positive is known this well, by an interval
        that may be looked at after every block; None takes all samples.
      level: Confidence level.

    Returns:
      The estimate. Costs what the samples cost. Of a run that may stop, the corrected interval and `raw["anytime"]`
      hold; the others of `raw` are of a fixed n.

    Raises:
      InputError: if there are no samples, `error` is not positive, the discriminator does not answer once for each
        image, or rates cannot be.
    """
    if error is not None and not error > 0:
        raise InputError(f"error is {error}: half the width of an interval is positive, such as 0.05.")
    calls: list[np.ndarray] = []
    k, n, stopped = 0, 0, False
    for block in samples:
        has = np.asarray(discriminator(block))
        if has.shape != (len(block),) or not np.isin(has, (0, 1)).all():
            raise InputError(
                f"the discriminator answered {has.dtype} {has.shape} to {len(block)} images: it says yes or no of each."
            )
        calls.append(has.astype(bool))
        k, n = k + int(has.sum()), n + len(block)
        if error is not None and n and np.ptp(anytime(k, n, level)) <= 2 * error:
            stopped = True
            break
    if not n:
        raise InputError("there are no samples to infer from: draw some.")
    corrected = rogan_gladen(k, n, rates, level, stopped=error is not None)
    raw = {name: rule(k, n, level) for name, rule in RULES.items()}
    raw["anytime"] = Estimate(k / n, *map(float, anytime(k, n, level)))
    return Inferred(np.concatenate(calls), corrected, raw, _budget(corrected, rates), stopped)


RULES: dict[str, Callable[[int, int, float], Estimate]] = {
    "hoeffding": hoeffding_interval,
    "exact": clopper_pearson,
    "bernstein": empirical_bernstein,
}


def _budget(corrected: Corrected, rates: Rates) -> Budget:
    whole = (corrected.estimate.high - corrected.estimate.low) / 2
    apart = rates.true_positives / rates.positives - rates.false_positives / rates.negatives
    if not corrected.informative:
        return Budget(0.0, whole)
    sampling = min((corrected.raw.high - corrected.raw.low) / 2 / apart, whole)
    return Budget(sampling, whole - sampling)
