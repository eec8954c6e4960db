"""Safetensors files, read without the `safetensors` package, which cannot load bfloat16 into NumPy.

A file is the length of its header (uint64, little-endian), the header, then the tensors' bytes without a gap:

    {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {...}}

with offsets counted from the header's end. A checkpoint in several files has an index, `*.safetensors.index.json`,
whose `weight_map` says which file holds which tensor.

References:
  https://huggingface.co/docs/safetensors
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.importers.tensors import BFLOAT16, MAX_RANK, Region, Tensor, Tensors, mapped, shown, stored
from diffaudit_jax.types import InputError, write_atomic

MAX_HEADER = 100_000_000  # bytes, the format's own limit
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(path: str | os.PathLike) -> Tensors:
    """Reads the names, shapes and places of a checkpoint's tensors; their values stay on disk until asked for.

    Args:
      path: A `.safetensors` file, or the `.safetensors.index.json` of a checkpoint in several files.

    Returns:
      Tensors by name, in the order of their bytes (of a checkpoint in several files: of its index).

    Raises:
      InputError: if a file is missing, cut short, or damaged in any way its header can show, or has a dtype that is not
        read. Values carry no checksum in this format, so damage to them is not seen.
    """
    path = Path(path)
    return _read_index(path) if path.suffix == ".json" else _read_file(path)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes float32 arrays as one safetensors file."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [offset, offset + 4 * array.size]}
        offset += 4 * array.size
    head = json.dumps(header).encode()
    data = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in tensors.values())
    write_atomic(path, len(head).to_bytes(8, "little") + head + data)


def _read_file(path: Path) -> dict[str, Tensor]:
    data = mapped(path)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(len(data) - 8, MAX_HEADER):
        raise InputError(
            f"{path} has {len(data)} bytes, a header of {length} and at most {MAX_HEADER} allowed: it is cut short or "
            "is no safetensors file, so copy it again."
        )
    header = _object(data[8 : 8 + length].tobytes(), f"{path}: the header")
    header.pop("__metadata__", None)
    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    tensors, end, before = {}, 0, "the header"
    for name, (dtype, shape, begin, finish) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != end:
            raise InputError(
                f"{path}: tensor {shown(name)} begins at byte {begin} but {shown(before)} ends at {end}: copy it again."
            )
        tensors[name] = stored(Region(path, data, 8 + length + begin, finish - begin), name, dtype, shape)
        end, before = finish, name
    if 8 + length + end != len(data):
        raise InputError(f"{path} has {len(data)} bytes but its header tells of {8 + length + end}: copy it again.")
    return tensors


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Returns dtype, shape, begin and end of one entry of the header."""
    what = f"{path}: tensor {shown(name)}"
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [begin, end]} if len(shape) <= MAX_RANK and all(
            type(n) is int and 0 <= n < 2**63 for n in (*shape, begin, end)
        ):
            if kind not in DTYPES:
                raise InputError(
                    f"{what} is {shown(kind)}, which is not read: convert it to one of {', '.join(DTYPES)}."
                )
            if end - begin != math.prod(shape) * DTYPES[kind].itemsize:
                raise InputError(
                    f"{what} of shape {shown(str(tuple(shape)))} {kind} cannot lie in bytes "
                    f"{shown(f'{begin} to {end}')}: copy it again."
                )
            return DTYPES[kind], tuple(shape), begin, end
    raise InputError(f"{what} lacks a dtype, a shape or two data_offsets that can be read: copy it again.")


def _read_index(path: Path) -> dict[str, Tensor]:
    weight_map = _object(mapped(path)[: MAX_HEADER + 1].tobytes(), str(path)).get("weight_map")
    if not isinstance(weight_map, Mapping) or not all(isinstance(file, str) for file in weight_map.values()):
        raise InputError(f"{path} has no weight_map from tensors to files: name a *.safetensors.index.json.")
    for file in set(weight_map.values()):
        # A bare name: an index must not reach files outside its own folder.
        if file != Path(file).name or not file.endswith(".safetensors"):
            raise InputError(f"{path} names the file {shown(file)}, not a .safetensors file beside it: copy it again.")
        if not (path.parent / file).is_file():
            raise InputError(f"{path} needs {shown(file)}, which is not beside it: copy that file too.")
    shards = {file: _read_file(path.parent / file) for file in sorted(set(weight_map.values()))}
    for name, file in weight_map.items():
        if name not in shards[file]:
            raise InputError(
                f"{path} looks for tensor {shown(name)} in {shown(file)}, which lacks it: copy both again."
            )
    return {name: shards[file][name] for name, file in weight_map.items()}


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        parsed = json.loads(raw.decode(), object_pairs_hook=_once)
    except InputError as error:
        raise InputError(f"{what} {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not JSON ({type(error).__name__}): copy the file again.") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{what} is not a JSON object: copy the file again.")
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = Counter(name for name, _ in pairs)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"names {shown(twice[0])} more than once: copy the file again.")
    return dict(pairs)
