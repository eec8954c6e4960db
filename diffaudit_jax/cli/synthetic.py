"""A synthetic table as what is audited: records that some generator made, and nobody may call it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.asked import Asked
from diffaudit_jax.cli.columns import Columns, read_table
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_split import encoded, paired
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Params


def synthetic(path: Path, options: Asked) -> tuple[Subject, data.Split[data.Pool]]:
    """Opens a table of generated records, beside members and others.

    What encodes them is fitted on all three together: what it knows of a member it knows of a non-member too.

    Args:
      path: A CSV or Parquet file.
      options: Members and non-members, both given.

    Raises:
      InputError: if these are not given, or lack a column of the synthetic table.
    """
    if options.members is None or options.nonmembers is None:
        raise InputError(f"{path} holds records only: give --members and --nonmembers, real ones.")
    made = read_table(str(path), Columns())
    types = tuple(f"{name}={'numeric' if name in made.numeric else 'categorical'}" for name in made.columns)
    members, nonmembers = (
        _alike(read_table(source, Columns()), made, types) for source in (options.members, options.nonmembers)
    )
    split = paired(members, nonmembers, duplicates=options.duplicates)
    together = [made, split.members, split.nonmembers]
    columns = {name: np.concatenate([table.columns[name] for table in together]) for name in made.columns}
    union = data.Table(columns, np.arange(sum(map(len, together))), made.name)
    encoder = data.fit_encoder(union)
    target = of_records(encoder.encode(made).x, made.name)
    return Subject(target, "a synthetic table", {}, {}, None, encoder), encoded(encoder, split)


def of_records(x: np.ndarray, name: str) -> Target:
    """Makes a target of encoded records, float32 [n, d]: each sample is one of them, drawn with replacement."""

    def sample(params: Params, key: Key, cond: object = None) -> Example:
        del cond
        return params[jax.random.randint(key, (), 0, len(params))]

    return Target(jnp.asarray(x), x.shape[1:], sample, config={"images": name})


def _alike(table: data.Table, made: data.Table, types: tuple[str, ...]) -> data.Table:
    """Returns the synthetic table's columns of a real one, in its order and types."""
    if lacking := [name for name in made.columns if name not in table.columns]:
        raise InputError(f"{table.name} lacks the column {lacking[0]!r} of {made.name}: give a table with all of them.")
    kinds = dict(word.rsplit("=", 1) for word in types)
    cast = data.as_types(table, kinds)
    return data.Table({name: cast.columns[name] for name in made.columns}, table.rows, table.name)
