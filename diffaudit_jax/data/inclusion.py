"""Who was inside the training set of each of several models of one pool, by the rows of the pool."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from diffaudit_jax.data.draws import draws
from diffaudit_jax.data.located import located
from diffaudit_jax.types import InputError, Key


class Inclusion(NamedTuple):
    """An inclusion matrix.

    Attributes:
      rows: Each record's own index in its pool, int64 [n], no two alike.
      inside: Whether a model was trained on a record, bool [K, n].
    """

    rows: Int[np.ndarray, " n"]
    inside: Bool[np.ndarray, "K n"]

    def of(self, rows: np.ndarray) -> Bool[np.ndarray, "K m"]:
        """Returns the columns of some records, by row identity.

        Args:
          rows: Rows asked for, int [m], in any order.

        Raises:
          InputError: if the matrix does not fit its rows, a row is in it twice, or it lacks one.
        """
        if self.inside.ndim != 2 or self.inside.shape[1:] != self.rows.shape or self.inside.dtype != bool:
            raise InputError(
                f"an inclusion matrix of {len(self.rows)} records has a bool [K, {len(self.rows)}], got "
                f"{self.inside.dtype} {self.inside.shape}."
            )
        ordered = np.sort(self.rows)
        if len(twice := ordered[1:][ordered[1:] == ordered[:-1]]):
            raise InputError(f"row {twice[0]} is in the inclusion matrix twice: give each record one column.")
        at, there = located(rows, self.rows)
        if len(lacking := np.asarray(rows)[~there]):
            raise InputError(
                f"row {lacking[0]} (of {len(lacking)} such) is not in the inclusion matrix: ask about records of the "
                f"pool that the shadows were drawn from."
            )
        return self.inside[:, at]


def coin_flips(key: Key, rows: np.ndarray, num: int) -> Inclusion:
    """Draws K random halves of a pool, each record inside exactly half of them (one more or less where K is odd).

    Within a model every record's coin is fair and independent of the others', as auditing in one run asks; across
    models they are dealt evenly, so that no record is inside all of them or none.

    Args:
      key: Typed random key of which nothing else was drawn: records chosen by it would be chosen by their coins.
      rows: Each record's own index in its pool, int [n]; its coins depend on it and the key alone.
      num: K, models, 2 or more.

    Raises:
      InputError: if there are fewer than two models, no record, or a row occurs twice.

    References:
      Carlini et al. 2022, Membership Inference Attacks From First Principles, https://arxiv.org/abs/2112.03570
    """
    if num < 2:
        raise InputError(f"num={num} models cannot each hold a random half: give 2 or more.")
    if not len(rows) or len(np.unique(rows)) < len(rows):
        raise InputError("an inclusion matrix needs records, each with a row of its own: pass renumbered(pool).")
    bits = np.stack([draws(jax.random.fold_in(key, k), rows) for k in range(num + 1)])
    ranks = np.argsort(np.argsort(bits[:num], axis=0), axis=0)
    # Of an odd number of models, each record's last coin says whether the larger half holds it.
    half = num // 2 + (num % 2) * (bits[num] >> np.uint64(63)).astype(np.int64)
    return Inclusion(np.asarray(rows, np.int64), ranks < half)
