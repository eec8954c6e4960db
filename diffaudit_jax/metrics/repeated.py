"""A lower bound of epsilon from many trainings, each with a canary or without it."""

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.epsilon import LowerBound, checked_delta
from diffaudit_jax.metrics.intervals import binomial_high, binomial_low, tail
from diffaudit_jax.metrics.samples import separate
from diffaudit_jax.types import InputError


def many_runs(scores: ArrayLike, inside: ArrayLike, delta: float, *, level: float = 0.95) -> LowerBound:
    """Bounds epsilon from below by K trainings, each with one canary or without it; it holds for any mechanism.

        epsilon >= log((TPR - delta)/FPR),    epsilon >= log((1 - FPR - delta)/(1 - TPR))

    Every other training (of those with the canary, and of those without) chooses a threshold and one of the two; the
    rest decide, by exact binomial limits that share the error. With few trainings the limits show nothing, whatever
    the scores: see `many_runs_most`.

    But for the canary each training is to be on records of its own draw. Shadows that `coin_flips` deals nearly are,
    for one record that is looked at: as each of the others is inside half of them, to be inside one makes it a little
    less likely to be inside the next, which the limits leave out.

    Args:
      scores: Of the canary by each model, real numbers [K]; higher = inside.
      inside: Which models were trained on it, bool [K].
      delta: In [0, 1).
      level: Confidence level.

    Returns:
      The bound, with the models that decided as `guesses`; 0 where nothing is shown.

    Raises:
      InputError: if several canaries of each model are given, a class has fewer than two, or a number is out of range.

    References:
      Jagielski, Ullman and Oprea 2020, https://arxiv.org/abs/2006.07709
    """
    if np.ndim(scores) > 1:
        raise InputError(
            f"scores has shape {list(np.shape(scores))}: canaries of one model share its training and are not "
            "independent; give one canary's score by each model, [K], or bound each model by one_run."
        )
    x, y = separate(scores, inside)
    error, claimed = tail(level), checked_delta(delta)
    _check_sides(len(x), len(y))
    thresholds = np.unique(np.concatenate([x[::2], y[::2]]))
    first = _bounds(x[::2], y[::2], thresholds, claimed, error)
    kind, at = np.unravel_index(np.argmax(first), first.shape)
    rest, threshold = (x[1::2], y[1::2]), thresholds[at]
    epsilon = max(0.0, float(_bounds(*rest, thresholds[at : at + 1], claimed, error)[kind, 0]))
    correct = int((rest[0] >= threshold).sum() + (rest[1] < threshold).sum())
    return LowerBound(epsilon, level, delta, len(x) + len(y), sum(map(len, rest)), correct, "many-runs")


def many_runs_most(inside: int, outside: int, delta: float, *, level: float = 0.95) -> float:
    """Returns the most that `many_runs` can show: the bound of an attack that is never wrong.

    At a level of 95 % and a delta next to 0 it is 0 of 8 trainings with the canary and 8 without, 0.53 of 16 and 16,
    1.35 of 32 and 32.

    Args:
      inside: Models trained on the canary.
      outside: Models trained without it.
      delta: In [0, 1).
      level: Confidence level.

    Raises:
      InputError: if there are fewer than two of either, or a number is out of range.
    """
    _check_sides(inside, outside)
    found, accused, least = np.ones(inside // 2), np.zeros(outside // 2), np.ones(1)
    return max(0.0, float(_bounds(found, accused, least, checked_delta(delta), tail(level)).max()))


def _check_sides(inside: int, outside: int) -> None:
    if min(inside, outside) < 2:
        raise InputError(f"{inside} models with the canary and {outside} without: give at least 2 of each.")


def _bounds(x: np.ndarray, y: np.ndarray, thresholds: np.ndarray, delta: float, error: float) -> np.ndarray:
    """Returns both bounds at each threshold, [2, thresholds]: by members found, and by non-members let go."""
    found, accused = ((side[:, None] >= thresholds).sum(axis=0) for side in (x, y))
    right = np.stack([binomial_low(found, len(x), error), binomial_low(len(y) - accused, len(y), error)])
    wrong = np.stack([binomial_high(accused, len(y), error), binomial_high(len(x) - found, len(x), error)])
    return np.log(np.maximum(right - delta, 1e-300) / wrong)
