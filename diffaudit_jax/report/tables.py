"""From a synthetic table to a report of its use and of what it shows of who trained its generator."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.classifiers import CLASSIFIERS
from diffaudit_jax.metrics.copies import Closeness, Copies, copies
from diffaudit_jax.metrics.efficacy import Quality, efficacy
from diffaudit_jax.metrics.risks import Risk, inference, linkability
from diffaudit_jax.metrics.singling import singling_out
from diffaudit_jax.metrics.tables import marginals, matched, pairs
from diffaudit_jax.report.attack import estimate_json
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.saved import Kind, SavedReport
from diffaudit_jax.report.tables_columns import column_section
from diffaudit_jax.report.tables_limits import limits
from diffaudit_jax.report.tables_page import render_tables
from diffaudit_jax.report.tables_schema import FILE, SCHEMA, SCHEMA_VERSION, read_tables
from diffaudit_jax.report.tables_verdict import verdict
from diffaudit_jax.types import InputError, known

NUM_BINS, CORRELATION = 40, "spearman"


class TablesReport(SavedReport):
    """A report of a synthetic table; schema ``diffaudit.tables``, version 1."""

    kind = Kind(FILE, SCHEMA, read_tables, render_tables)


def tables_report(
    members: Table,
    holdout: Table | None,
    synthetic: Table,
    *,
    label: str,
    membership: Mapping[str, Any] | None = None,
    secrets: Sequence[str] | None = None,
    halves: tuple[Sequence[str], Sequence[str]] | None = None,
    guesses: int = 500,
    most: int = 50_000,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    level: float = LEVEL,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> TablesReport:
    """Concludes of what use a synthetic table is, and whether it shows who trained its generator.

    Args:
      members: What trained the generator.
      holdout: Real records of the same source that did not train it, on which classifiers are tested too; None for a
        report that has no floor, no efficacy and no verdict on copies.
      synthetic: What it drew.
      label: Column that classifiers tell.
      membership: Document of a membership report of the same generator (`Report.document`); None for none.
      secrets: Columns that are inferred, each from all others; all of them if None.
      halves: Columns of either half of a record that are linked; every second column if None.
      guesses: Guesses of each attack on members, held-out records and at random.
      most: Records of each table that are compared with each other; synthetic ones that attacks know.
      classifiers: Names of `metrics.classifiers.CLASSIFIERS`; the verdict is by the first.
      level: Confidence level of each interval.
      seed: Seed of all that is drawn at random.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.

    Returns:
      The report.

    Raises:
      InputError: if the tables do not have the same columns, there are fewer than two, the label or a column is
        unknown, or a setting is out of range.
    """
    known("column", label, members.columns)
    synthetic = matched(members, synthetic, "synthetic")
    holdout = None if holdout is None else matched(members, holdout, "holdout")
    if len(members.columns) < 2:
        raise InputError(f"{members.name} has one column: a report asks how columns go together, give two or more.")
    settings: dict[str, Any] = {"level": level, "seed": seed}
    learned = () if holdout is None else efficacy(
        members, synthetic, holdout, label, classifiers=classifiers, **settings
    )  # fmt: skip
    together = pairs(members, synthetic, holdout, correlation=CORRELATION)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or f"What the synthetic table {synthetic.name} is good for, and what it shows",
        "level": float(level),
        "label": label,
        "counts": {
            "members": len(members),
            "holdout": None if holdout is None else len(holdout),
            "synthetic": len(synthetic),
        },
        "efficacy": [
            {"classifier": each.classifier}
            | {side: _quality(getattr(each, side)) for side in ("synthetic", "members", "lost")}
            for each in learned
        ],
        "columns": [
            column_section(found, members, synthetic, holdout) for found in marginals(members, synthetic, holdout)
        ],
        "pairs": {
            "correlation": CORRELATION,
            "members": together.members.tolist(),
            "difference": together.difference.tolist(),
            "floor": None if together.floor is None else together.floor.tolist(),
        },
        "copies": _copies(copies(members, synthetic, holdout, most=most, **settings)),
        "risks": [
            _risk(each)
            for each in _attacked(
                members, _shown(synthetic, most, seed), holdout, secrets, halves, {**settings, "guesses": guesses}
            )
        ],
        "membership": None if membership is None else _membership(membership),
        "provenance": {**(provenance or {}), "versions": versions()},
    }
    return TablesReport(document | {"verdict": verdict(document), "limits": limits(document)})


def _attacked(
    members: Table,
    synthetic: Table,
    holdout: Table | None,
    secrets: Sequence[str] | None,
    halves: tuple[Sequence[str], Sequence[str]] | None,
    settings: dict[str, Any],
) -> list[Risk]:
    names = tuple(members.columns)
    return [
        singling_out(members, synthetic, holdout, predicates="univariate", **settings),
        singling_out(members, synthetic, holdout, predicates="multivariate", **settings),
        linkability(members, synthetic, halves or (names[::2], names[1::2]), holdout, **settings),
        *(inference(members, synthetic, name, holdout, **settings) for name in (names if secrets is None else secrets)),
    ]


def _shown(synthetic: Table, most: int, seed: int) -> Table:
    if len(synthetic) <= most:
        return synthetic
    return synthetic.take(np.sort(np.random.default_rng(seed).choice(len(synthetic), most, replace=False)))


def _copies(found: Copies) -> dict[str, Any]:
    sides = {"synthetic": found.synthetic, "holdout": found.holdout}
    highest = max(float(side.distances.max()) for side in sides.values() if side is not None)
    edges = np.linspace(0.0, highest or 1.0, NUM_BINS + 1)

    def drawn(side: Closeness | None) -> list[int] | None:
        return None if side is None else np.histogram(side.distances, edges)[0].tolist()

    return {
        "members": found.num_members,
        **{name: None if side is None else _closeness(side) for name, side in sides.items()},
        "each": found.num_each,
        "share": estimate_json(found.share),
        "p_value": found.p_value,
        "histogram": {"edges": edges.tolist(), **{name: drawn(side) for name, side in sides.items()}},
    }


def _closeness(side: Closeness) -> dict[str, Any]:
    return {"dcr": side.dcr, "ratio": side.ratio, "exact": side.exact, "records": len(side.distances)}


def _quality(found: Quality) -> dict[str, Any]:
    return {name: estimate_json(each) for name, each in found._asdict().items()}


def _risk(found: Risk) -> dict[str, Any]:
    rates = {name: estimate_json(getattr(found, name)) for name in Risk._fields[6:]}
    return {**found._asdict(), **rates}


def _membership(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a membership report says of each attack on all records."""
    try:
        return {
            **{name: document["counts"][name] for name in ("members", "nonmembers")},
            "attacks": [
                {
                    "name": attack["name"],
                    "auc": attack["auc"],
                    "p_value": document["tests"][attack["name"]]["auc"]["p_value"],
                    "points": [{name: at[name] for name in ("target_fpr", "tpr")} for at in attack["operating_points"]],
                }
                for attack in document["attacks"]
            ],
        }
    except (LookupError, TypeError) as error:
        raise InputError(f"membership lacks {error}: give the document of a membership report.") from None
