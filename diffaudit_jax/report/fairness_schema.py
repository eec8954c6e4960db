"""What fairness.json holds, and how it is read back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ESTIMATE, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Each, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.fairness"
SCHEMA_VERSION = 1
FILE = "fairness.json"

GAPS = {"parity": ESTIMATE, "opportunity": ESTIMATE, "odds": ESTIMATE, "accuracy": ESTIMATE}
GROUP = {
    "name": TEXT,
    "confusion": Some(Some(WHOLE)),
    "positive": ESTIMATE,
    "tpr": ESTIMATE,
    "fpr": ESTIMATE,
    "accuracy": ESTIMATE,
}
RESULT = {**GAPS, "signed_parity": Maybe(ESTIMATE), "groups": Some(GROUP), "loss": Maybe(GAPS)}
SHARE = {"group": TEXT, "label": WHOLE, "estimate": ESTIMATE, "raw": ESTIMATE, "informative": FLAG}
GENERATOR = {
    "name": TEXT,
    "alpha": Maybe(NUMBER),
    "samples": Some(WHOLE),
    "set": Maybe({"gap": Maybe(NUMBER), "information": NUMBER, "method": TEXT}),
    "receivers": Each(RESULT),
    "check": Maybe({"shares": Some(SHARE), "gap": Maybe(ESTIMATE), "dependent": FLAG}),
    "sheets": [{"group": Maybe(TEXT), "label": WHOLE, "count": WHOLE, "png_base64": Maybe(TEXT)}],
}
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "level": NUMBER,
    "labels": TEXT,
    "sensitive": TEXT,
    "receivers": Some(TEXT),
    "clean": Maybe(TEXT),
    "test": {"images": COUNT, "left_out": WHOLE, "balanced": FLAG, "gap": NUMBER, "cells": Each(Some(WHOLE))},
    "discriminator": Maybe({"name": TEXT, "accuracy": NUMBER, "images": COUNT, "level": NUMBER}),
    "verdict": {"level": TEXT, "label": TEXT, "headline": TEXT, "sentences": [TEXT], "of": TEXT},
    "generators": Some(GENERATOR),
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_fairness(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `FairnessReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``fairness.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of fairness")
    if fault := next(faults(document, DOCUMENT), None) or next(_names(document), None):
        raise InputError(f"{str(path)!r} {fault}: audit fairness again.")
    return document


def _names(document: dict[str, Any]) -> Iterator[str]:
    """Says where parts do not name the same generators, receivers or shapes."""
    generators = document["generators"]
    names = [each["name"] for each in generators]
    for part, name in (("clean", document["clean"]), ("verdict.of", document["verdict"]["of"])):
        if name is not None and name not in names:
            yield f"has {name!r} at {part}, which is no generator"
    for i, each in enumerate(generators):
        if (each["check"] is None) != (document["discriminator"] is None):
            yield f"has a discriminator without generators[{i}].check, or the check without"
        if len(each["samples"]) != 2:
            yield f"has {len(each['samples'])} numbers at generators[{i}].samples, not one for each of 2 labels"
        if lacking := [name for name in document["receivers"] if name not in each["receivers"]]:
            yield f"lacks generators[{i}].receivers.{lacking[0]}"
        for name, result in each["receivers"].items():
            if any(len(row) != 2 for group in result["groups"] for row in (group["confusion"], *group["confusion"])):
                yield f"has no table of 2 x 2 at generators[{i}].receivers.{name}.groups"
    for group, counts in document["test"]["cells"].items():
        if len(counts) != 2:
            yield f"has {len(counts)} numbers at test.cells.{group}, not one for each of 2 labels"
