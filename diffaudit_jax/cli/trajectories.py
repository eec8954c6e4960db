"""What a page shows of trajectories, from what the passes of an audit have seen."""

import numpy as np

from diffaudit_jax import attacks
from diffaudit_jax.cli.passes import Seen
from diffaudit_jax.cli.setting import Setting, grid
from diffaudit_jax.report import Trajectory, trajectory_study

ACCESSES = {"trajectory": "white-box", "x0-api": "gray-box"}
"""What is observed of a trajectory, and by whom."""


def curves(seen: Seen, setting: Setting) -> Trajectory | None:
    """Returns the losses against time that some pass has seen; None if none has."""
    found = next((seen.features[observed] for observed in ACCESSES if observed in seen.features), None)
    if found is None:
        return None
    losses = {loss: attacks.trajectory.average(found, loss) for loss in found._fields}
    return Trajectory(grid(setting), losses)


def variants(seen: Seen, setting: Setting) -> dict[tuple, np.ndarray] | None:
    """Returns the scores of every variant of the trajectories that were seen, by threat model; None if none was."""
    scored = {
        (access, *name): scores
        for observed, access in ACCESSES.items()
        if observed in seen.features
        for name, scores in trajectory_study(seen.features[observed], grid(setting)).items()
    }
    return scored or None
