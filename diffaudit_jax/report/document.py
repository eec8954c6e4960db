"""The JSON document of a report: its schema, and how it is written and read back.

The document is the report; figures, page and summary are drawn from it alone. It is strict JSON (no NaN, no
Infinity), so that any other program can read it too.
"""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from diffaudit_jax.report.schema import DOCUMENT, OPTIONAL, VERSION_1, faults
from diffaudit_jax.report.significance import adjusted_tests
from diffaudit_jax.types import InputError, write_atomic

SCHEMA = "diffaudit.membership"
SCHEMA_VERSION = 2


def to_json(document: dict[str, Any]) -> str:
    """Returns the document as strict, indented JSON.

    Raises:
      InputError: if it holds something that JSON has no word for (an array, a NaN, an object).
    """
    try:
        return json.dumps(document, allow_nan=False, indent=1, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the report must be JSON without NaN or infinity, but {error}: pass plain numbers, text, lists and dicts."
        ) from None


def write_report(
    directory: str | os.PathLike[str], name: str, document: dict[str, Any], page: str
) -> tuple[Path, Path]:
    """Writes a report's JSON and its page, each whole or not at all.

    Args:
      directory: Folder, made if it does not exist.
      name: Name of the JSON file.
      document: What it holds.
      page: The HTML, named report.html.

    Returns:
      The paths of the two files.

    Raises:
      InputError: if the document is not strict JSON, before anything is written.
    """
    directory, text = Path(directory), to_json(document)
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / name, directory / "report.html"
    for path, content in zip(paths, (text, page), strict=True):
        write_atomic(path, content.encode())
    return paths


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a report's JSON and checks that it is of a schema that this version of the library knows.

    Args:
      path: The file ``report.json``, or the folder that holds it.

    Returns:
      The document; one of version 1 as one of version 2 that lacks the study and the exposure of groups.

    Raises:
      InputError: if the file is missing, is a page, is not JSON, is not a membership report, is newer than this
        library, lacks a part, or has a wrong value in one.
    """
    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    document = parsed(path, SCHEMA, SCHEMA_VERSION, "a membership report")
    version = document["schema_version"]
    held = {part: shape for part, shape in OPTIONAL.items() if part in document}
    if fault := next(faults(document, (VERSION_1 if version == 1 else DOCUMENT) | held), None):
        raise InputError(f"{str(path)!r} {fault}: write the report again.")
    if version > 1:
        return document
    try:
        return _upgraded(document)
    except InputError as error:
        raise InputError(
            f"{str(path)!r} has numbers that do not fit together ({error}): write the report again."
        ) from None


def parsed(path: Path, expected: str, newest: int, called: str) -> dict[str, Any]:
    """Reads a JSON document and checks its schema's name and version, and no more of it.

    Args:
      path: The file.
      expected: Name of the schema that it must be of.
      newest: The newest version that can be read.
      called: What such a document is called, for messages.

    Raises:
      InputError: if the file is missing, is a page, is not JSON, is of another schema, or newer than this library.
    """
    if path.suffix == ".html":
        raise InputError(f"{str(path)!r} is a page, drawn from the report.json beside it: give the directory.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise InputError(
            f"cannot read a report at {str(path)!r} ({error.strerror}): name a folder that has one."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}): write the report again.") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != expected:
        raise InputError(f"{str(path)!r} has schema {schema!r}, not {expected!r}: it is not {called}.")
    version = document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= newest:
        raise InputError(
            f"{str(path)!r} has schema version {version!r} and this library reads 1 to {newest}: update diffaudit_jax."
        )
    return document


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Gives a document of version 1 what came later: the tests follow from its numbers, the rest it does not have."""
    tests = adjusted_tests(document["attacks"], document["level"])
    return document | {"schema_version": SCHEMA_VERSION, "tests": tests, "choices": [], "study": None, "exposure": []}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
