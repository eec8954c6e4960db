"""What extraction.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ESTIMATE, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.extraction"
SCHEMA_VERSION = 1
FILE = "extraction.json"

SHARE = {"found": WHOLE, "of": COUNT, "share": ESTIMATE}
RULE = {
    "name": TEXT,
    "limit": NUMBER,
    "records": WHOLE,
    "members": SHARE,
    "heldout": Maybe(SHARE),
    "copies": SHARE,
    "p_value": Maybe(NUMBER),
}
PAIR = {"row": WHOLE, "sample": WHOLE, "times": COUNT, "k": COUNT, "l2": NUMBER, "adaptive": NUMBER,
        "ssim": Maybe(NUMBER)}  # fmt: skip
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "level": NUMBER,
    "noun": TEXT,
    "people": FLAG,
    "counts": {"samples": COUNT, "members": COUNT, "distinct": COUNT, "heldout": Maybe(COUNT)},
    "settings": {"delta": NUMBER, "alpha": NUMBER, "neighbours": NUMBER, "likeness": NUMBER},
    "decisive": TEXT,
    "rules": Some(RULE),
    "recall": Some({"times": COUNT, "records": COUNT, "extracted": WHOLE, "share": ESTIMATE}),
    "eidetic": [{"k": COUNT, "records": COUNT}],
    "clusters": {"found": WHOLE, "right": WHOLE, "listed": [{"centre": WHOLE, "samples": COUNT, "copies": WHOLE}]},
    "pairs": [PAIR],
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT]},
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_extraction(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `ExtractionReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``extraction.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of what samples give away")
    if fault := next(faults(document, DOCUMENT), None) or next(_parts(document), None):
        raise InputError(f"{str(path)!r} {fault}: extract again.")
    return document


def _parts(document: dict[str, Any]) -> Iterator[str]:
    """Says where parts do not go together."""
    names = [rule["name"] for rule in document["rules"]]
    if document["decisive"] not in names:
        yield f"has {document['decisive']!r} at decisive, none of its rules {', '.join(names)}"
    for rule in document["rules"]:
        parts = document["counts"]["heldout"], rule["heldout"], rule["p_value"]
        if len({part is None for part in parts}) > 1:
            yield "has some numbers of held-out records and not others"
