"""What a plan, made before members were asked about, found: a part of the document, where there was one."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from diffaudit_jax.metrics.committed import committed


def registered_section(plan: Mapping[str, Any], scores: ArrayLike, member: ArrayLike, level: float) -> dict[str, Any]:
    """Returns the document's section of a registered test.

    Args:
      plan: The plan: its `sha256`, `created`, `attack`, `target_fpr`, `threshold` and `sets`.
      scores: The attack's, float [n], of none that set the threshold.
      member: Truth, bool [n].
      level: Confidence level of each rate.
    """
    found = committed(scores, member, plan["threshold"], level=level)
    return {
        **{name: plan[name] for name in ("sha256", "created", "attack", "target_fpr", "threshold")},
        "calibration": plan["sets"]["calibration"]["records"],
        "level": level,
        "tpr": found.tpr._asdict(),
        "fpr": found.fpr._asdict(),
        "found": found.found,
        "accused": found.accused,
    }
