"""How much features tell of the label in a subset, from one statistic network that was trained once.

By Donsker and Varadhan, for any statistic T,  I(X; Y) >= E T(x, y) - log E T(x', y'), the pairs (x', y') independent.
With a discrete label the second mean needs no pairing at random: over a subset D of m records,

    I_D = mean over i of T[i, y_i] - log sum over y of n_y/m  mean over i of exp T[i, y]          in nats

so a table T [n, labels] is all that a subset is judged by, and one record more changes 2 + labels sums.

References:
  Belghazi et al. 2018, MINE, https://arxiv.org/abs/1801.04062
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffaudit_jax.types import InputError


class Sums(NamedTuple):
    """What I_D is made of: the sum of T[i, y_i], of exp T[i, y] for every y, and the records of every label."""

    joint: Float[np.ndarray, "*c"]
    product: Float[np.ndarray, "*c labels"]
    counts: Int[np.ndarray, "*c labels"]


class Representation:
    """The information of any subset of a pool, and of a subset and one record more.

    Args:
      statistic: T of every record with every label, [n, labels].
      labels: Label of every record, [n].

    Raises:
      InputError: if the table is not finite, or a label has no column.
    """

    def __init__(self, statistic: np.ndarray, labels: np.ndarray):
        table = np.asarray(statistic, np.float64)
        if (
            table.ndim != 2
            or len(table) != len(labels)
            or not np.isfinite(table).all()
            or labels.max() >= table.shape[1]
        ):
            raise InputError(
                f"the statistic has shape {table.shape} for {len(labels)} labels up to {labels.max()}: give a finite "
                f"number for every record with every label."
            )
        self._labels = labels
        # A constant in T cancels, and no exponential overflows.
        table = table - table.max()
        self._own = np.take_along_axis(table, labels[:, None], axis=1)[:, 0]
        self._every = np.exp(table)

    def sums(self, index: Int[np.ndarray, " m"]) -> Sums:
        """Returns the sums over a subset."""
        counts = np.bincount(self._labels[index], minlength=self._every.shape[1])
        return Sums(self._own[index].sum(), self._every[index].sum(axis=0), counts)

    def added(self, sums: Sums, index: Int[np.ndarray, " c"]) -> Sums:
        """Returns the sums of the subset and each of c records, with a leading axis of c."""
        one = np.arange(len(sums.counts)) == self._labels[index, None]
        return Sums(sums.joint + self._own[index], sums.product + self._every[index], sums.counts + one)

    @staticmethod
    def information(sums: Sums) -> Float[np.ndarray, "*c"]:
        """Returns I_D in nats, of any number of subsets."""
        m = sums.counts.sum(axis=-1)
        return sums.joint / m - np.log((sums.counts * sums.product).sum(axis=-1) / m / m)


class Judge:
    """Says how far I(X; Y) of a set is from the pool's; without a statistic, all sets are near enough.

    Args:
      statistic: T of every record with every label, or None.
      y: Labels.
      tolerance: delta over c.
    """

    def __init__(self, statistic: np.ndarray | None, y: np.ndarray, tolerance: float):
        self._of = None if statistic is None else Representation(statistic, y)
        self._all = np.arange(len(y))
        self._c = 0.0 if self._of is None else float(self._of.information(self._of.sums(self._all)))
        self.near = np.inf if self._of is None else abs(tolerance * self._c)

    @property
    def judges(self) -> bool:
        """Whether there is a statistic."""
        return self._of is not None

    def sums(self, index: np.ndarray) -> Sums | None:
        """Returns what a set is judged by."""
        return None if self._of is None else self._of.sums(index)

    def added(self, sums: Sums | None, row: int) -> Sums | None:
        """Returns that of a set and one record more."""
        if self._of is None or sums is None:
            return None
        return Sums(*(part[0] for part in self._of.added(sums, np.array([row]))))

    def off(self, sums: Sums | None) -> float:
        """Returns how far a set is off."""
        return 0.0 if self._of is None or sums is None else float(abs(self._of.information(sums) - self._c))

    def off_with(self, sums: Sums | None, rows: np.ndarray) -> np.ndarray:
        """Returns how far a set with each of these records is off."""
        if self._of is None or sums is None:
            return np.zeros(len(rows))
        return abs(self._of.information(self._of.added(sums, rows)) - self._c)

    def told(self, *sets: np.ndarray) -> tuple[float, float, float] | None:
        """Returns I(X; Y) of the pool and of two sets."""
        if self._of is None:
            return None
        first, second = (float(self._of.information(self._of.sums(index))) for index in sets)
        return self._c, first, second
