"""A synthetic table as what is audited: records that some generator made, and nobody may call it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.asked import Asked
from diffaudit_jax.cli.columns import Columns, like, read_table
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_columns import joined
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
    columns = Columns(types=options.types, drop=options.drop)
    made = read_table(str(path), columns)
    given = (like(read_table(source, columns), made) for source in (options.members, options.nonmembers))
    split = paired(*given, duplicates=options.duplicates)
    encoder = data.fit_encoder(joined([made, split.members, split.nonmembers], made.name))
    target = of_records(encoder.encode(made).x, made.name)
    return Subject(target, "a synthetic table", {}, {}, None, encoder), encoded(encoder, split)


def of_records(x: np.ndarray, name: str) -> Target:
    """Makes a target of encoded records, float32 [n, d]: each sample is one of them, drawn with replacement."""

    def sample(params: Params, key: Key, cond: object = None) -> Example:
        del cond
        return params[jax.random.randint(key, (), 0, len(params))]

    return Target(jnp.asarray(x), x.shape[1:], sample, config={"images": name})
