"""Shares from calls: what a report of a property keeps of a share, of its errors, and of how it came about with n."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from diffaudit_jax.attacks.property import RULES, property_share
from diffaudit_jax.metrics.anytime import anytime
from diffaudit_jax.metrics.corrected import Rates, rogan_gladen, unmixed
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.planning import RULES as PLANNED
from diffaudit_jax.metrics.planning import plan_samples
from diffaudit_jax.training.discriminator import rates_of

ERRORS = (0.1, 0.05, 0.03, 0.02, 0.01)
NUM_POINTS = 60
FIRST_POINT = 10


class Training(NamedTuple):
    """What is known of the images that trained a generator.

    Attributes:
      counts: Images with each value, [v].
      by: Class -> the same of its images.
    """

    counts: Int[np.ndarray, " v"]
    by: Mapping[int, Int[np.ndarray, " v"]]


def share(
    has: Bool[np.ndarray, " n"], rates: Rates | None, error: float | None, level: float, read: bool = False
) -> dict[str, Any]:
    """Returns the share of one value, as JSON.

    Args:
      has: What each sample was called.
      rates: How often that errs; None if nobody counted, and there is no estimate then but the raw share.
      error: What was asked for; where it is given, samples may have been stopped at.
      level: Confidence level.
      read: Whether samples say it themselves: the raw share is the estimate then.
    """
    k, n = int(has.sum()), len(has)
    found: dict[str, Any] = {"samples": n, "called": k, "estimate": None, "unclipped": None, "informative": None}
    raw = {name: rule(k, n, level)._asdict() for name, rule in RULES.items()}
    raw["anytime"] = Estimate(k / n, *map(float, anytime(k, n, level)))._asdict()
    found |= {"raw": raw, "budget": None}
    if read:
        estimate = raw["exact" if error is None else "anytime"]
        budget = {"sampling": (estimate["high"] - estimate["low"]) / 2, "discriminator": 0.0}
        return found | {"estimate": estimate, "unclipped": k / n, "informative": True, "budget": budget}
    if rates is None:
        return found
    inferred = property_share([has], lambda calls: calls, rates, error=error, level=level)
    corrected = inferred.corrected
    return found | {
        "estimate": corrected.estimate._asdict(),
        "unclipped": corrected.unclipped if np.isfinite(corrected.unclipped) else None,
        "informative": corrected.informative,
        "budget": inferred.budget._asdict() if corrected.informative else None,
    }


def several(
    calls: Int[np.ndarray, " n"], confusion: Int[np.ndarray, "v v"] | None, size: int, level: float, read: bool = False
) -> list[dict[str, Any]]:
    """Returns the share of each of several values, as JSON; corrected together, if errors were counted.

    Args:
      calls: Value that each sample was called.
      confusion: Labelled images by true value and by what they are called, or None.
      size: Number of values.
      level: Confidence level, of each for itself.
      read: As in `share`.
    """
    shares = [
        share(calls == v, None if confusion is None else rates_of(confusion, v), None, level, read) for v in range(size)
    ]
    if confusion is None:
        return shares
    solved = unmixed(np.bincount(calls, minlength=size), confusion, level=level)
    joint = {"unclipped": None, "budget": None}
    return [{**each, **joint, "estimate": found._asdict()} for each, found in zip(shares, solved, strict=True)]


def off(estimate: dict[str, float] | None, informative: bool | None, truth: float) -> dict[str, float] | None:
    """Returns how far an estimate is off the truth; None of one that tells nothing."""
    if estimate is None or not informative:
        return None
    return {name: end - truth for name, end in estimate.items()}


def covered(
    training: Training | None, value: int, labels: Int[np.ndarray, " n"] | None, found: dict[str, Any]
) -> dict[str, Any] | None:
    """Returns what is known of the share among training images, and how far the estimate is off it.

    Where a model was asked for classes in turn, the training share is that of the same classes: each class's own,
    weighted as in the samples.

    Args:
      training: What is known; None for nothing.
      value: Whose share it is.
      labels: Classes of the samples, None without.
      found: The share, as `share` returns it.
    """
    if training is None:
        return None
    has, images = int(training.counts[value]), int(training.counts.sum())
    truth, classes = has / images, () if labels is None else np.unique(labels).tolist()
    weighted = bool(classes) and all(y in training.by for y in classes)
    if labels is not None and weighted:
        parts = [training.by[y][value] / training.by[y].sum() * (labels == y).mean() for y in classes]
        truth = float(sum(parts))
    return {
        "has": has,
        "images": images,
        "share": truth,
        "weighted": weighted,
        "off": off(found["estimate"], found["informative"], truth),
    }


def against_n(
    has: Bool[np.ndarray, " n"], rates: Rates | None, level: float, counts: Sequence[int]
) -> dict[str, list[float] | None]:
    """Returns a share after ever more samples, with limits that hold at all n together.

    Args:
      has: What each sample was called, in their order.
      rates: How often that errs, if it is to be corrected.
      level: Confidence level.
      counts: After how many samples.

    Returns:
      `raw`, `low` and `high`, and the corrected `estimate` whose limits they are, None where it is not corrected.
    """
    n, k = np.asarray(counts), np.cumsum(has)[np.asarray(counts) - 1]
    raw = [float(each) for each in k / n]
    if rates is None:
        low, high = anytime(k, n, level)
        return {"raw": raw, "estimate": None, "low": low.tolist(), "high": high.tolist()}
    found = [rogan_gladen(int(a), int(b), rates, level, stopped=True).estimate for a, b in zip(k, n, strict=True)]
    value, low, high = np.array(found).T.tolist()
    return {"raw": raw, "estimate": value, "low": low, "high": high}


def points(n: int) -> list[int]:
    """Returns after how many samples a share is drawn: evenly in the logarithm, the last of them all."""
    return np.unique(np.geomspace(min(FIRST_POINT, n), n, NUM_POINTS).round().astype(int)).tolist()


@functools.cache
def plan(level: float) -> tuple[tuple[float, dict[str, int]], ...]:
    """Returns which number of samples buys which error of the share that is called so, by each rule."""
    return tuple((error, {rule: plan_samples(error, level, rule=rule) for rule in PLANNED}) for error in ERRORS)


def judged(confusion: Int[np.ndarray, "v v"], level: float) -> dict[str, Any]:
    """Returns what labelled images were called, and how often each value was called what it is, as JSON.

    Args:
      confusion: Images by true value and by what they are called.
      level: Confidence level, of each for itself.
    """
    right = [clopper_pearson(int(row[v]), int(row.sum()), level)._asdict() for v, row in enumerate(confusion)]
    return {"confusion": confusion.tolist(), "right": right}
