"""What a table of counts tells of a sensitive group S and a label Y, and which record moves it most.

With n_sy the records of group s and label y, p = n_sy/N:

    I(S; Y) = sum over s, y of p_sy log2(p_sy/(p_s p_y))          in bits
    gap     = max over s - min over s of P(Y = 1 | S = s)         demographic parity of the labels

The counts decide everything: the gain of one more record is I(n + e_sy) - I(n), the same for all records of a cell.

References:
  Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import xlogy

from diffaudit_jax.types import InputError


def counted(s: ArrayLike, y: ArrayLike) -> Int[np.ndarray, "groups labels"]:
    """Counts the records of every group and label.

    Args:
      s: Groups 0, 1, ... [n].
      y: Labels 0, 1, ... [n].

    Raises:
      InputError: if they differ in length, are empty or not whole numbers from 0.
    """
    groups, labels = (np.asarray(values) for values in (s, y))
    if groups.ndim != 1 or groups.shape != labels.shape or not len(groups):
        raise InputError(f"groups have shape {groups.shape} and labels {labels.shape}: give one of each a record.")
    for name, values in (("groups", groups), ("labels", labels)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
            raise InputError(f"{name} are whole numbers from 0, got {values.dtype} from {values.min()}.")
    table = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1), int)
    np.add.at(table, (groups, labels), 1)
    return table


def information(counts: ArrayLike) -> Float[np.ndarray, "*tables"]:
    """Returns I(S; Y) of tables of counts [*tables, groups, labels], in bits; 0 of an empty one."""
    n = np.asarray(counts, np.float64)
    total = np.maximum(n.sum(axis=(-2, -1)), 1.0)
    # sum of n log n, over cells, margins and the whole: the entropies without their common terms.
    cells, groups, labels = (
        xlogy(part, part).sum(axis=-1) for part in (n.reshape(*n.shape[:-2], -1), n.sum(-1), n.sum(-2))
    )
    return np.maximum((cells - groups - labels + xlogy(total, total)) / total / np.log(2), 0.0)


def gap(counts: ArrayLike) -> Float[np.ndarray, "*tables"]:
    """Returns the parity gap of binary labels, of tables [*tables, groups, 2]; NaN where a group is empty."""
    n = np.asarray(counts, np.float64)
    size = n.sum(axis=-1)
    rate = np.divide(n[..., 1], size, out=np.full(size.shape, np.nan), where=size > 0)
    return rate.max(axis=-1) - rate.min(axis=-1)


def gains(counts: ArrayLike) -> Float[np.ndarray, "groups labels"]:
    """Returns how much one more record of each cell adds to I(S; Y), in bits."""
    n = np.asarray(counts, np.float64)
    more = n + np.eye(n.size).reshape(-1, *n.shape)
    return (information(more) - information(n)).reshape(n.shape)


def ranked_cells(counts: ArrayLike) -> list[tuple[int, int]]:
    """Returns all cells, the one whose next record adds most first; ties in the order of groups, then labels.

    Gains are compared in steps of 1e-12: cells that are equal by symmetry are not ordered by their roundings.
    """
    rounded = np.round(gains(counts), 12)
    order = np.argsort(-rounded, axis=None, kind="stable")
    return [tuple(map(int, np.unravel_index(i, rounded.shape))) for i in order]  # type: ignore[misc]
