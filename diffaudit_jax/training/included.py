"""What a directory of shadows holds beside them: of what pool they are, and who was inside.

DIR/shadows.json      models, pool, architecture, recipe and what the caller recorded
DIR/inclusion.npz     rows and content hashes of the pool, and who was inside which model
DIR/shadow-K/         the run of each
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax.data import Inclusion, Pool
from diffaudit_jax.training.checkpoints import differences
from diffaudit_jax.types import InputError, write_atomic

SCHEMA = "diffaudit.shadows"
_RECORD, _INCLUSION = "shadows.json", "inclusion.npz"


def claim_shadows(directory: Path, record: Mapping[str, Any], inclusion: Inclusion, pool: Pool) -> None:
    """Writes what the shadows are before the first is trained, or checks that the directory holds these very ones.

    Args:
      directory: Where.
      record: What they are, JSON; the number of steps may change.
      inclusion: Who is inside, in the order of the pool.
      pool: Where from.

    Raises:
      InputError: if the directory holds others, or something else.
    """
    record = json.loads(json.dumps({"schema": SCHEMA, **record}))
    hashes = pool.hashes()
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / _RECORD).exists():
        changed = differences(read_record(directory), record)
        stored, known = read_inclusion(directory)
        same = np.array_equal(stored.rows, inclusion.rows) and np.array_equal(stored.inside, inclusion.inside)
        changed += [] if same and np.array_equal(known, hashes) else ["who is inside which differs"]
        if changed:
            raise InputError(
                f"{directory} holds other shadows ({', '.join(changed[:3])}): train these into another directory."
            )
        # More steps are where they are to stand from now on; fewer are refused where they stand further.
        if record["recipe"]["num_steps"] > read_record(directory)["recipe"]["num_steps"]:
            write_atomic(directory / _RECORD, json.dumps(record, indent=1).encode())
        return
    strangers = sorted(p.name for p in directory.iterdir() if p.name != _INCLUSION and not p.name.endswith(".part"))
    if strangers:
        raise InputError(f"{directory} is not empty (it holds {strangers[0]!r}): train shadows into a new directory.")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rows=inclusion.rows, inside=inclusion.inside, hashes=hashes)
    write_atomic(directory / _INCLUSION, buffer.getvalue())
    write_atomic(directory / _RECORD, json.dumps(record, indent=1).encode())


def read_record(directory: Path) -> dict[str, Any]:
    """Returns shadows.json.

    Raises:
      InputError: if it is missing, unreadable or of another kind.
    """
    path = directory / _RECORD
    if not path.is_file():
        raise InputError(f"{directory} holds no shadows (it has no {_RECORD}): give the --out of `diffaudit shadows`.")
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}): restore it, or train shadows again.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a {SCHEMA} record: give the --out of `diffaudit shadows`.")
    return record


def read_inclusion(directory: Path) -> tuple[Inclusion, np.ndarray]:
    """Returns who is inside which shadow, and the content hash of each record, str [n].

    Raises:
      InputError: if that is missing or damaged.
    """
    path = directory / _INCLUSION
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return Inclusion(stored["rows"], stored["inside"]), stored["hashes"]
    except Exception as error:  # a damaged zip raises many kinds
        raise InputError(f"{path} cannot be read ({error}): restore it, or train shadows again.") from error
