"""The tables of benchmarks/tabular.py on what samples show of groups: their share, poison, and what privacy hides."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import table

QUALITIES = {"accuracy": "accuracy", "f1": "macro F1", "auc": "AUC"}
BOUND = 0.05
"""Accuracy that poison costs at most, as published (https://arxiv.org/abs/2402.18607)."""
COUNTS = (30, 50, 100, 200, 300)


def property_lines(part: Mapping[str, Any]) -> list[str]:
    """Returns the lines on the share of women."""
    (tn, fp), (fn, tp) = part["rows"][0]["told"]["confusion"]
    lines = [
        f"Training sets of {part['rows'][0]['members']} records, {part['steps']} steps. Counted: the column of the "
        f"samples. Told: boosting on {part['aux']} other records sees all columns but the sex, and is corrected; of "
        f"{tp + fn} women it calls {tp} so, and {fp} of {tn + fp} men.",
        "",
    ]
    for way, name in (("counted", "Counted:"), ("told", "Told:")):
        rows = [{"ratio": row["ratio"], **row[way]} for row in part["rows"]]
        counts = [each["n"] for each in rows[0]["by_n"] if each["n"] in COUNTS]
        errors = [
            [f"{row['ratio']:.0%}", *(f"{100 * each['corrected']:.1f}" for each in row["by_n"] if each["n"] in counts)]
            for row in rows
        ]
        errors.append(["planned", *(f"{100 * e['planned']:.1f}" for e in rows[0]["by_n"] if e["n"] in counts)])
        lines += [name, "", *_shares(rows), "", "Mean error at n samples, in percentage points:", ""]
        lines += [*table(["share", *(f"n = {n}" for n in counts)], errors), ""]
    return lines[:-1]


def _shares(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        [
            f"{row['ratio']:.0%}",
            percent(row["raw"]),
            percent(row["corrected"]),
            f"{100 * row['coverage']:+.1f}",
            f"{row['stops'] or 'more than there are'}",
        ]
        for row in rows
    ]
    return table(["share", "called", "corrected", "off, points", "samples until within 5 points"], cells)


def poison_lines(part: Mapping[str, Any]) -> list[str]:
    """Returns the lines on poison."""
    names = list(part["rows"][0]["shared"])
    sets = [
        [
            f"{row['alpha']:.1f}",
            f"{row['set_gap']:.3f}",
            f"{row['sample_gap']:.3f}",
            *(percent(rate) for rate in row["rates"]),
        ]
        for row in part["rows"]
    ]
    heads = ["alpha", "gap of the set", "gap of samples", "rich men in samples", "rich women"]
    lines = [
        f"Sets of {part['num']} of {part['pool']} records balanced over sex and income, {part['steps']} steps, tested "
        f"on {part['test']} balanced real records. Chosen by the cells alone: how far a "
        "record tells the income is not looked at.",
        "",
        *table(heads, sets),
    ]
    for side, told in (("shared", "samples"), ("set", "the sets themselves")):
        judged = [
            [f"{row['alpha']:.1f}", *(cell for name in names for cell in _judged(row[side][name]))]
            for row in part["rows"]
        ]
        head = ["alpha", *(f"{name}, {what}" for name in names for what in ("parity gap", "accuracy", "lost"))]
        lines += [
            "",
            f"Classifiers trained on {told}: parity gap, accuracy, and accuracy lost (points) against alpha 0:",
        ]
        lines += ["", *table(head, judged)]
    return [*lines, "", _bounded(part)]


def _judged(found: Mapping[str, Any]) -> list[str]:
    lost = found["loss"]["accuracy"]
    points = f"{100 * lost['value']:+.1f} [{100 * lost['low']:+.1f}, {100 * lost['high']:+.1f}]"
    return [estimate(found["parity"]), percent(found["accuracy"]), points]


def _bounded(part: Mapping[str, Any]) -> str:
    """Says for which classifiers the loss of accuracy stays below what is published, by value and by interval."""

    def most(name: str, of: str) -> float:
        return max(row["shared"][name]["loss"]["accuracy"][of] for row in part["rows"])

    said = [f"{name} {100 * most(name, 'value'):.1f} (at most {100 * most(name, 'high'):.1f})" for name in _names(part)]
    return f"Published: at most {BOUND:.0%} of accuracy is lost. Here, over all alpha, in points: {', '.join(said)}."


def _names(part: Mapping[str, Any]) -> list[str]:
    return list(part["rows"][0]["shared"])


def privacy_lines(part: Mapping[str, Any]) -> list[str]:
    """Returns the lines on differential privacy."""
    asked = part["rows"][0]["attacks"]
    rows = [
        [
            row["epsilon"],
            *(estimate(row["learned"]["synthetic"][quality]) for quality in QUALITIES),
            f"{row['columns']:.3f}",
            *(estimate(row["attacks"][name]["auc"]) for name in ("eps", "gsa1", "nearest")),
            percent(row["share"]),
            f"{100 * (row['share']['value'] - part['truth']):+.1f}",
        ]
        for row in part["rows"]
    ]
    heads = ["epsilon", *(f"boosting, {name}" for name in QUALITIES.values()), "distance of columns"]
    heads += ["AUC, eps", "AUC, gsa1", "AUC, nearest", "women in samples", "off, points"]
    return [
        f"{part['members']:,} members, {part['steps']} steps of {part['batch']}, delta {part['delta']:g}; without "
        f"privacy the same steps. The encoder has seen the members, which epsilon does not cover. {part['truth']:.1%} "
        f"of members are women. Asked about: {asked['members']} members and {asked['others']} others.",
        "",
        *table(heads, rows),
    ]


def percent(found: Mapping[str, float]) -> str:
    """Returns a share and its interval."""
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def estimate(found: Mapping[str, float]) -> str:
    """Returns a value and its interval."""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
