"""One door for every source of data: what a user writes after ``--data``."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from diffaudit_jax.data.arrays import read_npz, with_columns
from diffaudit_jax.data.columns import as_types
from diffaudit_jax.data.embedded import FILES, read_embedded
from diffaudit_jax.data.idx import is_idx, read_idx_images
from diffaudit_jax.data.images import SUFFIXES, read_folder
from diffaudit_jax.data.parquet import read_parquet
from diffaudit_jax.data.pool import Pool
from diffaudit_jax.data.table import Table, read_csv, with_groups
from diffaudit_jax.data.tfds import PREFIX, read_tfds
from diffaudit_jax.types import InputError


def load(
    source: str | os.PathLike,
    *,
    groups: str | None = None,
    labels: str | None = None,
    types: Mapping[str, str] | None = None,
) -> Pool | Table:
    """Loads a pool of images, or a table.

    | source                       | what is read                                                                    |
    | ---------------------------- | ------------------------------------------------------------------------------- |
    | `fashion-mnist-2k`           | an embedded sample; also `pixel-faces-2k` and the table `adult-3k`              |
    | `images.npz`                 | `images`, `x` or `arr_0`, with optional `labels`, `groups` (`data.arrays`)      |
    | a folder                     | its PNG, JPEG, BMP and WebP files, sub-folders as classes (`data.images`)       |
    | `train-images-idx3-ubyte.gz` | an IDX file, with the labels file beside it (`data.idx`)                        |
    | `tfds:cifar10:train`         | a prepared TFDS dataset, without TensorFlow (`data.tfds`)                       |
    | `records.csv`, `.csv.gz`     | a table (`data.table`)                                                          |
    | `records.parquet`            | a table (`data.parquet`)                                                        |

    An embedded name wins over a file of the same name: write ``./name`` for the file.

    Args:
      source: As in the table.
      groups: The attribute (of a table: the column) that says which person or sensitive group each record is of.
      labels: The attribute to condition on in place of the source's own labels; for images only.
      types: "numeric" or "categorical" by column, where it would be inferred wrongly; for tables only.

    Returns:
      A Pool, or a Table for tabular sources.

    Raises:
      InputError: if there is nothing there, or it is damaged or of a form not listed; the message says what to do.
    """
    data = _read(os.fspath(source), types or {})
    if isinstance(data, Pool):
        if types:
            raise InputError(f"types are of columns, but {data.name} holds images: leave them out.")
        return with_columns(data, labels=labels, groups=groups)
    if labels is not None:
        raise InputError(f"labels={labels!r} is for images, but {data.name} is a table: use its columns.")
    return data if groups is None else with_groups(data, groups)


def _read(source: str, types: Mapping[str, str]) -> Pool | Table:
    if source in FILES:
        read = read_embedded(source)
        return as_types(read, types) if types and isinstance(read, Table) else read
    if source.startswith(PREFIX):
        return read_tfds(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(_missing(source, path))
    if path.is_dir():
        if (path / "dataset_info.json").exists():
            raise InputError(f"{source} is a TFDS directory: write {PREFIX}{source}.")
        return read_folder(path)
    if path.suffix == ".npz":
        return read_npz(path, path.name)
    if path.name.endswith((".csv", ".csv.gz")):
        return read_csv(path, path.name, types=types)
    if path.suffix == ".parquet":
        return as_types(read_parquet(path, path.name), types)
    if is_idx(path):
        return read_idx_images(path)
    if path.suffix.lower() in SUFFIXES:
        raise InputError(f"{source} is one image: name the folder it is in.")
    raise InputError(f"{source} is no npz, IDX or CSV file and no folder of images: convert it to one of these.")


def _missing(source: str, path: Path) -> str:
    beside = {entry.name: str(entry) for entry in path.parent.iterdir()} if path.parent.is_dir() else {}
    beside |= {name: name for name in FILES}
    if near := difflib.get_close_matches(path.name, beside, n=1):
        return f"there is no {source}: did you mean {beside[near[0]]}?"
    images = ", ".join(name for name, file in FILES.items() if file.endswith(".npz"))
    return f"there is no {source}: no file, folder or embedded set (for images {images}) has that name."
