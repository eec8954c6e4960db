"""Small tables of numbers and categories."""

import numpy as np

from diffaudit_jax.data.table import Table


def table(name="made", **columns):
    """A table of columns: float64, or str."""
    made = {
        key: np.array(values, float if np.asarray(values).dtype.kind in "fi" else str)
        for key, values in columns.items()
    }
    return Table(made, np.arange(len(next(iter(made.values())))), name)


def drawn(n, seed, missing=0.1):
    """Records of two numbers, one of which can be missing, and two categories, which go with the first number."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), rng.normal(size=n)
    group = np.array(["low", "middle", "high"])[np.searchsorted([-0.5, 0.5], x + 0.5 * rng.normal(size=n))]
    y = np.where(rng.random(n) < missing, np.nan, y)
    return table(x=x, y=y, group=group, colour=rng.choice(["red", "green"], n))
