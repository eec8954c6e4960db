"""What dataset.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ESTIMATE, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.dataset"
SCHEMA_VERSION = 1
FILE = "dataset.json"

POWER = {"sizes": Some(COUNT), "rejected": Some(ESTIMATE), "median": Some(NUMBER), "needed": Maybe(COUNT)}
SET = {
    "name": TEXT,
    "records": COUNT,
    "people": COUNT,
    "p_value": NUMBER,
    "adjusted": NUMBER,
    "auc": ESTIMATE,
    "effect": NUMBER,
    "towards": ESTIMATE,
    "blind": Maybe({"auc": ESTIMATE, "leaks": FLAG, "p_value": NUMBER}),
    "power": POWER,
    "trained": Maybe(WHOLE),
    "level": TEXT,
}
PERSON = {"number": COUNT, "records": COUNT, "p_value": NUMBER, "adjusted": NUMBER, "flagged": FLAG}
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "noun": TEXT,
    "own": FLAG,
    "level": NUMBER,
    "counts": dict.fromkeys(("unpublished", "people", "features", "permutations", "repeats"), COUNT),
    "attacks": Some(TEXT),
    "sets": Some(SET),
    "people": Maybe(
        {
            "named": TEXT,
            "fdr": NUMBER,
            "judged": FLAG,
            "ranked": WHOLE,
            "flagged": WHOLE,
            "listed": Maybe(TEXT),
            "rows": [PERSON],
        }
    ),
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT]},
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_dataset(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `DatasetReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``dataset.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of suspect sets")
    if fault := next(faults(document, DOCUMENT), None) or next(_sizes(document), None):
        raise InputError(f"{str(path)!r} {fault}: give the verdict again.")
    return document


def _sizes(document: dict[str, Any]) -> Iterator[str]:
    """Says where a power curve does not hold one entry a size, or flags are not as many as said."""
    for i, row in enumerate(document["sets"]):
        for name in ("rejected", "median"):
            if len(row["power"][name]) != len(row["power"]["sizes"]):
                yield f"has {len(row['power'][name])} numbers at sets[{i}].power.{name}, not one for each size"
    people = document["people"]
    if people is not None and people["flagged"] != sum(row["flagged"] for row in people["rows"]):
        yield f"says that {people['flagged']} people are flagged at people, and flags others"
