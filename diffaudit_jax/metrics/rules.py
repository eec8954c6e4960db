"""The rules by which a sample gives a record away, and what each finds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from diffaudit_jax.metrics.likeness import ssim
from diffaudit_jax.metrics.matching import Match
from diffaudit_jax.metrics.points import Points


class Limits(NamedTuple):
    """Up to where a record counts as given away; see `extract`."""

    delta: float
    alpha: float
    neighbours: int
    likeness: float


class Found(NamedTuple):
    """What a rule finds of m records in n samples.

    Attributes:
      rule: "l2", "adaptive", "ssim" (of images) or "calibrated" (beside held-out records).
      limit: Greatest distance, or ratio, at which a record counts as extracted, of "calibrated" not itself one; of
        "ssim" the least likeness.
      value: The best of each record over samples, float64 [m], infinite where there is none; of "ssim" that of the
        adaptive rule's sample, and NaN where that rule finds none.
      sample: Which sample that is, int64 [m].
      extracted: Whether a sample gives the record away, bool [m].
      copies: Whether each sample gives the record nearest to it away, and that is one of these, bool [n].
    """

    rule: str
    limit: float
    value: Float[np.ndarray, " m"]
    sample: Int[np.ndarray, " m"]
    extracted: Bool[np.ndarray, " m"]
    copies: Bool[np.ndarray, " n"]


def fixed(samples: Points, records: Points, match: Match, limits: Limits) -> tuple[Found, ...]:
    """Returns what the rules find that are the same whatever the records."""
    plain = Found("l2", limits.delta, match.l2, match.l2_at, match.l2 <= limits.delta, match.far <= limits.delta)
    copies = match.ratio <= 1
    adaptive = Found("adaptive", 1.0, match.adaptive, match.adaptive_at, match.adaptive <= 1, copies)
    if not isinstance(samples, np.ndarray) or not isinstance(records, np.ndarray) or samples.ndim != 4:
        return plain, adaptive
    rows, drawn = np.flatnonzero(adaptive.extracted), np.flatnonzero(copies)
    value, alike = np.full(len(records), np.nan), np.zeros(len(samples), bool)
    value[rows] = ssim(records[rows], samples[adaptive.sample[rows]])
    alike[drawn] = ssim(samples[drawn], records[match.nearest[drawn]]) >= limits.likeness
    return plain, adaptive, Found("ssim", limits.likeness, value, adaptive.sample, value >= limits.likeness, alike)


def calibrated(match: Match, limit: float) -> Found:
    """Returns what the rule finds whose ratio is below that of held-out records."""
    below = match.adaptive < limit
    return Found("calibrated", limit, match.adaptive, match.adaptive_at, below, match.ratio < limit)


def part_of(found: Found, side: slice, ours: np.ndarray) -> Found:
    """Returns what a rule finds of one side, and the samples whose nearest record is of it."""
    kept = {name: getattr(found, name)[side] for name in ("value", "sample", "extracted")}
    return found._replace(**kept, copies=found.copies & ours)
