"""What attacks show epsilon to be at least, beside what the accountant lets it be at most."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.epsilon import LowerBound, one_run, one_run_fdp

METHODS = {"one_run": one_run, "fdp": one_run_fdp}


def lower_bound_section(
    scores: Mapping[str, ArrayLike],
    inside: ArrayLike,
    *,
    coin: float | None,
    delta: float,
    upper: float | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Bounds epsilon from below by every attack on one training; the attacks share the error.

    Each of the two columns holds for all attacks together with probability `level`, so the highest of a column may be
    read off: "one_run" of any mechanism, "fdp" of one that trades errors off as a Gaussian does.

    Args:
      scores: Name of the attack -> float [n]; higher = inside.
      inside: How the coin of each record fell, bool [n].
      coin: P[inside] of every coin, `Split.coin`.
      delta: At which epsilon is bounded, in (0, 1).
      upper: The accountant's epsilon at this delta, if there is one.
      level: Confidence level of a column.

    Raises:
      InputError: if the records had no fair coins of their own, or scores and truth do not fit together.
    """
    shared = 1 - (1 - level) / len(scores)
    bounds = {
        kind: {name: bound(values, inside, delta, coin=coin, level=shared) for name, values in scores.items()}
        for kind, bound in METHODS.items()
    }
    best = {kind: max(found, key=lambda name: found[name].epsilon) for kind, found in bounds.items()}
    attacks = [{"name": name, **{kind: _told(found[name]) for kind, found in bounds.items()}} for name in scores]
    return {
        "delta": delta,
        "level": level,
        "canaries": int(np.size(inside)),
        "upper": upper,
        "best": best,
        "attacks": attacks,
    }


def _told(bound: LowerBound) -> dict[str, Any]:
    return {"epsilon": bound.epsilon, "guesses": bound.guesses, "correct": bound.correct}
