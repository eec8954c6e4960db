"""What reconstruction.json holds, and how it is read back."""

import os
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, ENTRIES, ESTIMATE, NUMBER, OBJECT, TEXT, WHOLE, Each, Maybe, Some, faults
from diffaudit_jax.types import InputError

SCHEMA = "diffaudit.reconstruction"
SCHEMA_VERSION = 1
FILE = "reconstruction.json"

# An end that lies beyond the grid, or a number that is infinite, is null.
OPEN = {"value": NUMBER, "low": Maybe(NUMBER), "high": Maybe(NUMBER)}
ROW = {
    "mu": NUMBER,
    "epsilon": NUMBER,
    "sigma": NUMBER,
    "believed": Maybe(NUMBER),
    "scores": Each(Each(Maybe(ESTIMATE))),
    "relative": Each(Maybe(OPEN)),
    "retrieval": Each(ESTIMATE),
    "uninformed": Each(ESTIMATE),
    "prior_curve": Maybe(ESTIMATE),
    "rero": Each(NUMBER),
    "picked": Maybe({"candidates": ESTIMATE, "bound": NUMBER, "training": Maybe(ESTIMATE)}),
    "near": Maybe({"bound": NUMBER, "within": Each(ESTIMATE)}),
    "agreement": {"error": ESTIMATE, "ratio": ESTIMATE, "rank": ESTIMATE, "told": Some(NUMBER), "true": Some(NUMBER)},
}
TRANSITION = {"mu": Maybe(OPEN), "half": NUMBER, "progress": Some(NUMBER), "reason": TEXT}
CELL = {"release": TEXT, "diffusion": TEXT, "mean": TEXT, "samples": Some(TEXT), "spread": TEXT}
DOCUMENT = {
    "created": TEXT,
    "title": TEXT,
    "level": NUMBER,
    "delta": NUMBER,
    "releases": COUNT,
    "counts": {"targets": COUNT, "known": Maybe(WHOLE), "public": WHOLE},
    "attacker": {"clip": TEXT, "noise": TEXT, "typical_norm": Maybe(NUMBER), "steps": COUNT, "samples": COUNT},
    "verdict": {
        "level": TEXT,
        "label": TEXT,
        "headline": TEXT,
        "sentences": [TEXT],
        "from_mu": Maybe(NUMBER),
        "unseen_mu": Maybe(NUMBER),
    },
    "rows": Some(ROW),
    "unrelated": Each(Maybe(ESTIMATE)),
    "among": COUNT,
    "training": Maybe({"sampling_prob": NUMBER, "num_steps": COUNT}),
    "near": Maybe({"eta": NUMBER, "kappa": ESTIMATE}),
    "transition": Each(Each(TRANSITION)),
    "pictures": Maybe({"of": TEXT, "most_spread": NUMBER, "images": Some({"target": TEXT, "rows": Some(CELL)})}),
    "upsampled": Maybe(ENTRIES),
    "provenance": OBJECT,
    "limits": [TEXT],
}


def read_reconstruction(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `ReconstructionReport.save` wrote, and checks every part of it.

    Args:
      path: The file ``reconstruction.json``, or the folder that holds it.

    Raises:
      InputError: if the file is missing, is not JSON, is not such a report, is newer than this library, lacks a part,
        or has a wrong value in one.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a report of reconstructions")
    if fault := next(faults(document, DOCUMENT), None):
        raise InputError(f"{str(path)!r} {fault}: reconstruct again.")
    return document
