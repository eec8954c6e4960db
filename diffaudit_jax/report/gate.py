"""A release gate: the upper end of a report's intervals against limits that were set before.

A condition on a figure passes if the upper ends of all that it was measured by (every attack, every classifier) are
within the limit. If the truth of one of these is over the limit, the gate passes only where that one's own interval
fails from above, which happens with probability (1 - level)/2 at most: so no end has to be widened for the number of
attacks, nor for that of conditions. A figure that the data cannot tell does not pass.

References:
  Berger 1982, Technometrics 24:295 (intersection-union tests).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from diffaudit_jax.report.document import SCHEMA as MEMBERSHIP
from diffaudit_jax.report.fairness_schema import SCHEMA as FAIRNESS
from diffaudit_jax.report.numbers import at_most, estimate
from diffaudit_jax.report.significance import wrong_way
from diffaudit_jax.report.tables_schema import SCHEMA as TABLES
from diffaudit_jax.types import InputError, known


class Condition(NamedTuple):
    """A figure is to be at most a limit; `fpr` is the false positive rate of a figure that is at one, else None."""

    figure: str
    limit: float
    fpr: float | None = None

    @property
    def name(self) -> str:
        """The figure as it is written, with the rate that it is at."""
        return self.figure if self.fpr is None else f"{self.figure}@{self.fpr:g}"


class Reading(NamedTuple):
    """One measurement of a figure: by what, its upper end, and why there is none where it is None."""

    by: str
    high: float | None
    reason: str = ""


class Outcome(NamedTuple):
    """How a condition came out.

    Attributes:
      condition: What was asked for.
      passes: Whether it holds.
      high: The greatest upper end; None if unresolvable.
      by: What it was measured by: an attack, a classifier; empty of a guarantee.
      reason: Why it does not pass, where that is not the upper end.
    """

    condition: Condition
    passes: bool
    high: float | None
    by: str
    reason: str


Document = Mapping[str, Any]


def gate(document: Document, conditions: Iterable[Condition], attack: str | None = None) -> list[Outcome]:
    """Holds a report against limits.

    Args:
      document: A membership report, or one of a synthetic table or of fairness.
      conditions: Figures and their limits.
      attack: Judge by this attack (classifier) alone; None for the worst of all.

    Returns:
      One outcome a condition, in their order.

    Raises:
      InputError: if the report has no such figure, or nothing that was measured by `attack`.
    """
    figures = _figures(document)
    found = []
    for condition in conditions:
        if condition.name not in figures:
            held = f"it holds {', '.join(figures)}" if figures else "none of its figures has a limit to be set"
            raise InputError(f"the report holds no {condition.name}: {held}.")
        readings = figures[condition.name]()
        if attack is not None and any(reading.by for reading in readings):
            known("attack", attack, {reading.by for reading in readings})
            readings = [reading for reading in readings if reading.by in ("", attack)]
        found.append(_outcome(condition, readings, document))
    return found


def said(outcome: Outcome) -> str:
    """Says in a line how a condition came out; an upper end is rounded up."""
    head = f"{'passes' if outcome.passes else 'fails '}  {outcome.condition.name} <= {outcome.condition.limit:g}: "
    if outcome.high is None:
        return f"{head}unresolvable, {outcome.reason}"
    by = f" ({outcome.by})" if outcome.by else ""
    over = "at most" if outcome.high <= outcome.condition.limit else "may be as much as"
    return f"{head}{over} {at_most(outcome.high)}{by}{outcome.reason and f'; {outcome.reason}'}"


def _outcome(condition: Condition, readings: list[Reading], document: Document) -> Outcome:
    unresolved = next((reading for reading in readings if reading.high is None), None)
    against = _shown(document, condition.limit) if condition.figure == "epsilon" else ""
    if unresolved is not None:
        return Outcome(condition, False, None, unresolved.by, against or unresolved.reason)
    high, by = max(((reading.high, reading.by) for reading in readings if reading.high is not None), key=_first)
    return Outcome(condition, high <= condition.limit and not against, high, by, against)


def _first(found: tuple[float, str]) -> float:
    return found[0]


def _figures(document: Document) -> dict[str, Callable[[], list[Reading]]]:
    """Returns the figures of a report by name, each with how it is read."""
    kinds = {MEMBERSHIP: _of_membership, TABLES: _of_tables, FAIRNESS: _of_fairness}
    kind = kinds.get(document["schema"])
    return {} if kind is None else kind(document)


def _of_membership(document: Document) -> dict[str, Callable[[], list[Reading]]]:
    attacks, doubt = document["attacks"], _doubts(document)

    def by(read: Callable[[Any], Reading], some: Iterable[Any] = attacks) -> Callable[[], list[Reading]]:
        return lambda: [
            Reading(attack["name"], None, doubt[attack["name"]]) if doubt[attack["name"]] else read(attack)
            for attack in some
        ]

    figures = {"auc": by(lambda attack: Reading(attack["name"], attack["auc"]["high"]))}
    for i, point in enumerate(attacks[0]["operating_points"]):
        figures[f"tpr@{point['target_fpr']:g}"] = by(lambda attack, i=i: _at(attack, attack["operating_points"][i]))
    figures["balanced-accuracy"] = by(
        lambda attack: Reading(attack["name"], attack["decision"]["balanced_accuracy"]["high"])
    )
    figures["epsilon"] = lambda: [_promised(document)]
    if registered := document.get("registered"):
        asked = [attack for attack in attacks if attack["name"] == registered["attack"]]
        figures["registered-tpr"] = by(lambda attack: Reading(attack["name"], registered["tpr"]["high"]), asked)
    return figures


def _of_tables(document: Document) -> dict[str, Callable[[], list[Reading]]]:
    share, risks, asked = document["copies"]["share"], document["risks"], document["membership"]
    untold = "no records were held out to compare with"
    figures = {"share": lambda: [Reading("", share and share["high"], "" if share else untold)]}
    if risks:
        figures["risk"] = lambda: [Reading(each["attack"], each["risk"]["high"]) for each in risks]
    if asked is not None:
        figures["auc"] = lambda: [Reading(attack["name"], attack["auc"]["high"]) for attack in asked["attacks"]]
        for i, point in enumerate(asked["attacks"][0]["points"]):
            figures[f"tpr@{point['target_fpr']:g}"] = lambda i=i: [
                _at(attack, attack["points"][i]) for attack in asked["attacks"]
            ]
    return figures


def _of_fairness(document: Document) -> dict[str, Callable[[], list[Reading]]]:
    def worst(gap: str) -> list[Reading]:
        return [
            Reading(name, found[gap]["high"])
            for generator in document["generators"]
            for name, found in generator["receivers"].items()
        ]

    return {gap: lambda gap=gap: worst(gap) for gap in ("parity", "opportunity", "odds")}


def _at(attack: Document, point: Document) -> Reading:
    reason = point.get("reason") or f"too few non-members for a rate of {point['target_fpr']:g}"
    return Reading(attack["name"], None if point["tpr"] is None else point["tpr"]["high"], reason.rstrip("."))


def _doubts(document: Document) -> dict[str, str]:
    """Says of each attack why its figures, however low, do not speak for the model; empty if they do."""
    blind, alpha = document["blind"], 1 - document["level"]
    if blind and blind["leaks"]:
        why = f"the two groups differ by themselves (blind check: AUC {estimate(blind['auc'])})"
        return {attack["name"]: why for attack in document["attacks"]}
    return {
        attack["name"]: f"{attack['name']} ranks the wrong way round: check its sign"
        if wrong_way(attack, document["tests"], alpha)
        else ""
        for attack in document["attacks"]
    }


def _promised(document: Document) -> Reading:
    told = document["provenance"].get("guarantee")
    if told is None:
        return Reading("", None, "the model was not trained with differential privacy, as far as the report knows")
    if told["epsilon"] is None:
        return Reading("", None, f"no epsilon holds for it: {' '.join(told['refusals'])}".rstrip("."))
    return Reading("", float(told["epsilon"]))


def _shown(document: Document, limit: float) -> str:
    """Says that attacks showed a larger epsilon than the limit, or than was promised; empty if they did not."""
    shown = (document.get("lower_bound") or {}).get("epsilon")
    promised = _promised(document).high
    if shown is None or shown <= min(limit, math.inf if promised is None else promised):
        return ""
    than = "" if shown > limit else ", more than was promised: check how that was computed"
    return f"attacks show that it is at least {math.floor(1000 * shown) / 1000:g}{than}"
