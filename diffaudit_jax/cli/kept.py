"""Flags of an audit that keeps a plan: at their defaults, or as the plan fixed them."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from diffaudit_jax.cli.asked import Asked
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.budget import Budget
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.shadowed import Shadowed
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.types import InputError

FREE = ("members", "nonmembers", "duplicates", "strata")
"""Flags that an audit may give anew: where records are found, which are held against hashes, and what is compared."""

Flags = TypeVar("Flags", Asked, Asking, Weights)


def check_beside(run: Path, budget: Budget, shadowed: Shadowed) -> None:
    """Refuses to keep a plan where it cannot be, or beside what would have a say too.

    Raises:
      InputError: with the reason.
    """
    if is_table(run):
        raise InputError(f"{run} is a table of records, and a plan is for a model: leave --plan out.")
    if budget.budget_minutes is not None:
        raise InputError("--plan says what is asked, and --budget-minutes would choose: leave one of them out.")
    if shadowed.shadows is not None:
        raise InputError("--plan fixes an attack that does not stand on --shadows: leave one of them out.")


def flags_of(plan: Mapping[str, Any], *, asked: Asked, asking: Asking, weights: Weights, seed: int) -> dict[str, Any]:
    """Returns flags of an audit as the plan fixed them, by their names.

    Raises:
      InputError: if one was given that differs.
    """
    return {
        "asked": _kept(asked, plan, "asked"),
        "asking": _kept(asking, plan, "asking"),
        "weights": _kept(weights, plan, "weights"),
        "seed": _kept_seed(seed, plan),
    }


def _kept(given: Flags, plan: Mapping[str, Any], group: str) -> Flags:
    """Returns a group of flags as the plan fixed them.

    Args:
      given: As the command line has them: at its default, or as the plan says, a flag is not in the way.
      plan: The plan.
      group: "asked", "asking" or "weights".

    Raises:
      InputError: if one differs, or the plan's group is not one.
    """
    default, stored = type(given)(), plan[group]
    if set(stored) != {each.name for each in fields(default)}:
        raise InputError(f"the plan's {group} are not the flags that this version has: make another plan.")
    chosen = {}
    for name, value in stored.items():
        fixed = tuple(value) if isinstance(value, list) else value
        own = getattr(given, name)
        differs = own != getattr(default, name) and own != fixed
        if differs and name not in FREE:
            raise InputError(
                f"--{name.replace('_', '-')} is {_shown(own)}, and the plan fixed {_shown(fixed)}: leave it out, or "
                "make another plan."
            )
        chosen[name] = own if differs else fixed
    return type(given)(**chosen)


def _kept_seed(seed: int, plan: Mapping[str, Any]) -> int:
    """Returns the plan's seed.

    Raises:
      InputError: if another one was given.
    """
    if seed not in (0, plan["seed"]):
        raise InputError(f"--seed is {seed}, and the plan fixed {plan['seed']}: leave it out, or make another plan.")
    return plan["seed"]


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
