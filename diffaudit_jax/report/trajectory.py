"""The document's part on losses against diffusion time: quartiles of both groups, and the AUC of each time alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaudit_jax import metrics
from diffaudit_jax.report.evidence import Trajectory


def _quartiles(losses: NDArray) -> dict[str, list[float]]:
    q25, median, q75 = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
    return {"median": median.tolist(), "q25": q25.tolist(), "q75": q75.tolist()}


def trajectory_section(trajectory: Trajectory, member: NDArray, level: float) -> dict[str, Any]:
    """Returns the trajectory's section of the document.

    Args:
      trajectory: Losses of the records that count.
      member: Truth about them, bool [n].
      level: Confidence level of the AUC at each time.
    """
    losses = {}
    for name, values in trajectory.losses.items():
        values = np.asarray(values, np.float64)
        by_time = metrics.auc_by_column(-values, member, level)
        losses[name] = {
            "members": _quartiles(values[member]),
            "nonmembers": _quartiles(values[~member]),
            "auc": [estimate.value for estimate in by_time],
            "auc_low": [estimate.low for estimate in by_time],
            "auc_high": [estimate.high for estimate in by_time],
        }
    return {"times": np.asarray(trajectory.times, float).tolist(), "losses": losses}
