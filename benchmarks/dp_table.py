"""The table and the figure of benchmarks/dp.py: results/dp-TIER.json -> results/dp-TIER.md and dp-TIER.png."""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.markdown import ABSENT, TITLES, measured_on, table, write_pages
from diffaudit_jax.types import write_atomic


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
    head = ["epsilon", "noise multiplier", "Fréchet distance", *names, "empirical lower bound"]
    lines += [_said(result), "", f"![AUC and Fréchet distance against epsilon](dp-{tier}.png)", ""]
    return "\n".join([*lines, *table(head, map(_cells, rows))]) + "\n"


def _said(result: Mapping[str, Any]) -> str:
    tier, recipe = result["setting"]["tier"], result["setting"]["tier"]["recipe"]
    setting = result["setting"]
    return (
        f"{setting['data']}: {tier['members']} members, {recipe['num_steps']} steps of {recipe['batch_size']} on "
        f"average, draws averaged for each: {tier['num_noises']}, delta {tier['delta']:g}; inf is plain training. "
        f"{tier['samples']} samples against {tier['nonmembers']} held-out images; members themselves are at "
        f"{result['floor']:.2f}. Attacks: AUC with its 95 % interval, and the true positive rate at 1 % false "
        f"positives; one training each. {measured_on(result['models'].values())}"
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
        ABSENT,
    ]


def figure(result: Mapping[str, Any]) -> bytes:
    """Draws AUC of every attack, and the Fréchet distance, against epsilon; PNG."""
    rows = sorted(result["models"].items(), key=lambda row: float(row[0]))
    names = ["plain" if math.isinf(float(epsilon)) else f"{float(epsilon):g}" for epsilon, _ in rows]
    places = np.arange(len(rows))
    drawn = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    for shift, name in enumerate(rows[0][1]["attacks"]):
        values = np.array([row["attacks"][name]["auc"] for _, row in rows])
        error = np.abs(values[:, 1:] - values[:, :1]).T
        left.errorbar(places + 0.06 * (shift - 3), values[:, 0], yerr=error, fmt="o", ms=4, lw=1, label=name)
    left.axhline(0.5, color="grey", lw=1)
    left.set(xlabel="epsilon", ylabel="AUC (0.5 is guessing)")
    left.legend(fontsize=7)
    right.plot(places, [row["frechet"] for _, row in rows], "o-")
    right.axhline(result["floor"], color="grey", lw=1)
    right.set(xlabel="epsilon", ylabel="Fréchet distance (lower is better)")
    for axis in (left, right):
        axis.set_xticks(places, names)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
