"""The page of a report of extraction, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

from diffaudit_jax.report.extraction_figures import recall_figure
from diffaudit_jax.report.extraction_verdict import trained, unit
from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import p_value, percent, shares
from diffaudit_jax.report.page import flat, inline, own_text, template_environment
from diffaudit_jax.report.tables_page import number

CLASSES = {"extracted": "detected", "undecided": "split-leaks", "unseen": "not-detected", "unjudged": "too-small"}


def ruled(rule: dict[str, Any], document: dict[str, Any]) -> tuple[str, str]:
    """Returns what a rule is called on the page, and what it asks for."""
    settings, limit = document["settings"], rule["limit"]
    alpha, neighbours = settings["alpha"], settings["neighbours"]
    closer = "nearer than those of held-out people" if document["people"] else "nearer than held-out ones"
    held = "" if document["counts"]["heldout"] is None else " and held-out"
    mean = f"the mean distance of the sample to the {neighbours:.0f} nearest training{held} {nouns(document)}"
    told = {
        "l2": ("near", f"distance at most {limit:g}"),
        "adaptive": ("near for its surroundings", f"distance at most {alpha:g} times {mean}"),
        "ssim": ("and alike in structure", f"the rule above, and a structural similarity of at least {limit:g}"),
        "calibrated": (closer, f"distance below {limit * alpha:.2g} times {mean}"),
    }
    return told.get(rule["name"], (rule["name"], f"at most {limit:g}"))


def render_extraction(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_extraction` or `extraction_report` gives it.
    """
    environment = template_environment()
    environment.filters |= {"shares": shares, "percent": percent, "flat": flat, "p_value": p_value, "number": number}
    return environment.get_template("extraction.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css") + own_text("tables.css"),
        figure=inline(recall_figure(document)),
        tone=CLASSES.get(document["verdict"]["level"], ""),
        unit=nouns(document),
        whose=unit(document),
        trained=trained(document),
        rules=[(rule, *ruled(rule, document)) for rule in document["rules"]],
    )
