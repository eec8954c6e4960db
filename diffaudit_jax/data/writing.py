"""Tables on disk, as they came: comma-separated, with the columns' own names and order."""

import csv
import io
import os
from pathlib import Path

from diffaudit_jax.data.columns import texts
from diffaudit_jax.data.table import Table
from diffaudit_jax.types import write_atomic


def write_csv(table: Table, path: str | os.PathLike) -> None:
    """Writes a table as UTF-8 CSV, whole or not at all; numbers as their shortest text, missing ones as nothing.

    What `data.load` reads of it is the table, but for texts that look like numbers: those need `types` again.
    """
    columns = [texts(column) if column.dtype.kind == "f" else column for column in table.columns.values()]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*columns, strict=True))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue().encode())
