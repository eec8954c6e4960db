"""Scores of stored trajectories: which times count, and how their losses are joined.

Everything here runs on the host, in float64, on what one pass stored; it asks no network.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from diffaudit_jax.attack import Score
from diffaudit_jax.diffusion import TableLosses
from diffaudit_jax.losses import Losses
from diffaudit_jax.process import Process
from diffaudit_jax.types import InputError, Time, known

Loss = Literal["eps", "x0", "vlb", "numeric", "categorical"]
LOSSES: tuple[Loss, ...] = ("eps", "x0", "vlb")
PARTS: tuple[Loss, ...] = ("numeric", "categorical")
"""Parts of a table's eps."""
Statistic = Literal["sum", "mean", "median", "min", "max"]
By = Literal["time", "value"]
STATISTICS = {"sum": np.sum, "mean": np.mean, "median": np.median, "min": np.min, "max": np.max}


class Errors(NamedTuple):
    """What an x0 estimate alone tells of one (x0, t, eps), a scalar; named as in `Losses`."""

    x0: Time


def score(
    times: Sequence[float] | Float[np.ndarray, " times"],
    *,
    loss: Loss = "eps",
    statistic: Statistic = "mean",
    truncate: float | None = None,
    by: By = "time",
) -> Score:
    """Makes the score of a stored trajectory; arguments as in `loss_trajectory`, no network calls.

    Returns:
      ``Losses (of an x0 trajectory, Errors) of [n, times, noises] -> float64 [n]``, higher = member.

    Raises:
      InputError: if the truncation keeps nothing, or a name is unknown.
    """
    grid = checked_grid(times)
    known("loss", loss, (*LOSSES, *PARTS))
    known("statistic", statistic, STATISTICS)
    known("truncation", by, ("time", "value"))
    if truncate is not None and not 0 <= truncate <= 1:
        raise InputError(f"truncate is a time or a share, from 0 to 1, got {truncate}; step i of T is (i + 1)/T.")
    keep = np.ones(len(grid), bool) if truncate is None or by == "value" else grid <= np.float32(truncate)
    # 0.29 x 100 is 28.999999999999996: a share of whole losses is not to lose one to that.
    dropped = 0 if truncate is None or by == "time" else int(truncate * len(grid) + 1e-9)
    if not keep.any() or not 0 <= dropped < len(grid):
        raise InputError(
            f"{truncate=} by {by} keeps none of the {len(grid)} times from {grid.min():.4g} on: "
            f"truncate less, or take more times."
        )

    def rule(features: Losses | TableLosses | Errors) -> Float[np.ndarray, " n"]:
        kept = average(features, loss)[:, keep]
        if dropped:
            kept = np.sort(kept, axis=1)[:, :-dropped]
        return -STATISTICS[statistic](kept, axis=1)

    return rule


def average(features: Losses | TableLosses | Errors, loss: Loss) -> Float[np.ndarray, "n times"]:
    """Returns one loss of a stored trajectory, averaged over its noise draws, in float64.

    Raises:
      InputError: if the trajectory has no such loss.
    """
    return np.asarray(getattr(features, known("loss", loss, features._fields)), np.float64).mean(axis=-1)


def checked_grid(
    times: Sequence[float] | Float[np.ndarray, " times"], num_noises: int = 1
) -> Float[np.ndarray, " times"]:
    """Returns the times of an attack as float32.

    Raises:
      InputError: if a time lies outside (0, 1], there is none, or no noise is drawn.
    """
    grid = np.asarray(times, np.float32).reshape(-1)
    if not grid.size or not ((grid > 0) & (grid <= 1)).all():
        shown = f"{grid.min():.4g} to {grid.max():.4g}" if grid.size else "none"
        raise InputError(f"an attack's times lie in (0, 1], got {shown}; a published 0-based step i of T is (i + 1)/T.")
    if num_noises < 1:
        raise InputError(f"at least 1 noise draw per time is needed, got {num_noises=}.")
    return grid


def digits(grid: Float[np.ndarray, " times"]) -> list[float]:
    """Returns times as JSON that tells any two float32 apart; a grid may start at 1e-5."""
    return [float(str(np.float32(t))) for t in grid]


def check_steps(process: Process, grid: Float[np.ndarray, " times"]) -> None:
    """Refuses times that a discrete schedule takes for clean data, or for one another.

    A coarse schedule rounds a small time to step 0, where sigma is 0 and no noise can be told.

    Raises:
      InputError: if a time falls on step 0, or two fall on the same step.
    """
    if process.num_steps is None:
        return
    steps = np.round(grid * np.float32(process.num_steps)).astype(int)
    distinct = np.unique(steps)
    if distinct[0] < 1 or len(distinct) < len(steps):
        raise InputError(
            f"{len(grid)} times from {grid.min():.4g} to {grid.max():.4g} fall on the steps {distinct.tolist()} of a "
            f"schedule of {process.num_steps}, and each needs one of its own from 1 on: choose among process.times()."
        )
