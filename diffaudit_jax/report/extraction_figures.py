"""The figure of a report of extraction: how much is given away of what is there once, ten times, a hundred times."""

from typing import Any

import matplotlib
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from diffaudit_jax.report.drawing import DASHES, MEMBER, NONMEMBER, STYLE, Drawing, Key, band, inline_svg, new_axes
from diffaudit_jax.report.extraction_verdict import trained, unit
from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import percent


@matplotlib.rc_context(STYLE)
def recall_figure(document: dict[str, Any]) -> Drawing:
    """Draws the share of training records that are given away against how often each is in the training set.

    Args:
      document: A report's document.
    """
    what = nouns(document) if document["people"] else "each"
    title = f"Share of {trained(document)} that are given away, by how often {what} {'is' if what == 'each' else 'are'}"
    title += " in the training data"
    figure, axes = new_axes("times in the training data", "given away")
    rows, held_out = document["recall"], f"held-out {unit(document)}"
    times, shares = [row["times"] for row in rows], [row["share"] for row in rows]
    held = next(rule for rule in document["rules"] if rule["name"] == document["decisive"])["heldout"]
    keys = [Key(trained(document), MEMBER)]
    if held is not None:
        keys.append(Key(held_out, NONMEMBER, DASHES[1]))
        ends = [min(times) / 1.5, max(times) * 1.5]
        band(axes, ends, [held["share"]["low"]] * 2, [held["share"]["high"]] * 2, keys[1])
        axes.plot(ends, [held["share"]["value"]] * 2, color=NONMEMBER, linewidth=1.6, dashes=DASHES[1])
    for count, share in zip(times, shares, strict=True):
        axes.plot([count] * 2, [share["low"], share["high"]], color=MEMBER, linewidth=2.0)
        axes.plot([count], [share["value"]], "o", color=MEMBER, markersize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(times))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    axes.set(xlim=(min(times) / 1.5, max(times) * 1.5), ylim=(-0.02, 1.02))
    caption = (
        f"Lines are {percent(document['level'])} intervals over {unit(document)}. The horizontal axis is logarithmic."
    )
    if held is not None:
        caption += f" The dashed line is what the same rule finds of {unit(document)} that the model has not seen."
    return Drawing(inline_svg(figure, "recall", title), title, caption, tuple(keys))
