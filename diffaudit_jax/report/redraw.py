"""The page of a saved report again, of any kind, from its JSON alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from diffaudit_jax.report import reconstruction_schema, studies_schema
from diffaudit_jax.report.document import SCHEMA, read_document
from diffaudit_jax.report.page import render
from diffaudit_jax.report.reconstruction_page import render_reconstruction
from diffaudit_jax.report.studies_page import render_study
from diffaudit_jax.types import InputError, write_atomic


class Kind(NamedTuple):
    """A kind of report: the schema of its document, how it is read and checked, and how its page is drawn."""

    schema: str
    read: Callable[[str | os.PathLike[str]], dict[str, Any]]
    render: Callable[[dict[str, Any]], str]


KINDS = {
    "report.json": Kind(SCHEMA, read_document, render),
    reconstruction_schema.FILE: Kind(
        reconstruction_schema.SCHEMA, reconstruction_schema.read_reconstruction, render_reconstruction
    ),
    studies_schema.FILE: Kind(studies_schema.SCHEMA, studies_schema.read_study, render_study),
}
"""By the name of the JSON file."""


def kind_of(path: str | os.PathLike[str]) -> str:
    """Returns which of `KINDS` a folder holds, or a file is by its schema; ``report.json`` if nothing tells."""
    path = Path(path)
    if path.is_dir():
        return next((name for name in KINDS if (path / name).exists()), "report.json")
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return "report.json"
    return next((name for name, kind in KINDS.items() if kind.schema == schema), "report.json")


def redraw(directory: str | os.PathLike[str]) -> Path:
    """Draws ``report.html`` again from a report's JSON, e.g. after the library learned to draw better.

    Args:
      directory: Folder of a saved report, or the path of its JSON file.

    Returns:
      Path of the page, beside the JSON.

    Raises:
      InputError: if there is no readable report (see `read_document`), or its parts do not fit together.
    """
    kind, path = KINDS[kind_of(directory)], Path(directory)
    document = kind.read(directory)
    known = path.is_dir() or path.name in KINDS
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
