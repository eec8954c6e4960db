"""What an audit keeps on disk: what it is of, and the features of some queries in each of its files."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from diffaudit_jax.types import InputError, write_atomic


def open_audit(directory: Path, prints: Mapping[str, str]) -> Path:
    """Makes the run directory, or checks that it holds this very audit.

    Raises:
      InputError: if it holds another, or what it says is damaged.
    """
    directory.mkdir(parents=True, exist_ok=True)
    manifest = directory / "audit.json"
    if not manifest.exists():
        write_atomic(
            manifest, json.dumps({"schema": "diffaudit.audit", "fingerprints": dict(prints)}, indent=1).encode()
        )
        return directory
    try:
        stored = json.loads(manifest.read_text())["fingerprints"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest} is damaged ({error}): remove {directory} and audit again.") from error
    changed = [name for name in prints if stored.get(name) != prints[name]]
    if changed:
        raise InputError(
            f"{directory} holds another audit (its {' and '.join(changed)} differ from the one asked for now): "
            f"use another directory, or remove this one."
        )
    return directory


def write_block(directory: Path, index: Int[np.ndarray, " m"], leaves: list[np.ndarray]) -> None:
    """Keeps the features of the queries at these positions."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"leaf{i}": leaf for i, leaf in enumerate(leaves)}
    np.savez(buffer, index=index, **arrays)
    write_atomic(directory / f"block-{index[0]:09d}-{len(index)}.npz", buffer.getvalue())


def read_blocks(directory: Path, num_leaves: int) -> Iterator[tuple[Int[np.ndarray, " m"], list[np.ndarray]]]:
    """Yields what was kept: positions of queries, and the leaves of their features."""
    for path in sorted(directory.glob("block-*.npz")):
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as block:
                index, leaves = block["index"], [block[f"leaf{i}"] for i in range(num_leaves)]
        except Exception:  # a damaged zip raises many kinds; what can be read is guarded by its checksums
            continue  # asked again, which costs calls but never a wrong score
        yield index, leaves
