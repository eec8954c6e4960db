"""Where a command that ends in a report may write it, and what it prints: verdict, a small table, and the page."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffaudit_jax.report import DatasetReport, FairnessReport, ReconstructionReport, TablesReport
from diffaudit_jax.report.extraction import ExtractionReport
from diffaudit_jax.report.lower_bound import in_short
from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import p_value
from diffaudit_jax.report.page import estimate, shares
from diffaudit_jax.report.property import PropertyReport
from diffaudit_jax.report.reconstruction_verdict import LEAD, bounded, short
from diffaudit_jax.report.saved import SavedReport
from diffaudit_jax.report.studies import StudyReport
from diffaudit_jax.types import InputError


def check_out(out: Path, report: type[SavedReport]) -> None:
    """Refuses a directory that a report must not be written to.

    Args:
      out: The directory; it need not exist.
      report: Its kind, an older one of which it replaces.

    Raises:
      InputError: if a file is in the way, or it holds something else, or a report that cannot be read.
    """
    if at := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise InputError(f"{at} is a file: use another --out.")
    if (out / report.kind.file).exists():
        report.load(out)
    elif out.is_dir() and (inside := sorted(out.iterdir())):
        raise InputError(f"{out} holds something else ({inside[0].name!r}): use another --out.")


def conclude(report: SavedReport, page: Path) -> None:
    """Prints the verdict, a small table and the report's path."""
    if isinstance(report, ReconstructionReport):
        table = _by_mu(report.document)
    elif isinstance(report, PropertyReport):
        table = _by_share(report.document)
    elif isinstance(report, FairnessReport):
        table = _by_receiver(report.document)
    elif isinstance(report, DatasetReport):
        table = _by_set(report.document)
    elif isinstance(report, TablesReport):
        table = _by_measure(report.document)
    elif isinstance(report, ExtractionReport):
        table = _by_rule(report.document)
    else:
        table = _by_variant(report.document) if isinstance(report, StudyReport) else _by_attack(report.document)
    verdict, console = report.document["verdict"], Console(width=None if sys.stdout.isatty() else 120)
    console.print("", Text.assemble((verdict["label"], "bold"), f": {verdict['headline']}"), "", table, "", sep="\n")
    for sentence in in_short(report.document):
        console.print(Text(sentence), "", sep="\n")
    if told := report.document.get("registered"):
        found, accused = (
            f"{told[count]:,} of {report.document['counts'][side]:,}"
            for count, side in (("found", "members"), ("accused", "nonmembers"))
        )
        print(f"by the plan: found {found} members, accused {accused} others")
    print(f"report: {page}")


def _by_attack(document: dict[str, Any]) -> Table:
    table = Table("attack", "AUC", "TPR at 1 % FPR", box=None, pad_edge=False, header_style="bold")
    for attack in document["attacks"]:
        # As text: a report may come from anyone, and rich would read markup in its names.
        table.add_row(Text(attack["name"]), estimate(attack["auc"]), _tpr_at_one_percent(attack))
    return table


def _by_mu(document: dict[str, Any]) -> Table:
    table = Table("mu", "epsilon", "error / unrelated", "target picked", "SSIM", box=None, header_style="bold")
    for row in document["rows"]:
        found = bounded(row["relative"][LEAD]), shares(row["retrieval"][LEAD]), estimate(row["scores"][LEAD]["ssim"])
        table.add_row(*map(Text, (f"{row['mu']:g}", short(row["epsilon"]), *found)))
    return table


def _by_share(document: dict[str, Any]) -> Table:
    called = "have it" if document.get("read") else "called so"
    head = "share of", "samples", called, "corrected", f"training {nouns(document)}"
    table = Table(*head, box=None, header_style="bold")
    rule = "exact" if document["error"] is None else "anytime"
    for row in (*document["shares"], *document["classes"]):
        untold = "not told" if row["estimate"] else "errors not known"
        corrected = shares(row["estimate"]) if row["informative"] else untold
        known = row["coverage"] and f"{row['coverage']['has']:,} of {row['coverage']['images']:,}"
        found = f"{row['samples']:,}", shares(row["raw"][rule]), corrected, known or "not known"
        table.add_row(*map(Text, (row["name"], *found)))
    return table


def _by_receiver(document: dict[str, Any]) -> Table:
    table = Table("generator", "receiver", "parity gap", "odds", "accuracy", box=None, header_style="bold")
    for generator in document["generators"]:
        for name, found in generator["receivers"].items():
            numbers = (estimate(found[metric]) for metric in ("parity", "odds", "accuracy"))
            table.add_row(*map(Text, (generator["name"], name, *numbers)))
    return table


def _by_variant(document: dict[str, Any]) -> Table:
    table = Table("mu", box=None, header_style="bold", title="mean squared error", title_justify="left", title_style="")
    for variant in document["variants"]:
        table.add_column(Text(variant["name"]))
    for k, row in enumerate(document["rows"]):
        means = (variant["scores"]["mse"][k] for variant in document["variants"])
        table.add_row(f"{row['mu']:g}", *(f"{mean['value']:.3g}" if mean else "\N{EN DASH}" for mean in means))
    return table


def _by_measure(document: dict[str, Any]) -> Table:
    table = Table("measured", "of", "found", box=None, header_style="bold")
    for each in document["efficacy"]:
        known, learned = (each[side]["auc"] for side in ("members", "synthetic"))
        table.add_row(Text(f"AUC of {each['classifier']}"), "members", estimate(known))
        table.add_row("", "synthetic", estimate(learned))
    copies = document["copies"]
    table.add_row("nearer to a member", "50 % if nothing is copied", shares(copies["share"]))
    for each in document["risks"]:
        table.add_row(*map(Text, (f"risk of {each['attack']}", each["of"], shares(each["risk"]))))
    return table


def _by_rule(document: dict[str, Any]) -> Table:
    table = Table("rule", "training", "held-out", "samples", box=None, header_style="bold")
    for rule in document["rules"]:
        sides = (rule[side] for side in ("members", "heldout", "copies"))
        counts = (f"{side['found']:,} of {side['of']:,}" if side else "\N{EN DASH}" for side in sides)
        table.add_row(*map(Text, (rule["name"], *counts)))
    return table


def _by_set(document: dict[str, Any]) -> Table:
    table = Table("suspect set", "p-value", "for all sets", "AUC", "AUC of attacks", box=None, header_style="bold")
    for row in document["sets"]:
        told = p_value(row["p_value"]), p_value(row["adjusted"]), estimate(row["auc"]), estimate(row["towards"])
        table.add_row(*map(Text, (row["name"], *told)))
    return table


def _tpr_at_one_percent(attack: dict[str, Any]) -> str:
    point = next(point for point in attack["operating_points"] if point["target_fpr"] == 0.01)
    return shares(point["tpr"]) if point["tpr"] else "needs 100 non-members"
