"""The tables of benchmarks/interplay.py: results/interplay-TIER.json -> results/interplay-TIER.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import TITLES, measured_on, table, write_pages


def write_tables(out: Path) -> None:
    """Writes the tables of each tier; one that was not measured says so."""
    write_pages(out, "interplay", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    lines = [f"# {TITLES[tier]}: the receiver's audit against the sharer's attack, and the other way round", ""]
    lines += [f"Written by `python -m benchmarks.interplay --tier {tier}`; do not edit.", ""]
    if result is None or not result["parts"]:
        return "\n".join([*lines, "Not measured."]) + "\n"
    setting, tier_of = result["setting"], result["setting"]["tier"]
    lines += [
        f"{setting['data']}. DDPM, {tier_of['recipe']['num_steps']} steps of {tier_of['recipe']['batch_size']}, "
        f"{tier_of['samples']} samples each. {measured_on(result['parts'].values())}",
        "",
    ]
    for name, part in result["parts"].items():
        lines += [f"## {_TITLES[name]}", "", *_DRAWN[name](part)]
        lines += ["", f"Took {part['seconds']:.0f} s, with the generators that were not there yet.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _flags(part: Mapping[str, Any]) -> list[str]:
    counts = list(part["rows"][0]["flagged"])
    rows = [
        [
            f"{row['alpha']:g}" + (f", sharer {row['seed'] + 1}" if row["alpha"] == 0 else ""),
            f"{row['set_gap']:.2f}",
            f"{row['samples']['gap']:.2f}",
            *(f"{row['flagged'][n]:.0%}" for n in counts),
        ]
        for row in part["rows"]
    ]
    said = (
        "Flagged: the intervals of P(long hair | serious) and P(long hair | smiling), corrected and holding together "
        "at 95 %, have nothing in common. Each row is one sharer: below all samples, the share of random subsets "
        "of his. Sets chosen at random have a gap too, by chance; rows of alpha 0 are false alarms where flagged."
    )
    return [said, "", *table(["alpha", "gap of the set", "gap of samples", *(f"n = {n}" for n in counts)], rows)]


def _hides(part: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            f"{row['ratio']:.0%}",
            row["how"],
            str(row["images"]),
            f"{row['corrected']['value']:.1%} [{row['corrected']['low']:.1%}, {row['corrected']['high']:.1%}]",
            *(_copied(row["kinds"][value]) for value in ("1", "0")),
        ]
        for row in part["rows"]
    ]
    said = (
        f"Each declares {part['declared']:.0%}. What is left of the true share is in which images are remembered: "
        "samples of a kind whose nearest image of that kind is one of the sharer's, of those and as many others; 50 % "
        "if nothing is. A kind of which few were repeated is remembered more."
    )
    head = ["true share", "what was done", "images", "inferred", "smiling: nearest is the sharer's"]
    return [said, "", *table([*head, "serious: nearest is the sharer's"], rows)]


def _copied(kind: Mapping[str, Any]) -> str:
    return "none drawn" if kind["copied"] is None else f"{kind['copied']:.0%} of {kind['images']}"


_TITLES = {"flags": "Inference flags poison", "hides": "Resampling hides the share"}
_DRAWN = {"flags": _flags, "hides": _hides}
