"""Whether a synthetic table keeps to the records that trained its generator.

The distance to the closest record (DCR) is a heuristic: a small one may be what any good generator draws, and a
large one proves nothing. Only the comparison with held-out records of the same source tells: a generator that knows
the source and none of its records is as near to these.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.intervals import Estimate, binomial_high, binomial_low, tail
from diffaudit_jax.metrics.mixed import mixed, nearest
from diffaudit_jax.metrics.tables import matched
from diffaudit_jax.types import InputError

Nearest: TypeAlias = tuple[np.ndarray, np.ndarray]  # as `nearest` returns them


class Closeness(NamedTuple):
    """How near records are to the members.

    Attributes:
      distances: Of each record to the nearest member, float64 [n].
      dcr: Their median.
      ratio: Median of the distance to the nearest member over that to the second nearest; 1 where both are 0, None of
        a single member.
      exact: Records that are equal to a member in every column.
    """

    distances: np.ndarray
    dcr: float
    ratio: float | None
    exact: int


class Copies(NamedTuple):
    """Whether a synthetic table keeps to the members.

    Attributes:
      num_members: Members that records were compared with.
      synthetic: How near the synthetic records are to them.
      holdout: How near held-out records are to them; None without.
      num_each: Members, and held-out records, between which `share` decides; None without.
      share: Share of synthetic records nearer to a member than to any of as many held-out records, ties half: 0.5 if
        nothing is copied.
      p_value: Chance of so great a share, or a greater, if the generator knew nothing of which records were members.
    """

    num_members: int
    synthetic: Closeness
    holdout: Closeness | None
    num_each: int | None
    share: Estimate | None
    p_value: float | None


def copies(
    members: Table,
    synthetic: Table,
    holdout: Table | None = None,
    *,
    most: int = 50_000,
    level: float = 0.95,
    seed: int = 0,
    num_permutations: int = 999,
) -> Copies:
    """Measures how near synthetic records are to members, beside how near held-out records are.

    Distances are Euclidean: numbers over the members' range from 0 to 1, categories one-hot over sqrt(2), a missing
    number as 0 and a category of its own.

    The interval of the share is Clopper-Pearson's at the effective number of synthetic records m/D, with
    D = 2 n s^2/m >= 1 for n members and as many held-out records, each the nearest of p_i synthetic records, and s^2
    the variance of the p_i. It holds for records of both kinds drawn anew, and covers 0.5 if nothing is copied. The
    p-value deals the members and the held-out records anew, which is exact where no record is on both sides.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      holdout: Real records that did not train it; None for distances alone.
      most: Records of each table that are compared, drawn at random where there are more.
      level: Confidence level.
      seed: Seed of what is drawn at random.
      num_permutations: Permutations; 1/(num_permutations + 1) is the smallest p-value.

    Returns:
      The statistics. Time grows as the product of two tables' rows, memory does not.

    Raises:
      InputError: if a table has no record, the tables do not have the same columns, or a number is out of range.

    References:
      Zhao et al. 2021, https://arxiv.org/abs/2102.08369 (DCR, NNDR); Platzer and Reutterer 2021,
      https://arxiv.org/abs/2104.00635 (share); Korn and Graubard 1998, Survey Methodology 24:193 (D)
    """
    error = tail(level)
    if most < 1 or num_permutations < 1:
        raise InputError(f"most is {most} and num_permutations {num_permutations}: give 1 or more of each.")
    rng, sides = np.random.default_rng(seed), [members, matched(members, synthetic, "synthetic")]
    sides += [] if holdout is None else [matched(members, holdout, "holdout")]
    sides = [side.take(_some(rng, len(side), most)) for side in sides]
    hashes, points = [side.hashes() for side in sides], mixed(sides, [members])
    near = [nearest(side, points[0], min(2, points[0].size), 2) for side in points[1:]]
    exact = [int(np.isin(each, hashes[0]).sum()) for each in hashes[1:]]
    close = [_closeness(far, equal) for (_, far), equal in zip(near, exact, strict=True)]
    if holdout is None:
        return Copies(points[0].size, close[0], None, None, None, None)
    each = min(points[0].size, points[2].size)
    trained, fresh = (side.take(_some(rng, side.size, each)) for side in (points[0], points[2]))
    to_trained = near[0] if each == points[0].size else nearest(points[1], trained, 1, 2)
    pulls = _pulls(to_trained, nearest(points[1], fresh, 1, 2), each)
    count, m = float(pulls[0].sum()), points[1].size
    trials = m / max(1.0, 2 * each * float(np.var(pulls, ddof=1)) / m)
    low, high = (float(limit(count / m * trials, trials, error)) for limit in (binomial_low, binomial_high))
    share = Estimate(count / m, low, high)
    return Copies(points[0].size, close[0], close[1], each, share, _dealt(rng, pulls, num_permutations))


def _some(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _closeness(far: np.ndarray, exact: int) -> Closeness:
    ratio = None
    if far.shape[1] > 1:
        ratio = float(np.median(np.divide(far[:, 0], far[:, 1], out=np.ones(len(far)), where=far[:, 1] > 0)))
    return Closeness(far[:, 0], float(np.median(far[:, 0])), ratio, exact)


def _pulls(to_trained: Nearest, to_fresh: Nearest, each: int) -> np.ndarray:
    """Returns of how many records each member [0] and held-out record [1] is the nearest, float64 [2, n]."""
    (at, far), (at_fresh, far_fresh) = ((rows[:, 0], distances[:, 0]) for rows, distances in (to_trained, to_fresh))
    trained = (far < far_fresh) + 0.5 * (far == far_fresh)
    return np.stack([np.bincount(at, trained, each), np.bincount(at_fresh, 1.0 - trained, each)])


def _dealt(rng: np.random.Generator, pulls: np.ndarray, num_permutations: int) -> float:
    each, count = pulls.shape[1], pulls[0].sum()
    dealt = np.array([rng.permutation(pulls.ravel())[:each].sum() for _ in range(num_permutations)])
    return float((1 + np.count_nonzero(dealt >= count)) / (1 + num_permutations))
