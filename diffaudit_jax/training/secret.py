"""The key of a private run: drawn from the operating system, kept apart from all that is released.

Whoever knows it can draw the noise again and take it away. So it is in no checkpoint and not in run.json, but in a file
of its own, readable by its owner only, which a stopped run needs to take a lost step again as it was, and which is
removed when the run is done.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.types import InputError, Key

_FILE = "secret.key"


def secret_key(directory: Path | None) -> Key:
    """Returns the secret key of a run, drawn if there is none yet.

    Args:
      directory: Run directory that keeps it; None keeps it in memory.

    Raises:
      InputError: if the file that keeps it is damaged.
    """
    like = np.asarray(jax.random.key_data(jax.random.key(0)))
    path = None if directory is None else directory / _FILE
    if path is not None and path.exists():
        try:
            words = np.asarray(json.loads(path.read_text()), like.dtype).reshape(like.shape)
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"{path} is damaged: remove it, and the run goes on with another key.") from error
        return jax.random.wrap_key_data(jnp.asarray(words))
    words = np.frombuffer(secrets.token_bytes(like.nbytes), like.dtype).reshape(like.shape)
    if path is not None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(words.tolist(), file)
    return jax.random.wrap_key_data(jnp.asarray(words))


def forget(directory: Path) -> None:
    """Removes the secret key of a run that is done."""
    (directory / _FILE).unlink(missing_ok=True)


def holds_key(directory: Path) -> bool:
    """Returns whether a run directory holds the key of a private run that is not done."""
    return (directory / _FILE).exists()


def spent(before: Mapping[str, Any] | None, key: Key, step: int) -> dict[str, Any]:
    """Returns what a private run has spent, as it begins or goes on: a step taken again with another key counts twice.

    Both weights may have been seen, of the same data and with two noises. With the key it had before a step is the very
    one it was, and costs nothing.

    Args:
      before: What it had spent as of its last save; None at its beginning.
      key: The key it goes on with.
      step: The step it stands at.

    Returns:
      The mark of the key, the highest step that was saved with it, and the steps that were taken again.
    """
    mark = hashlib.sha256(np.asarray(jax.random.key_data(key)).tobytes()).hexdigest()[:16]
    before = {"key": mark, "reached": step, "again": 0} if before is None else before
    if before["key"] == mark:
        return {**before, "reached": max(before["reached"], step)}
    return {"key": mark, "reached": step, "again": before["again"] + max(0, before["reached"] - step)}


def hidden(key: Key) -> Key:
    """Returns what stands for a secret key where a state is stored."""
    return jax.random.wrap_key_data(jnp.zeros_like(jax.random.key_data(key)))
