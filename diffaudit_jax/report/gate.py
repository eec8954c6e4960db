"""A release gate: the upper end of a report's intervals against limits that were set before.

A condition on a figure passes if the upper ends of all that it was measured by (every attack, every classifier) are
within the limit. If the truth of one of these is over the limit, the gate passes only where that one's own interval
fails from above, which happens with probability (1 - level)/2 at most: so no end has to be widened for the number of
attacks, nor for that of conditions. A figure that the data cannot tell does not pass.

References:
  Berger 1982, Technometrics 24:295 (intersection-union tests).
"""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from diffaudit_jax.report.gate_epsilon import epsilon_held
from diffaudit_jax.report.gate_figures import Reading, figures_of
from diffaudit_jax.report.numbers import at_most
from diffaudit_jax.types import InputError, known


class Condition(NamedTuple):
    """A figure is to be at most a limit; `at` is the false positive rate of a `tpr`, the delta of an `epsilon`."""

    figure: str
    limit: float
    at: float | None = None

    @property
    def name(self) -> str:
        """The figure as it is written, with what it is at."""
        return self.figure if self.at is None else f"{self.figure}@{self.at:g}"


class Outcome(NamedTuple):
    """How a condition came out.

    Attributes:
      condition: What was asked for; of an epsilon, with its delta.
      passes: Whether it holds.
      high: The greatest upper end; None if unresolvable.
      by: What it was measured by: an attack, a classifier; empty of a guarantee.
      reason: Why it does not pass, where that is not the upper end; or what speaks against it on an assumption.
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
      document: A report of membership, of extraction, of a synthetic table or of fairness.
      conditions: Figures and their limits.
      attack: Judge by this attack (classifier) alone; None for the worst of all.

    Returns:
      One outcome a condition, in their order.

    Raises:
      InputError: if the report has no such figure, or nothing that was measured by `attack`.
    """
    figures = figures_of(document)
    found = []
    for condition in conditions:
        if condition.figure == "epsilon" and "epsilon" in figures:
            found.append(_of_epsilon(document, condition))
            continue
        if condition.name not in figures:
            held = f"it holds {', '.join(figures)}" if figures else "none of its figures has a limit to be set"
            raise InputError(f"the report holds no {condition.name}: {held}.")
        readings = figures[condition.name]()
        if attack is not None and any(reading.by for reading in readings):
            known("attack", attack, {reading.by for reading in readings})
            readings = [reading for reading in readings if reading.by in ("", attack)]
        found.append(_outcome(condition, readings))
    return found


def said(outcome: Outcome) -> str:
    """Says in a line how a condition came out; an upper end is rounded up."""
    head = f"{'passes' if outcome.passes else 'fails '}  {outcome.condition.name} <= {outcome.condition.limit:g}: "
    if outcome.high is None:
        return f"{head}unresolvable, {outcome.reason}"
    by = f" ({outcome.by})" if outcome.by else ""
    over = "at most" if outcome.high <= outcome.condition.limit else "may be as much as"
    return f"{head}{over} {at_most(outcome.high)}{by}{outcome.reason and f'; {outcome.reason}'}"


def _outcome(condition: Condition, readings: list[Reading]) -> Outcome:
    unresolved = next((reading for reading in readings if reading.high is None), None)
    if unresolved is not None:
        return Outcome(condition, False, None, unresolved.by, unresolved.reason)
    ends = ((reading.high, reading.by) for reading in readings if reading.high is not None)
    high, by = max(ends, key=itemgetter(0))
    return Outcome(condition, high <= condition.limit, high, by, "")


def _of_epsilon(document: Document, condition: Condition) -> Outcome:
    held = epsilon_held(document, condition.limit, condition.at)
    passes = held.high is not None and held.high <= condition.limit and not held.against
    return Outcome(condition._replace(at=held.delta), passes, held.high, "", held.against or held.reason)
