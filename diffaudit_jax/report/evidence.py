"""What a report is made from: scores, truth, and losses against time, checked before anything is computed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffaudit_jax.metrics.samples import checked
from diffaudit_jax.types import InputError


class Trajectory(NamedTuple):
    """Losses of every query at a grid of diffusion times, noise draws already averaged.

    Attributes:
      times: Float [k], increasing, in (0, 1].
      losses: Name of the loss -> float [n, k], row i belonging to score i; lower means more like a member.
    """

    times: ArrayLike
    losses: Mapping[str, ArrayLike]


def checked_scores(
    scores: ArrayLike | Mapping[str, ArrayLike], member: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Returns scores by name of the attack, each float64 [n]; a bare array is named ``score``.

    Args:
      scores: Float [n], or name -> float [n].
      member: Truth, bool [n].

    Raises:
      InputError: if there are none, a length is wrong or a score is not finite.
    """
    named = scores if isinstance(scores, Mapping) else {"score": scores}
    if not named:
        raise InputError("scores is empty: give the scores of at least one attack.")
    found = {}
    for name, values in named.items():
        try:
            found[str(name)] = checked(values, member)[0]
        except InputError as error:
            raise InputError(f"attack {name!r}: {error}") from None
    return found


def checked_trajectory(trajectory: Trajectory, n: int) -> Trajectory:
    """Returns the trajectory as float64 arrays.

    Args:
      trajectory: Losses against time.
      n: Number of queries.

    Raises:
      InputError: if times do not increase within (0, 1], or losses are missing, misshapen or not finite.
    """
    times = np.asarray(trajectory.times, np.float64)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any() or times[0] <= 0 or times[-1] > 1:
        raise InputError(f"trajectory times {times.tolist()} must increase within (0, 1].")
    losses = {str(name): np.asarray(values, np.float64) for name, values in trajectory.losses.items()}
    if not losses:
        raise InputError("the trajectory holds no losses: give at least one, or pass trajectory=None.")
    for name, values in losses.items():
        if values.shape != (n, len(times)):
            raise InputError(
                f"losses {name!r} have shape {values.shape}: give one row per query and one column per time, "
                f"shape {(n, len(times))}."
            )
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError(
                f"loss {values[row, column]} of {name!r} in row {row} at time {times[column]:g} is not finite: "
                "leave that time out."
            )
    return Trajectory(times, losses)


def checked_images(images: NDArray, n: int) -> NDArray:
    """Returns the records' images, or encoded records of a table.

    Args:
      images: Uint8 [n, height, width, channels] with 1, 3 or 4 channels; or float32 [n, d].
      n: Number of queries.

    Raises:
      InputError: if type or shape differ.
    """
    if images.dtype == np.float32 and images.ndim == 2 and len(images) == n:
        return images
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != n or images.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"images have shape {images.shape} and type {images.dtype}: give uint8 of shape "
            f"({n}, height, width, channels) with 1, 3 or 4 channels."
        )
    return images
