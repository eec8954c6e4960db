"""How the attack was chosen: the best of many variants as it looks with the answers in view, and as it is without.

One pass over a model stores a loss trajectory; statistic, truncation and loss are then free, and so is trying them all.
The best of them flatters, so beside its number stands the honest one (`metrics.choosing`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffaudit_jax.attacks.statistics import LOSSES, By, Errors, Statistic, checked_grid, score
from diffaudit_jax.losses import Losses
from diffaudit_jax.metrics.choosing import areas, choose
from diffaudit_jax.metrics.samples import checked
from diffaudit_jax.report.attack import estimate_json
from diffaudit_jax.report.evidence import Trajectory
from diffaudit_jax.report.numbers import percent
from diffaudit_jax.types import InputError

NUM_SHARES = 10
ATTACKS = "attacks"
ALONE = "AUC"  # the column of variants that have but a name
Place = tuple[str, str]  # row and column of the study's table


def trajectory_study(
    features: Losses | Errors, times: Sequence[float] | NDArray
) -> dict[tuple[str, str, str, float], NDArray]:
    """Scores a stored trajectory in every way: loss x statistic x what is truncated by x how much is kept.

    Tenths of the grid are kept: by time the smallest times, by value each query's smallest losses. A share means the
    same number of losses either way, and of a process whose times were matched to another's the same noise levels.

    Args:
      features: What a trajectory attack observed, of [n, times, noises].
      times: Its grid.

    Returns:
      ``(loss, statistic, by, share kept) -> float64 [n]``, higher = member; for `membership_report` as it is, or with
      the threat model put in front of each name.

    Raises:
      InputError: if a time lies outside (0, 1], or the grid is not that of the features.
    """
    grid = np.sort(checked_grid(times))
    if (observed := np.shape(features[0])[1:2]) != grid.shape:
        raise InputError(f"the features hold {observed} times and the grid {grid.shape}: give the grid of the attack.")
    # Averaged over the noise draws once, not in each of hundreds of variants.
    averaged = type(features)(*(np.asarray(loss, np.float64).mean(axis=-1, keepdims=True) for loss in features))
    counts = sorted({math.ceil(len(grid) * tenth / NUM_SHARES) for tenth in range(1, NUM_SHARES + 1)})
    statistics: tuple[Statistic, ...] = get_args(Statistic)
    bys: tuple[By, ...] = get_args(By)

    def truncation(by: By, kept: int) -> float:
        return float(grid[kept - 1]) if by == "time" else 1 - kept / len(grid)

    return {
        (loss, statistic, by, kept / len(grid)): score(
            times, loss=loss, statistic=statistic, truncate=truncation(by, kept), by=by
        )(averaged)
        for loss in LOSSES
        if loss in features._fields
        for statistic in statistics
        for by in bys
        for kept in counts
    }


def _place(key: Any) -> Place:
    *row, column = key if isinstance(key, tuple) and len(key) > 1 else (key, ALONE)
    said = f"keeps {percent(round(column, 4))}" if isinstance(column, float) else str(column)
    return ", ".join(map(str, row)), said


def checked_study(study: Mapping[Any, ArrayLike] | None, member: NDArray[np.bool_]) -> dict[Place, NDArray[np.float64]]:
    """Returns the scores of every variant by its place in the table, each float64 [n].

    Args:
      study: Name, or tuple of the parts of a name, -> float [n].
      member: Truth, bool [n].

    Raises:
      InputError: if a length is wrong, a score is not finite, or two variants have one name.
    """
    study = {} if study is None else study
    if not isinstance(study, Mapping):
        raise InputError("study is not a mapping: give each variant a name, for example {'eps, mean': scores}.")
    found: dict[Place, NDArray[np.float64]] = {}
    for key, values in study.items():
        if not key or (place := _place(key)) in found:
            raise InputError(f"the study names a variant {key!r} that has no name or another's: name each differently.")
        try:
            found[place] = checked(values, member)[0]
        except InputError as error:
            raise InputError(f"variant {key!r} of the study: {error}") from None
    return found


def study_section(study: Mapping[Place, NDArray], member: NDArray) -> dict[str, Any] | None:
    """Returns the document's table of the study, AUC by row and column; None if there is no study."""
    if not study:
        return None
    found = dict(zip(study, areas(np.stack(list(study.values()), axis=1), member).tolist(), strict=True))
    columns = list(dict.fromkeys(column for _, column in study))
    return {
        "columns": columns,
        "rows": [
            {"name": row, "auc": [found.get((row, column)) for column in columns]}
            for row in dict.fromkeys(row for row, _ in study)
        ],
    }


def choices(
    scores: Mapping[str, NDArray],
    trajectory: Trajectory | None,
    study: Mapping[Place, NDArray],
    member: NDArray,
    level: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Returns what was picked with the answers in view, each with its flattering and its honest number.

    Args:
      scores: Attack -> float [n].
      trajectory: Losses against time of the same rows, or None.
      study: Variants, or empty.
      member: Truth, bool [n].
      level: Confidence level of the intervals.
      seed: Seed of the halves.
    """
    found = _choice(ATTACKS, str, scores, member, level, seed)
    if trajectory:
        times = np.asarray(trajectory.times, float).tolist()
        for loss, values in trajectory.losses.items():
            by_time = dict(zip(times, -np.asarray(values, float).T, strict=True))
            found += _choice(f"times of the {loss} loss", "t = {:.6g}".format, by_time, member, level, seed)
    return found + _choice("variants", _called, study, member, level, seed)


def _called(place: Place) -> str:
    row, column = place
    return row if column == ALONE else f"{row}, {column}"


def _choice(
    of: str,
    called: Callable[[Any], str],
    candidates: Mapping[Any, NDArray],
    member: NDArray,
    level: float,
    seed: int,
) -> list[dict[str, Any]]:
    """One choice, or none where there is nothing to choose from."""
    if len(candidates) < 2:
        return []
    found = choose(candidates, member, level=level, seed=seed)
    return [
        {
            "of": of,
            "candidates": len(candidates),
            "best": called(found.name),
            "optimistic": estimate_json(found.optimistic),
            "honest": estimate_json(found.honest),
            "chosen": [called(pick) for pick in found.chosen],
        }
    ]
