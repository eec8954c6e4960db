"""What every reader of weight files returns: named tensors that stay on disk until they are read.

Element (i_1, ..., i_r) of a tensor lies at byte

    start + itemsize (offset + sum_a i_a strides_a)

of its file, which is mapped into memory once, read-only. Only a page that is looked at is fetched, and the system may
drop it again. A file must not be cut short in place while its tensors are in use; replacing it by another is safe.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from diffaudit_jax.types import InputError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
MAX_RANK = 32


class Region(NamedTuple):
    """A stretch of a mapped file: the bytes that a tensor may touch."""

    path: Path
    mapped: np.ndarray  # the whole file, uint8 [bytes]
    start: int
    size: int  # bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """One stored array, not yet read; `stored` makes it.

    Attributes:
      name: What the file calls it.
      shape: Its axes, as in the framework that wrote it.
      dtype: NumPy's dtype, or that of `ml_dtypes.bfloat16`.
      mapped: The whole file, uint8 [bytes], memory-mapped.
      at: The byte of `mapped` at which element (0, ..., 0) lies.
      strides: Bytes from one element to the next, for each axis.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    mapped: np.ndarray = field(repr=False)
    at: int = field(repr=False)
    strides: tuple[int, ...] = field(repr=False)

    def read(self) -> np.ndarray:
        """Returns the array: a read-only view of the file, `*shape`, which costs no memory of its own.

        It may be misaligned or strided; what needs otherwise takes a copy, e.g. ``np.array(tensor.read())``.
        """
        return np.ndarray(self.shape, self.dtype, self.mapped, self.at, self.strides)


Tensors: TypeAlias = Mapping[str, Tensor]


def mapped(path: Path) -> np.ndarray:
    """Maps a file into memory, uint8 [bytes], read-only; nothing is read yet.

    Raises:
      InputError: if there is no such file, it is empty, or it may not be read.
    """
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}: name a file of weights.")
    try:
        if not path.stat().st_size:
            raise InputError(f"{path} is empty: copy it again.")
        return np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def stored(
    region: Region,
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
) -> Tensor:
    """Returns one tensor of a file, once every element of it is known to lie in its own region.

    Nothing is read. The numbers may come from a hostile file: they are Python's integers, which do not overflow, until
    they are known to be small.

    Args:
      region: The bytes that the tensor may touch.
      name: The tensor's name.
      dtype: Of its elements.
      shape: Its axes.
      strides: Elements from one to the next, for each axis; None for C order.
      offset: The element of the region that is element (0, ..., 0).

    Raises:
      InputError: if a number is negative, an element lies outside the region, the region outside the file, or the
        tensor has more elements than the whole file could hold.
    """
    path, mapped, start, size = region
    what = f"{path}: tensor {shown(name)} of shape {shown(str(shape))}"
    strides = contiguous(shape) if strides is None else strides
    if len(strides) != len(shape) or len(shape) > MAX_RANK or any(n < 0 for n in (*shape, *strides, offset)):
        raise InputError(f"{what} cannot have {shown(f'strides {strides} and offset {offset}')}: copy the file again.")
    if start < 0:
        raise InputError(f"{what} begins at byte {start}: copy the file again.")
    if start + size > len(mapped):
        raise InputError(f"{what} ends at byte {start + size} but the file has {len(mapped)}: copy it again.")
    # A stride of 0 repeats one element without end, and (0, 10**30) has none at all: arrays of both must stay small.
    if math.prod(n for n in shape if n) * dtype.itemsize > (2**31 if 0 in shape else len(mapped)):
        raise InputError(f"{what} has more elements than the file's {len(mapped)} bytes hold: save it contiguous.")
    if 0 in shape:
        return Tensor(name, shape, dtype, mapped, start, (0,) * len(shape))
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if (last + 1) * dtype.itemsize > size:
        raise InputError(
            f"{what} reaches element {shown(str(last))} of a storage of {size // dtype.itemsize}: copy the file again, "
            "or do not trust it."
        )
    # An axis of length 1 may have any stride in a file, also one that no machine integer holds.
    steps = tuple(stride * dtype.itemsize if n > 1 else 0 for n, stride in zip(shape, strides, strict=True))
    return Tensor(name, shape, dtype, mapped, start + offset * dtype.itemsize, steps)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the strides, in elements, of an array in C order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(min(len(shape), MAX_RANK)))


def shown(text: str, length: int = 100) -> str:
    """Returns text of a file as it may be shown: cut, and without characters that steer a terminal."""
    cut = text if len(text) <= length else f"{text[:length]}..."
    return cut if cut.isprintable() else ascii(cut)
