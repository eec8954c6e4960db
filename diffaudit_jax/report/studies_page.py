"""The page of a study, from its JSON: like `page`, nothing is loaded and nothing runs."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.ticker import FuncFormatter, NullFormatter

from diffaudit_jax.report.drawing import STYLE, Drawing, band, inline_svg, keys_of, line
from diffaudit_jax.report.numbers import estimate, percent
from diffaudit_jax.report.page import flat, inline, own_text, template_environment
from diffaudit_jax.report.reconstruction_figures import against_mu
from diffaudit_jax.report.reconstruction_page import HEADINGS
from diffaudit_jax.report.reconstruction_verdict import bounded, short
from diffaudit_jax.report.studies_verdict import change, plain

CLASSES = {
    "cheap": "detected",
    "costly": "not-detected",
    "add": "not-detected",
    "apart": "wrong-way",
    "remembered": "split-leaks",
    "memory": "split-leaks",
    "forgotten": "not-detected",
}
VARIANTS = {
    "noise": "what the attacker knows of the noise",
    "rounds": "how often each target is released",
    "seen": "whether targets trained the prior",
    "priors": "the prior",
    "sizes": "the side of images, each with a prior of its own",
}


@matplotlib.rc_context(STYLE)
def error_figure(document: dict[str, Any]) -> Drawing:
    """Draws the mean squared error of every variant against mu, with its interval.

    Args:
      document: A study's document.
    """
    title = "Mean squared error of reconstructions against mu, by variant"
    figure, axes = against_mu(document["rows"], "mean squared error")
    mus = [row["mu"] for row in document["rows"]]
    keys = keys_of([variant["name"] for variant in document["variants"]])
    # Drawn in reverse, so that the first lies on top.
    for variant, key in reversed(list(zip(document["variants"], keys, strict=True))):
        found = [(mu, value) for mu, value in zip(mus, variant["scores"]["mse"], strict=True) if value]
        at = [mu for mu, _ in found]
        band(axes, at, [value["low"] for _, value in found], [value["high"] for _, value in found], key)
        line(axes, at, [value["value"] for _, value in found], key)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    caption = f"Lower is nearer to the target. Means over targets; bands are {percent(document['level'])} intervals."
    return Drawing(inline_svg(figure, "error", title), title, caption, keys)


def render_study(document: dict[str, Any]) -> str:
    """Returns the report as one HTML page for phone, desktop and paper.

    Args:
      document: As `read_study` or `study_report` gives it.
    """
    environment = template_environment()
    environment.filters |= {
        "estimate": estimate, "percent": percent, "flat": flat, "bounded": bounded, "short": short, "change": change,
        "plain": plain, "metric": lambda name: HEADINGS.get(name, name),
    }  # fmt: skip
    names = dict.fromkeys(fact["name"] for fact in document["facts"])
    return environment.get_template("studies.html").render(
        document=document,
        css=own_text("page.css") + own_text("reconstruction.css"),
        figure=inline(error_figure(document)),
        tone=CLASSES.get(document["verdict"]["level"], ""),
        varied=VARIANTS[document["study"]],
        facts={name: _by_variant(document, name) for name in names},
    )


def _by_variant(document: dict[str, Any], name: str) -> Mapping[str, dict[str, Any]]:
    return {fact["of"]: fact for fact in document["facts"] if fact["name"] == name}
