"""Generated records that come again and again: what whoever sees no training record can suspect of being one.

Clusters are stars. The sample that has the most others within delta is the centre of the first, with all of these;
they are taken out, and so on. Connected components would chain: a model draws every shade between two shirts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffaudit_jax.metrics.likeness import distances
from diffaudit_jax.metrics.points import Points, size
from diffaudit_jax.types import InputError

SMALLEST = 5


class Cluster(NamedTuple):
    """Samples near one of them.

    Attributes:
      centre: The sample in the middle.
      samples: All of them, the centre too, in order, int64 [size].
    """

    centre: int
    samples: Int[np.ndarray, " size"]


def clusters(generated: Points, delta: float, *, smallest: int = SMALLEST) -> list[Cluster]:
    """Finds generated records that are near one another, without a look at any training record.

    Args:
      generated: Images uint8 [n, *shape], or records of a table.
      delta: The greatest distance to the centre, as `metrics.extract` measures it; any two are within 2 delta.
      smallest: Samples of a cluster, at least.

    Returns:
      The clusters, largest first; of equals, that whose centre was drawn first. Time grows as n^2 d; memory is n^2/8
      bytes.

    Raises:
      InputError: if a setting is out of range.

    References:
      Carlini et al. 2023, https://arxiv.org/abs/2301.13188 (which asks for cliques)
    """
    if delta < 0 or smallest < 2:
        raise InputError(f"delta is {delta:g} and smallest {smallest}: give a distance from 0, and 2 or more samples.")
    if not size(generated):
        return []
    near, degree = _graph(generated, delta)
    found, alive = [], np.ones(len(degree), bool)
    while len(degree) and degree.max() >= smallest - 1:
        centre = int(degree.argmax())
        taken = np.flatnonzero(_row(near, centre) & alive)
        found.append(Cluster(centre, taken))
        alive[taken] = False
        for sample in taken.tolist():
            degree -= _row(near, sample)
        degree[taken] = -1
    return found


def _graph(generated: Points, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns which samples are within delta of each, a bit each and itself among them, and how many others are."""
    n = size(generated)
    near, degree = np.empty((n, -(-n // 8)), np.uint8), np.empty(n, np.int64)
    for part, d in distances(generated, generated):
        within = d <= delta
        near[part], degree[part] = np.packbits(within, axis=1), within.sum(axis=1) - 1
    return near, degree


def _row(near: np.ndarray, sample: int) -> np.ndarray:
    return np.unpackbits(near[sample], count=len(near)).astype(bool)
