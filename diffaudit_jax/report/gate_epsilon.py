"""Epsilon before a gate: what an accountant lets it be at most, overruled by what attacks show it to be at least."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from diffaudit_jax.report.numbers import at_least
from diffaudit_jax.report.schema import NUMBER, TEXT, Kind, Maybe, faults
from diffaudit_jax.types import InputError

Document = Mapping[str, Any]
GUARANTEE = {
    "epsilon": Maybe(Kind("a number from 0", lambda value: NUMBER.holds(value) and value >= 0)),
    "refusals": [TEXT],
    "ledger": {"delta": Kind("a number from 0 to less than 1", lambda value: NUMBER.holds(value) and 0 <= value < 1)},
}


class Held(NamedTuple):
    """What a report holds of epsilon.

    Attributes:
      delta: At which; None where nothing names one.
      high: The accountant's epsilon; None where none holds.
      against: What attacks show against it or against the limit; empty if nothing.
      reason: Why none holds, or what attacks show on an assumption.
    """

    delta: float | None
    high: float | None
    against: str
    reason: str


def epsilon_held(document: Document, limit: float, delta: float | None = None) -> Held:
    """Reads a membership report's epsilon.

    An epsilon holds at every larger delta than its own. What attacks show at one delta holds at every smaller one.

    Args:
      document: A membership report.
      limit: What it is to be at most.
      delta: At which; the report's own if None.

    Raises:
      InputError: if the guarantee in the report's provenance is none.
    """
    epsilon, own, reason = _promised(document)
    bound = document.get("lower_bound")
    if own is None:
        own = bound["delta"] if bound else delta
    if own is None:
        return Held(None, None, "", reason)
    at = own if delta is None else delta
    high = epsilon
    if epsilon is not None and at < own:
        high, reason = None, f"its epsilon was accounted for at delta = {own:g}"
    if not bound:
        return Held(at, high, "", reason)
    least, gaussian = (max(attack[kind]["epsilon"] for attack in bound["attacks"]) for kind in ("one_run", "fdp"))
    within = limit if at <= bound["delta"] else math.inf
    promised = math.inf if epsilon is None else epsilon
    assumed = _shown(gaussian, within, promised)
    if assumed and not reason:
        reason = f"if training trades errors off as a Gaussian release does, {assumed}"
    return Held(at, high, _shown(least, within, promised), reason)


def _promised(document: Document) -> tuple[float | None, float | None, str]:
    """Returns the accountant's epsilon, its delta, and why there is none where there is none."""
    told = document["provenance"].get("guarantee")
    if told is None:
        return None, None, "the model was not trained with differential privacy, as far as the report knows"
    if fault := next(faults(told, GUARANTEE, "provenance.guarantee"), None):
        raise InputError(f"the report {fault}: audit again.")
    why = f"no epsilon holds for it: {' '.join(told['refusals'])}".rstrip(".") if told["epsilon"] is None else ""
    return told["epsilon"], told["ledger"]["delta"], why


def _shown(least: float, limit: float, promised: float) -> str:
    """Says that attacks show a larger epsilon than the limit, or than was promised; empty if they do not."""
    if least <= min(limit, promised):
        return ""
    than = "" if least > limit else ", more than was promised: check how that was computed"
    return f"attacks show that it is at least {at_least(least)}{than}"
