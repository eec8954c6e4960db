"""Files of separated values as names and texts: which separator, which line."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from diffaudit_jax.types import InputError

SEPARATORS = (",", ";", "\t")
SAMPLE = 20  # records that tell a separator


class Separated(NamedTuple):
    """The names of the columns; each record's texts, as many as there are names; and the line each ends on."""

    names: list[str]
    records: list[list[str]]
    lines: list[int]


def read_separated(path: Path, name: str, *, header: bool, separator: str | None) -> Separated:
    """Reads a file as `read_csv` says.

    Raises:
      InputError: if the file is not UTF-8 text, has no records, a doubled column name, or a line of another length.
    """
    text = _text(path, name)
    try:
        lines, records = _records(_reader(text, separator or _separator(text)), name)
    except csv.Error as error:
        raise InputError(f"{name} cannot be read as separated values ({error}): save it again as CSV.") from error
    names = [f"c{i}" for i in range(len(records[0]) if records else 0)]
    if header and records:
        names, records, lines = records[0], records[1:], lines[1:]
    if not records:
        raise InputError(f"{name} has no record{' below its header' if header else ''}: give at least one.")
    if len(set(names)) < len(names):
        raise InputError(
            f"{name} has two columns named {max(names, key=names.count)!r}: rename one, or say that it has no header."
        )
    return Separated(names, records, lines)


def _text(path: Path, name: str) -> str:
    raw = path.read_bytes()
    try:
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read as UTF-8 text ({error}): save it again as CSV.") from error


def _reader(text: str, separator: str) -> Any:
    lines: Iterator[str] = io.StringIO(text)
    if separator == " ":
        lines = (line.strip().expandtabs(1) + "\n" for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _separator(text: str) -> str:
    """Returns what splits the first records most alike, and then the first of them most often."""
    widths = {s: [len(record) for record in islice(_reader(text, s), SAMPLE) if record] for s in (*SEPARATORS, " ")}
    if not widths[","]:
        return ","
    alike = {s: len(set(width)) == 1 and width[0] > 1 for s, width in widths.items()}
    best = max(SEPARATORS, key=lambda s: (alike[s], widths[s][0]))
    # Blanks occur within values too: they separate only where nothing else does, though tabs may stand among them.
    return " " if alike[" "] and not alike["\t"] and max(widths[","] + widths[";"]) == 1 else best


def _records(reader: Any, name: str) -> tuple[list[int], list[list[str]]]:
    lines, records = [], []
    for record in reader:
        if not record:
            continue
        if records and len(record) != len(records[0]):
            raise InputError(
                f"{name} line {reader.line_num} has {len(record)} values for {len(records[0])} columns: mend it."
            )
        lines.append(reader.line_num)
        records.append(record)
    return lines, records
