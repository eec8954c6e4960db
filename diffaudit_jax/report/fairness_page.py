"""The page of a report of fairness, from its JSON: like `page`, nothing is loaded and nothing runs."""

from typing import Any

from diffaudit_jax.report.fairness_figures import curved, ratio_figure
from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import estimate, percent
from diffaudit_jax.report.page import flat, inline, own_text, template_environment

CLASSES = {"unfairer": "detected", "as-fair": "not-detected", "gap": "split-leaks", "no-gap": "not-detected"}
GAPS = {"parity": "Parity gap", "opportunity": "Equal opportunity", "odds": "Equalised odds", "accuracy": "Accuracy"}
FIGURES = {"parity": "Gap against the poisoning ratio", "accuracy": "Accuracy against the poisoning ratio"}


def render_fairness(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_fairness` or `fairness_report` gives it.
    """
    environment = template_environment(lambda name: worded(document, own_text(name)))
    environment.filters |= {"estimate": estimate, "percent": percent, "flat": flat}
    figures = FIGURES if curved(document) else {}
    return environment.get_template("fairness.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css") + own_text("fairness.css"),
        drawings=[(heading, inline(ratio_figure(document, metric))) for metric, heading in figures.items()],
        tone=CLASSES.get(document["verdict"]["level"], ""),
        gaps=GAPS,
        ordered=curved(document) or document["generators"],
        tabled=_tabled,
        sheeted=_sheeted,
    )


def _tabled(result: dict[str, Any]) -> list[tuple[str, str, list[int], dict[str, Any]]]:
    """Returns rows of a confusion table: group, true label, predictions, and the rate that they come to."""
    return [
        (group["name"], str(label), group["confusion"][label], group["tpr" if label else "fpr"])
        for group in result["groups"]
        for label in (0, 1)
    ]


def _sheeted(generator: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Returns the sheets of a generator by label."""
    return {label: [sheet for sheet in generator["sheets"] if sheet["label"] == label] for label in (0, 1)}
