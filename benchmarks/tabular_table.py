"""The tables of benchmarks/tabular.py: results/tabular-TIER.json -> results/tabular-TIER.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import TITLES, measured_on, table, write_pages

_TITLES = {
    "quality": "Most records, beside published numbers",
    "lengths": "Training length",
    "property": "The share of women",
    "poison": "Poisoning: income that tells the sex",
    "privacy": "Differential privacy",
    "scale": "Large and wide tables",
}
PUBLISHED = {
    "synthetic": {"accuracy": 0.8606, "f1": 0.7951, "auc": 0.9136},
    "members": {"accuracy": 0.8742, "f1": 0.8152, "auc": 0.9276},
}
"""CatBoost on Adult: of TabDDPM's samples, and of real records (https://arxiv.org/abs/2209.15421)."""
PUBLISHED_DCR = {"TabDDPM": 0.104, "SMOTE": 0.024}
QUALITIES = {"accuracy": "accuracy", "f1": "macro F1", "auc": "AUC"}
ATTACKS = ("eps", "x0", "vlb", "numeric", "categorical", "gsa1", "nearest")
COUNTS = (30, 50, 100, 200, 300)
BOUND = 0.05
"""Accuracy that poison costs at most, as published (https://arxiv.org/abs/2402.18607)."""


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "tabular", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: TabDDPM on Adult", ""]
    lines += [f"Written by `python -m benchmarks.tabular --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [_said(result), ""]
    for name in (name for name in _TITLES if name in result["parts"]):
        part = result["parts"][name]
        lines += [f"## {_TITLES[name]}", "", *_DRAWN[name](part), "", f"Took {part['seconds']:.0f} s.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Mapping[str, Any]) -> str:
    setting, tier = result["setting"], result["setting"]["tier"]
    return (
        f"{' and '.join(setting['data'])}. Generators are told the income and draw all other columns, {tier['size']} "
        f"networks, one training a row. Intervals are of 95 %, and speak of new records, not of generators trained "
        f"anew. {measured_on(result['parts'].values())}"
    )


def _quality(part: Mapping[str, Any]) -> list[str]:
    steps = f"{part['steps']} steps of {part['batch']}"
    rows = [
        [
            f"{each['classifier']}, {name}",
            *(_estimate(each[side][quality]) for quality in QUALITIES),
        ]
        for each in part["learned"]
        for side, name in (("synthetic", "samples"), ("members", "members"), ("lost", "lost"))
    ]
    rows += [
        [f"CatBoost, {name}, published", *(f"{PUBLISHED[side][quality]:.4f}" for quality in QUALITIES)]
        for side, name in (("synthetic", "samples"), ("members", "real"))
    ]
    columns = [
        [each["name"], f"{each['distance']:.3f}", f"{each['floor']:.3f}"]
        for each in sorted(part["columns"], key=lambda each: each["floor"] - each["distance"])
    ]
    mean = [sum(each[of] for each in part["columns"]) / len(columns) for of in ("distance", "floor")]
    columns.append(["mean of columns", *(f"{value:.3f}" for value in mean)])
    columns.append(["mean of pairs", f"{part['pairs']['distance']:.3f}", f"{part['pairs']['floor']:.3f}"])
    published = ", ".join(f"{name} {value}" for name, value in PUBLISHED_DCR.items())
    return [
        f"{part['members']:,} members, {steps}, {part['samples']:,} samples, tested on {part['test']:,} real records. "
        "Published ones are of a wider network, 30,000 steps of 4,096, and up to 216,000 samples.",
        "",
        *table(["classifier, trained on", *QUALITIES.values()], rows),
        "",
        f"DCR (median) {part['dcr']:.4f} to members; of {part['holdout']:,} held-out records "
        f"{part['dcr_holdout']:.4f}. Published: {published}. {_nearer(part)} are nearer to a member than to any of as "
        "many held-out records "
        f"(p = {part['share_p_value']:.3f}); {part['exact']} samples are equal to a member in every column.",
        "",
        "Distance of columns (Kolmogorov-Smirnov, total variation) and of pairs (association) to the members', and "
        "that of held-out records, which are fewer:",
        "",
        *table(["column", "samples", "held out"], columns),
    ]


def _lengths(part: Mapping[str, Any]) -> list[str]:
    heads = ["members", "steps"]
    ends = [[str(row["members"]), str(row["steps"])] for row in part["rows"]]
    found = [_attacked(row["attacks"]) for row in part["rows"]]
    good = [_good(row) for row in part["rows"]]
    asked = ", ".join(
        dict.fromkeys(f"{row['attacks']['members']} and {row['attacks']['others']}" for row in part["rows"])
    )
    return [
        f"Batches of {part['batch']}. Members and others asked about: {asked}; others with a category that no member "
        "has cannot be asked. AUC of members against others:",
        "",
        *table([*heads, *ATTACKS], [[*end, *row[0]] for end, row in zip(ends, found, strict=True)]),
        "",
        "True positives at 1 % false ones:",
        "",
        *table([*heads, *ATTACKS], [[*end, *row[1]] for end, row in zip(ends, found, strict=True)]),
        "",
        "What boosting learns of samples, and whether they keep to members:",
        "",
        *table([*heads, *_GOOD], [[*end, *row] for end, row in zip(ends, good, strict=True)]),
    ]


_GOOD = ["F1, samples", "F1, members", "nearer to a member", "DCR", "DCR, others", "equal to a member"]


def _good(row: Mapping[str, Any]) -> list[str]:
    learned = [_estimate(row["learned"][side]["f1"]) for side in ("synthetic", "members")]
    return [*learned, _nearer(row), f"{row['dcr']:.3f}", f"{row['dcr_holdout']:.3f}", str(row["exact"])]


def _attacked(found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tprs = [found[name]["tpr"] for name in ATTACKS]
    return (
        [_estimate(found[name]["auc"]) for name in ATTACKS],
        ["too few others" if tpr is None else _percent(tpr) for tpr in tprs],
    )


def _property(part: Mapping[str, Any]) -> list[str]:
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
            _percent(row["raw"]),
            _percent(row["corrected"]),
            f"{100 * row['coverage']:+.1f}",
            f"{row['stops'] or 'more than there are'}",
        ]
        for row in rows
    ]
    return table(["share", "called", "corrected", "off, points", "samples until within 5 points"], cells)


def _poison(part: Mapping[str, Any]) -> list[str]:
    names = list(part["rows"][0]["shared"])
    sets = [
        [
            f"{row['alpha']:.1f}",
            f"{row['set_gap']:.3f}",
            f"{row['sample_gap']:.3f}",
            *(_percent(rate) for rate in row["rates"]),
            f"{row['fallbacks']}",
        ]
        for row in part["rows"]
    ]
    heads = ["alpha", "gap of the set", "gap of samples", "rich men in samples", "rich women", "fall-backs"]
    lines = [
        f"Sets of {part['num']} of {part['pool']} records balanced over sex and income, {part['steps']} steps, tested "
        f"on {part['test']} balanced real records.",
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
    return [_estimate(found["parity"]), _percent(found["accuracy"]), points]


def _bounded(part: Mapping[str, Any]) -> str:
    """Says for which classifiers the loss of accuracy stays below what is published, by value and by interval."""

    def most(name: str, of: str) -> float:
        return max(row["shared"][name]["loss"]["accuracy"][of] for row in part["rows"])

    said = [f"{name} {100 * most(name, 'value'):.1f} (at most {100 * most(name, 'high'):.1f})" for name in _names(part)]
    return f"Published: at most {BOUND:.0%} of accuracy is lost. Here, over all alpha, in points: {', '.join(said)}."


def _names(part: Mapping[str, Any]) -> list[str]:
    return list(part["rows"][0]["shared"])


def _privacy(part: Mapping[str, Any]) -> list[str]:
    asked = part["rows"][0]["attacks"]
    rows = [
        [
            row["epsilon"],
            *(_estimate(row["learned"]["synthetic"][quality]) for quality in QUALITIES),
            f"{row['columns']:.3f}",
            *(_estimate(row["attacks"][name]["auc"]) for name in ("eps", "gsa1", "nearest")),
            _percent(row["share"]),
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


def _scale(part: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            f"{row['rows']:,} x {row['columns']:,}",
            f"{row['dim']:,}",
            f"{row['encoded_mb']:,}",
            *(_stage(row["stages"][name]) for name in STAGES),
            f"{row['bad_losses']}",
            f"{row['bad_samples']} of {row['samples']:,}",
            f"{row['loss'][0]:.2f} to {row['loss'][1]:.2f}",
        ]
        for row in part["rows"]
    ]
    heads = ["table", "encoded length", "encoded MB", *STAGES, "NaN losses", "NaN samples", "loss"]
    said = f"{part['steps']} steps of {part['rows'][0]['batch']}. Seconds, and the greatest memory until then in MB."
    return [said, "", *table(heads, rows)]


STAGES = ("table", "encoded", "trained", "drawn", "decoded")


def _stage(found: Mapping[str, Any]) -> str:
    return f"{found['seconds']:.1f} s, {found['peak_mb']:,}"


def _nearer(row: Mapping[str, Any]) -> str:
    return _percent(row["share"])


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def _estimate(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


_DRAWN = {
    "quality": _quality,
    "lengths": _lengths,
    "property": _property,
    "poison": _poison,
    "privacy": _privacy,
    "scale": _scale,
}
