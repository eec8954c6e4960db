"""The figures of a report of a synthetic table: distances to training records, and each column in small."""

from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter

from diffaudit_jax.report.drawing import DASHES, MEMBER, NONMEMBER, STYLE, Drawing, Key, inline_svg, new_axes
from diffaudit_jax.report.numbers import percent

SYNTHETIC, HOLDOUT = Key("synthetic records", MEMBER), Key("held-out records", NONMEMBER, DASHES[1])
WIDTH, HEIGHT = 160, 40


@matplotlib.rc_context(STYLE)
def distance_figure(document: dict[str, Any]) -> Drawing:
    """Draws how far synthetic and held-out records are from the nearest training record.

    Args:
      document: A report's document.
    """
    title = "Distance of synthetic and of held-out records to the closest training record"
    figure, axes = new_axes("distance to the closest training record", "share of records")
    histogram, keys = document["copies"]["histogram"], []
    edges = np.asarray(histogram["edges"])
    for key, counts in ((HOLDOUT, histogram["holdout"]), (SYNTHETIC, histogram["synthetic"])):
        if counts is not None:
            share = np.asarray(counts, float) / max(sum(counts), 1)
            axes.stairs(share, edges, fill=True, color=key.colour, alpha=0.2, hatch=None if key.dash else "////")
            axes.stairs(share, edges, color=key.colour, linewidth=1.6, linestyle=(0, key.dash) if key.dash else "-")
            keys.insert(0, key)
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")
    caption = "Copies are at 0."
    if len(keys) > 1:
        caption += " Where nothing is copied the two shapes lie on each other, or the synthetic one to the right."
    return Drawing(inline_svg(figure, "distance", title), title, caption, tuple(keys))


def spark(bars: dict[str, Any]) -> Markup:
    """Draws one column in small: training records filled, synthetic ones as a line; numbers only, and no text."""
    highest = max(*bars["members"], *bars["synthetic"], 1e-12)
    step = WIDTH / len(bars["labels"])

    def points(shares: list[float]) -> str:
        heights = [HEIGHT - 1 - (HEIGHT - 3) * share / highest for share in shares]
        return " ".join(f"{x:.1f},{y:.1f}" for i, y in enumerate(heights) for x in (i * step, (i + 1) * step))

    floor = HEIGHT - 1
    return Markup(
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="0,{floor} {points(bars["members"])} {WIDTH},{floor}"/>'
        f'<polyline points="{points(bars["synthetic"])}"/></svg>'
    )
