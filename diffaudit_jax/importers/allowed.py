"""What a checkpoint of tensors may name in its pickle, and the inert records that stand for it.

Nothing here is PyTorch's: a storage is a key, a type and a length, a tensor a storage with a shape and strides. Of
NumPy's, which pickles an array with its numbers inside, there are the array and its type. Every function does bounded
work, whatever long thing its arguments refer to, and can only return or raise `InputError`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffaudit_jax.importers.tensors import BFLOAT16, MAX_RANK, shown
from diffaudit_jax.types import InputError

MAX_KEY = 1000  # characters
STORAGES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
TORCH_DTYPES = {f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "bool")} | {
    f"torch.{name}" for name in ("int64", "int32", "int16", "int8", "uint8")
}
CALLS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_tensor",  # before torch 0.4
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "numpy.core.multiarray._reconstruct",  # before NumPy 2
    "numpy._core.multiarray._reconstruct",
    "numpy.dtype",
}
NUMPY_DTYPES = {dtype.str[1:]: dtype for dtype in STORAGES.values() if dtype != BFLOAT16}  # "f4": little-endian float32
ALLOWED = {*CALLS, *STORAGES, *TORCH_DTYPES, "numpy.ndarray"}


@dataclass(frozen=True)
class Name:
    """A Python name that the pickle mentions; nothing was imported."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of `length` elements, kept outside the pickle under `key`."""

    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class Strided:
    """A tensor as the pickle describes it; its numbers are integers, and nothing more is known of them."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """The type of an array's numbers: not NumPy's, which takes what it is compared with for a type."""

    dtype: np.dtype


@dataclass(eq=False)
class Inline:
    """An array whose numbers lie in the pickle: a read-only view of them, and None until it is built (BUILD)."""

    array: np.ndarray | None = None


def named(module: Any, name: Any) -> Name:
    """Returns the record of a name, if it is allowed."""
    full = f"{of(str, module)}.{of(str, name)}"
    if full not in ALLOWED:
        raise InputError(f"asks to run {shown(full)}: refused, nothing was run; save its state_dict alone.")
    return Name(full)


def called(function: Any, args: Any) -> Any:
    """Returns the record of what an allowed name would make of these arguments."""
    match of(Name, function).name, of(tuple, args):
        case "collections.OrderedDict", ():
            return {}
        case "collections.OrderedDict", (list(pairs),) if all(type(pair) is list and len(pair) == 2 for pair in pairs):
            # Python 2 wrote it so. Emptied, a list that the pickle names a million times is gone through once.
            flat = [part for pair in pairs for part in pair]
            pairs.clear()
            return set_items({}, flat)
        case "torch.Size", (tuple(shape),):
            return shape
        case "torch._utils._rebuild_parameter", (Strided() as data, *_):
            return data
        case (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ) if len(shape) <= MAX_RANK >= len(strides) and all(type(n) is int for n in (offset, *shape, *strides)):
            return Strided(storage, offset, shape, strides)
        case (
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct",
            (Name("numpy.ndarray"), (0,), b"b"),
        ):
            return Inline()
        case "numpy.dtype", (str(kind), False, True) if kind in NUMPY_DTYPES:
            return Kind(NUMPY_DTYPES[kind])
    raise InputError(f"calls {function.name} with arguments it cannot have: refused, nothing was run; copy it again.")


def build(made: Any, state: Any) -> None:
    """Gives an array its numbers, as the pickle describes them; anything else must not need what it is given."""
    match made, state:
        case Inline(), (1, tuple(shape), Kind(dtype), False, bytes(data)) if len(shape) <= MAX_RANK:
            # Without an empty axis, no axis is longer than the bytes that are there.
            if all(type(n) is int and n > 0 for n in shape) and math.prod(shape) * dtype.itemsize == len(data):
                made.array = np.ndarray(shape, dtype, data)
                return
        case Kind(), (3, "<" | "|", None, None, None, -1, -1, 0):
            return
        case _ if not isinstance(made, Inline | Kind):
            # What an OrderedDict carries beside its items, such as `_metadata` of a state_dict, is read and dropped.
            for part in (state, made):
                of(dict, part)
            return
    raise InputError("has an array that is no row of little-endian numbers in C order: save its state_dict alone.")


def kept_outside(described: Any) -> Storage:
    """Returns the record of what a pickle keeps outside itself, which must be a storage of numbers."""
    match described:
        # Old files end with the description of a view, which is None in all but the oldest.
        case ("storage", Name(kind), str(key), str(), int(length), *views) if kind in STORAGES and views in (
            [],
            [None],
        ):
            if length >= 0 and _is_key(key):
                return Storage(key, STORAGES[kind], length)
    raise InputError("keeps something outside its pickle that is no run of numbers: save its state_dict alone.")


def set_items(items: dict, flat: list[Any]) -> dict:
    """Puts key, value, key, value, ... into a dict and returns it."""
    if len(flat) % 2 or not all(_is_key(key) for key in flat[::2]):
        raise InputError("has a dict whose keys are not short text or integers: save its state_dict alone.")
    items.update(zip(flat[::2], flat[1::2], strict=True))
    return items


def of(kind: type, value: Any) -> Any:
    """Returns the value, if it is of just this type."""
    if type(value) is not kind:
        raise InputError(f"has a {type(value).__name__} where a {kind.__name__} belongs: copy it again.")
    return value


def _is_key(key: Any) -> bool:
    # Short text and integers of 64 bits hash in constant time and cannot be made to collide; nested tuples could both.
    return (type(key) is str and len(key) <= MAX_KEY) or (type(key) is int and abs(key) < 2**63)
