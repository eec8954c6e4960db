"""The figures of a report of reconstructions, each against mu, with epsilon along the top."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from diffaudit_jax.report.drawing import (
    COLOURS,
    DASHES,
    FAINT,
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
from diffaudit_jax.report.numbers import percent
from diffaudit_jax.report.reconstruction_verdict import short

MOST_TICKS = 8
BANDED = ("diffusion", "posterior mean")
BOUNDS = {"uninformed": Key("expected without a prior", INK, DASHES[6]), "prior": Key("the prior by itself", INK)}
UNRELATED = Key("unrelated images", FAINT)
CANDIDATES, MOST = Key("who knows all targets", INK), Key("bound for all attackers", INK, DASHES[6])

Rows = list[dict[str, Any]]


def against_mu(rows: Rows, ylabel: str) -> tuple[Figure, Axes]:
    """Returns axes over a logarithmic mu, with the epsilon of all releases along the top."""
    figure, axes = new_axes("mu of one release", ylabel)
    mus = np.array([row["mu"] for row in rows])
    edges = mus[0] / 1.08, mus[-1] * 1.08
    axes.set(xscale="log", xlim=edges)
    ticks = range(0, len(rows), -(-len(rows) // MOST_TICKS))
    top = axes.twiny()
    top.set(xscale="log", xlim=edges, xlabel="epsilon")
    top.grid(visible=False)
    for each, name in ((axes, "mu"), (top, "epsilon")):
        each.xaxis.set_major_locator(FixedLocator([float(mus[i]) for i in ticks]))
        each.xaxis.set_minor_locator(NullLocator())
        each.xaxis.set_ticklabels([_short(rows[i][name]) for i in ticks])
    return figure, axes


@matplotlib.rc_context(STYLE)
def metric_figure(
    rows: Rows, metric: str, unrelated: dict[str, Any] | None, methods: Mapping[str, str], level: float, name: str
) -> Drawing:
    """Draws one metric of every method against mu, with unrelated images and the bounds it has.

    Args:
      rows: The document's rows.
      metric: Which of its metrics.
      unrelated: That of unrelated images.
      methods: What methods are called.
      level: Confidence level of the intervals.
      name: Prefix of the SVG's ids, unique on the page.
    """
    title = f"{metric.upper()} of reconstructions against mu"
    figure, axes = against_mu(rows, "dB" if metric == "psnr" else metric.upper())
    keys = _method_keys(rows, methods)
    # Drawn in reverse, so that the first lies on top.
    for method, key in reversed(keys.items()):
        _curve(axes, rows, [row["scores"][method][metric] for row in rows], key, banded=method in BANDED)
    extra = []
    if unrelated is not None:
        axes.axhspan(unrelated["low"], unrelated["high"], color=FAINT, alpha=0.25, linewidth=0)
        axes.axhline(unrelated["value"], color=FAINT, linewidth=1.6)
        extra.append(UNRELATED)
    if metric in rows[0]["uninformed"]:
        _curve(axes, rows, [row["uninformed"][metric] for row in rows], BOUNDS["uninformed"], banded=True)
        extra.append(BOUNDS["uninformed"])
    if metric == "mse" and rows[0]["prior_curve"] is not None:
        _curve(axes, rows, [row["prior_curve"] for row in rows], BOUNDS["prior"], banded=True)
        extra.append(BOUNDS["prior"])
    if metric == "mse":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    better = "Lower" if metric in ("mse", "lpips") else "Higher"
    caption = f"{better} is nearer to the target. Means over targets; bands are {percent(level)} intervals."
    return Drawing(inline_svg(figure, name, title), title, caption + _said_of(extra), (*keys.values(), *extra))


@matplotlib.rc_context(STYLE)
def retrieval_figure(rows: Rows, among: int, methods: Mapping[str, str], level: float) -> Drawing:
    """Draws how often a reconstruction is nearest to its own target.

    Args:
      rows: The document's rows.
      among: Targets that it is set against, its own among them.
      methods: What methods are called.
      level: Confidence level of the intervals.
    """
    title = "Share of reconstructions that are nearest to their own target, against mu"
    figure, axes = against_mu(rows, "nearest to its own target")
    keys = _method_keys(rows, methods)
    for method, key in reversed(keys.items()):
        _curve(axes, rows, [row["retrieval"][method] for row in rows], key, banded=method in BANDED)
    extra = [Key("chance", FAINT)]
    if rows[0]["picked"] is not None:
        _curve(axes, rows, [row["picked"]["candidates"] for row in rows], CANDIDATES, banded=False)
        line(axes, _mus(rows), [row["picked"]["bound"] for row in rows], MOST)
        extra += [CANDIDATES, MOST]
    axes.axhline(1 / among, color=FAINT, linewidth=1.6)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    caption = (
        f"By mean squared error, among all {among} targets. Bands are {percent(level)} intervals; grey is chance. An "
        "image that shows the average of all is near to each target and nearest to none."
    )
    return Drawing(inline_svg(figure, "retrieval", title), title, caption, (*keys.values(), *extra))


@matplotlib.rc_context(STYLE)
def bound_figure(rows: Rows) -> Drawing:
    """Draws the bounds on reconstruction, gamma, for each kappa.

    Args:
      rows: The document's rows.
    """
    title = "Bound on the chance of a reconstruction against mu, by the chance of a guess from the prior alone"
    figure, axes = against_mu(rows, "gamma: chance at most")
    keys = keys_of([f"kappa = {short(float(kappa))}" for kappa in rows[0]["rero"]])
    for kappa, key in zip(rows[0]["rero"], keys, strict=True):
        line(axes, _mus(rows), [row["rero"][kappa] for row in rows], key)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    caption = (
        "Whoever comes near enough to a target with the chance kappa by guessing, without the release, does so with at "
        "most gamma from it, whatever near enough means. Where gamma nears 100 %, nothing is promised."
    )
    return Drawing(inline_svg(figure, "bounds", title), title, caption, keys)


@matplotlib.rc_context(STYLE)
def agreement_figure(rows: Rows) -> Drawing:
    """Draws the error that random reconstructions tell of themselves against the true one, of every target.

    Args:
      rows: The document's rows.
    """
    title = "Error told by the agreement of random reconstructions against the true error"
    figure, axes = new_axes("true error of the posterior mean", "error told without the target")
    colours = [matplotlib.colormaps["viridis"](share) for share in np.linspace(0.92, 0.0, len(rows))]
    pairs = [(np.asarray(row["agreement"]["true"]), np.asarray(row["agreement"]["told"])) for row in rows]
    for (true, told), colour in zip(pairs, colours, strict=True):
        axes.plot(np.maximum(true, 1e-12), np.maximum(told, 1e-12), "o", color=colour, markersize=3, alpha=0.7)
    every = np.concatenate([values for pair in pairs for values in pair])
    ends = max(every[every > 0].min(initial=1.0), 1e-6) / 1.3, every.max() * 1.3
    axes.plot(ends, ends, color=FAINT, linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    caption = (
        "Each dot is a target at a mu. Draws from the right posterior lie as far from each other as from the target: "
        "on average, on the line. Below it the attacker is surer than it is right."
    )
    shown = [0, len(rows) - 1] if len(rows) > 1 else [0]
    keys = tuple(Key(f"mu = {rows[i]['mu']:g}", to_hex(colours[i])) for i in shown)
    return Drawing(inline_svg(figure, "agreement", title), title, caption, (*keys, Key("as told", FAINT)))


def _curve(axes: Axes, rows: Rows, values: list[dict[str, Any] | None], key: Key, *, banded: bool) -> None:
    """Draws estimates against mu, those that there are."""
    found = [(row["mu"], value) for row, value in zip(rows, values, strict=True) if value is not None]
    if not found:
        return
    mus = [mu for mu, _ in found]
    if banded:
        band(axes, mus, [value["low"] for _, value in found], [value["high"] for _, value in found], key)
    line(axes, mus, [value["value"] for _, value in found], key)


def _method_keys(rows: Rows, methods: Mapping[str, str]) -> dict[str, Key]:
    found = list(rows[0]["scores"])
    keys = [Key(methods.get(method, method), COLOURS[i % 6], DASHES[i % 6]) for i, method in enumerate(found)]
    return dict(zip(found, keys, strict=True))


def _said_of(extra: list[Key]) -> str:
    said = {
        BOUNDS[
            "uninformed"
        ]: " Without a prior this is to be expected of the release, not clipped; the band holds 95 % of releases.",
        BOUNDS["prior"]: " The prior by itself: its error on public images at the same noise, measured before any "
        "attack; a better prior gets below.",
    }
    return "".join(said.get(key, "") for key in extra)


def _mus(rows: Rows) -> list[float]:
    return [row["mu"] for row in rows]


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
