"""Records of tables as numbers, of those columns that two tables share: what whoever learns of one asks of the other.

An encoder is fitted on the table that is learned from, and the other may hold what that one does not: a category that
it has not is none of its categories (its block is all zeros), and a missing number where it misses none is its middle.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from diffaudit_jax import data
from diffaudit_jax.data.codes import Constant
from diffaudit_jax.data.columns import as_types
from diffaudit_jax.data.encoding import Column, Encoder, fit_encoder
from diffaudit_jax.data.quantiles import Numeric
from diffaudit_jax.types import InputError

X = Float[np.ndarray, "n d"]


def features_of(learned: data.Table, others: Sequence[str], without: Sequence[str]) -> Encoder:
    """Fits an encoder on the table that is learned from.

    Args:
      learned: That table.
      others: Columns that whoever is asked about has.
      without: Columns that are nobody's features, such as the label.

    Raises:
      InputError: if the tables share no column that varies, or one is free text.
    """
    kept = {name: column for name, column in learned.columns.items() if name in others and name not in without}
    if not kept:
        raise InputError(f"{learned.name} shares no column with the other table but {', '.join(without)}: give some.")
    return fit_encoder(replace(learned, columns=kept, groups=None))


def encoded(encoder: Encoder, table: data.Table) -> X:
    """Encodes records that may hold what the encoder has never seen.

    Args:
      encoder: Of whoever learns.
      table: Its columns, and any others.

    Raises:
      InputError: if the table lacks a column, or has texts where the encoder has numbers.
    """
    if lacking := [column.name for column in encoder.columns if column.name not in table.columns]:
        raise InputError(f"{table.name} has no column {lacking[0]!r}, which is learned from: add it.")
    held = {column.name: table.columns[column.name] for column in encoder.columns}
    kinds = {column.name: "numeric" if column.numeric else "categorical" for column in encoder.columns}
    table = as_types(replace(table, columns=held, groups=None), kinds)
    unseen = {column.name: column.unseen(table.columns[column.name]) for column in encoder.columns}
    columns = {
        column.name: np.where(unseen[column.name], _any(column), table.columns[column.name])
        for column in encoder.columns
    }
    x = encoder.encode(replace(table, columns=columns)).x
    number, block = 0, encoder.layout.num_numeric
    for column in encoder.columns:
        where = unseen[column.name]
        if isinstance(column, Numeric):
            x[where, number] = 0.0
            number += 1
        else:
            x[where, block : block + column.block] = 0.0
        block += column.block
    return x


def lesson(encoder: Encoder, table: data.Table, labels: np.ndarray, names: Sequence[str] | None = None) -> data.Pool:
    """Returns records as whoever learns sees them, with what each of them is."""
    x = encoded(encoder, table)
    return data.Pool(
        x, np.arange(len(x)), table.name, labels=labels.astype(np.int32), label_names=tuple(names) if names else None
    )


def _any(column: Column) -> str | float:
    """Returns a value that the encoder knows; what it becomes is overwritten."""
    if isinstance(column, Numeric):
        return column.quantiles[0]
    value = column.value if isinstance(column, Constant) else column.values[0]
    return np.nan if value is None else value
