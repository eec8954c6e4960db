"""The figure of a report of suspect sets: how often parts of a set are told, against their size."""

from typing import Any

import matplotlib
from matplotlib.ticker import FuncFormatter, NullFormatter

from diffaudit_jax.metrics.power import SURE
from diffaudit_jax.report.dataset_verdict import unit
from diffaudit_jax.report.drawing import FAINT, STYLE, Drawing, band, inline_svg, keys_of, line, new_axes
from diffaudit_jax.report.numbers import percent

MOST_BANDS = 3


@matplotlib.rc_context(STYLE)
def power_figure(document: dict[str, Any]) -> Drawing:
    """Draws the share of random parts of each set that are told from unpublished records, against their size.

    Args:
      document: A report's document.
    """
    rows = document["sets"]
    whose = unit(document)
    title = f"Share of random parts of a set that are told, against the number of {whose}"
    figure, axes = new_axes(f"{whose} of each side", f"told at {percent(document['level'])} confidence")
    keys, sizes = keys_of([row["name"] for row in rows]), sorted({n for row in rows for n in row["power"]["sizes"]})
    for row, key in zip(rows, keys, strict=True):
        n, shares = row["power"]["sizes"], row["power"]["rejected"]
        line(axes, n, [share["value"] for share in shares], key)
        axes.plot(n, [share["value"] for share in shares], "o", color=key.colour, markersize=4)
        if len(rows) <= MOST_BANDS:
            band(axes, n, [share["low"] for share in shares], [share["high"] for share in shares], key)
        if row["power"]["needed"] is not None:
            axes.axvline(row["power"]["needed"], color=key.colour, linewidth=1.0, linestyle=(0, (1, 2)))
    axes.axhline(SURE, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set(xscale="log", xlim=(sizes[0] / 1.06, max(sizes[-1], 1.2 * sizes[0]) * 1.06), ylim=(-0.02, 1.04))
    axes.set_xticks(_apart(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    by_chance = percent(1 - document["level"])
    whom = "One or more of several sets" if len(rows) > 1 else "A set"
    caption = (
        f"{document['counts']['repeats']} random parts of each size, with as many unpublished {whose}. {whom} that the "
        f"model never saw is told in {by_chance} at most. A dotted line marks from where on four parts in five are."
    )
    return Drawing(inline_svg(figure, "power", title), title, caption, keys)


def _apart(sizes: list[int]) -> list[int]:
    """Returns the sizes whose labels do not run into the one before."""
    kept = sizes[:1]
    for size in sizes[1:]:
        if size >= 1.25 * kept[-1]:
            kept.append(size)
    return kept
