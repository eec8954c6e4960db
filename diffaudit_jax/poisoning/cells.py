"""What a table of counts tells of a sensitive group S and a label Y, and which record moves it most.

With n_sy the records of group s and label y, p = n_sy/N:

    I(S; Y) = sum over s, y of p_sy log2(p_sy/(p_s p_y))          in bits
    gap     = max over s - min over s of P(Y = 1 | S = s)         demographic parity of the labels

and among records of which a reference R, what their features tell of the label, says the same, p_r = n_r/N:

    I(S; Y | R) = sum over r of p_r I(S; Y | R = r)               I(S; Y), where R is constant

The counts decide everything: one more record of a cell, any of them, adds f(n_rsy) - f(n_rs) - f(n_ry) + f(n_r) to
N I(S; Y | R), where f(n) = (n + 1) log2(n + 1) - n log2 n.

References:
  Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import xlogy

from diffaudit_jax.types import InputError

Cell = tuple[int, int, int]  # reference, group, label


def counted(
    s: ArrayLike, y: ArrayLike, reference: ArrayLike | None = None
) -> Int[np.ndarray, "*references groups labels"]:
    """Counts the records of every group and label, and where it is given of every value of a reference.

    Args:
      s: Groups 0, 1, ... [n].
      y: Labels 0, 1, ... [n].
      reference: R 0, 1, ... [n]; None leaves its axis out.

    Raises:
      InputError: if they differ in length, are empty or not whole numbers from 0.
    """
    named = {} if reference is None else {"references": np.asarray(reference)}
    named |= {"groups": np.asarray(s), "labels": np.asarray(y)}
    length = np.shape(y)[:1] or (0,)
    if any(values.shape != length or not len(values) for values in named.values()):
        shapes = " and ".join(f"{name} have shape {values.shape}" for name, values in named.items())
        raise InputError(f"{shapes}: give one of each a record.")
    for name, values in named.items():
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
            raise InputError(f"{name} are whole numbers from 0, got {values.dtype} from {values.min()}.")
    return tallied(tuple(named.values()), tuple(int(values.max()) + 1 for values in named.values()))


def tallied(columns: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> Int[np.ndarray, "*shape"]:
    """Counts the records of every cell of a table of this shape."""
    table = np.zeros(shape, int)
    np.add.at(table, columns, 1)
    return table


def information(counts: ArrayLike) -> Float[np.ndarray, "*tables"]:
    """Returns I(S; Y) of tables of counts [*tables, groups, labels], in bits; 0 of an empty one."""
    n = np.asarray(counts, np.float64)
    return _bits(n) / np.maximum(n.sum(axis=(-2, -1)), 1.0)


def information_given(counts: ArrayLike) -> Float[np.ndarray, "*tables"]:
    """Returns I(S; Y | R) of tables of counts [*tables, references, groups, labels], in bits; 0 of an empty one."""
    n = np.asarray(counts, np.float64)
    return _bits(n).sum(axis=-1) / np.maximum(n.sum(axis=(-3, -2, -1)), 1.0)


def _bits(n: np.ndarray) -> np.ndarray:
    """Returns N I(S; Y)."""
    # sum of n log n, over cells, margins and the whole: the entropies without their common terms.
    cells, groups, labels, whole = (
        xlogy(part, part).sum(axis=-1)
        for part in (n.reshape(*n.shape[:-2], -1), n.sum(-1), n.sum(-2), n.sum(axis=(-2, -1))[..., None])
    )
    return np.maximum((cells - groups - labels + whole) / np.log(2), 0.0)


def gap(counts: ArrayLike) -> Float[np.ndarray, "*tables"]:
    """Returns the parity gap of binary labels, of tables [*tables, groups, 2]; NaN where a group is empty."""
    n = np.asarray(counts, np.float64)
    size = n.sum(axis=-1)
    rate = np.divide(n[..., 1], size, out=np.full(size.shape, np.nan), where=size > 0)
    return rate.max(axis=-1) - rate.min(axis=-1)


def gains(counts: ArrayLike) -> Float[np.ndarray, "references groups labels"]:
    """Returns how much one more record of each cell adds to I(S; Y | R), in bits."""
    n = np.asarray(counts, np.float64)
    total, told = n.sum(), _bits(n).sum()
    margins = (n, n.sum(axis=2, keepdims=True), n.sum(axis=1, keepdims=True), n.sum(axis=(1, 2), keepdims=True))
    cells, groups, labels, whole = (xlogy(part + 1, part + 1) - xlogy(part, part) for part in margins)
    more = (cells - groups - labels + whole) / np.log(2)
    return (told + more) / (total + 1) - told / max(total, 1.0)


def ranked_cells(counts: ArrayLike) -> dict[Cell, float]:
    """Returns all cells and what they add, the most first; ties in the order of references, groups, then labels.

    Gains are compared in steps of 1e-12: cells that are equal by symmetry are not ordered by their roundings.
    """
    rounded = np.round(gains(counts), 12)
    order = np.unravel_index(np.argsort(-rounded, axis=None, kind="stable"), rounded.shape)
    return dict(zip(zip(*(axis.tolist() for axis in order), strict=True), rounded[order].tolist(), strict=True))
