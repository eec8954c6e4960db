"""What tables.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ESTIMATE, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.tables"
SCHEMA_VERSION = 1
FILE = "tables.json"

QUALITY = {"accuracy": ESTIMATE, "f1": ESTIMATE, "auc": ESTIMATE}
COLUMN = {
    "name": TEXT,
    "numeric": FLAG,
    "distance": NUMBER,
    "floor": Maybe(NUMBER),
    "wasserstein": Maybe(NUMBER),
    "wasserstein_floor": Maybe(NUMBER),
    "bars": {
        "labels": Some(TEXT),
        "members": Some(NUMBER),
        "synthetic": Some(NUMBER),
        "holdout": Maybe(Some(NUMBER)),
    },
}
CLOSENESS = {"dcr": NUMBER, "ratio": Maybe(NUMBER), "exact": WHOLE, "records": COUNT}
COPIES = {
    "members": COUNT,
    "synthetic": CLOSENESS,
    "holdout": Maybe(CLOSENESS),
    "each": Maybe(COUNT),
    "share": Maybe(ESTIMATE),
    "p_value": Maybe(NUMBER),
    "histogram": {"edges": Some(NUMBER), "synthetic": Some(WHOLE), "holdout": Maybe(Some(WHOLE))},
}
RISK = {
    "attack": TEXT,
    "of": TEXT,
    "guesses": COUNT,
    "main": WHOLE,
    "baseline": WHOLE,
    "control": Maybe(NUMBER),
    "main_rate": ESTIMATE,
    "baseline_rate": ESTIMATE,
    "control_rate": Maybe(ESTIMATE),
    "risk": ESTIMATE,
}
ATTACK = {"name": TEXT, "auc": ESTIMATE, "p_value": NUMBER, "points": [{"target_fpr": NUMBER, "tpr": Maybe(ESTIMATE)}]}
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "level": NUMBER,
    "label": TEXT,
    "counts": {"members": COUNT, "holdout": Maybe(COUNT), "synthetic": COUNT},
    "efficacy": [{"classifier": TEXT, "synthetic": QUALITY, "members": QUALITY, "lost": QUALITY}],
    "columns": Some(COLUMN),
    "pairs": {"correlation": TEXT, "members": Some(Some(NUMBER)), "difference": Some(Some(NUMBER)),
              "floor": Maybe(Some(Some(NUMBER)))},
    "copies": COPIES,
    "risks": [RISK],
    "membership": Maybe({"members": COUNT, "nonmembers": COUNT, "attacks": Some(ATTACK)}),
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT]},
    "provenance": OBJECT,
    "limits": [TEXT],
}  # fmt: skip


def read_tables(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `TablesReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``tables.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of a synthetic table")
    if fault := next(faults(document, DOCUMENT), None) or next(_sizes(document), None):
        raise InputError(f"{str(path)!r} {fault}: report on the table again.")
    return document


def _sizes(document: dict[str, Any]) -> Iterator[str]:
    """Says where a list does not go with the columns, or with what it is drawn beside."""
    columns, copies = len(document["columns"]), document["copies"]
    for name in ("members", "difference", "floor"):
        square = document["pairs"][name]
        if square is not None and {columns} != {len(square), *map(len, square)}:
            yield f"has pairs.{name} that does not go with {columns} columns"
    for i, column in enumerate(document["columns"]):
        for name in ("members", "synthetic", "holdout"):
            bars = column["bars"][name]
            if bars is not None and len(bars) != len(column["bars"]["labels"]):
                yield f"has {len(bars)} numbers at columns[{i}].bars.{name}, not one for each label"
    for name in ("synthetic", "holdout"):
        counts = copies["histogram"][name]
        if counts is not None and len(counts) != len(copies["histogram"]["edges"]) - 1:
            yield f"has {len(counts)} numbers at copies.histogram.{name}, not one between two edges"
    parts = copies["holdout"], copies["each"], copies["share"], copies["p_value"]
    held_out = {document["counts"]["holdout"] is None, *(part is None for part in parts)}
    if len(held_out) > 1:
        yield "has some numbers of held-out records and not others"
