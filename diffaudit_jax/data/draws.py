"""Random bits that belong to a row, whichever other rows are drawn for."""

import jax
import numpy as np

from diffaudit_jax.types import InputError, Key

BLOCK = 1024  # rows are padded to a multiple, so that the draw is compiled once for many pool sizes


def draws(key: Key, rows: np.ndarray) -> np.ndarray:
    """Returns 64 random bits for each row, uint64 [n], those of `fold_in(key, row)`."""
    padded = np.zeros(-(-len(rows) // BLOCK) * BLOCK, np.uint32)
    padded[: len(rows)] = rows.astype(np.uint32)
    high, low = np.asarray(_bits(typed(key), padded))[: len(rows)].astype(np.uint64).T
    return high << np.uint64(32) | low


def coins(key: Key, rows: np.ndarray, prob: float) -> np.ndarray:
    """Tosses each row's own coin: bool [n], true with probability `prob`."""
    # The top 53 bits make a uniform float64 in [0, 1).
    return (draws(key, rows) >> np.uint64(11)) * 2.0**-53 < prob


def typed(key: Key) -> Key:
    """Returns the key if it is a typed one, as every key here must be.

    Raises:
      InputError: if it is a number or a legacy uint32 key.
    """
    if not (isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise InputError(f"key must be a typed key, got {key!r}: make one with jax.random.key(0).")
    return key


@jax.jit
def _bits(key: Key, rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), (2,), "uint32"))(rows)
