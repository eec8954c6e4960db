"""The figures of a report of fairness: a number of every receiver against the poisoning ratio."""

from typing import Any

import matplotlib
from matplotlib.ticker import FixedLocator, NullLocator

from diffaudit_jax.report.drawing import FAINT, STYLE, Drawing, band, inline_svg, keys_of, line, new_axes
from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import percent

CAPTIONS = {
    "parity": "Demographic parity gap of a receiver's classifier on real test images. 0 is fair.",
    "accuracy": "Share of real test images that are told rightly. Poison is hard to notice where this stays as it is.",
}
YLABELS = {"parity": "parity gap", "accuracy": "accuracy"}


def curved(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the generators in the order of their ratios; none, if one has no ratio or there is only one."""
    generators = document["generators"]
    if len(generators) < 2 or any(each["alpha"] is None for each in generators):
        return []
    return sorted(generators, key=lambda each: each["alpha"])


@matplotlib.rc_context(STYLE)
def ratio_figure(document: dict[str, Any], metric: str) -> Drawing:
    """Draws a number of every receiver against the poisoning ratio, with its interval.

    Args:
      document: A document with two generators or more, each with its ratio.
      metric: "parity" or "accuracy".
    """
    title = f"{YLABELS[metric].capitalize()} against the poisoning ratio, by receiver"
    figure, axes = new_axes("poisoning ratio alpha", YLABELS[metric])
    generators = curved(document)
    alphas = [each["alpha"] for each in generators]
    keys = keys_of(document["receivers"])
    # Drawn in reverse, so that the first lies on top.
    for name, key in reversed(list(zip(document["receivers"], keys, strict=True))):
        found = [each["receivers"][name][metric] for each in generators]
        band(axes, alphas, [value["low"] for value in found], [value["high"] for value in found], key)
        line(axes, alphas, [value["value"] for value in found], key)
    axes.xaxis.set_major_locator(FixedLocator(alphas))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_ticklabels([f"{alpha:g}" for alpha in alphas])
    if metric == "parity":
        axes.axhline(0, color=FAINT, linewidth=1.2)
        axes.set_ylim(bottom=-0.01)
    else:
        axes.axhline(0.5, color=FAINT, linewidth=1.2)
        axes.set_ylim(min(0.45, axes.get_ylim()[0]), 1.0)
    caption = f"{worded(document, CAPTIONS[metric])} Bands are {percent(document['level'])} intervals."
    return Drawing(inline_svg(figure, metric, title), title, caption, keys)
