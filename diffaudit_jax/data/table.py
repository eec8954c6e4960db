"""Tables of mixed numeric and categorical columns, and the CSV files they come from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffaudit_jax.data.arrays import as_codes
from diffaudit_jax.data.separated import read_separated
from diffaudit_jax.types import InputError, known

MISSING = ("", "?")
KINDS = ("numeric", "categorical")
MISTAKES = 0.1  # fewer words than this among a column's numbers are mistakes, not categories
BLOCK = 8192  # records hashed at once: the memory it takes does not grow with the table


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
        digests = []
        for start in range(0, len(self), BLOCK):
            cells = [_cells(name, column[start : start + BLOCK]) for name, column in self.columns.items()]
            digests += [hashlib.sha256(b"".join(record)).hexdigest() for record in zip(*cells, strict=True)]
        return np.array(digests, dtype="<U64")

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


def read_csv(
    path: Path,
    name: str,
    *,
    header: bool = True,
    separator: str | None = None,
    types: Mapping[str, str] | None = None,
) -> Table:
    """Reads a file of separated values, gzipped or not.

    A column is numeric if every value but the missing ones ("" or "?") reads as a finite number, however few values it
    has: codes such as 0 and 1 stay numbers unless `types` says otherwise. Up to nine words in ten values make it
    categorical; a word among more numbers than that is taken for a mistake.

    Args:
      path: The file, UTF-8.
      name: What messages call it.
      header: Whether the first line names the columns; if not, they are c0, c1, ...
      separator: Between values; None takes the comma, semicolon or tab that splits the first lines alike, or blanks
        (any number of them, " ") if none of these occurs.
      types: "numeric" or "categorical" by column, in place of what its values look like; the text of a categorical
        column is kept as it stands ("007").

    Raises:
      InputError: if the file is not UTF-8 text, has no records, a doubled column name, a line of another length, or a
        word among numbers.
    """
    names, records, lines = read_separated(path, name, header=header, separator=separator)
    kinds = checked(types or {}, names)
    places = [f"on line {line}" for line in lines]
    columns = {
        key: typed(np.array(values), kinds.get(key), f"{name}: column {key!r}", places)
        for key, values in zip(names, zip(*records, strict=True), strict=True)
    }
    return Table(columns, np.arange(len(records)), name)


def checked(types: Mapping[str, str], columns: Sequence[str]) -> Mapping[str, str]:
    """Returns the types if each is a known type of a known column, else says which it is nearest to."""
    for column, kind in types.items():
        known(f"type of column {known('column', column, columns)!r}", kind, KINDS)
    return types


def typed(values: np.ndarray, kind: str | None, where: str, places: Sequence[str]) -> np.ndarray:
    """Returns a column of texts as the type it is said to have, or else the one its values look like.

    Args:
      values: str [n].
      kind: "numeric", "categorical", or None.
      where: What messages call the column.
      places: What messages call each value's place, [n].

    Raises:
      InputError: naming the first word among numbers.
    """
    missing = np.isin(values, MISSING)
    if kind == "categorical" or (kind is None and missing.all()):
        return values
    try:
        numbers = np.where(missing, "nan", values).astype(np.float64)
        odd = ~(missing | np.isfinite(numbers))
    except ValueError:
        words = {text for text in set(values.tolist()) if not _is_number(text)}.difference(MISSING)
        numbers, odd = values, np.array([text in words for text in values.tolist()])
    present = int((~missing).sum())
    if kind == "numeric" or 0 < odd.sum() < MISTAKES * present:
        _refuse_odd(values, odd, present, where, places)
    return values if odd.any() else numbers


def _refuse_odd(values: np.ndarray, odd: np.ndarray, present: int, where: str, places: Sequence[str]) -> None:
    if odd.any():
        first = int(np.argmax(odd))
        raise InputError(
            f"{where} has {str(values[first])!r} {places[first]} but numbers in {present - odd.sum()} of {present} "
            "values: mend it (a missing value is empty or ?), or say that the column is categorical."
        )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _cells(name: str, column: np.ndarray) -> list[bytes]:
    """Returns each record's share of the hashed bytes: the column's name and type, the cell's length, the cell."""
    head = f"{len(name)}:{name}{column.dtype.kind}"
    if column.dtype.kind == "U":
        texts = column.tolist()
        encoded = {text: text.encode() for text in set(texts)}
        encoded = {text: f"{head}{len(cell)}:".encode() + cell for text, cell in encoded.items()}
        return [encoded[text] for text in texts]
    start = np.frombuffer(f"{head}8:".encode(), np.uint8)
    # One bit pattern for each number: -0.0 is 0.0, and every NaN is one missing value.
    numbers = np.where(np.isnan(column), np.nan, column + 0.0).astype("<f8")
    cells = np.empty((len(column), len(start) + 8), np.uint8)
    cells[:, : len(start)], cells[:, len(start) :] = start, numbers.view(np.uint8).reshape(-1, 8)
    return cells.view(f"V{cells.shape[1]}")[:, 0].tolist()
