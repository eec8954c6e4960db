"""The columns of a report of a synthetic table: what is drawn of each, as JSON."""

from itertools import pairwise
from typing import Any

import numpy as np

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.tables import Marginal

NUM_BINS, MOST_BARS = 16, 10


def column_section(found: Marginal, members: Table, synthetic: Table, holdout: Table | None) -> dict[str, Any]:
    """Returns one column's distances, and the share of each table's records in its bins or categories.

    Args:
      found: The distances.
      members: What trained the generator.
      synthetic: What it drew.
      holdout: Real records that did not train it.
    """
    columns = [None if table is None else table.columns[found.name] for table in (members, synthetic, holdout)]
    labels, codes = (_binned if found.numeric else _named)([column for column in columns if column is not None])
    shares = [(np.bincount(code, minlength=len(labels)) / len(code)).tolist() for code in codes]
    bars = dict(zip(("members", "synthetic", "holdout"), [*shares, None], strict=False))
    return {**found._asdict(), "bars": {"labels": labels, **bars}}


def _binned(columns: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """Bins of equal width over the numbers of all tables, and one for missing ones if there are any."""
    joined = np.concatenate(columns)
    there = joined[~np.isnan(joined)]
    low, high = (there.min(), there.max()) if len(there) else (0.0, 0.0)
    edges = np.linspace(low, high, NUM_BINS + 1) if high > low else np.array([low, high])
    labels = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    last = len(labels) - 1
    missing = len(there) < len(joined)
    placed = [np.clip(np.searchsorted(edges, column, side="right") - 1, 0, last) for column in columns]
    codes = [np.where(np.isnan(column), last + 1, at) for column, at in zip(columns, placed, strict=True)]
    return [*labels, "missing"] if missing else labels, codes


def _named(columns: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """The commonest categories, by the greatest share that each has in a table, and one for all others."""
    names, joined = np.unique(np.concatenate(columns), return_inverse=True)
    parts = np.split(joined, np.cumsum(list(map(len, columns)))[:-1])
    share = np.max([np.bincount(part, minlength=len(names)) / len(part) for part in parts], axis=0)
    order = np.argsort(-share, kind="stable")
    shown = len(names) if len(names) <= MOST_BARS else MOST_BARS - 1
    rank = np.empty(len(names), np.int64)
    rank[order] = np.minimum(np.arange(len(names)), shown)
    others = [] if shown == len(names) else [f"{len(names) - shown} others"]
    return [*(str(names[i]) or "(empty)" for i in order[:shown]), *others], [rank[part] for part in parts]
