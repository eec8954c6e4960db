"""Flags of how long an audit may take, and the plan that fits into it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from diffaudit_jax import data
from diffaudit_jax.cli.asked import Asked
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.dry import print_plan
from diffaudit_jax.cli.fitted import fitted
from diffaudit_jax.cli.shadowed import Shadowed
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.report.schema import COUNT, NUMBER, OBJECT, TEXT, WHOLE, Each, Maybe, Some, faults
from diffaudit_jax.types import InputError, write_atomic

PLAN = {
    **dict.fromkeys(("minutes", "timing_seconds", "seconds"), NUMBER),
    **dict.fromkeys(("times", "queries"), COUNT),
    "bank_calls": WHOLE,
    "timed": {"block": COUNT, "times": COUNT},
    "passes": Each(
        {"attacks": Some(TEXT), "calls": WHOLE, "total_calls": WHOLE, "memory": Maybe(WHOLE), "seconds": NUMBER}
    ),
    "left_out": Each(NUMBER),
    "not_timed": [TEXT],
}
"""What a kept plan holds."""
SHADOWS = {"asked": WHOLE, "of": COUNT}
"""What it holds of shadows, if there are any."""
MEND = "use another --out, or remove it."


@dataclass(frozen=True)
class Budget:
    """How long an audit may take."""

    budget_minutes: float | None = None
    """Minutes that the audit may take. Attacks, times, queries and how many of --shadows are asked are chosen by what
    they cost, never by an answer; --attack, --times and --queries say the most that is asked, all attacks of the access
    if none is named."""
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
    budget: Budget,
    subject: Subject,
    split: data.Split,
    asking: Asking,
    asked: Asked,
    shadowed: Shadowed,
    *,
    seed: int,
    block: int,
    mesh: Mesh,
    out: Path,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Chooses and prints what fits into a time, if one is set; a plan that was made in `out` is kept.

    Args:
      budget: The time, and whether this is a dry run, which keeps no plan.
      subject: Who is asked.
      split: Who could be asked about.
      asking: The most that is asked.
      asked: The most that is asked about.
      shadowed: Whom it could be compared with.
      seed: The audit's seed.
      block: Queries per dispatch.
      mesh: Devices.
      out: Directory of the audit, which is to go on by the same plan when it was stopped.

    Returns:
      Flags of the audit that the plan changes, by their names, and the plan as JSON; none and None without a time.

    Raises:
      InputError: if the time is too short for the least audit, shadows cannot be compared, or `out` holds the plan of
        another.
    """
    if (minutes := budget.budget_minutes) is None:
        return {}, None
    question = {"minutes": minutes, "asking": asdict(asking), "queries": asked.queries}
    if shadowed.shadows is not None:
        question |= {"shadows": str(shadowed.shadows.resolve())}
    question, kept = json.loads(json.dumps(question)), out / "budget.json"
    if kept.exists() and not budget.dry_run:
        plan = _stored(kept, question)
    else:
        plan = fitted(subject, split, asking, asked, shadowed, minutes=minutes, seed=seed, block=block, mesh=mesh)
        if not budget.dry_run:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(kept, json.dumps({"question": question, "plan": plan}, indent=1).encode())
    print_plan(plan)
    attacks = tuple(name for each in plan["passes"].values() for name in each["attacks"])
    flags = {
        "asking": replace(asking, attack=attacks, times=plan["times"]),
        "asked": replace(asked, queries=plan["queries"]),
        "shadowed": shadowed if num_shadows(plan) else Shadowed(),
    }
    return flags, plan


def num_shadows(plan: Mapping[str, Any] | None) -> int | None:
    """Returns how many shadows a plan leaves; None where there is no plan, or it has none to choose from."""
    return None if plan is None or "shadows" not in plan else plan["shadows"]["asked"]


def _stored(path: Path, question: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a plan that was kept, if it is of this question."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no plan, or a damaged one ({error}): {MEND}") from None
    _check_shape(path, stored, {"question": OBJECT, "plan": OBJECT})
    if stored["question"] != question:
        differs = "its time, attacks, queries or shadows differ from those asked for now"
        raise InputError(f"{path} plans another audit ({differs}): {MEND}")
    _check_shape(path, stored, {"plan": PLAN | ({"shadows": SHADOWS} if "shadows" in question else {})})
    return stored["plan"]


def _check_shape(path: Path, stored: Any, shape: Any) -> None:
    if fault := next(faults({"file": stored}, {"file": shape}), None):
        raise InputError(f"{path} is no plan, or a damaged one ({fault}): {MEND}")
