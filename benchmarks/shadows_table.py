"""The tables and the figure of benchmarks/shadows.py: results/shadows-TIER.json -> shadows-TIER.md and .png."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.markdown import TITLES, measured_on, table, write_pages
from diffaudit_jax.metrics import many_runs_most
from diffaudit_jax.types import write_atomic

_TITLES = {
    "images": "Shadows of images",
    "tables": "Shadows of a table",
    "canaries": "Epsilon from below, by canaries",
    "copies": "Extraction, by how often a record is repeated",
}
PLAIN = ("plain", "quantile")
"""Methods without shadows."""


def write_tables(out: Path) -> None:
    """Writes tables and figure of each tier; one that was not measured says so."""
    write_pages(out, "shadows", document)
    for path in out.glob("shadows-?pu.json"):
        parts = json.loads(path.read_text())["parts"]
        if {"images", "tables"} <= parts.keys():
            write_atomic(path.with_suffix(".png"), figure(parts))


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: shadows, canaries and copies", ""]
    lines += [f"Written by `python -m benchmarks.shadows --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [f"{' and '.join(result['setting']['data'])}. {measured_on(result['parts'].values())}", ""]
    for name in (name for name in _TITLES if name in result["parts"]):
        part = result["parts"][name]
        lines += [f"## {_TITLES[name]}", "", *_DRAWN[name](part, result["setting"]["tier"], tier)]
        lines += ["", f"Took {part['seconds']:.0f} s, with the models that were not there yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _compared(of: str, part: Mapping[str, Any], setting: Mapping[str, Any], tier: str) -> list[str]:
    side, rows = setting[of], part["rows"]
    recipe = side["recipe"]
    said = (
        f"{side['pool']} records, each model trained on a random half, {recipe['num_steps']} steps of "
        f"{recipe['batch_size']}. {side['targets']} models are audited, by {side['times']} times and {side['noises']} "
        f"noises of the eps-loss about all {side['pool']}; quantile regression learns from {part['population']} "
        f"others. "
        f"AUC, and the true positive rate at 1 % false positives, each the mean over the audited models (from least "
        f"to most)."
    )
    lines = [said, ""]
    if of == "images":
        lines += [f"![AUC by the number of shadows](shadows-{tier}.png)", ""]
    groups = [(num, method) for num in _numbers(rows) for method in _methods(rows, num)]
    cells = [
        [method, str(num) if num else "none", *(_spread(_of(rows, num, method), what) for what in ("auc", "tpr"))]
        for num, method in groups
    ]
    lines += table(["score", "shadows", "AUC", "TPR at 1 %"], cells)
    if bound := part.get("many_runs"):
        lines += [
            "",
            f"One record, named beforehand, over the {bound['canaries']} shadows: epsilon is at least "
            f"{bound['epsilon']:.2f} at delta {bound['delta']:g} ({bound['level']:.0%} confidence, binomial limits, "
            f"one outcome a training; that other records are dealt evenly over the shadows is left out). An attack "
            f"that is never wrong would have shown {_most(bound):.2f} by so many.",
        ]
    return lines


def _most(bound: Mapping[str, Any]) -> float:
    """Returns what so many shadows, half of them with the record, can show at most."""
    inside = bound["canaries"] // 2
    return many_runs_most(inside, bound["canaries"] - inside, bound["delta"], level=bound["level"])


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted({row["shadows"] for row in rows})


def _methods(rows: Sequence[Mapping[str, Any]], num: int) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows if row["shadows"] == num))


def _of(rows: Sequence[Mapping[str, Any]], num: int, method: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if (row["shadows"], row["method"]) == (num, method)]


def _spread(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    values = [row[what][0] for row in rows if row[what] is not None]
    if not values:
        return "not resolvable"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _canaries(part: Mapping[str, Any], setting: Mapping[str, Any], tier: str) -> list[str]:
    said = (
        f"One model of {part['trained']} records, trained {part['steps']:,} steps without privacy. Each of the "
        f"canaries was a member by a coin of its own; fewer of them are a random part, and the others are then none. "
        f"Scores are eps-losses, delta is {part['delta']:g}, confidence 95 % of each "
        f"number by itself, not of the table as a whole."
    )
    rows = [
        [
            str(row["canaries"]),
            f"{row['auc'][0]:.2f} [{row['auc'][1]:.2f}, {row['auc'][2]:.2f}]",
            _guessed(row["one_run"]),
            f"{row['one_run']['epsilon']:.2f}",
            f"{row['one_run_fdp']['epsilon']:.2f}",
        ]
        for row in part["rows"]
    ]
    return [said, "", *table(["canaries", "AUC", "right guesses", "epsilon at least", "if Gaussian (f-DP)"], rows)]


def _guessed(bound: Mapping[str, Any]) -> str:
    """Says which guesses a bound rests on; a bound of 0 rests on none."""
    return f"{bound['correct']} of {bound['guesses']}" if bound["epsilon"] else "none"


def _copies(part: Mapping[str, Any], setting: Mapping[str, Any], tier: str) -> list[str]:
    rules = list(part["rows"][0]["rules"])
    times = [each["times"] for each in part["rows"][0]["rules"][rules[0]]["recall"]]
    records = [each["records"] for each in part["rows"][0]["rules"][rules[0]]["recall"]]
    repeated = ", ".join(f"{n} records {t} times" for t, n in zip(times, records, strict=True))
    said = (
        f"A model of {part['trained']} images, {part['distinct']} different ones ({repeated}), trained "
        f"{part['steps']:,} steps. Recall of each multiplicity with its 95 % interval; the last column counts, of "
        f"{part['heldout']} images it was not trained on, those that the rule would call extracted. Clusters are found "
        f"without the training set."
    )
    rows = [
        [
            f"{row['samples']:,}",
            rule,
            *(
                f"{each['share'][0]:.0%} [{each['share'][1]:.0%}, {each['share'][2]:.0%}]"
                for each in row["rules"][rule]["recall"]
            ),
            str(row["rules"][rule]["heldout"]),
            str(row["clusters"]),
        ]
        for row in part["rows"]
        for rule in rules
    ]
    return [said, "", *table(["samples", "rule", *(f"{t} x" for t in times), "held out", "clusters"], rows)]


_DRAWN = {
    "images": lambda part, setting, tier: _compared("images", part, setting, tier),
    "tables": lambda part, setting, tier: _compared("tables", part, setting, tier),
    "canaries": _canaries,
    "copies": _copies,
}


def figure(parts: Mapping[str, Any]) -> bytes:
    """Draws mean AUC against the number of shadows, of images and of a table; PNG."""
    drawn = Figure(figsize=(9, 3.2), layout="constrained")
    for axis, name in zip(drawn.subplots(1, 2), ("images", "tables"), strict=True):
        rows = parts[name]["rows"]
        counts = [num for num in _numbers(rows) if num]
        for method in _methods(rows, counts[0]):
            means = [np.mean([row["auc"][0] for row in _of(rows, num, method)]) for num in counts]
            axis.plot(range(len(counts)), means, "o-", ms=4, label=method)
        for method, style in zip(PLAIN, ("-", "--"), strict=True):
            mean = np.mean([row["auc"][0] for row in _of(rows, 0, method)])
            axis.axhline(mean, color="grey", ls=style, lw=1, label=method)
        axis.set_xticks(range(len(counts)), [str(num) for num in counts])
        axis.set(title=name, xlabel="shadows", ylabel="AUC (0.5 is guessing)")
        axis.legend(fontsize=7)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
