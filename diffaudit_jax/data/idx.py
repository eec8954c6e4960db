"""IDX files, the format of MNIST and its successors.

Big-endian: two zero bytes, a dtype code, the rank, then one uint32 per axis, then the values. Images are uint8 of rank
3 [n, H, W] or 4 [n, H, W, C]; labels are uint8 of rank 1.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from diffaudit_jax.data.arrays import from_arrays
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.types import InputError

UINT8 = 8


def is_idx(path: Path) -> bool:
    """Says whether the file, gzipped or not, begins as an IDX file of uint8 does."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            head = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:3] == bytes((0, 0, UINT8)) and 1 <= head[3] <= 4


def read_idx(path: Path) -> np.ndarray:
    """Reads one IDX file of uint8, gzipped or not.

    Raises:
      InputError: if it is no IDX file of uint8, or is shorter or longer than its header says.
    """
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unzipped ({error}): copy it again.") from error
    if len(raw) < 4 or raw[:3] != bytes((0, 0, UINT8)):
        raise InputError(f"{path} begins with bytes {raw[:4].hex()}, not 000008 as an IDX file of uint8 does.")
    start = 4 + 4 * raw[3]
    shape = tuple(int(axis) for axis in np.frombuffer(raw[4:start][: len(raw[4:start]) // 4 * 4], ">u4"))
    if len(raw) != start + math.prod(shape):
        raise InputError(
            f"{path} should hold {start + math.prod(shape)} bytes for {shape} but has {len(raw)}: copy it again."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_idx_images(path: Path) -> Pool:
    """Reads an IDX file of images, and the labels file beside it if `*images*idx3*` has its `*labels*idx1*`.

    Raises:
      InputError: if either file is damaged, holds something else, or they do not match in length.
    """
    x = read_idx(path)
    if x.ndim < 3:
        raise InputError(f"{path} holds shape {x.shape}, not images: name the *-images-idx3-ubyte file instead.")
    beside = _labels_beside(path)
    return from_arrays(x, labels=None if beside is None else read_idx(beside), name=path.name)


def _labels_beside(path: Path) -> Path | None:
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    if name == path.name:
        return None
    bare = name.removesuffix(".gz")
    return next(
        (p for p in (path.with_name(name), path.with_name(bare), path.with_name(f"{bare}.gz")) if p.is_file()), None
    )
