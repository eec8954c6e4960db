"""The page of a report of a property, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import percent, shares
from diffaudit_jax.report.page import flat, inline, own_text, template_environment
from diffaudit_jax.report.property_figures import share_figure
from diffaudit_jax.report.property_verdict import points, quoted
from diffaudit_jax.report.reconstruction_verdict import short

CLASSES = {
    "unmeasured": "too-small",
    "blind": "too-small",
    "differs": "detected",
    "agrees": "not-detected",
    "undecided": "too-small",
    "inferred": "",
    "rough": "too-small",
}
RULES = {"exact": "exact binomial", "hoeffding": "Hoeffding", "bernstein": "empirical Bernstein"}


def half(value: dict[str, float]) -> str:
    """Writes half the width of an interval, in points of percent."""
    return f"{50 * (value['high'] - value['low']):.1f}"


def rest(value: dict[str, float]) -> dict[str, float]:
    """Returns the share of all others."""
    return {"value": 1 - value["value"], "low": 1 - value["high"], "high": 1 - value["low"]}


def offset(value: dict[str, float] | None) -> str:
    """Writes a difference of shares in points of percent, with its interval; a dash where there is none."""
    if value is None:
        return "\N{EN DASH}"
    return f"{points(value['value'])} [{points(value['low'])}, {points(value['high'])}]"


def render_property(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_property` or `property_report` gives it.
    """
    environment = template_environment(lambda name: worded(document, own_text(name)))
    environment.filters |= {
        "shares": shares, "percent": percent, "flat": flat, "short": short, "half": half, "offset": offset,
        "quoted": quoted, "rest": rest,
    }  # fmt: skip
    return environment.get_template("property.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css"),
        figure=inline(share_figure(document)),
        tone=CLASSES.get(document["verdict"]["level"], ""),
        rules=RULES,
    )
