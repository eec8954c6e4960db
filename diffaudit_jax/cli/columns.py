"""Flags about the columns of a table, and the table that they leave."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from diffaudit_jax import data
from diffaudit_jax.data.embedded import FILES
from diffaudit_jax.types import InputError, known

SUFFIXES = (".csv", ".csv.gz", ".data", ".parquet")
KINDS = ("numeric", "categorical")


@dataclass(frozen=True)
class Columns:
    """Columns of a table."""

    label: str | None = None
    """Column that the model is told, and samples are asked for by; a class for each of its values."""
    sensitive: str | None = None
    """Column of a group, e.g. sex: kept in the record of the run, for fairness."""
    types: tuple[str, ...] = ()
    """What columns are where it was inferred wrongly: NAME=numeric or NAME=categorical, e.g. zip=categorical."""
    drop: tuple[str, ...] = ()
    """Columns to leave out, e.g. free text."""
    unseen: Literal["refuse", "drop"] = "refuse"
    """What to do about records that hold a category no member does: refuse them, or leave them out."""
    widths: tuple[int, ...] | None = None
    """Widths of the network's hidden layers; 256 256 if not given, of size published as tuned on Adult."""


def is_table(source: str | Path) -> bool:
    """Whether a source is a table, by its name."""
    name = FILES.get(str(source), str(source))
    return name.lower().endswith(SUFFIXES)


def read_table(source: str, columns: Columns, groups: str | None = None) -> data.Table:
    """Reads a table as the flags say.

    Args:
      source: An embedded name or a path.
      columns: The flags.
      groups: Column that numbers people.

    Raises:
      InputError: if it is none, or a column is unknown.
    """
    if not is_table(source):
        raise InputError(f"{source} is no table: give a CSV or Parquet file.")
    table = data.load(source, groups=groups, types=_kinds(columns.types))
    assert isinstance(table, data.Table)
    for name in (*columns.drop, *filter(None, (columns.label, columns.sensitive))):
        known("column", name, table.columns)
    if columns.label in columns.drop:
        raise InputError(f"--label {columns.label} is to be dropped, too: leave it out of --drop.")
    kept = {name: column for name, column in table.columns.items() if name not in columns.drop}
    return replace(table, columns=kept)


def like(table: data.Table, other: data.Table) -> data.Table:
    """Returns a table's columns that another one has, in its order and of its types.

    Raises:
      InputError: if one is not there, or cannot be of that type.
    """
    for name in other.columns:
        known("column", name, table.columns)
    kinds = {name: "numeric" if name in other.numeric else "categorical" for name in other.columns}
    columns = data.as_types(table, kinds).columns
    return replace(table, columns={name: columns[name] for name in other.columns})


def shown(table: data.Table) -> Table:
    """Returns what was inferred of the columns, to be printed."""
    seen = Table("column", "kind", "distinct", "missing", "typical", box=None, pad_edge=False, header_style="bold")
    for row in data.described(table):
        # As text: rich would read markup in names and values.
        seen.add_row(*map(Text, (row.name, row.kind, f"{row.distinct:,}", f"{row.missing:,}", row.typical)))
    return seen


def check_unsaid(columns: Columns, model: str) -> None:
    """Refuses flags of tables where there are images.

    Raises:
      InputError: if one is given.
    """
    given = [field.name for field in fields(Columns) if getattr(columns, field.name) != field.default]
    if given:
        raise InputError(f"--{given[0]} is about columns of a table, and --model {model} takes images: leave it out.")


def _kinds(words: tuple[str, ...]) -> dict[str, str]:
    kinds = {}
    for word in words:
        name, sign, kind = word.rpartition("=")
        if not sign or not name:
            raise InputError(f"--types takes NAME=numeric or NAME=categorical, got {word!r}.")
        kinds[name] = known("kind of column", kind, KINDS)
    return kinds
