"""Run directories: what a run is (run.json), where it stands (Orbax checkpoints), how it went (log.jsonl)."""

import errno
import hashlib
import json
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from diffaudit_jax.training.state import TrainState
from diffaudit_jax.types import InputError, write_atomic

SCHEMA = "diffaudit.run"
_CHECKSUMS = "checksums.json"
_CHANGING = ("recipe.num_steps", "privacy.microbatch", "spent")


def claim(directory: Path, config: Mapping[str, Any]) -> None:
    """Makes the run directory, or checks that it holds this very run (which may be trained further).

    Raises:
      InputError: if the directory holds another run or other files, saying what differs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "run.json").exists():
        strangers = sorted(path.name for path in directory.iterdir() if not path.name.endswith(".part"))
        if strangers:
            raise InputError(f"{directory} is not empty (it holds {strangers[0]!r}): train into a new directory.")
        write_config(directory, config)
        return
    changed = differences(read_config(directory), json.loads(json.dumps({"schema": SCHEMA, **config})))
    if changed:
        raise InputError(f"{directory} holds another run ({', '.join(changed[:3])}): train into another directory.")


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Writes run.json."""
    write_atomic(directory / "run.json", json.dumps({"schema": SCHEMA, **config}, indent=1).encode())


def read_config(directory: Path) -> dict[str, Any]:
    """Returns run.json.

    Raises:
      InputError: if it is missing, unreadable or of another kind.
    """
    path = Path(directory) / "run.json"
    if not path.is_file():
        raise InputError(f"{directory} is no run directory (it has no run.json): give the --out of `diffaudit train`.")
    try:
        config = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it, or train again.") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a {SCHEMA} record: give the --out of `diffaudit train`.")
    return config


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Returns where two JSON values differ, as "path: old -> new", but for what may change when a run goes on."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if f"{path}{name}" not in _CHANGING]
        return [row for name in names for row in differences(old.get(name), new.get(name), f"{path}{name}.")]
    return [] if old == new else [f"{path.rstrip('.')}: {_short(old)} -> {_short(new)}"]


class Checkpoints:
    """The newest training states of a run, whole or not at all (Orbax renames a finished checkpoint into place).

    Args:
      directory: Run directory.
      keep: How many of the newest checkpoints stay.
    """

    def __init__(self, directory: Path, *, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
        self.directory = directory
        # Without the handler a fresh process cannot read the metadata of what another one saved.
        self._manager = ocp.CheckpointManager(
            (directory / "checkpoints").absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def save(self, state: TrainState) -> None:
        """Saves a state under its step.

        Raises:
          OSError: if the disk is full; checkpoints before this one are whole.
        """
        stored = _storable(state)
        full = OSError(errno.ENOSPC, "No space left on device", str(self.directory / "checkpoints"))
        # Asked first: once the disk is full, every one of Orbax's threads prints a traceback of its own.
        if shutil.disk_usage(self.directory).free < 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(stored)) + 2**20:
            raise full
        try:
            self._manager.save(int(state.step), args=ocp.args.StandardSave(stored))
            self._manager.wait_until_finished()
        except ValueError as error:  # TensorStore has no error type of its own
            if "No space left on device" not in str(error):
                raise
            raise full from error
        where = self._folder(int(state.step))
        write_atomic(where / _CHECKSUMS, json.dumps(_checksums(where), indent=1).encode())

    def latest(self) -> int | None:
        """Returns the newest step saved, None if there is none."""
        return self._manager.latest_step()

    def restore(self, like: TrainState) -> TrainState:
        """Returns the newest state.

        Args:
          like: A state of the run's own architecture, concrete or abstract; only shapes and types are used.

        Raises:
          InputError: if there is no checkpoint, it is damaged, or it holds another architecture.
        """
        step = self.latest()
        if step is None:
            raise InputError(
                f"{self.directory} has no finished checkpoint: run its `diffaudit train` again, it resumes."
            )
        where = self._folder(step)
        try:
            _verify(where)
            stored = self._manager.item_metadata(step)
            self._compare(stored, like, where)
            # By way of the host, so that the arrays are bound to no device, just as new ones are.
            host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), jax.eval_shape(_storable, like))
            restored = jax.tree.map(jnp.asarray, self._manager.restore(step, args=ocp.args.StandardRestore(host)))
        except InputError:
            raise
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            reason = textwrap.shorten(str(error), 80, placeholder=" ...") or type(error).__name__
            raise _damaged(where, reason) from error
        state = TrainState(*(restored[name] for name in TrainState._fields))
        return state._replace(key=jax.random.wrap_key_data(state.key))

    def _folder(self, step: int) -> Path:
        return self.directory / "checkpoints" / str(step)

    def _compare(self, stored: Any, like: TrainState, where: Path) -> None:
        tree = getattr(stored, "tree", stored)
        if tree is None:
            raise ValueError("its metadata is missing")
        have = {_path(p): tuple(leaf.shape) for p, leaf in jax.tree_util.tree_leaves_with_path(tree["params"])}
        want = {_path(p): leaf.shape for p, leaf in jax.tree_util.tree_leaves_with_path(like.params)}
        for name in sorted(have.keys() | want.keys()):
            if have.get(name) != want.get(name):
                raise InputError(
                    f"checkpoint {where} is of another architecture: parameter {name} has shape {have.get(name)} there "
                    f"and {want.get(name)} in the model asked for; use the model it was trained with."
                )

    def close(self) -> None:
        """Releases the directory."""
        self._manager.close()


def stands(directory: Path) -> int | None:
    """Returns the step at which a run stands, None if nothing of it is kept; a directory that is not there stays so."""
    if not (directory / "checkpoints").is_dir():
        return None
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.latest()
    finally:
        checkpoints.close()


def _checksums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _CHECKSUMS)
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(folder: Path) -> None:
    """Refuses changed files first: Orbax loads some flipped bits unnoticed, and prints a traceback per array on others.

    A run killed between Orbax's rename and ours has no checksums, and a whole checkpoint.
    """
    if not (folder / _CHECKSUMS).exists():
        return
    found = _checksums(folder)
    for name, digest in json.loads((folder / _CHECKSUMS).read_text()).items():
        if found.get(name) != digest:
            raise _damaged(folder, f"{name} {'has changed' if name in found else 'is missing'}")


def _damaged(folder: Path, reason: str) -> InputError:
    return InputError(f"checkpoint {folder} is damaged ({reason}): remove that folder and resume from the one before.")


def _storable(state: TrainState) -> dict[str, Any]:
    return {**state._asdict(), "key": jax.random.key_data(state.key)}


def _path(path: tuple) -> str:
    return "/".join(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
