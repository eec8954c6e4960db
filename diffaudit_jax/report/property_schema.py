"""What property.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ESTIMATE, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.property"
SCHEMA_VERSION = 1
FILE = "property.json"

RULES = ("hoeffding", "exact", "bernstein")
SHARE = {
    "name": TEXT,
    "samples": COUNT,
    "called": WHOLE,
    "estimate": Maybe(ESTIMATE),
    "unclipped": Maybe(NUMBER),
    "informative": Maybe(FLAG),
    "raw": dict.fromkeys((*RULES, "anytime"), ESTIMATE),
    "budget": Maybe({"sampling": NUMBER, "discriminator": NUMBER}),
    "coverage": Maybe({"has": WHOLE, "images": COUNT, "share": NUMBER, "weighted": FLAG, "off": Maybe(ESTIMATE)}),
}
JUDGED = {"confusion": Some(Some(WHOLE)), "right": Some(ESTIMATE)}
CURVE = {"raw": Some(NUMBER), "estimate": Maybe(Some(NUMBER)), "low": Some(NUMBER), "high": Some(NUMBER)}
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "level": NUMBER,
    "together": NUMBER,
    "property": {"name": TEXT, "values": Some(TEXT), "called": Maybe(TEXT)},
    "counts": {"samples": COUNT, "most": COUNT, "taught": WHOLE, "judged": WHOLE, "left_out": WHOLE},
    "error": Maybe(NUMBER),
    "stopped": FLAG,
    "declared": Maybe(NUMBER),
    "in_turn": FLAG,
    "discriminator": {"name": TEXT, "prompts": [TEXT], "judged": Maybe(JUDGED)},
    "shares": Some(SHARE),
    "classes": [SHARE | {"judged": Maybe(JUDGED)}],
    "against_n": {"n": Some(COUNT), "curves": Some(CURVE)},
    "plan": Some({"error": NUMBER, **dict.fromkeys(RULES, COUNT)}),
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT]},
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_property(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `PropertyReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``property.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of a property")
    if fault := next(faults(document, DOCUMENT), None) or next(_sizes(document), None):
        raise InputError(f"{str(path)!r} {fault}: infer the property again.")
    return document


def _sizes(document: dict[str, Any]) -> Iterator[str]:
    """Says where a list does not hold one entry a value, or a number of samples."""
    values = len(document["property"]["values"])
    shares = values if document["property"]["called"] is None else 1
    for part, found in (("shares", document["shares"]), ("against_n.curves", document["against_n"]["curves"])):
        if len(found) != shares:
            yield f"has {len(found)} entries at {part}, not {shares}"
    for i, curve in enumerate(document["against_n"]["curves"]):
        for name, numbers in curve.items():
            if numbers is not None and len(numbers) != len(document["against_n"]["n"]):
                yield f"has {len(numbers)} numbers at against_n.curves[{i}].{name}, not one for each n"
    places = [("discriminator", document["discriminator"]["judged"])]
    places += [(f"classes[{i}]", each["judged"]) for i, each in enumerate(document["classes"])]
    for place, judged in places:
        if judged and {values} != {len(judged["right"]), len(judged["confusion"]), *map(len, judged["confusion"])}:
            yield f"has {place}.judged that does not go with {values} values"
