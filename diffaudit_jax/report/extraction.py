"""From samples of a generator to a report of the training records that they give away."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.extraction import Extraction, extract
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.metrics.points import Images
from diffaudit_jax.metrics.recall import beyond_chance, counted, recall
from diffaudit_jax.metrics.rules import Found
from diffaudit_jax.report.attack import estimate_json
from diffaudit_jax.report.exposed import png
from diffaudit_jax.report.extraction_limits import limits
from diffaudit_jax.report.extraction_page import render_extraction
from diffaudit_jax.report.extraction_schema import FILE, SCHEMA, SCHEMA_VERSION, read_extraction
from diffaudit_jax.report.extraction_verdict import verdict
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.nouns import IMAGE, RECORD
from diffaudit_jax.report.saved import Kind, SavedReport
from diffaudit_jax.types import InputError

NUM_PAIRS, NUM_CLUSTERS = 20, 20


class ExtractionReport(SavedReport):
    """A report of what samples give away; schema ``diffaudit.extraction``, version 1."""

    kind = Kind(FILE, SCHEMA, read_extraction, render_extraction)


def extraction_report(
    generated: Images | Table,
    members: Images | Table,
    heldout: Images | Table | None = None,
    *,
    rows: Int[np.ndarray, " members"] | None = None,
    groups: ArrayLike | None = None,
    show_images: int = 0,
    level: float = LEVEL,
    provenance: dict[str, Any] | None = None,
    title: str | None = None,
    **settings: Any,
) -> ExtractionReport:
    """Concludes which training records a generator's samples give away.

    Args:
      generated: Samples, uint8 images [n, *shape] or a table.
      members: The training set, each record as often as it is there.
      heldout: Records of the same source that did not train it; None for a report without a verdict.
      rows: What each member is called; its position if None.
      groups: Person of each record, members first, where whole people were dealt to the sides: then people are counted;
        None if every record is a person's own.
      show_images: How many training images are shown, each beside the sample that gives it away.
      level: Confidence level of each interval.
      provenance: Where the samples come from, as JSON.
      title: Title of the page.
      **settings: Of `metrics.extract`.

    Returns:
      The report.

    Raises:
      InputError: if sides do not fit together, a setting is out of range, or records of a table are to be shown.
    """
    table = isinstance(generated, Table)
    if show_images < 0 or (show_images and table):
        what = "shows images, and these are records of a table: leave it out" if table else "is 0 or more"
        raise InputError(f"show_images {what}, got {show_images}.")
    found = extract(generated, members, heldout, groups=groups, **settings)
    called = np.arange(len(members)) if rows is None else np.asarray(rows)
    decisive, (ours, _) = found.members[-1], _people(found)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or f"Which training {RECORD if table else IMAGE}s the samples give away",
        "level": float(level),
        "noun": RECORD if table else IMAGE,
        "people": groups is not None,
        "counts": {
            "samples": len(generated),
            "members": len(members),
            "distinct": len(found.first),
            "heldout": None if found.heldout is None else len(found.heldout[0].extracted),
        },
        "settings": {name: float(value) for name, value in found.limits._asdict().items()},
        "decisive": decisive.rule,
        "rules": [_rule(found, i, level) for i in range(len(found.members))],
        "recall": [
            {"times": row.times, "records": row.records, "extracted": row.extracted, "share": estimate_json(row.share)}
            for row in recall(decisive, found.times, people=ours, level=level)
        ],
        "eidetic": _eidetic(found),
        "clusters": _clusters(found),
        "pairs": _pairs(found, called[found.first], show_images),
        "provenance": {**(provenance or {}), "versions": versions()},
    }
    if not isinstance(generated, Table) and not isinstance(members, Table):
        _show(document["pairs"][:show_images], generated, members, found)
    return ExtractionReport(document | {"verdict": verdict(document), "limits": limits(document)})


def _people(found: Extraction) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (None, None) if found.people is None else found.people


def _rule(found: Extraction, i: int, level: float) -> dict[str, Any]:
    ours, others = _people(found)
    members, heldout = found.members[i], None if found.heldout is None else found.heldout[i]
    return {
        "name": members.rule,
        "limit": members.limit,
        "records": int(members.extracted.sum()),
        "members": _share(counted(members.extracted, ours), level),
        "heldout": None if heldout is None else _share(counted(heldout.extracted, others), level),
        "copies": _share(members.copies, level),
        "p_value": None if heldout is None else beyond_chance(members, heldout, found.people),
    }


def _share(found: np.ndarray, level: float) -> dict[str, Any]:
    count, of = int(found.sum()), len(found)
    return {"found": count, "of": of, "share": estimate_json(clopper_pearson(count, of, level))}


def _eidetic(found: Extraction) -> list[dict[str, int]]:
    """Returns how many records are near a sample and have k training records near them at most, by k.

    (k, distance, delta)-eidetic memory is defined by distances alone, as the first rule is.
    """
    k, records = np.unique(found.near[found.members[0].extracted], return_counts=True)
    return [{"k": int(each), "records": int(count)} for each, count in zip(k, records.cumsum(), strict=True)]


def _clusters(found: Extraction) -> dict[str, Any]:
    """Returns what is suspected without the members, and how much of it is right."""
    copies = found.members[-1].copies
    rows = [
        {"centre": each.centre, "samples": len(each.samples), "copies": int(copies[each.samples].sum())}
        for each in found.clusters
    ]
    return {"found": len(rows), "right": sum(row["copies"] > 0 for row in rows), "listed": rows[:NUM_CLUSTERS]}


def _pairs(found: Extraction, called: np.ndarray, show: int) -> list[dict[str, Any]]:
    """Returns the records that are given away most clearly, each with the sample that does so."""
    chosen = _ordered(found)[: max(NUM_PAIRS, show)]
    plain, adaptive = found.members[:2]
    return [
        {
            "row": int(called[j]),
            "sample": int(adaptive.sample[j]),
            "times": int(found.times[j]),
            "k": int(found.near[j]),
            "l2": float(plain.value[j]),
            "adaptive": float(adaptive.value[j]),
            "ssim": _finite(found.members, j),
        }
        for j in chosen
    ]


def _ordered(found: Extraction) -> list[int]:
    decisive, adaptive = found.members[-1], found.members[1]
    rows = np.flatnonzero(decisive.extracted)
    return rows[np.argsort(adaptive.value[rows], kind="stable")].tolist()


def _finite(rules: Sequence[Found], j: int) -> float | None:
    value = next((float(each.value[j]) for each in rules if each.rule == "ssim"), np.nan)
    return value if np.isfinite(value) else None


def _show(pairs: list[dict[str, Any]], generated: np.ndarray, members: np.ndarray, found: Extraction) -> None:
    for pair, j in zip(pairs, _ordered(found), strict=False):
        pair["member_png_base64"] = png(members[found.first[j]])
        pair["sample_png_base64"] = png(generated[pair["sample"]])
