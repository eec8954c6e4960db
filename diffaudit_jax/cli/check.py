"""diffaudit check: reports against limits that a release must keep, for people and for pipelines."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from diffaudit_jax.report.card import card, hash_of
from diffaudit_jax.report.gate import Condition, Outcome, gate, said
from diffaudit_jax.report.redraw import report_of
from diffaudit_jax.types import InputError, write_atomic

EXAMPLE = "--max auc=0.6 or --max tpr@0.01=0.05"


@dataclass(frozen=True)
class Check:
    """Check reports against limits: the upper end of every interval must be within, or the command ends with 1."""

    reports: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Directories that hold a report of membership, of extraction, of a synthetic table or of fairness, or its JSON."""
    max: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Limit of a figure, FIGURE=LIMIT, as often as wanted. Of membership: auc, tpr@FPR, balanced-accuracy, epsilon or
    epsilon@DELTA, and registered-tpr after a plan; of extraction: extracted; of tables: share, risk, auc, tpr@FPR; of
    fairness: parity, opportunity, odds."""
    attack: str | None = None
    """Judge by this attack alone; by the worst of all if not given."""
    card: str | None = None
    """Write a paragraph for a model card, in Markdown, to this file; - for standard output."""
    json: bool = False
    """Print the outcome as JSON."""


class Checked(NamedTuple):
    """A report with the outcomes of its conditions."""

    path: Path
    sha256: str
    document: dict[str, Any]
    outcomes: list[Outcome]


def run_check(options: Check) -> bool:
    """Runs the command; returns whether every report passes."""
    if not options.reports:
        raise InputError("name a report to check: its directory or its JSON file.")
    if options.json and options.card == "-":
        raise InputError("--json and --card - both write to standard output: give the card a file.")
    conditions = [condition_of(word) for word in options.max]
    if not conditions:
        raise InputError(f"there is nothing to check: give limits, for example {EXAMPLE}.")
    checked = [_checked(path, conditions, options.attack) for path in options.reports]
    cards = "\n".join(card(each.document, each.outcomes, each.sha256) for each in checked)
    if options.card not in (None, "-"):
        Path(options.card).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(options.card), cards.encode())
    if options.json:
        print(json.dumps(_as_json(checked), indent=1, ensure_ascii=False))
    else:
        _print(checked)
    if options.card == "-":
        print(f"\n{cards}", end="")
    return _passes(checked)


def condition_of(word: str) -> Condition:
    """Reads a limit as the command line writes it, ``auc=0.6`` or ``tpr@0.01=0.05``.

    Raises:
      InputError: if it is not of this form, or the limit or the rate is out of range.
    """
    form = re.fullmatch(r"([a-z][a-z-]*)(?:@([^=@]+))?=([^=]+)", word)
    numbers = [] if form is None else _numbers(text for text in form.groups()[1:] if text is not None)
    if form is None or not numbers:
        raise InputError(f"--max {word} is not FIGURE=LIMIT: write for example {EXAMPLE}.")
    *at, limit = numbers
    most = math.inf if form[1] == "epsilon" else 1.0
    if not 0 <= limit <= most or math.isinf(limit):
        reach = "from 0" if math.isinf(most) else "from 0 to 1"
        raise InputError(f"--max {word}: the limit of {form[1]} is a number {reach}, got {form[3]}.")
    if at and not 0 < at[0] < 1:
        what = "delta" if form[1] == "epsilon" else "the false positive rate"
        raise InputError(f"--max {word}: {what} lies between 0 and 1, got {form[2]}.")
    if bool(at) != (form[1] == "tpr") and not (at and form[1] == "epsilon"):
        mend = "write tpr@FPR=LIMIT" if form[1] == "tpr" else f"write {form[1]}=LIMIT"
        raise InputError(
            f"--max {word}: tpr is at a false positive rate, epsilon may be at a delta, and no other figure is: {mend}."
        )
    return Condition(form[1], limit, *at)


def _numbers(texts: Iterable[str]) -> list[float]:
    """Returns the numbers that all of them are, or none."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []


def _checked(path: Path, conditions: list[Condition], attack: str | None) -> Checked:
    kind = report_of(path).kind
    document = kind.read(path)
    try:
        outcomes = gate(document, conditions, attack)
        card(document, outcomes, "")  # what it cannot say of a damaged report is told now
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the report in {str(path)!r} has parts that do not fit together ({type(error).__name__}: {reason}): "
            "write the report again."
        ) from None
    return Checked(path, hash_of(path / kind.file if path.is_dir() else path), document, outcomes)


def _passes(checked: list[Checked]) -> bool:
    return all(outcome.passes for each in checked for outcome in each.outcomes)


def _print(checked: list[Checked]) -> None:
    for each in checked:
        for outcome in each.outcomes:
            print(f"{each.path}: {said(outcome)}" if len(checked) > 1 else said(outcome))


def _as_json(checked: list[Checked]) -> dict[str, Any]:
    return {
        "schema": "diffaudit.check",
        "passes": _passes(checked),
        "reports": [
            {
                "report": str(each.path),
                "sha256": each.sha256,
                "level": each.document["level"],
                "conditions": [
                    {
                        "figure": outcome.condition.name,
                        "limit": outcome.condition.limit,
                        "passes": outcome.passes,
                        "upper": outcome.high,
                        "by": outcome.by or None,
                        "reason": outcome.reason or None,
                    }
                    for outcome in each.outcomes
                ],
            }
            for each in checked
        ],
    }
