"""The mu at which reconstructions begin to show the target: where a metric is half way from unrelated to seen.

    progress(mu) = (metric(mu) - unrelated)/(best - unrelated)

is made monotone (isotonic regression) and interpolated linearly on log mu; the transition is where it reaches 1/2. Half
way to the metric's own best value (0 for MSE and LPIPS, 1 for SSIM, NCC and retrieval) does not depend on the grid. A
metric without one, such as PSNR, is measured against its mean at the largest mu.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.bounds import checked_mu
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.resampling import limits, weights
from diffaudit_jax.types import InputError


class Transition(NamedTuple):
    """Where a metric is half way from unrelated images to its best.

    Attributes:
      mu: The place, with an interval over targets: low is 0 where it may lie below the grid, high infinite where it may
        lie above. None if the grid does not hold it.
      half: The metric there.
      progress: Way made at each mu of the grid, monotone, float64 [k].
      reason: Why `mu` is None, else empty.
    """

    mu: Estimate | None
    half: float
    progress: np.ndarray
    reason: str


def transition(
    mu: ArrayLike,
    values: ArrayLike,
    unrelated: ArrayLike,
    *,
    best: float | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> Transition:
    """Locates the mu at which a metric is half way between unrelated images and its best value.

    Targets are drawn anew for the interval, each with all its values. Where a transition is told, its interval at 0.95
    held in .92 of simulations with 5 targets and in .95 from 8 on.

    Args:
      mu: Grid, positive and increasing, [k].
      values: The metric of each target at each mu, [n, k].
      unrelated: The metric of unrelated images: one for each target [n], which are drawn with them, or one number that
        is taken as known.
      best: Value of a perfect reconstruction; None to take the mean at the largest mu, which then has to be out of
        reach of the transition (a plateau), or the place depends on the grid.
      seed: Seed of the resamples.
      num_resamples: How often targets are drawn anew.
      level: Confidence level.

    Raises:
      InputError: if the grid does not increase, shapes differ, a value is not finite, or there are less than 2 targets.
    """
    grid, table, base = _checked(mu, values, unrelated)
    drawn = weights(np.random.default_rng(seed), len(table), num_resamples) / len(table)
    every = np.concatenate([np.full((1, len(table)), 1.0 / len(table)), drawn])
    # Of all targets first, then of each resample.
    means, floors = every @ table, every @ base
    tops = means[:, -1] if best is None else np.full(len(every), float(best))
    sign = np.sign(tops[0] - floors[0])
    half = float(floors[0] + tops[0]) / 2
    rise = sign * (tops - floors)
    above = isotonic(sign * (means - ((floors + tops) / 2)[:, None]))
    # A resample whose top is no better than unrelated has no transition on the grid.
    places = np.where(rise > 0, crossings(np.log(grid), above), np.inf)
    progress = 0.5 + above[0] / rise[0] if rise[0] > 0 else np.zeros(len(grid))
    low, high = limits(places[1:], len(table), level)
    if reason := _reason(grid, progress, rise[1:], level, len(table)):
        return Transition(None, half, progress, reason)
    return Transition(Estimate(*(float(np.exp(place)) for place in (places[0], low, high))), half, progress, "")


def _reason(grid: np.ndarray, progress: np.ndarray, rise: np.ndarray, level: float, n: int) -> str:
    """Says why a grid does not hold the transition, empty if it does."""
    if limits(rise, n, level)[0] <= 0:
        return (
            f"at mu = {grid[-1]:g} the metric is not clearly better than that of unrelated images: "
            f"add larger values of mu, or targets."
        )
    if progress[0] >= 0.5:
        return f"the metric is past half way at mu = {grid[0]:g} already: add smaller values of mu."
    if progress[-1] < 0.5:
        return f"the metric is not half way at mu = {grid[-1]:g} yet: add larger values of mu."
    return ""


def isotonic(values: np.ndarray) -> np.ndarray:
    """Returns the increasing rows nearest to those of [m, k] in least squares: max over i <= j of min over l >= j.

    Of the means of values i to l (the min-max formula).

    References:
      Robertson, Wright and Dykstra 1988, Order Restricted Statistical Inference, theorem 1.4.4
    """
    k = values.shape[1]
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
    fitted = np.full(values.shape, -np.inf)
    for i in range(k):
        means = (sums[:, i + 1 :] - sums[:, i : i + 1]) / np.arange(1, k - i + 1)  # of i to l, for each l
        fitted[:, i:] = np.maximum(fitted[:, i:], np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1])
    return fitted


def crossings(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns where increasing rows [m, k] first reach 0, by linear interpolation over x [k].

    Returns:
      Places [m]: -inf where a row starts there or above, +inf where it does not get there.
    """
    reached = rows >= 0
    after = np.clip(reached.argmax(axis=1), 1, None)
    i = np.arange(len(rows))
    left, right = rows[i, after - 1], rows[i, after]
    inside = reached.any(axis=1) & ~reached[:, 0]
    share = np.divide(-left, right - left, out=np.zeros(len(rows)), where=inside)
    places = x[after - 1] + share * (x[after] - x[after - 1])
    return np.where(inside, places, np.where(reached[:, 0], -np.inf, np.inf))


def _checked(mu: ArrayLike, values: ArrayLike, unrelated: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    grid, table, base = checked_mu(mu), np.asarray(values, np.float64), np.asarray(unrelated, np.float64)
    if grid.ndim != 1 or len(grid) < 2 or (np.diff(grid) <= 0).any():
        raise InputError(f"mu is {grid.tolist()}: give 2 increasing values or more.")
    if table.ndim != 2 or table.shape[1] != len(grid) or not np.isfinite(table).all():
        raise InputError(f"values has shape {table.shape}: give finite numbers [targets, {len(grid)}], by mu.")
    if base.shape not in ((), (len(table),)) or not np.isfinite(base).all():
        raise InputError(f"unrelated has shape {base.shape}: give one finite number, or one for each target.")
    return grid, table, np.broadcast_to(base, (len(table),))
