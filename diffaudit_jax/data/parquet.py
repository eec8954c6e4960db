"""Tables stored as Parquet: the types are the file's own, nothing is inferred."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data.table import Table
from diffaudit_jax.types import InputError

INDEX = re.compile(r"__index_level_\d+__")  # pandas stores row numbers under such names: no column of the data


def read_parquet(path: Path, name: str) -> Table:
    """Reads a Parquet file: numbers become float64 (null NaN), strings and booleans str (null "", "True", "False").

    Args:
      path: The file.
      name: What messages call it.

    Raises:
      InputError: if the file is damaged, has no records, a doubled column name, or a column of another type.
    """
    import pyarrow as pa  # only who reads parquet pays for it
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as raw:
            stored = pq.ParquetFile(raw).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read as Parquet ({_first_line(error)}): save it again.") from error
    names = [key for key in stored.column_names if not INDEX.fullmatch(key)]
    if not len(stored) or not names:
        raise InputError(f"{name} has no record: give at least one.")
    if len(set(names)) < len(names):
        raise InputError(f"{name} has two columns named {max(names, key=names.count)!r}: rename one.")
    columns = {key: _column(stored.column(key), f"{name}: column {key!r}") for key in names}
    return Table(columns, np.arange(len(stored)), name)


def _column(column: Any, where: str) -> np.ndarray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return np.full(len(column), "")
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(["" if value is None else str(value) for value in column.to_pylist()])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InputError(f"{where} is {kind}: store it as numbers or strings, or leave it out.")
    try:
        numbers = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:  # a whole number that no float64 is
        raise InputError(f"{where} cannot be float64 ({_first_line(error)}): store it as strings.") from error
    if np.isinf(numbers).any():
        raise InputError(f"{where} holds infinity, first in record {np.argmax(np.isinf(numbers))}: mend it.")
    return np.array(numbers)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
