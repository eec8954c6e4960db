"""One attack's part of the document: its statistics as JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaudit_jax import metrics
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.report.curves import histogram, surest, thinned
from diffaudit_jax.report.schema import RATES

FPRS = (0.1, 0.01, 0.001)


def estimate_json(estimate: Estimate | None) -> dict[str, float] | None:
    """Returns an estimate as JSON, None where there is none."""
    return estimate and {part: float(getattr(estimate, part)) for part in ("value", "low", "high")}


def finite(value: float | None) -> float | None:
    """JSON has no infinity: a threshold that no score reaches is None."""
    return None if value is None or not np.isfinite(value) else float(value)


def attack_section(
    name: str, scores: NDArray, member: NDArray, spec: Mapping[str, Any], level: float, seed: int
) -> dict[str, Any]:
    """Returns one attack's section of the document.

    Args:
      name: What it is called.
      scores: Float [n], higher = member.
      member: Truth, bool [n].
      spec: What it is, JSON.
      level: Confidence level of each interval.
      seed: Seed of the split in halves.
    """
    found = metrics.membership_stats(scores, member, fprs=FPRS, level=level, seed=seed)
    return {
        "name": name,
        "spec": dict(spec),
        "auc": estimate_json(found.auc),
        "operating_points": [
            {
                "target_fpr": point.target_fpr,
                "resolvable": point.resolvable,
                "fpr": finite(point.fpr),
                "tpr": estimate_json(point.tpr),
                "reason": point.reason,
            }
            for point in found.points
        ],
        "transfers": [
            {
                "target_fpr": transfer.target_fpr,
                "resolvable": transfer.resolvable,
                "threshold": finite(transfer.threshold),
                "fpr": estimate_json(transfer.fpr),
                "tpr": estimate_json(transfer.tpr),
                "num_members": transfer.num_members,
                "num_nonmembers": transfer.num_nonmembers,
                "reason": transfer.reason,
            }
            for transfer in found.transfers
        ],
        "decision": {
            "threshold": finite(found.decision.threshold),
            "prevalence": found.decision.prevalence,
            **{rate: estimate_json(getattr(found.decision, rate)) for rate in RATES},
        },
        "roc": thinned(*found.roc[:2]),
        "histogram": histogram(scores, member),
        "surest": surest(scores, member),
    }
