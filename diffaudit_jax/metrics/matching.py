"""Every sample beside every record, of which only the best of each is kept: memory does not grow with their product."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from diffaudit_jax.metrics.likeness import distances
from diffaudit_jax.metrics.points import Points, size


class Match(NamedTuple):
    """The best sample of each of m records, and the best record of each of n samples.

    Attributes:
      l2: Distance of each record to the nearest sample, float64 [m].
      l2_at: That sample, int64 [m].
      adaptive: The smallest ratio of each record over the samples that it is nearest to, infinite without, float64 [m].
      adaptive_at: That sample, int64 [m].
      nearest: The record nearest to each sample, int64 [n].
      far: The distance between them, float64 [n].
      ratio: Their ratio, float64 [n].
    """

    l2: Float[np.ndarray, " m"]
    l2_at: Int[np.ndarray, " m"]
    adaptive: Float[np.ndarray, " m"]
    adaptive_at: Int[np.ndarray, " m"]
    nearest: Int[np.ndarray, " n"]
    far: Float[np.ndarray, " n"]
    ratio: Float[np.ndarray, " n"]


def match(samples: Points, records: Points, neighbours: int, alpha: float) -> Match:
    """Compares samples with records that differ from one another.

        ratio(g) = d(x, g) / (alpha times the mean of d(g, .) over the records nearest to g),   x the nearest of all

    A copy of one record is not far from others like it: by its ratio a sample tells of the nearest one only.

    Args:
      samples: What a generator drew.
      records: m records.
      neighbours: How many records are nearest to a sample; more than 1, or every ratio is 1/alpha.
      alpha: As above.
    """
    m, n = size(records), size(samples)
    l2, l2_at = np.full(m, np.inf), np.zeros(m, np.int64)
    nearest, far, around = np.empty(n, np.int64), np.empty(n), np.empty(n)
    for part, d in distances(samples, records):
        around[part] = np.partition(d, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
        nearest[part], far[part] = d.argmin(axis=1), d.min(axis=1)
        rows, lowest = d.argmin(axis=0), d.min(axis=0)
        better = lowest < l2
        l2[better], l2_at[better] = lowest[better], rows[better] + part.start
    ratio = far / (alpha * around)
    adaptive, adaptive_at = np.full(m, np.inf), np.zeros(m, np.int64)
    order = np.argsort(ratio, kind="stable")[::-1]  # of those written to one place the last one stays
    adaptive[nearest[order]], adaptive_at[nearest[order]] = ratio[order], order
    return Match(l2, l2_at, adaptive, adaptive_at, nearest, far, ratio)
