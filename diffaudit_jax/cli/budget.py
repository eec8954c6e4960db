"""Flags of how long an audit may take, and the plan that fits into it."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from diffaudit_jax import data
from diffaudit_jax.cli.asked import Asked, check_sizes, queries_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import check_answered, named
from diffaudit_jax.cli.costed import Costed, cost_passes
from diffaudit_jax.cli.planner import Plan, estimate, limits, planned
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.process import ddpm_linear
from diffaudit_jax.types import InputError, write_atomic

RESERVE = 0.2
"""Share of the time that is not planned: for the report, and for a machine that is slower than it was."""
PATIENCE = 1 / 3
"""Share of the time after which no further attack is timed."""
GRIDS = (10, 20, 50, 100, 200, 500)
"""Numbers of times that are tried, up to --times."""
CPU_BLOCK = 8
"""Queries of a timed block for each CPU device, where more of them at once are hardly quicker."""


@dataclass(frozen=True)
class Budget:
    """How long an audit may take."""

    budget_minutes: float | None = None
    """Minutes that the audit may take. Attacks, times and queries are chosen by what they cost, never by an answer;
    --attack, --times and --queries say the most that is asked, all attacks of the access if none is named."""
    dry_run: bool = False
    """Say what would be asked and what it would take, and end. Blocks of noise are timed; nobody is asked about."""


def check_minutes(budget: Budget) -> None:
    """Refuses a time that is none.

    Raises:
      InputError: if it is not positive and finite.
    """
    minutes = budget.budget_minutes
    if minutes is not None and not (minutes > 0 and math.isfinite(minutes)):
        raise InputError(f"--budget-minutes must be more than 0, got {minutes:g}.")


def fit_budget(
    subject: Subject,
    split: data.Split,
    asking: Asking,
    asked: Asked,
    *,
    minutes: float,
    seed: int,
    block: int,
    mesh: Mesh,
    out: Path | None,
) -> tuple[Asking, Asked, dict[str, Any]]:
    """Times the attacks, and chooses what fits; a plan that was made in `out` is kept.

    Args:
      subject: Who is asked.
      split: Who could be asked about.
      asking: The most that is asked.
      asked: The most that is asked about.
      minutes: Time that there is.
      seed: The audit's seed.
      block: Queries per dispatch.
      mesh: Devices.
      out: Directory of the audit, which is to go on by the same plan when it was stopped; None keeps none.

    Returns:
      What is asked, what is asked about, and the plan as JSON.

    Raises:
      InputError: if the time is too short for the least audit, or `out` holds the plan of another.
    """
    question = json.loads(json.dumps({"minutes": minutes, "asking": asdict(asking), "queries": asked.queries}))
    kept = None if out is None else out / "budget.json"
    if kept is not None and kept.exists():
        plan = _stored(kept, question)
    else:
        plan = _fitted(subject, split, asking, asked, minutes=minutes, seed=seed, block=block, mesh=mesh)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(kept, json.dumps({"question": question, "plan": plan}, indent=1).encode())
    attacks = tuple(name for each in plan["passes"].values() for name in each["attacks"])
    chosen = replace(asking, attack=attacks, times=plan["times"])
    return chosen, replace(asked, queries=plan["queries"]), plan


def _stored(path: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    stored = json.loads(path.read_text())
    if stored["question"] != question:
        raise InputError(
            f"{path} plans another audit (its time, attacks or queries differ from those asked for now): use another "
            f"--out, or remove it."
        )
    return stored["plan"]


def _fitted(
    subject: Subject,
    split: data.Split,
    asking: Asking,
    asked: Asked,
    *,
    minutes: float,
    seed: int,
    block: int,
    mesh: Mesh,
) -> dict[str, Any]:
    begun, seconds = time.monotonic(), 60 * minutes
    sides = len(split.members), len(split.nonmembers)
    check_sizes(*sides)
    names = named(asking if asking.attack is not None else replace(asking, attack=("all",)), subject.target)
    check_answered(names, subject.target)
    allowed = limits(*sides, FEWEST, grids(asking))
    most = allowed.queries if asked.queries is None else min(asked.queries, allowed.queries)
    allowed = allowed._replace(queries=most, enough=min(allowed.enough, most), fewest=min(allowed.fewest, most))
    costed = cost_passes(
        subject,
        names,
        asking,
        queries_of(split, subject.target.num_classes).cond,
        times=allowed.times,
        seed=seed,
        block=min(block, CPU_BLOCK * mesh.size) if jax.default_backend() == "cpu" else block,
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
    return _told(
        plan, costed, minutes, took, [name for name in names if all(name not in c.names for c in costed.values())]
    )


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
        return round(estimate({where: costed[where].cost}, [where], plan.times, plan.queries), 1)

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
                "seconds": seconds(where),
            }
            for where in plan.passes
        },
        "left_out": {where: seconds(where) for where in costed if where not in plan.passes},
        "not_timed": untimed,
    }
