"""How far a synthetic table is from the real one: column by column, and pair of columns by pair.

Every distance is above 0 for real records too: a sample differs from another of the same source. The distance of
held-out records to the members is therefore the floor, and what lies above it is the generator's. It falls with the
number of rows: compare as many synthetic records as there are held-out ones.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.stats import rankdata, wasserstein_distance

from diffaudit_jax.data.table import Table
from diffaudit_jax.types import InputError, known

Correlation: TypeAlias = Literal["spearman", "pearson"]


class Marginal(NamedTuple):
    """How far one column of the synthetic table is from the members'.

    Attributes:
      name: The column.
      numeric: Whether it holds numbers.
      distance: Kolmogorov-Smirnov statistic of numbers, total variation of categories; 0 to 1.
      floor: The same of the held-out records; None without.
      wasserstein: Wasserstein-1 distance of the numbers that are there, in ranges of the members; None of categories,
        or where a table has no number.
      wasserstein_floor: The same of the held-out records.
    """

    name: str
    numeric: bool
    distance: float
    floor: float | None
    wasserstein: float | None
    wasserstein_floor: float | None


class Pairs(NamedTuple):
    """How far associations of the synthetic table's columns are from the members'.

    Attributes:
      names: The columns.
      members: Association of each two of the members' columns, float64 [c, c].
      difference: |that of the synthetic table - that of the members|, float64 [c, c].
      floor: The same of the held-out records; None without.
    """

    names: tuple[str, ...]
    members: np.ndarray
    difference: np.ndarray
    floor: np.ndarray | None


def matched(members: Table, table: Table, called: str) -> Table:
    """Returns a table with its columns in the members' order.

    Args:
      members: What it is compared with.
      table: The table.
      called: What a message calls it.

    Raises:
      InputError: if either has no record, or the columns' names or types differ.
    """
    for name, each in (("members", members), (called, table)):
        if not len(each) or not each.columns:
            raise InputError(f"{name} ({each.name}) has no record: give a table with at least one.")
    for name in table.columns:
        known(f"column of {called}", name, members.columns)
    for name, column in members.columns.items():
        if name not in table.columns:
            raise InputError(f"{called} ({table.name}) lacks the column {name!r}: give the columns of the members.")
        kinds = ["numeric" if each.dtype.kind == "f" else "text" for each in (column, table.columns[name])]
        if kinds[0] != kinds[1]:
            raise InputError(f"column {name!r} is {kinds[0]} in members and {kinds[1]} in {called}: make them alike.")
    return Table({name: table.columns[name] for name in members.columns}, table.rows, table.name, table.groups)


def marginals(members: Table, synthetic: Table, holdout: Table | None = None) -> tuple[Marginal, ...]:
    """Distance of each column to the members', and of the held-out records' column to it.

        KS = sup_v |F(v) - G(v)|,   TV = (1/2) sum_v |p(v) - q(v)|,   W1 = int |F - G| dv / (max - min of members)

    A missing number counts as less than every number in KS, so that another share of missing ones is a distance too.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      holdout: Real records that did not train it; None for no floor.

    Raises:
      InputError: if a table has no record, or the tables do not have the same columns.
    """
    synthetic = matched(members, synthetic, "synthetic")
    holdout = None if holdout is None else matched(members, holdout, "holdout")

    def marginal(name: str, column: np.ndarray) -> Marginal:
        numeric, others = (
            column.dtype.kind == "f",
            [None if t is None else t.columns[name] for t in (synthetic, holdout)],
        )
        far = [None if other is None else (_ks if numeric else _tv)(column, other) for other in others]
        moved = [None if other is None or not numeric else _wasserstein(column, other) for other in others]
        return Marginal(name, numeric, far[0] or 0.0, far[1], *moved)

    return tuple(marginal(name, column) for name, column in members.columns.items())


def _ks(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (np.sort(np.where(np.isnan(values), -np.inf, values)) for values in (x, y))
    at = np.concatenate([x, y])
    below = [np.searchsorted(values, at, side="right") / len(values) for values in (x, y)]
    return float(np.abs(below[0] - below[1]).max())


def _tv(x: np.ndarray, y: np.ndarray) -> float:
    codes = np.unique(np.concatenate([x, y]), return_inverse=True)[1]
    shares = [np.bincount(part, minlength=codes.max() + 1) / len(part) for part in (codes[: len(x)], codes[len(x) :])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _wasserstein(x: np.ndarray, y: np.ndarray) -> float | None:
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    if not len(x) or not len(y):
        return None
    return float(wasserstein_distance(x, y) / (np.ptp(x) or 1.0))  # a constant column keeps its own unit


def pairs(
    members: Table, synthetic: Table, holdout: Table | None = None, *, correlation: Correlation = "spearman"
) -> Pairs:
    """Differences between the tables in the association of each two columns.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      holdout: Real records that did not train it; None for no floor.
      correlation: Of two numeric columns; see `associations`.

    Raises:
      InputError: if a table has no record, the tables do not have the same columns, or `correlation` is unknown.
    """
    known("correlation", correlation, ("spearman", "pearson"))
    others = [matched(members, synthetic, "synthetic")]
    others += [] if holdout is None else [matched(members, holdout, "holdout")]
    truth = associations(members, correlation)
    far = [np.abs(associations(each, correlation) - truth) for each in others]
    return Pairs(tuple(members.columns), truth, far[0], None if holdout is None else far[1])


def associations(table: Table, correlation: Correlation = "spearman") -> np.ndarray:
    """Association of each two columns: correlation, corrected Cramér's V, or corrected correlation ratio.

    Two numeric columns have their correlation, -1 to 1; two categorical ones Cramér's V, and one of each the
    correlation ratio (root of the variance between categories over that of all), 0 to 1. The last two are corrected
    for what chance alone adds in few records, so that tables of unequal size can be compared. Records that lack a
    number are left out of its pairs; a column with one value is associated with none.

    Args:
      table: The table.
      correlation: Of ranks ("spearman") or of values ("pearson").

    Returns:
      float64 [c, c], symmetric, 1 on the diagonal.

    References:
      Bergsma 2013, J. Korean Statistical Society 42:323 (V); Kelley 1935, PNAS 21:554 (correlation ratio)
    """
    names, codes = tuple(table.columns), {name: _codes(table.columns[name]) for name in table.categorical}
    found = np.eye(len(names))
    for i, j in combinations(range(len(names)), 2):
        found[i, j] = found[j, i] = _association(table.columns, codes, names[i], names[j], correlation)
    return found


def _association(
    columns: Mapping[str, np.ndarray], codes: Mapping[str, np.ndarray], a: str, b: str, correlation: Correlation
) -> float:
    if a in codes and b in codes:
        return _cramer(codes[a], codes[b])
    if a in codes or b in codes:
        a, b = (a, b) if a in codes else (b, a)
        there = ~np.isnan(columns[b])
        return _ratio(codes[a][there], columns[b][there])
    there = ~(np.isnan(columns[a]) | np.isnan(columns[b]))
    x, y = columns[a][there], columns[b][there]
    return _correlated(x, y) if correlation == "pearson" else _correlated(rankdata(x), rankdata(y))


def _codes(column: np.ndarray) -> np.ndarray:
    return np.unique(column, return_inverse=True)[1]


def _correlated(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or not np.ptp(x) or not np.ptp(y):
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _cramer(a: np.ndarray, b: np.ndarray) -> float:
    n, rows, columns = len(a), np.bincount(a), np.bincount(b)
    cells, counts = np.unique(a.astype(np.int64) * len(columns) + b, return_counts=True)  # those that hold a record
    i, j = np.divmod(cells, len(columns))
    phi = float((counts / rows[i] * (counts / columns[j])).sum()) - 1.0
    r, c = len(rows), len(columns)
    if n < 2 or min(r, c) < 2:
        return 0.0
    phi = max(phi - (r - 1) * (c - 1) / (n - 1), 0.0)
    most = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1.0
    return min(np.sqrt(phi / most), 1.0) if most > 0 else 0.0


def _ratio(codes: np.ndarray, values: np.ndarray) -> float:
    codes, n = _codes(codes), len(values)  # categories that have a number
    k = len(np.unique(codes))
    if k < 2 or n <= k or not np.ptp(values):
        return 0.0
    means = np.bincount(codes, values) / np.bincount(codes)
    within = float(((values - means[codes]) ** 2).sum()) / (n - k)
    return float(np.sqrt(max(1.0 - within / values.var(ddof=1), 0.0)))
