"""What study.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.reconstruction_schema import OPEN
from diffaudit_jax.report.schema import COUNT, ESTIMATE, NUMBER, OBJECT, TEXT, WHOLE, Each, Kind, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.study"
SCHEMA_VERSION = 1
FILE = "study.json"
KINDS = ("noise", "rounds", "seen", "priors", "sizes")

DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "study": Kind(f"one of {', '.join(KINDS)}", lambda value: isinstance(value, str) and value in KINDS),
    "level": NUMBER,
    "together": NUMBER,
    "delta": NUMBER,
    "counts": {"targets": COUNT, "known": Maybe(WHOLE), "public": WHOLE},
    "attacker": {"method": TEXT, "steps": COUNT, "classes": TEXT},
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT]},
    "rows": Some({"mu": NUMBER, "epsilon": NUMBER}),
    "variants": Some({"name": TEXT, "targets": COUNT, "scores": Each(Some(Maybe(ESTIMATE)))}),
    "differences": [
        {
            "name": TEXT,
            "than": TEXT,
            "mu_ratio": NUMBER,
            "scores": Each(Some(ESTIMATE)),
            "share": Some(Maybe(ESTIMATE)),
        }
    ],
    "columns": [{"of": Maybe(TEXT), "name": TEXT, "values": Some(Maybe(OPEN))}],
    "facts": [{"of": TEXT, "name": TEXT, "value": Maybe(OPEN), "reason": TEXT}],
    "notes": [TEXT],
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_study(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `StudyReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``study.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of a study")
    if fault := next(faults(document, DOCUMENT), None) or next(_lengths(document), None):
        raise InputError(f"{str(path)!r} {fault}: study again.")
    return document


def _lengths(document: dict[str, Any]) -> Iterator[str]:
    """Says where a list does not hold one number a mu."""
    num = len(document["rows"])
    lists = [(f"columns[{i}].values", column["values"]) for i, column in enumerate(document["columns"])]
    for part in ("variants", "differences"):
        for i, each in enumerate(document[part]):
            lists += [(f"{part}[{i}].scores.{metric}", values) for metric, values in each["scores"].items()]
    lists += [(f"differences[{i}].share", each["share"]) for i, each in enumerate(document["differences"])]
    for place, values in lists:
        if len(values) != num:
            yield f"has {len(values)} numbers at {place}, not one for each of {num} values of mu"
    for i, each in enumerate(document["variants"]):
        if "mse" not in each["scores"]:
            yield f"lacks variants[{i}].scores.mse"
