"""Large and wide tables: whether they are encoded, trained on and drawn from, in what time and memory.

python -m benchmarks.tabular_scale tall cpu      # one table, in this process

Peak memory is that of a process of its own, as the benchmark starts it for each.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.tables import Bench
from benchmarks.tabular_tiers import TIERS, Tier
from diffaudit_jax import data, models, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.memory import keep_freed_memory
from diffaudit_jax.models.tabular import SIZES

TABLES = ("tall", "wide")
MISSING = 0.05
CATEGORIES = 30
BLOCK_OF_WIDE = 10
"""Columns of a wide table of which one is "yes": what a category of ten becomes, one-hot."""


def by_scale(bench: Bench) -> dict[str, Any]:
    """Measures each table in a process of its own."""
    return {"rows": [apart(name, bench) for name in TABLES], "steps": bench.tier.scale_steps}


def apart(name: str, bench: Bench) -> dict[str, Any]:
    """Starts the process that measures one table; returns what it printed."""
    tier = next(word for word, tier in TIERS.items() if tier == bench.tier)
    command = [sys.executable, "-m", "benchmarks.tabular_scale", name, tier]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def weighed(name: str, tier: Tier) -> dict[str, Any]:
    """Encodes, trains on and draws from one table; seconds and the greatest memory so far after each."""
    stages: dict[str, dict[str, float]] = {}
    begun = time.perf_counter()

    def done(stage: str) -> None:
        nonlocal begun
        stages[stage] = {"seconds": round(time.perf_counter() - begun, 1), "peak_mb": round(_high_water() / 2**20)}
        begun = time.perf_counter()

    table = tall(*tier.tall) if name == "tall" else wide(*tier.wide)
    done("table")
    encoder = data.fit_encoder(table)
    pool = encoder.encode(table)
    done("encoded")
    model = models.tabddpm(*encoder.layout, **SIZES[tier.size])
    recipe = replace(tier.recipe, num_steps=tier.scale_steps)
    losses: list[float] = []
    run = training.fit_table(
        jax.random.key(0), model, pool, recipe, progress=lambda step, total, info: losses.append(float(info.loss))
    )
    done("trained")
    x = draw_bank(jax.random.key(1), run.target, tier.scale_samples, block=min(tier.block, tier.scale_samples))
    done("drawn")
    bad = int((~np.isfinite(x)).any(axis=1).sum())
    if not bad:
        encoder.decode(x)
    done("decoded")
    return {
        "table": name,
        "rows": len(table),
        "columns": len(table.columns),
        "dim": encoder.layout.dim,
        "encoded_mb": round(pool.x.nbytes / 2**20),
        "batch": recipe.batch_size,
        "samples": len(x),
        "bad_losses": int((~np.isfinite(losses)).sum()),
        "loss": [losses[0], losses[-1]],
        "bad_samples": bad,
        "stages": stages,
    }


def tall(rows: int, columns: int) -> data.Table:
    """Makes a table of numbers and categories by turns, of all that depends on one hidden number.

    Numbers are normal, log-normal, whole, mostly 0, or partly missing; categories are 2 to 30, unequal.
    """
    rng = np.random.default_rng(0)
    hidden, made = rng.normal(size=rows), {}
    for i in range(columns):
        noisy = 0.5 * hidden + rng.normal(size=rows)
        if i % 2:
            size = 2 + (7 * i) % (CATEGORIES - 1)
            names = np.array([f"{i}-{code}" for code in range(size)])
            made[f"c{i}"] = names[np.clip((np.abs(noisy) ** 2 * size / 4).astype(int), 0, size - 1)]
        else:
            made[f"c{i}"] = _number(rng, noisy, i // 2 % 5)
    return data.Table(made, np.arange(rows), "tall")


def _number(rng: np.random.Generator, noisy: np.ndarray, kind: int) -> np.ndarray:
    if kind == 1:
        return np.exp(2 * noisy)
    if kind == 2:
        return np.rint(20 * noisy)
    if kind == 3:
        return np.where(noisy > 1, 1000 * noisy, 0.0)
    return np.where(rng.random(len(noisy)) < MISSING, np.nan, noisy) if kind == 4 else noisy


def wide(rows: int, columns: int) -> data.Table:
    """Makes a table of "no" and "yes", one-hot by blocks of ten columns, of which each is alike its neighbour."""
    rng = np.random.default_rng(0)
    hidden, made = rng.normal(size=rows), {}
    for start in range(0, columns, BLOCK_OF_WIDE):
        code = np.clip(5 + 2 * (0.5 * hidden + rng.normal(size=rows)), 0, BLOCK_OF_WIDE - 1).astype(int)
        for k in range(min(BLOCK_OF_WIDE, columns - start)):
            made[f"c{start + k}"] = np.where(code == k, "yes", "no")
    return data.Table(made, np.arange(rows), "wide")


def _high_water() -> int:
    # Not what getrusage says: a process that is started by another begins with the peak of that one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


if __name__ == "__main__":
    keep_freed_memory()
    print(json.dumps(weighed(sys.argv[1], TIERS[sys.argv[2]])))
