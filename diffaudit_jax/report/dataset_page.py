"""The page of a report of suspect sets, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

from diffaudit_jax.metrics.dataset import MOST_EFFECT
from diffaudit_jax.report.dataset_figures import power_figure
from diffaudit_jax.report.dataset_verdict import LABELS, quoted, unit
from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import estimate, p_value, percent, shares
from diffaudit_jax.report.page import flat, inline, own_text, template_environment

CLASSES = {"found": "detected", "unseen": "not-detected", "differ": "too-small", "odd": "too-small",
           "otherwise": "too-small"}  # fmt: skip
MOST_PEOPLE = 40
"""People the page has rows of; the file beside it has all."""


def effect(value: float) -> str:
    """Writes an effect in standard deviations, or that the sides do not overlap at all."""
    return "complete" if abs(value) >= MOST_EFFECT else f"{value:+.2f}"


def render_dataset(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_dataset` or `dataset_report` gives it.
    """
    environment = template_environment(lambda name: worded(document, own_text(name)))
    environment.filters |= {
        "estimate": estimate, "shares": shares, "percent": percent, "flat": flat, "p_value": p_value, "quoted": quoted,
        "effect": effect,
    }  # fmt: skip
    people = document["people"]
    return environment.get_template("dataset.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css"),
        figure=inline(power_figure(document)),
        tone=CLASSES.get(document["verdict"]["level"], ""),
        labels=LABELS,
        unit=unit(document),
        shown=[] if people is None else people["rows"][:MOST_PEOPLE],
    )
