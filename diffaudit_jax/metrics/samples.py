"""The two samples behind every statistic here: the scores of the members and the scores of the non-members."""

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.types import InputError


def truth(member: ArrayLike) -> np.ndarray:
    """Returns `member` as bool [n].

    Raises:
      InputError: if it is not one-dimensional, holds something beside true and false (or 1 and 0), or lacks a class.
    """
    values = np.asarray(member)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise InputError(f"member is {values.dtype} of shape {values.shape}: give one true or false per row.")
    if not np.isin(values, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(values, (0, 1)))[0])
        raise InputError(f"member is {values[row]} in row {row}: use true or false in every row.")
    if not len(values):
        raise InputError("member has no rows: add one row per record.")
    values = values.astype(bool)
    if values.all() or not values.any():
        has, lacks = ("members", "non-members") if values.any() else ("non-members", "members")
        raise InputError(f"member has {has} only ({len(values)} rows): add rows of {lacks}.")
    return values


def checked(scores: ArrayLike, member: ArrayLike, ndim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns `scores` as float64 and `member` as bool, of one length.

    Args:
      scores: Real numbers [n]; higher = member.
      member: Truth, bool [n].
      ndim: 2 if `scores` are k sets at once, [n, k].

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class is missing.
    """
    member = truth(member)
    try:
        scores = np.asarray(scores).astype(np.float64)
    except (TypeError, ValueError):
        raise InputError("the scores are not numbers: give every row a finite score.") from None
    if scores.ndim != ndim or len(scores) != len(member):
        shape = f"[{len(member)}]" if ndim == 1 else f"[{len(member)}, columns]"
        raise InputError(f"scores has shape {list(scores.shape)}: {len(member)} rows of member ask for {shape}.")
    finite = np.isfinite(scores)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        where = ", column ".join(map(str, place))
        raise InputError(f"the score in row {where} is {scores[place]}: give every row a finite score.")
    return scores, member


def separate(scores: ArrayLike, member: ArrayLike, ndim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Splits scores into the members' [m, ...] and the non-members' [n, ...]; arguments and errors as `checked`."""
    scores, member = checked(scores, member, ndim)
    return scores[member], scores[~member]
