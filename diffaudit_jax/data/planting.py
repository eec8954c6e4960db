"""Records planted in a training set more than once, to see from how many repetitions on a generator gives them away."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from diffaudit_jax.data.draws import draws
from diffaudit_jax.data.overlap import check_distinct
from diffaudit_jax.data.pool import Pool, R, Records, concatenate
from diffaudit_jax.types import InputError, Key


def repeats(key: Key, pool: Records, times: Mapping[int, int]) -> Int[np.ndarray, " n"]:
    """Draws how often each record is to be in a training set.

    Args:
      key: Typed random key.
      pool: Images or a table without twins; rows must differ.
      times: How many records are to be there that often; all others are there once.

    Returns:
      Numbers from 1.

    Raises:
      InputError: if a number is not positive, more records are asked for than there are, or one occurs twice already.
    """
    for often, count in times.items():
        if min(often, count) < 1:
            raise InputError(f"{count} records {often} times each cannot be planted: give two numbers from 1.")
    if (asked := sum(times.values())) > len(pool):
        raise InputError(f"{asked} records are to be planted and {pool.name} has {len(pool)}: ask for fewer.")
    check_distinct(pool)
    order = np.argsort(draws(key, pool.rows), kind="stable")
    found, start = np.ones(len(pool), np.int64), 0
    for often in sorted(times):
        found[order[start : start + times[often]]] = often
        start += times[often]
    return found


def further(key: Key, pool: R, times: Mapping[int, int]) -> R:
    """Returns the further copies of records that are to be in a training set more than once, with their own rows.

    Args:
      key: Typed random key.
      pool: Images or a table.
      times: As in `repeats`.

    Raises:
      InputError: as `repeats`.
    """
    return pool.take(np.repeat(np.arange(len(pool)), repeats(key, pool, times) - 1))


def planted(key: Key, pool: Pool, times: Mapping[int, int]) -> Pool:
    """Returns the pool with some of its images repeated.

    Args:
      key: Typed random key.
      pool: Images, or encoded records.
      times: As in `repeats`.

    Returns:
      The pool, and behind it the further copies, each with a row of its own.

    Raises:
      InputError: as `repeats`.
    """
    again = further(key, pool, times)
    whole = concatenate(pool, again)
    whole.rows[len(pool) :] = 1 + int(pool.rows.max(initial=-1)) + np.arange(len(again))
    return whole
