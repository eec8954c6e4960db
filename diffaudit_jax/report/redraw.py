"""The page of a saved report again, of any kind, from its JSON alone."""

import json
import os
from pathlib import Path

import jinja2

from diffaudit_jax.report.dataset import DatasetReport
from diffaudit_jax.report.extraction import ExtractionReport
from diffaudit_jax.report.fairness import FairnessReport
from diffaudit_jax.report.property import PropertyReport
from diffaudit_jax.report.reconstruction import ReconstructionReport
from diffaudit_jax.report.report import Report
from diffaudit_jax.report.saved import SavedReport
from diffaudit_jax.report.studies import StudyReport
from diffaudit_jax.report.tables import TablesReport
from diffaudit_jax.types import InputError, write_atomic

REPORTS: tuple[type[SavedReport], ...] = (
    Report,
    ExtractionReport,
    DatasetReport,
    ReconstructionReport,
    StudyReport,
    PropertyReport,
    FairnessReport,
    TablesReport,
)


def report_of(path: str | os.PathLike[str]) -> type[SavedReport]:
    """Returns whose report a folder holds, or a file is by its schema; membership's if nothing tells."""
    path = Path(path)
    if path.is_dir():
        return next((report for report in REPORTS if (path / report.kind.file).exists()), Report)
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return Report
    return next((report for report in REPORTS if report.kind.schema == schema), Report)


def redraw(directory: str | os.PathLike[str]) -> Path:
    """Draws ``report.html`` again from a report's JSON, e.g. after the library learned to draw better.

    Args:
      directory: Folder of a saved report, or the path of its JSON file.

    Returns:
      Path of the page, beside the JSON.

    Raises:
      InputError: if there is no readable report (see `read_document`), or its parts do not fit together.
    """
    kind, path = report_of(directory).kind, Path(directory)
    document = kind.read(directory)
    known = path.is_dir() or path.name == kind.file
    path = (path if path.is_dir() else path.parent) / "report.html" if known else path.with_suffix(".html")
    try:
        page = kind.render(document).encode()
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, jinja2.TemplateError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the report in {str(directory)!r} has parts that do not fit together ({type(error).__name__}: {reason}): "
            "write the report again."
        ) from None
    write_atomic(path, page)
    return path
