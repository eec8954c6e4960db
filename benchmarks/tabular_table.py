"""The tables of benchmarks/tabular.py: results/tabular-TIER.json -> results/tabular-TIER.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import TITLES, measured_on, table, write_pages
from benchmarks.tabular_shares_table import (
    QUALITIES,
    estimate,
    percent,
    poison_lines,
    privacy_lines,
    property_lines,
)

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
ATTACKS = ("eps", "x0", "vlb", "numeric", "categorical", "gsa1", "nearest")


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
            *(estimate(each[side][quality]) for quality in QUALITIES),
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
    learned = [estimate(row["learned"][side]["f1"]) for side in ("synthetic", "members")]
    return [*learned, _nearer(row), f"{row['dcr']:.3f}", f"{row['dcr_holdout']:.3f}", str(row["exact"])]


def _attacked(found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    tprs = [found[name]["tpr"] for name in ATTACKS]
    return (
        [estimate(found[name]["auc"]) for name in ATTACKS],
        ["too few others" if tpr is None else percent(tpr) for tpr in tprs],
    )


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
    return percent(row["share"])


_DRAWN = {
    "quality": _quality,
    "lengths": _lengths,
    "property": property_lines,
    "poison": poison_lines,
    "privacy": privacy_lines,
    "scale": _scale,
}
