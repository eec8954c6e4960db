"""PyTorch checkpoints (`.pt`, `.pth`, `.bin`, `.ckpt`), read without PyTorch and without running anything they say.

`torch.save` has written two formats. Since 1.6 a zip archive of uncompressed entries:

    NAME/data.pkl     a pickle in which a storage is named by its key
    NAME/data/KEY     the bytes of that storage
    NAME/byteorder    "little" or "big"; missing in old files

Before, five pickles and the raw storages in one row: a magic number, the protocol's version, the machine that wrote it,
the object, the list of its storages' keys; then for each key the storage's length (int64) and its elements.

References:
  https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.importers.allowed import Storage, Strided
from diffaudit_jax.importers.tensors import Region, Tensors, mapped, shown, stored
from diffaudit_jax.importers.unpickle import unpickle
from diffaudit_jax.types import InputError

LISTED = 12  # keys named in an error
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ZIP_ERRORS = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, then the lengths of the name and of the extra field


def read_torch(path: str | os.PathLike, key: str | None = None) -> Tensors:
    """Reads the names, shapes and places of a checkpoint's tensors; their values stay on disk until asked for.

    Nothing in the file is executed: a pickle that names anything but tensors and containers is refused. Values are not
    held against the archive's checksums, which would read all of the file.

    Args:
      path: A file that `torch.save` wrote, in either format.
      key: Under which key of the file the tensors are, e.g. ``"ema"``, or ``"ema/shadow_params"`` further down; entries
        of a list have their index as key. ``""`` is the top, and so is None if no tensors lie anywhere else.

    Returns:
      Tensors by name, in the file's order; entries that are no tensors are left out. Tensors that shared memory when
      they were saved share it here.

    Raises:
      InputError: if the file is damaged, asks to run something or has compressed entries, or if its tensors are not
        there (where they are is listed).
    """
    path = Path(path)
    data = mapped(path)
    top, regions = _read_zip(path, data) if data[:4].tobytes() == b"PK\x03\x04" else _read_legacy(path, data)
    picked = {name: value for name, value in _picked(path, top, key).items() if isinstance(value, Strided)}
    return {
        name: stored(_region(path, regions, it.storage), name, it.storage.dtype, it.shape, it.strides, it.offset)
        for name, it in picked.items()
    }


def _read_zip(path: Path, data: np.ndarray) -> tuple[Any, dict[str, Region]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is a zip archive cut short or damaged ({error}): copy it again.") from error
    pickled = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickled) != 1:
        raise InputError(f"{path} is a zip archive without one NAME/data.pkl: name a file that torch.save wrote.")
    root = pickled[0].removesuffix("data.pkl")
    if root + "byteorder" in entries and _bytes(_entry(path, data, entries[root + "byteorder"])) != b"little":
        raise InputError(f"{path} was saved on a big-endian machine: save it again on a little-endian one.")
    under = root + "data/"
    regions = {
        name.removeprefix(under): _entry(path, data, entry) for name, entry in entries.items() if name.startswith(under)
    }
    return unpickle(_bytes(_entry(path, data, entries[pickled[0]])), str(path)).value, regions


def _entry(path: Path, data: np.ndarray, entry: zipfile.ZipInfo) -> Region:
    """Returns where the bytes of a zip entry should lie, which only the entry's local header says."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
        raise InputError(
            f"{path}: entry {shown(entry.filename)} is compressed or encrypted and cannot be read in place: save the "
            "file again with torch.save."
        )
    # Negative, where the archive says that its directory lies further on than it does.
    header = data[entry.header_offset :][: LOCAL_HEADER.size].tobytes()
    if entry.header_offset < 0 or len(header) < LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise InputError(f"{path}: entry {shown(entry.filename)} is not where the archive says: copy the file again.")
    _, name, extra = LOCAL_HEADER.unpack(header)
    start = entry.header_offset + LOCAL_HEADER.size + name + extra
    return Region(path, data, start, entry.file_size)


def _bytes(region: Region) -> memoryview:
    return region.mapped.data[region.start : region.start + region.size]


def _read_legacy(path: Path, data: np.ndarray) -> tuple[Any, dict[str, Region]]:
    if data[0] != pickle.PROTO[0]:
        raise InputError(
            f"{path} begins with bytes {data[:4].tobytes().hex()}, as no file of torch.save does: name a checkpoint."
        )
    at, parts = 0, []
    for expected in (MAGIC, PROTOCOL, None, None, None):
        part = unpickle(data.data[at:], str(path))
        if expected is not None and part.value != expected:
            raise InputError(f"{path} is a pickle but no checkpoint that torch.save wrote: save a state_dict with it.")
        parts.append(part)
        at += part.length
    _, _, written_on, saved, keys = parts
    if not isinstance(written_on.value, dict) or written_on.value.get("little_endian") is not True:
        raise InputError(f"{path} was saved on a big-endian machine: save it again on a little-endian one.")
    regions = {}
    for key in keys.value if isinstance(keys.value, list) else ():
        storage = saved.storages.get(key) if isinstance(key, str) else None
        length = int.from_bytes(data.data[at : at + 8], "little")
        if storage is None or length != storage.length:
            raise InputError(f"{path}: the storage at byte {at} is not the one its pickle tells of: copy it again.")
        regions[key] = Region(path, data, at + 8, length * storage.dtype.itemsize)
        at += 8 + regions[key].size
    return saved.value, regions


def _region(path: Path, regions: Mapping[str, Region], storage: Storage) -> Region:
    region, size = regions.get(storage.key), storage.length * storage.dtype.itemsize
    if region is None or region.size != size:
        has = "nothing is there" if region is None else f"has {region.size}"
        raise InputError(
            f"{path}: storage {shown(storage.key)} should have {shown(str(size))} bytes but {has}: copy it again."
        )
    return region


def _picked(path: Path, top: Any, key: str | None) -> dict[str, Any]:
    """Returns the entries of the container under `key`, and refuses a choice that would be a guess."""
    level = _entries(top)
    for part in key.split("/") if key else ():
        level = _entries(level.get(part))
    places = _places(top)
    if (key is None and places != [""]) or not any(isinstance(value, Strided) for value in level.values()):
        listed = ", ".join(repr(place) if place else "'' (the top)" for place in places[:LISTED]) + ", ..." * (
            len(places) > LISTED
        )
        where = f"pass one of {listed} as key (--key)" if places else "save a state_dict"
        what = "tensors in more than one place" if key is None and len(places) > 1 else "no tensors at the top"
        what = what if key is None else f"no tensors right under {shown(key)!r}"
        raise InputError(f"{path} has {what}: {where}.")
    return level


def _places(top: Any, depth: int = 2) -> list[str]:
    """Returns the keys, at most `depth` down, right under which tensors lie."""
    places, seen, level = [], set(), [("", top)]
    for _ in range(depth + 1):
        below = []
        for place, container in level:
            entries = _entries(container)
            if any(isinstance(value, Strided) for value in entries.values()):
                places.append(place)
            for name, value in entries.items():
                # Once each: a small pickle can hold one long list a million times.
                if isinstance(value, dict | list | tuple) and id(value) not in seen:
                    seen.add(id(value))
                    below.append((f"{place}/{shown(name)}" if place else shown(name), value))
        level = below
    return places


def _entries(value: Any) -> dict[str, Any]:
    """Returns what a container holds by the text of its key or index; nothing else holds anything."""
    match value:
        case dict():
            return {str(key): entry for key, entry in value.items()}
        case list() | tuple():
            return {str(index): entry for index, entry in enumerate(value)}
    return {}
