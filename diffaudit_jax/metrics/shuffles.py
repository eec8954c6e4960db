"""Who is in which group, shuffled within members and within non-members: how wide a gap between groups chance gives.

If group and score are independent on either side, every such shuffle is as likely as the true grouping, so the share of
shuffles whose gap is at least as wide is an exact p-value. Row 0 is always the true grouping.
"""

from collections.abc import Iterator

import numpy as np

CELLS = 1_000_000  # of one pass over shuffles: some tens of MB


def shuffled(codes: np.ndarray, member: np.ndarray, num_permutations: int, seed: int) -> np.ndarray:
    """Returns the grouping and shuffles of it, int [1 + num_permutations, n].

    Args:
      codes: Group of each record, int [n].
      member: Truth, bool [n].
      num_permutations: How many shuffles.
      seed: Their seed.
    """
    rng = np.random.default_rng((seed, 3))  # a stream of its own, apart from folds and halves
    every = np.repeat(codes[None].astype(np.int32), 1 + num_permutations, axis=0)
    for side in (member, ~member):
        every[1:, side] = rng.permuted(every[1:, side], axis=1)
    return every


def spread_of_areas(scores: np.ndarray, member: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Largest less smallest AUC within a group, for every grouping: [p, n] -> [p].

    In the order of the scores, a group's non-members below each of its members are a running count; ties count half.
    """
    order = np.argsort(scores, kind="stable")
    scores, member, labels = scores[order], member[order], labels[:, order]
    first, after = (np.searchsorted(scores, scores[member], side) for side in ("left", "right"))
    return np.concatenate([_spread(_areas(part, member, first, after)) for part in _parts(labels)])


def spread_of_rates(hit: np.ndarray, member: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Largest less smallest share of a group's members that is hit, for every grouping: [p, n] -> [p]."""
    labels, hit = labels[:, member], hit[member]
    return _spread([(inside @ hit.astype(float)) / inside.sum(axis=1) for inside in _each(labels)])


def same_or_wider(widths: np.ndarray) -> float:
    """Returns the share of widths that reach the first, up to rounding; the first counts."""
    return float(np.mean(widths >= widths[0] - 1e-12))


def _each(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Who is in group 0, 1, ..., bool [p, n] each."""
    return (labels == g for g in range(int(labels.max(initial=-1)) + 1))


def _parts(labels: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, CELLS // max(1, labels.shape[1]))
    return (labels[start : start + step] for start in range(0, len(labels), step))


def _areas(labels: np.ndarray, member: np.ndarray, first: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    found = []
    for inside in _each(labels):
        below = np.zeros((len(labels), len(member) + 1), np.int32)
        np.cumsum(inside & ~member, axis=1, out=below[:, 1:])
        own = inside[:, member]
        wins = (own * (below[:, first] + below[:, after])).sum(axis=1) / 2
        found.append(wins / (own.sum(axis=1) * below[:, -1].astype(float)))
    return found


def _spread(values: list[np.ndarray]) -> np.ndarray:
    return np.max(values, axis=0) - np.min(values, axis=0)
