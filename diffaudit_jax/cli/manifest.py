"""What a sharer's training set is: images.npz or records.csv for `diffaudit train`, its rows, and a manifest."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data import Pool, Table, write_csv
from diffaudit_jax.types import InputError, write_atomic

SCHEMA, SETS_SCHEMA = "diffaudit.poison", "diffaudit.poison-sets"
VERSION = 1
IMAGES, RECORDS = "images.npz", "records.csv"
INDEX, FILE, SETS = "index.npy", "manifest.json", "poison.json"


def folder_of(alpha: float) -> str:
    """Returns the name of a set's folder."""
    return f"alpha-{alpha:g}"


def write_images(path: Path, pool: Pool | Table) -> None:
    """Writes images, labels, their names and every attribute, or a table; the same pool gives the same bytes."""
    if isinstance(pool, Table):
        write_csv(pool, path)
        return
    arrays: dict[str, Any] = {"images": pool.x, "labels": pool.labels, **(pool.attributes or {})}
    if pool.label_names:
        arrays["label_names"] = np.array(pool.label_names)
    _write(path, lambda file: np.savez_compressed(file, **arrays))


def write_set(folder: Path, pool: Pool | Table, manifest: Mapping[str, Any]) -> None:
    """Writes one training set, its manifest last: where that is, the set is whole.

    Args:
      folder: Made if it does not exist.
      pool: The images or records in the order in which they were chosen, `rows` being those of the source.
      manifest: What is told of the set, as JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / (IMAGES if isinstance(pool, Pool) else RECORDS), pool)
    _write(folder / INDEX, lambda file: np.save(file, pool.rows))
    whole = {"schema": SCHEMA, "schema_version": VERSION, **manifest, "hashes": pool.hashes().tolist()}
    write_json(folder / FILE, whole)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes strict JSON, whole or not at all."""
    write_atomic(path, (json.dumps(document, allow_nan=False, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, schema: str) -> dict[str, Any]:
    """Reads a document of a schema.

    Raises:
      InputError: if it is damaged, of another schema, or of a newer version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["schema"], document["schema_version"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}: {error}): poison again.") from None
    if found != (schema, VERSION):
        raise InputError(f"{path} is {found[0]!r} {found[1]!r} and not {schema!r} {VERSION}: use what wrote it.")
    return document


def manifest_beside(images: Path) -> dict[str, Any] | None:
    """Returns the manifest of a set by the path of its images or records; None if they are not such a set's.

    Raises:
      InputError: if there is one that cannot be read, or tells no ratio.
    """
    path = images.parent / FILE
    if images.name not in (IMAGES, RECORDS) or not path.is_file():
        return None
    manifest = read_json(path, SCHEMA)
    alpha = manifest.get("alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise InputError(f"{path} has {alpha!r} at alpha, not a ratio from 0 to 1: poison again.")
    return manifest


def check_sets(out: Path, asked: Mapping[str, Any]) -> None:
    """Refuses a directory that holds anything but the sets of the same command.

    Args:
      out: The directory; it need not exist.
      asked: What the command was asked, as JSON.

    Raises:
      InputError: if a file is in the way, it holds something else, or sets that were asked for otherwise.
    """
    if at := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise InputError(f"{at} is a file: use another --out.")
    if not out.is_dir() or not (inside := sorted(out.iterdir())):
        return
    if not (out / SETS).is_file():
        raise InputError(f"{out} holds something else ({inside[0].name!r}): use another --out.")
    stored = read_json(out / SETS, SETS_SCHEMA).get("asked", {})
    differ = [name for name in asked if stored.get(name) != asked[name]]
    if differ:
        name = differ[0]
        raise InputError(
            f"{out} holds the sets of another command ({name} is {stored.get(name)!r} there and {asked[name]!r} here): "
            f"use another --out."
        )


def _write(path: Path, save: Any) -> None:
    buffer = io.BytesIO()
    save(buffer)
    write_atomic(path, buffer.getvalue())
