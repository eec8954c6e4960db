"""The pieces of a figure: one look, colours with a second sign, and SVG that stands inside a page.

A `Drawing` is inline SVG with words around it. Text that a user chose (attack names, loss names) never enters the
SVG: it stands in the drawing's key, which the page writes as escaped HTML.
"""

import io
import re
from typing import Any, NamedTuple

import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike

from diffaudit_jax.report.numbers import percent

# Okabe and Ito's palette (safe for colour-blind readers), darkest first; each colour comes with its own dash.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ((), (6.0, 2.0), (1.5, 1.5), (8.0, 2.0, 1.5, 2.0), (3.0, 1.5), (10.0, 3.0), (1.0, 3.0))
MEMBER, NONMEMBER, INK, FAINT = "#d55e00", "#0072b2", "#39424e", "#8a94a0"
SIZE = (4.6, 3.7)  # inches of 72 points: one point is one pixel on a phone 390 pixels wide

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "svg.hashsalt": "diffaudit",  # the same document gives the same bytes
    "font.family": "sans-serif",
    "font.size": 11.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e8ec",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
}


class Key(NamedTuple):
    """One entry of a drawing's key: what it is called, and how it looks."""

    label: str
    colour: str
    dash: tuple[float, ...] = ()


class Drawing(NamedTuple):
    """A figure for the page: inline SVG, the sentence that says what is seen, and the key beside it."""

    svg: str
    title: str
    caption: str
    key: tuple[Key, ...] = ()


def keys_of(labels: list[str]) -> tuple[Key, ...]:
    """Gives each label a colour and a dash of its own, as far as they last."""
    return tuple(
        Key(label, COLOURS[i % len(COLOURS)], DASHES[(i + i // len(COLOURS)) % len(DASHES)])
        for i, label in enumerate(labels)
    )


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """Draws the figure as SVG that stands inside a page: scalable, titled, with ids of its own.

    Args:
      figure: What to draw, made inside ``rc_context(STYLE)``.
      name: Prefix of every id, unique on the page.
      title: What is seen, for those who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    head = re.compile(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>')
    svg = head.sub(
        rf'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" \1 role="img" '
        rf'aria-labelledby="{name}-title">',
        svg,
        count=1,
    )
    return svg.replace(">", f'>\n<title id="{name}-title">{escape(title)}</title>', 1)


def new_axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Returns a figure of its own (no pyplot, no global state) with labelled axes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    return figure, axes


def log_percent(axes: Axes, axis: str, low: float) -> None:
    """Makes one axis ("x" or "y") logarithmic, from `low` to 1, and labels it in percent."""
    axes.set(**{f"{axis}scale": "log", f"{axis}lim": (low, 1.0)})
    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(percent))
    getattr(axes, f"{axis}axis").set_minor_formatter(NullFormatter())


def line(axes: Axes, x: ArrayLike, y: ArrayLike, key: Key) -> None:
    """Draws one curve in the colour and the dash of its key; a single point as a dot."""
    dot = "o" if np.size(x) == 1 else ""
    axes.plot(np.asarray(x), np.asarray(y), dot, color=key.colour, linewidth=2.0, dashes=key.dash or (None, None))


def band(axes: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, key: Key) -> None:
    """Fills between two curves in the colour of a key."""
    axes.fill_between(np.asarray(x), np.asarray(low), np.asarray(high), color=key.colour, alpha=0.17, linewidth=0)
