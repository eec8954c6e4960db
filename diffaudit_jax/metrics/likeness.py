"""How far records are from one another, block by block: pixels of images, and columns of tables.

    images   ||x - y||_2 / sqrt(d) over the d values of an image, on pixels in [0, 1]
    tables   mean over columns: numbers in ranges, a category that differs as 1 (Gower's)

Both are from 0 to 1. Products of bytes are whole numbers, and exact in the precision that they are taken in.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

from diffaudit_jax.metrics.mixed import Mixed, powers
from diffaudit_jax.metrics.points import Points
from diffaudit_jax.types import InputError

BLOCK = 2**21  # distances held at once: 16 MiB, whatever the sets
EXACT = 1024  # values up to which sums of products of -128 to 127 are whole in float32
WINDOW, SIGMA = 11, 1.5  # of structural similarity, as published
STABLE = (0.01**2, 0.03**2)  # its constants, on pixels in [0, 1]
PAIRS = 512  # images compared at once


def distances(queries: Points, among: Points) -> Iterator[tuple[slice, Float[np.ndarray, "some m"]]]:
    """Yields how far each of some records is from each of others, as many at a time as fit.

    Args:
      queries: Images uint8 [n, *shape], or records of a table.
      among: The others, m of the same kind.
    """
    if isinstance(queries, Mixed):
        assert isinstance(among, Mixed), "records are compared with records"
        columns = len(queries.numbers) + len(queries.codes)
        for part, d in powers(queries, among, 1):
            yield part, d / columns
        return
    assert not isinstance(among, Mixed), "images are compared with images"
    values = among[0].size
    kind = np.float32 if values <= EXACT else np.float64
    y = _centred(among, kind)
    squares = _squares(y)
    size = max(1, BLOCK // len(among))
    for start in range(0, len(queries), size):
        x = _centred(queries[start : start + size], kind)
        d = _squares(x)[:, None] + squares - 2.0 * (x @ y.T).astype(np.float64)
        yield slice(start, start + size), np.sqrt(d / values) / 255.0


def ssim(x: UInt8[np.ndarray, "n h w c"], y: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, " n"]:
    """Returns the mean structural similarity of each pair of images, averaged over channels, float64.

    The window is the usual Gaussian one of 11 x 11 pixels, or as much of it as fits into a smaller image.

    Args:
      x: Images.
      y: As many others.

    References:
      Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    if x.shape != y.shape or x.ndim != 4:
        raise InputError(f"pairs of images are compared, uint8 [n, h, w, c], got {x.shape} and {y.shape}.")
    parts = [_ssim(x[at : at + PAIRS] / 255.0, y[at : at + PAIRS] / 255.0) for at in range(0, len(x), PAIRS)]
    return np.concatenate([np.empty(0), *parts])


def _centred(images: np.ndarray, kind: type) -> np.ndarray:
    return images.reshape(len(images), -1).astype(kind) - kind(128)


def _squares(x: np.ndarray) -> Float[np.ndarray, " n"]:
    return np.einsum("nd,nd->n", x, x, dtype=x.dtype).astype(np.float64)


def _ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = min(WINDOW, *x.shape[1:3])
    rows, columns = (_window(side, size) for side in x.shape[1:3])

    def blurred(images: np.ndarray) -> np.ndarray:
        return np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)

    a, b = blurred(x), blurred(y)
    spread_a, spread_b, shared = blurred(x * x) - a * a, blurred(y * y) - b * b, blurred(x * y) - a * b
    likeness = (2 * a * b + STABLE[0]) * (2 * shared + STABLE[1])
    return (likeness / ((a * a + b * b + STABLE[0]) * (spread_a + spread_b + STABLE[1]))).mean(axis=(1, 2, 3))


def _window(side: int, size: int) -> Float[np.ndarray, "places side"]:
    """Returns the Gaussian window at each place where it fits, one a row."""
    offset = np.arange(side) - np.arange(side - size + 1)[:, None] - (size - 1) / 2
    weights = np.where(np.abs(offset) <= (size - 1) / 2, np.exp(-0.5 * (offset / SIGMA) ** 2), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
