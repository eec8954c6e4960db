"""What the studies of `reconstruction` return, in the one form that reports have."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import ndtri

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.reconstruction.attacker import gain, gains
from diffaudit_jax.reconstruction.dials import PriorDial, Size
from diffaudit_jax.reconstruction.scoring import Metrics
from diffaudit_jax.reconstruction.studies import Rounds, SeenByPrior, UnknownNoise
from diffaudit_jax.report.membership import LEVEL
from diffaudit_jax.report.studies import Column, Difference, Fact, Study
from diffaudit_jax.report.studies_verdict import DISTANCE, HALF_WAY, RANK

SEEN, UNSEEN = "trained the prior", "did not train it"


def of_noise(found: UnknownNoise) -> Study:
    """Attackers are variants, each set beside the one who knows the noise."""
    told, *others = found.names
    believed = zip(others, found.sigma[1:] / found.sigma[0], strict=True)
    return Study(
        kind="noise",
        mus=found.mus,
        variants=_rows(found.names, found.scores),
        differences=tuple(Difference(name, told, lost) for name, lost in found.lost.items()),
        columns=tuple(Column(name, "noise believed, of the true", _means(row)) for name, row in believed),
    )


def of_rounds(found: Rounds) -> Study:
    """The mean of T releases is a variant, and so is one release that says as much."""
    many = [f"mean of {count}" for count in found.rounds]
    ones = [f"one of mu sqrt({count})" for count in found.rounds]
    rows = _rows(many, found.averaged) | _rows(ones, found.single)
    pairs = zip(many, ones, found.difference, found.rounds, strict=True)
    return Study(
        kind="rounds",
        mus=found.mus,
        variants={name: rows[name] for pair in zip(many, ones, strict=True) for name in pair},
        differences=tuple(Difference(a, b, scores, mu_ratio=float(count) ** 0.5) for a, b, scores, count in pairs),
    )


def of_seen(found: SeenByPrior) -> Study:
    """Targets that trained the prior are one variant, others the second."""
    return Study(
        kind="seen",
        mus=found.mus,
        variants={SEEN: found.seen, UNSEEN: found.unseen},
        differences=(Difference(SEEN, UNSEEN, found.difference, paired=False),),
    )


def of_priors(found: PriorDial) -> Study:
    """Priors are variants, each set beside the matched one, with its distance, and how that orders their errors."""
    variants = _rows(found.names, found.scores)
    matched, *others = found.names
    half = -float(ndtri(tail(LEVEL))) * found.distance_se
    ends = zip(found.names, found.distance, half, strict=True)
    return Study(
        kind="priors",
        mus=found.mus,
        variants=variants,
        differences=tuple(
            Difference(name, matched, gains(variants[name], variants[matched], paired=True)) for name in others
        ),
        columns=tuple(Column(None, f"{RANK} {metric.upper()}", row) for metric, row in found.correlation.items()),
        facts=tuple(Fact(name, DISTANCE, Estimate(value, value - h, value + h)) for name, value, h in ends),
    )


def of_sizes(found: Mapping[int, Size], mus: ArrayLike) -> Study:
    """Sides are variants, with their error relative to that between targets, and where images begin to show.

    Args:
      found: What `image_sizes` returns.
      mus: What it was asked.
    """
    names = {side: f"{side} pixels" for side in found}
    return Study(
        kind="sizes",
        mus=np.unique(np.asarray(mus, np.float64)),
        variants={names[side]: each.scores for side, each in found.items()},
        columns=tuple(
            column
            for side, each in found.items()
            for column in (
                Column(names[side], "error, of that between targets", each.relative),
                Column(names[side], "noise", _means(each.sigma)),
            )
        ),
        facts=tuple(
            Fact(names[side], f"{metric.upper()} {HALF_WAY}", place.mu, place.reason)
            for side, each in found.items()
            for metric, place in each.transition.items()
        ),
    )


def _rows(names: Sequence[str], scores: Metrics) -> dict[str, Metrics]:
    return {name: {metric: values[i] for metric, values in scores.items()} for i, name in enumerate(names)}


def _means(rows: Float[np.ndarray, "k n"]) -> tuple[Estimate, ...]:
    return tuple(gain(row, np.zeros_like(row), paired=True, level=LEVEL) for row in rows)
