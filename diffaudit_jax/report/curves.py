"""Curves small enough to keep: a thinned ROC, a histogram, and the records an attack is surest about."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

NUM_POINTS = 400  # of a stored ROC curve
NUM_BINS = 40
NUM_SUREST = 10


def thinned(fpr: ArrayLike, tpr: ArrayLike, num_points: int = NUM_POINTS) -> dict[str, list[float]]:
    """Keeps at most `num_points` points of an ROC curve: corners only, and all of them on the left.

    The first half of what is kept are the curve's first corners, exactly; the rest lie evenly in log fpr.

    Args:
      fpr: False positive rates [m], from 0 to 1.
      tpr: True positive rates [m], from 0 to 1.
      num_points: How many to keep at most, at least 4.

    Returns:
      The kept `fpr` and `tpr`, as lists.
    """
    fpr, tpr = np.asarray(fpr, float), np.asarray(tpr, float)
    # A point is a corner unless it lies on the straight line between its neighbours.
    turn = np.diff(fpr[:-1]) * np.diff(tpr[1:]) - np.diff(tpr[:-1]) * np.diff(fpr[1:])
    keep = np.concatenate([[0], 1 + np.flatnonzero(np.abs(turn) > 1e-12), [len(fpr) - 1]])
    if len(keep) > num_points:
        head = num_points // 2
        spread = np.geomspace(max(fpr[keep[head]], 1e-9), 1.0, num_points - head - 1)
        tail = head + np.minimum(np.searchsorted(fpr[keep[head:]], spread), len(keep) - head - 1)
        keep = keep[np.unique(np.concatenate([np.arange(head), tail, [len(keep) - 1]]))]
    return {"fpr": fpr[keep].tolist(), "tpr": tpr[keep].tolist()}


def histogram(scores: NDArray, member: NDArray, num_bins: int = NUM_BINS) -> dict[str, list[float]]:
    """Counts members and non-members over common bins; the outermost bins hold the half per cent beyond.

    Args:
      scores: Float [n].
      member: Bool [n].
      num_bins: Number of bins.

    Returns:
      The bins' `edges` and the counts of `members` and `nonmembers`.
    """
    edges = np.histogram_bin_edges(np.clip(scores, *np.quantile(scores, [0.005, 0.995])), num_bins)
    inside = np.clip(scores, edges[0], edges[-1])
    members, nonmembers = (np.histogram(inside[group], edges)[0].tolist() for group in (member, ~member))
    return {"edges": edges.tolist(), "members": members, "nonmembers": nonmembers}


def surest(scores: NDArray, member: NDArray) -> dict[str, Any]:
    """Tests whether members crowd among the records an attack is surest about.

    Of the k highest scores (one per cent of all, at least ten), the number of members is hypergeometric if scores
    know nothing of membership, whatever their distribution. AUC averages over everyone and can miss a few fully
    exposed people; this does not. Ties at the border count as non-members first, which makes the test conservative.

    Args:
      scores: Float [n].
      member: Bool [n].

    Returns:
      `k`, the `members` among them, how many are `expected` by chance, and the one-sided exact `p_value`.
    """
    n, k = len(scores), min(len(scores), max(NUM_SUREST, round(0.01 * len(scores))))
    found = int(member[np.lexsort((member, -scores))[:k]].sum())
    p_value = stats.hypergeom.sf(found - 1, n, member.sum(), k)
    return {"k": k, "members": found, "expected": float(k * member.mean()), "p_value": float(p_value)}
