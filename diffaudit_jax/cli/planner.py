"""Which passes, times, queries and shadows fit into the time that an audit may take, by what each is known to cost.

Nothing here measures or asks: costs go in, a plan comes out, and the same costs give the same plan.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from scipy.stats import binom

from diffaudit_jax.shadows import FEWEST_SHADOWS
from diffaudit_jax.types import InputError

ENOUGH_EACH = 100
"""Members, and non-members, for a verdict: from 100 on a true-positive rate at 1 % can be told."""
LEFT_SHORT = 1e-3
"""Chance that is left of too few on one side, where coins decide who is on which."""
PRIORITY: Mapping[str, tuple[str, ...]] = {
    "trajectory": ("trajectory",),
    "elbo": ("elbo",),
    "clean": ("secmi", "pia", "pian", "sima"),
    "gsa1": ("gsa1",),
    "x0-api": ("x0-api",),
    "pfami": ("pfami",),
    "gsa2": ("gsa2",),
    "rediffuse": ("rediffuse",),
    "likelihood": ("likelihood",),
    "nearest": ("nearest",),
    "nearest-5": ("nearest-5",),
    "surrogate": ("surrogate",),
}
"""Pass -> what is observed in it, by what published attacks find for a network call: losses and what needs a call or
two before gradients, those before integrals, and what needs a bank of samples last."""


class Cost(NamedTuple):
    """What a pass takes.

    Attributes:
      once: Seconds before any query is asked: compilation.
      per_query: Times of the trajectories -> seconds a query.
      needs: Name -> seconds of what is made before it, and once for all passes that need it: a bank, a surrogate.
      shadowed: Whether shadows are asked the same.
    """

    once: float
    per_query: Mapping[int, float]
    needs: Mapping[str, float] = {}
    shadowed: bool = True


class Plan(NamedTuple):
    """What is asked: names of passes, times of the trajectories, queries, shadows asked, and estimated seconds."""

    passes: tuple[str, ...]
    times: int
    queries: int
    shadows: int
    seconds: float


class Limits(NamedTuple):
    """What may be asked.

    Attributes:
      fewest: Queries below which there are no statistics.
      enough: Queries that are enough for a verdict.
      queries: Queries that there are.
      times: Numbers of times of the trajectories, rising.
      shadows: Shadows that there are.
    """

    fewest: int
    enough: int
    queries: int
    times: Sequence[int]
    shadows: int = 0


def limits(
    members: int, nonmembers: int, fewest: int, times: Sequence[int], shadows: int = 0, *, coin: float | None = None
) -> Limits:
    """Returns what may be asked of members and non-members: drawn in proportion, or whatever their coins said.

    With coins the numbers are those of the coins alone: a number of queries that followed from how many coins fell
    which way would bind them to each other.

    Args:
      members: Members that there are.
      nonmembers: Non-members that there are.
      fewest: Of each, below which there are no statistics.
      times: Numbers of times of the trajectories, rising.
      shadows: Shadows that there are.
      coin: P[member] of everybody's coin; None without coins.
    """
    total, counts = members + nonmembers, (fewest, ENOUGH_EACH)
    if coin is None:
        # The smaller side decides; ceil(a/b) in integers.
        least, enough = (-(-count * total // min(members, nonmembers)) for count in counts)
    else:
        least, enough = (tossed(count, coin) for count in counts)
    return Limits(min(total, least), min(total, enough), total, times, shadows)


def tossed(count: int, coin: float = 0.5) -> int:
    """Returns of how many coins `count` fall either way, but for a chance of `LEFT_SHORT`.

    Args:
      count: Of each side, from 1.
      coin: P[member], in (0, 1).
    """

    def short(num: int) -> float:
        return float(binom.cdf(count - 1, num, coin) + binom.cdf(count - 1, num, 1 - coin))

    least, enough = 2 * count - 1, 2 * count
    while short(enough) > LEFT_SHORT:
        least, enough = enough, 2 * enough
    while enough - least > 1:
        middle = (least + enough) // 2
        least, enough = (middle, enough) if short(middle) > LEFT_SHORT else (least, middle)
    return enough


def estimate(costs: Mapping[str, Cost], passes: Sequence[str], times: int, queries: int, shadows: int = 0) -> float:
    """Returns the seconds that passes take.

    sum over passes of once + queries x per_query + what they need, each once
        + (where there are shadows) once + shadows x queries x per_query
    """
    needs: dict[str, float] = {}
    seconds = 0.0
    for name in passes:
        cost = costs[name]
        asked = shadows * cost.shadowed
        # One program asks all shadows, and another one the target.
        seconds += (1 + (asked > 0)) * cost.once + (1 + asked) * queries * cost.per_query[times]
        needs |= cost.needs
    return seconds + sum(needs.values())


def planned(costs: Mapping[str, Cost], seconds: float, allowed: Limits) -> Plan:
    """Chooses what fits, each step only when the one before it was taken whole.

    1. of the first pass alone, at the fewest times, as many queries as are enough for a verdict
    2. the fewest shadows that are of use, if there are any
    3. further passes in their order, up to the first that does not fit
    4. more times
    5. more shadows
    6. more queries

    A longer time never gives less of a step unless an earlier one got more. A pass that does not fit keeps neither more
    times nor shadows nor queries back.

    Args:
      costs: Pass -> what it takes, in the order in which they are wanted.
      seconds: Time that there is.
      allowed: What may be asked.

    Raises:
      InputError: if the fewest queries of the first pass do not fit, saying what they take.
    """
    names = tuple(costs)
    least = estimate(costs, names[:1], allowed.times[0], allowed.fewest)
    if least > seconds:
        raise InputError(f"the least audit takes about {least / 60:.2g} minutes.")
    chosen = Plan(names[:1], allowed.times[0], allowed.fewest, 0, least)

    def fits(plan: Plan) -> Plan | None:
        """Returns the plan with its time, or None if there is not so much."""
        taken = estimate(costs, plan.passes, plan.times, plan.queries, plan.shadows)
        return plan._replace(seconds=taken) if taken <= seconds else None

    def widened(plan: Plan, steps: Sequence[Plan]) -> Plan:
        """Returns the last of the rising steps that fits."""
        for step in steps:
            if (wider := fits(step)) is None:
                break
            plan = wider
        return plan

    chosen = _most(chosen, "queries", allowed.enough, fits)
    if chosen.queries < allowed.enough:
        return chosen
    if allowed.shadows >= FEWEST_SHADOWS:
        if (shadowed := fits(chosen._replace(shadows=FEWEST_SHADOWS))) is None:
            return chosen
        chosen = shadowed
    chosen = widened(chosen, [chosen._replace(passes=names[: k + 1]) for k in range(1, len(names))])
    chosen = widened(chosen, [chosen._replace(times=times) for times in allowed.times[1:]])
    if chosen.times < allowed.times[-1]:
        return chosen
    if chosen.shadows:
        chosen = _most(chosen, "shadows", allowed.shadows, fits)
        if chosen.shadows < allowed.shadows:
            return chosen
    return _most(chosen, "queries", allowed.queries, fits)


def _most(plan: Plan, what: str, most: int, fits: Callable[[Plan], Plan | None]) -> Plan:
    """Returns the plan with as many of something as fit, up to `most`."""
    low, high = getattr(plan, what), most
    while low < high:
        middle = (low + high + 1) // 2
        if (wider := fits(plan._replace(**{what: middle}))) is None:
            high = middle - 1
        else:
            plan, low = wider, middle
    return plan
