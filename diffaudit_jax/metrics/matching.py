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
      adaptive: The smallest ratio of each record over samples, float64 [m].
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

        ratio(x, g) = d(x, g) / (alpha times the mean of d(g, .) over the records nearest to g)

    Args:
      samples: What a generator drew.
      records: m records.
      neighbours: How many records are nearest to a sample; more than 1, or every ratio is 1/alpha.
      alpha: As above.
    """
    m, n = size(records), size(samples)
    best, at = np.full((2, m), np.inf), np.zeros((2, m), np.int64)
    nearest, far = np.empty(n, np.int64), np.empty((2, n))
    for part, d in distances(samples, records):
        around = np.partition(d, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
        nearest[part] = d.argmin(axis=1)
        for i, values in enumerate((d, d / (alpha * around[:, None]))):
            rows = values.argmin(axis=0)
            lowest = values[rows, np.arange(m)]
            better = lowest < best[i]
            best[i, better], at[i, better] = lowest[better], rows[better] + part.start
            far[i, part] = values[np.arange(len(d)), nearest[part]]
    return Match(best[0], at[0], best[1], at[1], nearest, *far)
