"""Records of numbers and categories as points, and which of them are nearest.

Numbers are divided by a range, and each category that differs counts 1; so does a number that only one of two records
has. With p = 1 that is Gower's distance without his mean; with p = 2, Euclid's with categories one-hot over sqrt(2).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from diffaudit_jax.data.table import Table

BLOCK = 2**20  # distances held at once: 8 MiB, whatever the tables


class Mixed(NamedTuple):
    """Records of a table, by column.

    Attributes:
      size: Number of records n.
      numbers: Numeric column -> float64 [n], scaled, 0 where missing.
      codes: Categorical column -> float64 [n], a number for each category; of several tables the same.
      missing: Numeric column -> float64 [n], 1 where missing; those only that miss a value in some table.
    """

    size: int
    numbers: Mapping[str, np.ndarray]
    codes: Mapping[str, np.ndarray]
    missing: Mapping[str, np.ndarray]

    def of(self, names: Collection[str]) -> "Mixed":
        """Returns the records as far as these columns tell."""
        return self._replace(
            **{
                part: {name: column for name, column in getattr(self, part).items() if name in names}
                for part in ("numbers", "codes", "missing")
            }
        )

    def take(self, rows: np.ndarray) -> "Mixed":
        """Returns the records at these positions."""
        return Mixed(len(rows), *({name: column[rows] for name, column in part.items()} for part in self[1:]))


def mixed(tables: Sequence[Table], scale: Sequence[Table]) -> list[Mixed]:
    """Returns tables of the same columns as points.

    Args:
      tables: The tables.
      scale: Whose least and greatest numbers become 0 and 1.
    """
    ends = np.cumsum([len(table) for table in tables])[:-1]
    parts: list[tuple[dict, dict, dict]] = [({}, {}, {}) for _ in tables]

    def put(part: int, name: str, values: np.ndarray) -> None:
        for each, own in zip(parts, np.split(values, ends), strict=True):
            each[part][name] = own

    for name in tables[0].categorical:
        joined = np.concatenate([table.columns[name] for table in tables])
        put(1, name, np.unique(joined, return_inverse=True)[1].astype(np.float64))
    for name in tables[0].numeric:
        joined = np.concatenate([table.columns[name] for table in tables])
        low, high = _ends(np.concatenate([table.columns[name] for table in scale]))
        missing = np.isnan(joined)
        put(0, name, np.where(missing, 0.0, (joined - low) / (high - low or 1.0)))
        if missing.any():
            put(2, name, missing.astype(np.float64))
    return [Mixed(len(table), *part) for table, part in zip(tables, parts, strict=True)]


def nearest(queries: Mixed, among: Mixed, k: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the records that are nearest to each of others, block by block: memory does not grow with the tables.

        d(a, b) = (sum over numbers |a - b|^p + number of categories that differ)^(1/p)

    Distances are sums of differences, not differences of sums: a copy is at exactly 0.

    Args:
      queries: Whose neighbours are asked for, q records.
      among: The records among which they are.
      k: How many; at most `among.size`.
      p: 1 or 2.

    Returns:
      Their positions int64 [q, k] and distances float64 [q, k], nearest first; of equals, the first in the table.
    """
    rows, far = np.empty((queries.size, k), np.int64), np.empty((queries.size, k))
    for part, d in powers(queries, among, p):
        for i in range(k):
            rows[part, i] = at = d.argmin(axis=1)
            far[part, i] = d[np.arange(len(d)), at]
            d[np.arange(len(d)), at] = np.inf
    return rows, far ** (1.0 / p)


def powers(queries: Mixed, among: Mixed, p: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields the distances of `nearest` to the power of p, as many queries at a time as fit: float64 [some, m]."""
    (x, a), (y, b) = _points(queries), _points(among)
    size = max(1, BLOCK // among.size)
    for start in range(0, queries.size, size):
        part = slice(start, start + size)
        d = np.zeros((len(x[part]), among.size))
        if x.shape[1]:
            d += cdist(x[part], y, "sqeuclidean" if p == 2 else "cityblock")
        if a.shape[1]:
            d += np.rint(cdist(a[part], b, "hamming") * a.shape[1])
        yield part, d


def _points(records: Mixed) -> tuple[np.ndarray, np.ndarray]:
    """Returns numbers [n, a] and categories [n, b], a missing number as one of these."""
    sides = list(records.numbers.values()), [*records.codes.values(), *records.missing.values()]
    numbers, codes = (np.column_stack(side) if side else np.empty((records.size, 0)) for side in sides)
    return numbers, codes


def _ends(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
