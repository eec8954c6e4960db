"""What of an audit fits into a time: its attacks are timed on noise, and a plan is made of what each takes."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import Mesh

from diffaudit_jax import data
from diffaudit_jax.cli import black
from diffaudit_jax.cli.asked import Asked, check_sizes, queries_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import check_answered, named
from diffaudit_jax.cli.costed import Costed, cost_passes
from diffaudit_jax.cli.planner import Cost, Plan, estimate, limits, planned
from diffaudit_jax.cli.shadowed import Shadowed, comparable, read_shadows
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.process import ddpm_linear
from diffaudit_jax.types import InputError

RESERVE = 0.2
"""Share of the time that is not planned: for the report, and for a machine that is slower than it was."""
PATIENCE = 1 / 3
"""Share of the time after which no further attack is timed."""
GRIDS = (10, 20, 50, 100, 200, 500)
"""Numbers of times that are tried, up to --times."""
CPU_BLOCK = 8
"""Queries of a timed block for each CPU device, where more of them at once are hardly quicker."""


def fitted(
    subject: Subject,
    split: data.Split,
    asking: Asking,
    asked: Asked,
    shadowed: Shadowed,
    *,
    minutes: float,
    seed: int,
    block: int,
    mesh: Mesh,
) -> dict[str, Any]:
    """Times the attacks, and chooses what fits.

    What shadows have answered an earlier audit is planned as if it were to be asked anew.

    Args:
      subject: Who is asked.
      split: Who could be asked about.
      asking: The most that is asked.
      asked: The most that is asked about.
      shadowed: Whom it could be compared with.
      minutes: Time that there is.
      seed: The audit's seed.
      block: Queries per dispatch.
      mesh: Devices.

    Returns:
      The plan, as JSON.

    Raises:
      InputError: if the time is too short for the least audit, or there are too few shadows or nothing to ask them.
    """
    begun, seconds = time.monotonic(), 60 * minutes
    sides = len(split.members), len(split.nonmembers)
    check_sizes(*sides)
    names = named(asking if asking.attack is not None else replace(asking, attack=("all",)), subject.target)
    check_answered(names, subject.target)
    found = read_shadows(shadowed, comparable(names), subject)
    num = 0 if found is None else len(found[1])
    allowed = limits(*sides, FEWEST, grids(asking), num, coin=split.coin)
    most = allowed.queries if asked.queries is None else min(asked.queries, allowed.queries)
    allowed = allowed._replace(queries=most, enough=min(allowed.enough, most), fewest=min(allowed.fewest, most))
    block = min(block, CPU_BLOCK * mesh.size) if jax.default_backend() == "cpu" else block
    costed = cost_passes(
        subject,
        names,
        asking,
        queries_of(split, subject.target.num_classes).cond,
        times=allowed.times,
        seed=seed,
        block=block,
        mesh=mesh,
        patience=PATIENCE * seconds,
    )
    costs = {where: each.cost for where, each in costed.items()}
    took = time.monotonic() - begun
    least = took + estimate(costs, list(costs)[:1], allowed.times[0], allowed.fewest) / (1 - RESERVE)
    if least > seconds:
        raise InputError(
            f"--budget-minutes {minutes:g} is too short: the least audit here, of {allowed.fewest} queries, takes "
            f"about {math.ceil(10 * least / 60) / 10:g} minutes."
        )
    plan = planned(costs, (1 - RESERVE) * (seconds - took), allowed)
    untimed = [name for name in names if all(name not in each.names for each in costed.values())]
    made = {name for where in plan.passes for name in costs[where].needs}
    once = {
        "bank_calls": black.calls(subject.target, asking) if "bank" in made else 0,
        "timed": {"block": block, "times": allowed.times[0]},
    }
    return _told(plan, costed, minutes, took, untimed) | once | _told_of_shadows(plan, costs, allowed.shadows)


def grids(asking: Asking) -> tuple[int, ...]:
    """Returns the numbers of times that may be asked, rising; those that a truncation by time leaves something of."""
    by_time = asking.truncate is not None and asking.by == "time"
    fine = [
        num
        for num in GRIDS
        if num < asking.times and not (by_time and ddpm_linear().times(num).min() > (asking.truncate or 0))
    ]
    return (*fine, asking.times)


def _told(plan: Plan, costed: Mapping[str, Costed], minutes: float, took: float, untimed: list[str]) -> dict[str, Any]:
    """Returns the plan as JSON."""

    def seconds(where: str) -> float:
        return round(estimate({where: costed[where].cost}, [where], plan.times, plan.queries, plan.shadows), 1)

    def models(where: str) -> int:
        return 1 + plan.shadows * costed[where].cost.shadowed

    return {
        "minutes": minutes,
        "timing_seconds": round(took, 1),
        "seconds": round(plan.seconds, 1),
        "times": plan.times,
        "queries": plan.queries,
        "passes": {
            where: {
                "attacks": list(costed[where].names),
                "calls": costed[where].calls[plan.times],
                "total_calls": costed[where].calls[plan.times] * plan.queries * models(where),
                "memory": costed[where].measured.memory,
                "seconds": seconds(where),
            }
            for where in plan.passes
        },
        "left_out": {where: seconds(where) for where in costed if where not in plan.passes},
        "not_timed": untimed,
    }


def _told_of_shadows(plan: Plan, costs: Mapping[str, Cost], num: int) -> dict[str, Any]:
    """Returns what the plan says of shadows, nothing if there are none; if no pass asks them, they are left out."""
    asked = plan.shadows if any(costs[where].shadowed for where in plan.passes) else 0
    return {"shadows": {"asked": asked, "of": num}} if num else {}
