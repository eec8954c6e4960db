"""The page of a report of a synthetic table, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

import numpy as np

from diffaudit_jax.report.numbers import estimate, p_value, percent, shares
from diffaudit_jax.report.page import flat, inline, own_text, template_environment
from diffaudit_jax.report.tables_figures import distance_figure, spark
from diffaudit_jax.report.tables_verdict import quoted

CLASSES = {"leaks": "detected", "unseen": "not-detected", "useless": "too-small", "unjudged": "too-small"}
MEASURES = {"accuracy": "Accuracy", "f1": "F1", "auc": "AUC"}


def number(value: float | None, digits: int = 3) -> str:
    """Writes a plain number; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def mean_pair(square: list[list[float]] | None) -> float | None:
    """Returns the mean over pairs of columns; None without pairs."""
    if square is None or len(square) < 2:
        return None
    return float(np.asarray(square)[np.triu_indices(len(square), 1)].mean())


def render_tables(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_tables` or `tables_report` gives it.
    """
    environment = template_environment()
    environment.filters |= {
        "estimate": estimate, "shares": shares, "percent": percent, "flat": flat, "p_value": p_value, "quoted": quoted,
        "number": number, "spark": spark, "mean_pair": mean_pair,
    }  # fmt: skip
    return environment.get_template("tables.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css") + own_text("tables.css"),
        figure=inline(distance_figure(document)),
        tone=CLASSES.get(document["verdict"]["level"], ""),
        measures=MEASURES,
    )
