"""The figure of a report of a property: the share against the number of samples."""

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from diffaudit_jax.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    STYLE,
    Drawing,
    Key,
    band,
    inline_svg,
    keys_of,
    line,
    new_axes,
)
from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import percent

MOST_BANDS = 3
RAW = Key("called so", COLOURS[1], DASHES[1])
HOEFFDING = Key("by Hoeffding for this n alone", COLOURS[1], DASHES[2])
CORRECTED = Key("corrected for errors, at all n together", COLOURS[0])
DECLARED, TRUTH = Key("declared", INK, DASHES[3]), Key("share of training images", COLOURS[2])
REPORTED = Key("reported", INK)


@matplotlib.rc_context(STYLE)
def share_figure(document: dict[str, Any]) -> Drawing:
    """Draws the share against the number of samples: of one value with its bands, of each of several.

    Args:
      document: A report's document.
    """
    title = "Share of samples, and what is inferred from it, against the number of samples"
    figure, axes = new_axes("samples", "share")
    n, curves = np.array(document["against_n"]["n"]), document["against_n"]["curves"]
    if document["property"]["called"] is None:
        keys = keys_of([share["name"] for share in document["shares"]])
        caption = _each(axes, document, n, keys)
    else:
        keys, caption = _one(axes, document, n, curves[0])
    axes.set(xscale="log", xlim=(n[0], n[-1] * 1.06), ylim=_ylim(document, curves))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    return Drawing(inline_svg(figure, "share", title), title, caption, keys)


def _one(axes: Axes, document: dict[str, Any], n: np.ndarray, curve: dict[str, Any]) -> tuple[tuple[Key, ...], str]:
    share, level, raw = document["shares"][0], percent(document["level"]), np.array(curve["raw"])
    half = np.sqrt(math.log(2 / (1 - document["level"])) / (2 * n))
    corrected = curve["estimate"] is not None
    so = "have it" if document.get("read") else "called so"
    banded = CORRECTED if corrected else Key(f"{so}, at all n together", COLOURS[0])
    hoeffding = HOEFFDING._replace(label=f"{so}, {HOEFFDING.label}")
    band(axes, n, curve["low"], curve["high"], banded)
    for limit in (raw - half, raw + half):
        axes.plot(n, limit.clip(0, 1), color=HOEFFDING.colour, linewidth=1.1, dashes=HOEFFDING.dash)
    keys = [banded, hoeffding]
    if corrected:
        line(axes, n, raw, RAW)
        line(axes, n, curve["estimate"], banded)
        keys.insert(1, RAW)
        keys.append(REPORTED)
        _reported(axes, n[-1], share["estimate"], INK)
    else:
        line(axes, n, raw, banded)
    for key, value in _levels(document):
        axes.axhline(value, color=key.colour, linewidth=1.4, dashes=key.dash or (None, None))
        keys.append(key)
    words = (
        "The band holds the share that the generator draws at all n together, with the errors of the discriminator"
        if corrected
        else "The band holds the share that is called so at all n together, and no error of the discriminator"
    )
    if document.get("read"):
        words = "The band holds the share that the generator draws at all n together"
    caption = f"{words} ({level}). The number of samples is logarithmic, and the vertical axis is cut to the later n."
    if corrected:
        caption += " The dot with its bar is the estimate of this page."
    return tuple(keys), caption


def _each(axes: Axes, document: dict[str, Any], n: np.ndarray, keys: tuple[Key, ...]) -> str:
    curves, shares = document["against_n"]["curves"], document["shares"]
    for i, (curve, share, key) in reversed(list(enumerate(zip(curves, shares, keys, strict=True)))):
        if len(curves) <= MOST_BANDS:
            band(axes, n, curve["low"], curve["high"], key)
        line(axes, n, curve["raw"], key)
        if share["estimate"] and len(curves) <= MOST_BANDS:
            # Side by side, so that bars do not hide each other.
            _reported(axes, n[-1] * (1 - 0.02 * i), share["estimate"], key.colour)
    caption = "Lines are the share of samples that is called each value; the number of samples is logarithmic."
    if len(curves) > MOST_BANDS:
        return caption
    dots = " Dots with bars are the estimates, corrected for errors." if shares[0]["estimate"] else ""
    return f"{caption} The bands hold it at all n together ({percent(document['level'])}).{dots}"


def _reported(axes: Axes, n: float, found: dict[str, float], colour: str) -> None:
    ends = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
    axes.errorbar([n], [found["value"]], ends, fmt="o", color=colour, markersize=5, capsize=3, zorder=5, clip_on=False)


def _levels(document: dict[str, Any]) -> list[tuple[Key, float]]:
    coverage, found = document["shares"][0]["coverage"], []
    if document["declared"] is not None:
        found.append((DECLARED, document["declared"]))
    if coverage is not None:
        found.append((TRUTH._replace(label=worded(document, TRUTH.label)), coverage["share"]))
    return found


def _ylim(document: dict[str, Any], curves: list[dict[str, Any]]) -> tuple[float, float]:
    """Cuts to where limits lie from a fourth of the points on: with few samples they hold everything."""
    from_, values = len(document["against_n"]["n"]) // 4, []
    for curve in curves:
        for name in ("raw", "estimate", "low", "high") if len(curves) <= MOST_BANDS else ("raw",):
            values += (curve[name] or [])[from_:]
    if len(curves) <= MOST_BANDS:
        values += [end for share in document["shares"] for end in (share["estimate"] or {}).values()]
    if document["property"]["called"] is not None:
        values += [value for _, value in _levels(document)]
    low, high = min(values), max(values)
    pad = 0.04 * max(high - low, 0.05)
    return max(-0.01, low - pad), min(1.01, high + pad)
