"""Features of raw records for the blind classifier: where pixels lie, and what processing leaves behind.

Two pools of one source but different handling (a resize, a JPEG round, a gain) hardly differ in their pixels' means;
they differ in gradients, grey levels used and extremes. A linear classifier sees those only if they are columns.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.extmath import randomized_svd

from diffaudit_jax.types import InputError

NUM_COMPONENTS = 100


def standardised(columns: np.ndarray) -> np.ndarray:
    """Centres columns and scales them to unit variance; constant columns become 0."""
    centred = columns - columns.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 1e-9 * (1.0 + np.abs(columns).max(axis=0)), spread, np.inf)


def processing_traces(x: np.ndarray) -> np.ndarray:
    """Summaries of each record: mean, energy, peak and zeros of its values and of their differences along space.

    Args:
      x: Records [n, ...] with real values; axes 1 and 2 are taken for space.

    Returns:
      Columns [n, c], standardised over the pool: 22 for images, 14 for rows of a table.
    """
    values = x.astype(np.float64) - x.min()
    values *= 255.0 / (values.max() or 1.0)  # one scale for the whole pool: 8-bit steps, also for floats

    def summaries(maps: np.ndarray) -> list[np.ndarray]:
        size = np.abs(maps).reshape(len(x), -1)
        flat = (size < 0.5).mean(axis=1)  # below half a step: zero, up to rounding
        return [size.mean(axis=1), np.sqrt((size**2).mean(axis=1)), size.max(axis=1), flat]

    columns = summaries(values)
    for axis in range(1, min(x.ndim, 3)):
        for order in (1, 2):
            if x.shape[axis] > order:
                columns += summaries(np.diff(values, n=order, axis=axis))
    ordered = np.sort(values.reshape(len(x), -1), axis=1)
    columns += [ordered[:, 0], (np.diff(ordered, axis=1) > 0).sum(axis=1)]
    return standardised(np.log1p(np.stack(columns, axis=1)))


def principal_components(x: np.ndarray, seed: int) -> np.ndarray:
    """Projects standardised pixels on their leading principal components.

    Args:
      x: Records [n, ...] with real values.
      seed: Seed of the randomised decomposition.

    Returns:
      Columns [n, min(100, n, d)].
    """
    pixels = standardised(x.reshape(len(x), -1).astype(np.float64))
    num_components = min(NUM_COMPONENTS, *pixels.shape)
    u, s, _ = randomized_svd(pixels, num_components, random_state=seed)
    return u * s


def blind_features(x: ArrayLike, seed: int) -> np.ndarray:
    """Columns [n, r] for a classifier that never sees a model: principal components and processing traces.

    No label is used, so relabelling rows at random leaves the features' distribution as it is. Each of the two kinds
    has mean squared length 1.

    Args:
      x: Records [n, ...], uint8 or float.
      seed: Seed of the randomised decomposition.

    Raises:
      InputError: if a value is not finite, or there are no values.
    """
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise InputError(f"x has shape {x.shape}: give records [n, ...] with at least one value each.")
    if not np.isfinite(x).all():
        row = int(np.argwhere(~np.isfinite(x))[0][0])
        raise InputError(f"record {row} holds a value that is not finite: mend or drop it.")
    kinds = (principal_components(x, seed), processing_traces(x))
    lengths = [np.sqrt((kind**2).sum(axis=1).mean()) for kind in kinds]
    return np.concatenate([k / (length or 1.0) for k, length in zip(kinds, lengths, strict=True)], axis=1)
