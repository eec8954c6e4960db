"""The tables of benchmarks/property.py: results/property-TIER.json -> results/property-TIER.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import ABSENT, TITLES, measured_on, table, write_pages

_TITLES = {
    "faces": "Faces that smile",
    "fashion": "Ankle boots among sneakers",
    "discriminators": "Every discriminator",
    "lengths": "Training length",
    "privacy": "Differential privacy",
}


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "property", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: the share of a property behind a generator", ""]
    lines += [f"Written by `python -m benchmarks.property --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    lines += [_said(result), ""]
    for name in (name for name in _TITLES if name in result["parts"]):
        part = result["parts"][name]
        lines += [f"## {_TITLES[name]}", "", *_DRAWN[name](part)]
        lines += ["", f"Took {part['seconds']:.0f} s, with the generators that were not there yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _said(result: Mapping[str, Any]) -> str:
    setting, tier = result["setting"], result["setting"]["tier"]
    return (
        f"{' and '.join(setting['data'])}. Generators are DDPM (small ones predict v, on a cosine schedule), "
        f"{tier['recipe']['num_steps']} steps of {tier['recipe']['batch_size']}, {tier['samples']} samples each by "
        f"DDIM in {tier['steps']} steps, one training a row. Estimates are corrected for the discriminator's errors "
        "(Rogan and Gladen), with 95 % intervals that carry sampling and discriminator, and not coverage: the last is "
        "the estimate less the share of the training set. Errors at n are means over random subsets of n of the "
        f"samples. {measured_on(result['parts'].values())}"
    )


def _ratios(part: Mapping[str, Any]) -> list[str]:
    (tn, fp), (fn, tp) = part["confusion"]
    counts = [each["n"] for each in part["rows"][0]["by_n"]]
    lines = [
        f"Training sets of {part['rows'][0]['members']} images; a residual network tells, trained on half of "
        f"{part['aux']} other images. Of the other half it calls {tp} of {tp + fn} with the property positive, and "
        f"{fp} of {tn + fp} without.",
        "",
        *_estimates("share", part["rows"], "ratio"),
        "",
        "Mean error at n samples, in percentage points (corrected for the discriminator), beside what Hoeffding's "
        "plan promises with 95 %:",
        "",
    ]
    rows = [
        [f"{row['ratio']:.0%}", *(f"{100 * each['corrected']:.1f}" for each in row["by_n"])] for row in part["rows"]
    ]
    rows.append(["planned", *(f"{100 * each['planned']:.1f}" for each in part["rows"][0]["by_n"])])
    rows.append(["within the plan", *(_within(part["rows"], k) for k in range(len(counts)))])
    return lines + table(["share", *(f"n = {n}" for n in counts)], rows)


def _within(rows: Sequence[Mapping[str, Any]], k: int) -> str:
    least, most = (extreme(row["by_n"][k]["within"] for row in rows) for extreme in (min, max))
    return f"{least:.0%} to {most:.0%}" if least < most else f"{least:.0%}"


def _estimates(head: str, rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    cells = [
        [
            f"{row[name]:.0%}" if isinstance(row[name], float) else f"{row[name]}",
            _percent(row["raw"]),
            _percent(row["corrected"]),
            f"{100 * row['coverage']:+.1f}",
            f"{100 * row['budget']['sampling']:.1f}",
            f"{100 * row['budget']['discriminator']:.1f}",
            f"{row['stops'] or 'more than there are'}",
        ]
        for row in rows
    ]
    names = [head, "called", "corrected", "off, points", "sampling", "discriminator", "samples until within 5 points"]
    return table(names, cells)


def _lengths(part: Mapping[str, Any]) -> list[str]:
    said = f"{part['members']} faces of which {part['ratio']:.0%} smile. Samples whose nearest image is one that was "
    said += "trained on, of those and as many others: 50 % if nothing is remembered."
    rows = [
        [str(row["steps"]), f"{row['copied']:.0%}", _percent(row["corrected"]), f"{100 * row['coverage']:+.1f}"]
        for row in part["rows"]
    ]
    return [said, "", *table(["steps", "nearest was trained on", "corrected", "off, points"], rows)]


def _discriminators(part: Mapping[str, Any]) -> list[str]:
    lines = _estimates("discriminator", part["rows"], "name")
    accuracy = [f"{row['name']} {row['accuracy']:.1%}" for row in part["rows"]]
    absent = ", ".join(part["absent"])
    return [*lines, "", f"Right on held-out images: {', '.join(accuracy)}. {absent}: {ABSENT} (no published weights)."]


def _privacy(part: Mapping[str, Any]) -> list[str]:
    return _estimates("epsilon", part["rows"], "epsilon")


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


_DRAWN = {
    "faces": _ratios,
    "fashion": _ratios,
    "discriminators": _discriminators,
    "lengths": _lengths,
    "privacy": _privacy,
}
