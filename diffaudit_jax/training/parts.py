"""Batches of one part of a pool, drawn as if the part were all there is, by programs that do not know its size.

Shadows are trained on parts of different sizes. A program for each would be compiled for each, and no two could run as
one. Here rows of a part are padded to a common length and batches are drawn below its own count, with the very indices
that `jax.random.choice` draws of a pool of that many.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from diffaudit_jax.training.state import Data
from diffaudit_jax.types import Key

_LAST = 2**32 - 1


class Part(NamedTuple):
    """A part of a pool; of several models, with a leading axis on all fields but the pool.

    Attributes:
      pool: All examples, which the models share.
      index: Where its own stand in the pool, padded.
      count: How many are its own; they come first.
      rounds: Sorts that a shuffle of that many takes.
    """

    pool: Data
    index: Int[Array, " size"]
    count: Int[Array, ""]
    rounds: Int[Array, ""]


def parts_of(pool: Data, inside: Bool[np.ndarray, "K n"]) -> list[Part]:
    """Returns the part of each model.

    Args:
      pool: All examples.
      inside: Whether a model is trained on an example.
    """
    own = [np.flatnonzero(row) for row in inside]
    size = max(map(len, own))
    return [
        Part(
            pool,
            jnp.asarray(np.pad(rows, (0, size - len(rows))), jnp.int32),
            jnp.int32(len(rows)),
            jnp.int32(_rounds(len(rows))),
        )
        for rows in own
    ]


def batch_of_part(key: Key, part: Part, size: int) -> Data:
    """Draws a batch of a part: what `state.batch_of` draws of the part alone."""
    index = part.index[drawn(key, part, size)]
    return jax.tree.map(lambda leaf: leaf[index], part.pool)


def drawn(key: Key, part: Part, size: int) -> Int[Array, " size"]:
    """Returns ``jax.random.choice(key, part.count, (size,), replace=size > part.count)``."""
    n = part.index.shape[0]
    again = jax.random.randint(key, (size,), 0, part.count)
    if size > n:
        return again
    places = order = jnp.arange(n)
    for i in range(_rounds(n)):
        key, key_round = jax.random.split(key)
        bits = jax.random.bits(key_round, (n,), jnp.uint32)  # those of fewer rows are the first of these
        # The sort is stable: padding, behind at first, stays behind whatever is drawn.
        _, moved = jax.lax.sort_key_val(jnp.where(places < part.count, bits, jnp.uint32(_LAST)), order)
        order = jnp.where(i < part.rounds, moved, order)
    return jnp.where(size > part.count, again, order[:size])


def _rounds(n: int) -> int:
    """Returns how often JAX sorts n numbers by 32 random bits, so that ties in all of them are unlikely."""
    return math.ceil(3 * math.log(max(1, n)) / math.log(_LAST))
