"""Images that are already arrays: the conversion to uint8 [n, H, W, C], and `.npz` files.

What is converted, and how:

    uint8 and other integers in [0, 255]     as they are
    floats in [0, 1]                         round(255 x)
    floats in [-1, 1] with a negative one    round(127.5 (x + 1))

A float is exact if it lies within 255 machine epsilons of its dtype of a grey level, which covers the rounding of both
formulas. Exact floats convert silently; others are rounded, by at most half a grey level, with a warning, because the
pool then differs from what a model was trained on. The range is judged over the whole array.
"""

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diffaudit_jax.data.pool import Pool
from diffaudit_jax.types import InputError, known

IMAGE_KEYS = ("images", "x", "arr_0")
# What np.load raises for a file cut short, flipped in its data or its directory, pickled, or no npz at all. The
# RuntimeErrors are zipfile's: a damaged entry looks encrypted, or compressed in an unknown way.
DAMAGED = (ValueError, OSError, EOFError, AttributeError, RuntimeError, BadZipFile, zlib.error)


def from_arrays(
    x: Any,
    *,
    labels: Any = None,
    groups: Any = None,
    label_names: tuple[str, ...] | None = None,
    attributes: Mapping[str, np.ndarray] | None = None,
    name: str = "arrays",
) -> Pool:
    """Makes a pool of arrays in memory.

    Args:
      x: Images [n, H, W, C] or [n, H, W]; dtypes and ranges as the module says.
      labels: Integers from 0, bools or strings, [n] or [n, 1]; strings are numbered in sorted order.
      groups: Integers, bools or strings, [n] or [n, 1].
      label_names: The classes' names; if not given, the strings that labels are, or their numbers.
      attributes: Further arrays [n, ...] by name.
      name: What messages call the pool.

    Raises:
      InputError: if an array has a shape, dtype or value that cannot be one of these.
    """
    codes, names = (None, None) if labels is None else as_codes(labels, f"{name}: labels")
    if codes is not None and codes.min(initial=0) < 0:
        raise InputError(
            f"{name}: labels count from 0, got {codes.min()}: move unlabelled images to a pool of their own."
        )
    label_names = label_names or names or _numbers(codes)
    if codes is not None and codes.max(initial=0) >= len(label_names):
        raise InputError(f"{name}: label {codes.max()} has no name among the {len(label_names)} label_names: name it.")
    images = as_images(x, name)
    return Pool(
        x=images,
        rows=np.arange(len(images)),
        name=name,
        labels=codes,
        groups=None if groups is None else as_codes(groups, f"{name}: groups")[0],
        label_names=label_names or None,
        attributes=dict(attributes) if attributes else None,
    )


def with_columns(pool: Pool, *, labels: str | None = None, groups: str | None = None) -> Pool:
    """Returns the pool with the attributes of these names as its labels and groups; None leaves them as they are."""
    if labels is not None:
        codes, names = as_codes(_attribute(pool, labels), f"{pool.name}: labels={labels!r}")
        pool = replace(pool, labels=codes, label_names=names or _numbers(codes))
    if groups is not None:
        pool = replace(pool, groups=as_codes(_attribute(pool, groups), f"{pool.name}: groups={groups!r}")[0])
    return pool


def read_npz(path: Path, name: str) -> Pool:
    """Reads an `.npz`: images under the first of `images`, `x`, `arr_0`, optional `labels`, `groups`, `label_names`.

    Every other array whose first axis counts the images becomes an attribute. Pickled objects are never loaded.

    Raises:
      InputError: if the file is damaged, holds pickles, or its arrays are not a pool.
    """
    try:
        with path.open("rb") as raw:  # np.load leaves a damaged file open that it opened itself
            stored = np.load(raw, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            arrays = {key: stored[key] for key in stored.files}
    except DAMAGED as error:
        raise InputError(
            f"{name} cannot be read as an npz of plain arrays ({error}): save it with np.savez."
        ) from error
    key = next((key for key in IMAGE_KEYS if key in arrays), None)
    if key is None:
        raise InputError(f"{name} has arrays {sorted(arrays)}: name the images one of {', '.join(IMAGE_KEYS)}.")
    x, labels, groups = arrays.pop(key), arrays.pop("labels", None), arrays.pop("groups", None)
    names = arrays.pop("label_names", None)
    return from_arrays(
        x,
        labels=labels,
        groups=groups,
        label_names=None if names is None else tuple(str(n) for n in names),
        attributes={k: v for k, v in arrays.items() if v.shape[:1] == x.shape[:1]},
        name=name,
    )


def as_images(x: Any, name: str) -> np.ndarray:
    """Returns images as uint8 [n, H, W, C], converted as the module says."""
    x = np.asarray(x)
    if x.ndim not in (3, 4):
        raise InputError(f"{name}: images must be [n, H, W] or [n, H, W, C], got shape {x.shape}.")
    if x.ndim == 4 and x.shape[-1] > 4:
        raise InputError(f"{name}: shape {x.shape} has {x.shape[-1]} channels: put the channels last, [n, H, W, C].")
    if not x.size:
        raise InputError(f"{name}: shape {x.shape} holds no image.")
    return np.ascontiguousarray(_levels(x, name)).reshape(*x.shape[:3], -1)


def as_codes(values: Any, name: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns int32 codes [n], and the strings they number if `values` were strings."""
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(f"{name} must be one value an image, got shape {values.shape}.")
    if values.dtype.kind in "US":
        names, codes = np.unique(values.astype(str), return_inverse=True)
        return codes.astype(np.int32), tuple(names.tolist())
    if values.dtype.kind not in "bui":
        raise InputError(f"{name} must be integers, bools or strings, got {values.dtype}: round or bin them first.")
    if values.size and not -(2**31) <= int(values.min()) <= int(values.max()) < 2**31:
        raise InputError(f"{name} reach {values.min()}..{values.max()}, beyond int32: number them from 0.")
    return values.astype(np.int32), None


def _numbers(codes: np.ndarray | None) -> tuple[str, ...]:
    # Named once for the whole pool, so a part that lacks the last class still counts it.
    return () if codes is None else tuple(str(i) for i in range(codes.max(initial=-1) + 1))


def _levels(x: np.ndarray, name: str) -> np.ndarray:
    if x.dtype.kind not in "uif":
        raise InputError(f"{name}: images of dtype {x.dtype} are neither uint8 nor float: convert them first.")
    low, high = x.min(), x.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name}: images hold NaN or infinity, first at index {_first(~np.isfinite(x))}.")
    if x.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise InputError(f"{name}: integer images must lie in [0, 255], got [{low}, {high}]: rescale them.")
        return x.astype(np.uint8)
    if low < -1 or high > 1:
        raise InputError(
            f"{name}: float images must lie in [0, 1] or [-1, 1], got [{low:g}, {high:g}]: rescale them, or store "
            "whole grey levels as uint8."
        )
    levels = 127.5 * (x.astype(np.float64) + 1.0) if low < 0 else 255.0 * x.astype(np.float64)
    off = float(np.abs(levels - np.rint(levels)).max())
    if off > 255 * np.finfo(x.dtype).eps:
        warnings.warn(f"{name}: float images were rounded to 256 grey levels, by up to {off:.2g}.", stacklevel=2)
    return np.rint(levels).astype(np.uint8)


def _first(where: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(where), where.shape))


def _attribute(pool: Pool, name: str) -> np.ndarray:
    if not pool.attributes:
        raise InputError(f"{pool.name} has no attributes, so {name!r} cannot be one: leave it out.")
    return pool.attributes[known("attribute", name, pool.attributes)]
