"""Tables of mixed numeric and categorical columns, and the CSV files they come from."""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffaudit_jax.data.arrays import as_codes
from diffaudit_jax.types import InputError, known

MISSING = ("", "?")


@dataclass(frozen=True, eq=False)
class Table:
    """Records of named columns: float64 [n] where numeric, str [n] where categorical.

    A missing numeric value is NaN; a missing categorical one keeps its own mark ("" or "?") as a category.

    Attributes:
      columns: The columns by name, in the file's order.
      rows: int64 [n], each record's own index in the table it came from; `take` keeps it.
      name: Where the records came from.
      groups: int32 [n], a sensitive group or a person, or None.
    """

    columns: Mapping[str, np.ndarray]
    rows: np.ndarray
    name: str
    groups: np.ndarray | None = None

    def __post_init__(self):
        for name, column in self.columns.items():
            if column.shape != self.rows.shape:
                raise InputError(f"{self.name}: column {name!r} has shape {column.shape}, not {self.rows.shape}.")
            if column.dtype != np.float64 and column.dtype.kind != "U":
                raise InputError(f"{self.name}: column {name!r} is {column.dtype}: make it float64 or str.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The names of the numeric columns."""
        return tuple(name for name, column in self.columns.items() if column.dtype.kind == "f")

    @property
    def categorical(self) -> tuple[str, ...]:
        """The names of the categorical columns."""
        return tuple(name for name, column in self.columns.items() if column.dtype.kind == "U")

    def take(self, indices: np.ndarray) -> "Table":
        """Returns the records at these positions, or where a bool [n] is true, each still knowing its own row."""
        return replace(
            self,
            columns={name: column[indices] for name, column in self.columns.items()},
            rows=self.rows[indices],
            groups=None if self.groups is None else self.groups[indices],
        )

    def hashes(self) -> np.ndarray:
        """Returns each record's content hash, str [n], over its column names, types and values.

        Strings are hashed as UTF-8 with their length, so the hash does not depend on the other records.
        """
        digests = [hashlib.sha256() for _ in range(len(self))]
        for name, column in self.columns.items():
            cells = _cells(column)
            for digest, cell in zip(digests, cells, strict=True):
                digest.update(f"{len(name)}:{name}{column.dtype.kind}{len(cell)}:".encode() + cell)
        return np.array([digest.hexdigest() for digest in digests], dtype="<U64")

    def fingerprint(self) -> str:
        """Returns one hash of the records and groups in their order; rows and names are left out."""
        digest = hashlib.sha256("".join(self.hashes()).encode())
        digest.update(b"none" if self.groups is None else self.groups.astype("<i4").tobytes())
        return digest.hexdigest()


def with_groups(table: Table, groups: str) -> Table:
    """Returns the table with the column of this name numbered as its groups (sorted order of its values).

    Raises:
      InputError: if there is no such column, or it is numeric with values that are not whole.
    """
    column = table.columns[known("column", groups, table.columns)]
    if column.dtype.kind == "f":
        if not np.array_equal(column, np.rint(column)):
            raise InputError(f"{table.name}: groups={groups!r} has values that are not whole: bin it first.")
        column = column.astype(np.int64)
    return replace(table, groups=as_codes(column, f"{table.name}: groups={groups!r}")[0])


def read_csv(path: Path, name: str) -> Table:
    """Reads a comma-separated file with a header, gzipped or not.

    A column is numeric if every value but the missing ones ("" or "?") reads as a finite number.

    Raises:
      InputError: if the file is not UTF-8 text, has no records, a doubled column name, or a line of another length.
    """
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read as UTF-8 text ({error}): save it again as CSV.") from error
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = next(reader, [])
    records = []
    for record in reader:
        if record and len(record) != len(header):
            raise InputError(
                f"{name} line {reader.line_num} has {len(record)} values for {len(header)} columns: mend it."
            )
        records += [record] if record else []
    if not records:
        raise InputError(f"{name} has no record below its header: give at least one.")
    if len(set(header)) < len(header):
        raise InputError(f"{name} has two columns named {max(header, key=header.count)!r}: rename one.")
    columns = {key: _typed(np.array(values)) for key, values in zip(header, zip(*records, strict=True), strict=True)}
    return Table(columns, np.arange(len(records)), name)


def _typed(values: np.ndarray) -> np.ndarray:
    missing = np.isin(values, MISSING)
    try:
        numbers = np.where(missing, "nan", values).astype(np.float64)
    except ValueError:
        return values
    return numbers if np.isfinite(numbers[~missing]).all() and not missing.all() else values


def _cells(column: np.ndarray) -> list[bytes]:
    if column.dtype.kind == "U":
        return [str(value).encode() for value in column]
    # One bit pattern for each number: -0.0 is 0.0, and every NaN is one missing value.
    numbers = np.where(np.isnan(column), np.nan, column + 0.0).astype("<f8")
    return [number.tobytes() for number in numbers]
