"""The proportion of a property behind a discriminator that errs, and an interval that carries all that is uncertain.

With q the share that the discriminator calls positive, TPR and FPR its rates,

    q = p TPR + (1 - p) FPR        p = (q - FPR)/(TPR - FPR)

and all three are known from counts alone: q from the samples, the rates from labelled images that trained nothing.

References:
  Rogan and Gladen 1978, American Journal of Epidemiology 107:71
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from diffaudit_jax.metrics.anytime import anytime
from diffaudit_jax.metrics.intervals import Estimate, checked_counts, clopper_pearson, tail
from diffaudit_jax.types import InputError


class Rates(NamedTuple):
    """How often a discriminator calls labelled images positive: counts of those with the property, and without."""

    true_positives: int
    positives: int
    false_positives: int
    negatives: int


class Corrected(NamedTuple):
    """A proportion corrected for the discriminator's errors.

    Attributes:
      estimate: p with its interval, within [0, 1].
      raw: q with its own interval: what the discriminator says.
      unclipped: p before it is cut to [0, 1]; unbiased only so, and if the rates were known.
      informative: Whether the discriminator is clearly better than chance. If not, the interval is [0, 1].
    """

    estimate: Estimate
    raw: Estimate
    unclipped: float
    informative: bool


def rogan_gladen(k: int, n: int, rates: Rates, level: float = 0.95, *, stopped: bool = False) -> Corrected:
    """Estimates the proportion behind k positive calls in n samples.

    p rises with q, and falls with either rate, so its limits are at corners of the box of the three exact intervals,
    each of which fails with a third of the error: the interval covers p with probability `level` or more, whatever the
    sizes. It is cautious; with rates known from many images it is Clopper and Pearson's at a level of 1 - d/3, scaled.

    Args:
      k: Samples that the discriminator calls positive.
      n: Samples.
      rates: Its calls on labelled images.
      level: Confidence level.
      stopped: Whether n was decided by looking at the samples: q then has the interval that holds at all n together.

    Raises:
      InputError: if counts cannot be, or the labelled images are all of one kind.
    """
    tp, positives, fp, negatives = rates
    if positives < 1 or negatives < 1:
        raise InputError(
            f"a discriminator's errors are measured on images with the property and without, got {positives} and "
            f"{negatives}: give some of both."
        )
    for count, trials in ((tp, positives), (fp, negatives)):
        checked_counts(count, trials)
    of_calls, error = _anytime if stopped else clopper_pearson, tail(level) / 3
    raw, q = of_calls(k, n, level), of_calls(k, n, 1 - 2 * error)
    tpr, fpr = (clopper_pearson(a, b, 1 - 2 * error) for a, b in ((tp, positives), (fp, negatives)))
    apart = tpr.value - fpr.value
    unclipped = (q.value - fpr.value) / apart if apart else float("nan")
    if tpr.low <= fpr.high:
        return Corrected(Estimate(_cut(unclipped), 0.0, 1.0), raw, unclipped, informative=False)
    low = _cut((q.low - fpr.high) / (tpr.high - fpr.high))
    high = _cut((q.high - fpr.low) / (tpr.low - fpr.low))
    return Corrected(Estimate(_cut(unclipped), low, high), raw, unclipped, informative=True)


def _anytime(k: int, n: int, level: float) -> Estimate:
    checked_counts(k, n)
    return Estimate(k / n, *map(float, anytime(k, n, level)))


def unmixed(
    counts: ArrayLike, confusion: ArrayLike, *, seed: int = 0, num_resamples: int = 2000, level: float = 0.95
) -> tuple[Estimate, ...]:
    """Estimates the proportions of a property with several values: q = C^T p, solved within the simplex.

    The interval of each is over resamples of the samples and of the labelled images of each value together.

    Args:
      counts: Samples called each of the v values, [v].
      confusion: Labelled images by true value (rows) and by what they are called, [v, v].
      seed: Seed of the resamples.
      num_resamples: Their number.
      level: Confidence level, of each value for itself.

    Returns:
      One estimate a value; they sum to 1.

    Raises:
      InputError: if shapes differ, a count is negative, a value has no labelled image, or none was sampled.
    """
    called, table = np.asarray(counts, np.float64), np.asarray(confusion, np.float64)
    v = len(called) if called.ndim == 1 else 0
    if v < 2 or table.shape != (v, v) or not (called >= 0).all() or not (table >= 0).all():
        raise InputError(f"counts has shape {called.shape}, confusion {table.shape}: give counts [v] and [v, v].")
    if not called.sum() or (empty := table.sum(axis=1) == 0).any():
        which = "no sample was called anything" if not called.sum() else f"value {int(empty.argmax())} has no image"
        raise InputError(f"{which}: give samples, and labelled images of every value.")
    rng = np.random.default_rng(seed)
    found = [_solved(called / called.sum(), table / table.sum(axis=1, keepdims=True))]
    for _ in range(num_resamples):
        # Half a count more: a call that was never seen may happen.
        shares = rng.dirichlet(called + 0.5)
        found.append(_solved(shares, np.stack([rng.dirichlet(row + 0.5) for row in table])))
    low, high = np.quantile(found[1:], (tail(level), 1 - tail(level)), axis=0)
    return tuple(Estimate(*map(float, each)) for each in zip(found[0], low, high, strict=True))


def _solved(q: Float[np.ndarray, " v"], rates: Float[np.ndarray, "v v"]) -> Float[np.ndarray, " v"]:
    """Returns the proportions whose calls are nearest to q: non-negative least squares, the sum held to 1."""
    weight = 1e3
    found, _ = nnls(np.vstack([rates.T, np.full(len(q), weight)]), np.append(q, weight))
    return found / found.sum()


def _cut(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0)) if np.isfinite(value) else 0.5


def conditional(
    has: Sequence[bool] | np.ndarray, label: np.ndarray, rates: dict[int, Rates], level: float = 0.95
) -> dict[int, Corrected]:
    """Estimates P(S = 1 | Y = y) for every label y: each from the samples of that label, by rates of that label.

    Args:
      has: Whether each sample is called positive, [n].
      label: Labels, [n].
      rates: Label -> the discriminator's calls on labelled images of it: errors may go with the label.
      level: Confidence level, of each label for itself.

    Raises:
      InputError: as `rogan_gladen`, and if a label has no samples.
    """
    has, label = np.asarray(has, bool), np.asarray(label)
    return {
        y: rogan_gladen(int(has[label == y].sum()), int((label == y).sum()), each, level) for y, each in rates.items()
    }
