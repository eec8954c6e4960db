"""Timing by turns, and the record of what it was measured on."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffaudit_jax import __version__

RESULTS = Path(__file__).parent / "results"


def by_turns(functions: Mapping[str, Callable[[], Any]], repeats: int, *, warm: bool = False) -> dict[str, float]:
    """Returns the median seconds of each function, called in turn so that a drift of the machine hits all alike.

    Args:
      functions: Name -> function of no arguments whose arrays are waited for.
      repeats: Timed calls of each, after one that compiles.
      warm: Whether the functions are compiled already, so that the first call counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in () if warm else functions.values():
        jax.block_until_ready(function())
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matmul(size: int, dtype: jnp.dtype) -> tuple[Callable[[], Any], float]:
    """Returns a square matrix product to time, and its floating-point operations."""
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(a, a), 2.0 * size**3


def flops(function: Callable, *arguments: Any) -> float:
    """Returns the floating-point operations of one call, as the compiler counts them."""
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return float((cost or {}).get("flops", float("nan")))


def hardware() -> dict[str, Any]:
    """Returns what the numbers were measured on and with."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "huge_pages": _huge_pages(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "diffaudit_jax": __version__,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def save(name: str, result: Mapping[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"hardware": hardware(), **result}, indent=1) + "\n")
    return path


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _huge_pages() -> str:
    """What large blocks of memory are made of, which decides how long their pages take to come: see the README."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = setting.read_text().partition("[")[2].partition("]")[0] if setting.exists() else "unknown"
    return f"{chosen}, GLIBC_TUNABLES={os.environ.get('GLIBC_TUNABLES', '')}"


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
