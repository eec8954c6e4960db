"""The table and the figure of benchmarks/dp.py: results/dp-TIER.json -> results/dp-TIER.md and dp-TIER.png."""

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.markdown import TITLES, measured_on, table, write_pages
from diffaudit_jax.types import write_atomic

KINDS = {"one_run": "any mechanism", "fdp": "f-DP"}


def write_tables(out: Path) -> None:
    """Writes table and figure of each tier; one that was not measured says so."""
    write_pages(out, "dp", document)
    for path in out.glob("dp-?pu.json"):
        if (result := json.loads(path.read_text()))["models"]:
            write_atomic(path.with_suffix(".png"), figure(result))


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: what privacy buys", ""]
    lines += [f"Written by `python -m benchmarks.dp --tier {tier}`; do not edit.", ""]
    if result is None or not result["models"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    rows = sorted(result["models"].items(), key=lambda row: float(row[0]))
    names = list(rows[0][1]["attacks"])
    head = ["epsilon", "noise multiplier", "Fréchet distance", *names, "empirical lower bound", "the same, f-DP"]
    lines += [_said(result), "", f"![AUC, Fréchet distance and lower bounds against epsilon](dp-{tier}.png)", ""]
    return "\n".join([*lines, *table(head, map(_cells, rows))]) + "\n"


def _said(result: Mapping[str, Any]) -> str:
    tier, recipe = result["setting"]["tier"], result["setting"]["tier"]["recipe"]
    setting, sizes = result["setting"], result["sizes"]
    bound = next(iter(result["models"].values()))["lower_bound"]
    return (
        f"{setting['data']}: {sizes['trained']} images trained on, {recipe['num_steps']} steps of "
        f"{recipe['batch_size']} on average, draws averaged for each: {tier['num_noises']}, delta {tier['delta']:g}; "
        f"inf is plain training. {tier['samples']} samples against {sizes['held_out']} held-out images; members "
        f"themselves are at {result['floor']:.2f}. Attacks: AUC with its 95 % interval, and the true positive rate at "
        f"1 % false positives; one training each. {bound['canaries']} images had a coin each. Lower bounds of epsilon: "
        f"the best attack's, each kind for all attacks together at {bound['level']:.0%}; the f-DP one assumes that "
        f"training trades errors off as a Gaussian release does. {measured_on(result['models'].values())}"
    )


def _cells(row: tuple[str, Any]) -> list[str]:
    epsilon, model = row
    noise = model["noise_multiplier"]
    attacks = [
        f"{each['auc'][0]:.2f} [{each['auc'][1]:.2f}, {each['auc'][2]:.2f}], "
        f"{'?' if each['tpr'] is None else format(each['tpr'][0], '.0%')}"
        for each in model["attacks"].values()
    ]
    return [
        f"{float(epsilon):g}",
        "none" if noise is None else f"{noise:.2f}",
        f"{model['frechet']:.1f}",
        *attacks,
        *(f"{epsilon:.2f} ({name})" if epsilon else "0" for name, epsilon in map(best(model), KINDS)),
    ]


def best(model: Mapping[str, Any]) -> Callable[[str], tuple[str, float]]:
    """Returns what tells the attack with the best lower bound of a kind, and that bound."""
    bound = model["lower_bound"]

    def told(kind: str) -> tuple[str, float]:
        return bound["best"][kind], max(attack[kind]["epsilon"] for attack in bound["attacks"])

    return told


def figure(result: Mapping[str, Any]) -> bytes:
    """Draws AUC of every attack, the Fréchet distance, and what attacks show epsilon to be, against epsilon; PNG."""
    rows = sorted(result["models"].items(), key=lambda row: float(row[0]))
    names = ["plain" if math.isinf(float(epsilon)) else f"{float(epsilon):g}" for epsilon, _ in rows]
    places = np.arange(len(rows))
    drawn = Figure(figsize=(12, 3.2), layout="constrained")
    left, middle, right = drawn.subplots(1, 3)
    for shift, name in enumerate(rows[0][1]["attacks"]):
        values = np.array([row["attacks"][name]["auc"] for _, row in rows])
        error = np.abs(values[:, 1:] - values[:, :1]).T
        left.errorbar(places + 0.06 * (shift - 3), values[:, 0], yerr=error, fmt="o", ms=4, lw=1, label=name)
    left.axhline(0.5, color="grey", lw=1)
    left.set(xlabel="epsilon", ylabel="AUC (0.5 is guessing)")
    left.legend(fontsize=7)
    middle.plot(places, [row["frechet"] for _, row in rows], "o-")
    middle.axhline(result["floor"], color="grey", lw=1)
    middle.set(xlabel="epsilon", ylabel="Fréchet distance (lower is better)")
    for axis in (left, middle):
        axis.set_xticks(places, names)
    _draw_bounds(right, rows, names)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _draw_bounds(axis: Axes, rows: list[tuple[str, Any]], names: list[str]) -> None:
    """Draws lower bounds against the accountant's epsilon, which is the diagonal; plain training stands at the right.

    Both axes are logarithmic, and a bound of 0 lies on the lower edge.
    """
    finite = [float(epsilon) for epsilon, _ in rows if math.isfinite(float(epsilon))] or [1.0]
    places = [float(epsilon) if math.isfinite(float(epsilon)) else 2 * finite[-1] for epsilon, _ in rows]
    floor = min(0.1, finite[0] / 4)
    axis.plot([finite[0], finite[-1]], [finite[0], finite[-1]], color="grey", lw=1, label="accountant")
    for (kind, label), mark in zip(KINDS.items(), "os", strict=True):
        bounds = [best(row)(kind)[1] for _, row in rows]
        axis.plot(places, np.maximum(bounds, floor), mark, ms=5, label=f"lower bound, {label}", clip_on=False)
    axis.set(xscale="log", yscale="log", xlabel="epsilon", ylabel="epsilon that attacks show")
    axis.set_ylim(floor, 1.3 * places[-1])
    axis.set_xticks(places, names)
    axis.minorticks_off()
    axis.legend(fontsize=7)
