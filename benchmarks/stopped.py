"""What benchmarks that take hours have in common: each goes on where it was stopped, if it is asked for the same."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from benchmarks import timing
from diffaudit_jax.memory import keep_freed_memory
from diffaudit_jax.training.checkpoints import differences
from diffaudit_jax.types import InputError, known, write_atomic

_Options = TypeVar("_Options")


def command(main: Callable[[_Options], None], options: type[_Options]) -> None:
    """Runs a benchmark as a command: memory is kept, and a mistake is one sentence."""
    keep_freed_memory()
    try:
        main(tyro.cli(options))
    except InputError as error:
        raise SystemExit(f"{error}") from None


def check_device(tier: str) -> None:
    """Refuses published widths where there is no accelerator.

    Raises:
      InputError: if the tier is "gpu" and JAX has CPUs alone.
    """
    if tier == "gpu" and jax.default_backend() == "cpu":
        raise InputError("--tier gpu trains published widths, and there is no accelerator here: use --tier cpu.")


def opened(path: Path, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what was measured before, or nothing yet.

    Raises:
      InputError: if it was measured otherwise.
    """
    if not path.exists():
        return {"setting": setting}
    result = json.loads(path.read_text())
    changed = differences(result["setting"], json.loads(json.dumps(setting)))
    if changed:
        raise InputError(f"{path} was measured otherwise ({', '.join(changed)}): give another --out, or remove it.")
    return result


def saved(path: Path, result: Mapping[str, Any]) -> None:
    """Writes what has been measured so far."""
    write_atomic(path, (json.dumps(result, indent=1) + "\n").encode())


def measured(
    path: Path,
    setting: Mapping[str, Any],
    parts: Mapping[str, Callable[[], Mapping[str, Any]]],
    write_tables: Callable[[Path], None],
    only: Sequence[str] = (),
) -> bool:
    """Measures the parts that are not there yet; saves after each, with its seconds and the machine.

    Args:
      path: The JSON file; tables are written beside it.
      setting: What decides the numbers.
      parts: Name -> what measures it.
      write_tables: Writes the tables of a directory.
      only: Names of the parts that are asked for; all if empty.

    Returns:
      Whether every part is there.

    Raises:
      InputError: if a name is unknown, or `path` was measured otherwise.
    """
    write_tables(path.parent)
    result = {"parts": {}} | opened(path, setting)
    for name in only or parts:
        measure = parts[known("part", name, parts)]
        if name not in result["parts"]:
            begun = time.perf_counter()
            found = measure()
            seconds = round(time.perf_counter() - begun, 1)
            result["parts"][name] = {**found, "seconds": seconds, "hardware": timing.hardware()}
            saved(path, result)
            write_tables(path.parent)
            jax.clear_caches()
    if whole := parts.keys() <= result["parts"].keys():
        print(f"{path} and its tables hold every part.")
    return whole
