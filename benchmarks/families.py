"""One family of models, trained and sampled: for benchmarks/models.py, which judges the samples."""

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffaudit_jax import data, models, process, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.models.families import Size
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import Key


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      recipe: How they are trained.
      samples: Images drawn of each family, if so many are held out.
      block: Images per dispatch.
      cell: What divides the sides of the images that every network of this size takes.
      sample_steps: Steps of each family's sampler, where they are not all of its process's.
    """

    size: Size
    recipe: training.Recipe
    samples: int
    block: int
    cell: int
    sample_steps: Mapping[str, int]


# As published: NCSN takes 100 updates at each of 10 levels, NCSNv2 5 at each of 232, EDM 18 Heun steps. A learned
# variance loses little at 250 of 4,000 steps (Nichol and Dhariwal 2021).
PUBLISHED_STEPS = {"improved-diffusion": 250, "ncsn": 1000, "ncsnv2": 1160, "edm": 18}
# Few enough that nine families take an hour and a half of two cores, of which guided-diffusion and NCSNv2 take most.
# NCSNv2's network is not told the noise level: with fewer than three updates at each, noise grows from level to level.
CPU_STEPS = {
    **dict.fromkeys(("ddpm", "improved-diffusion", "guided-diffusion", "vp-sde", "sub-vp-sde", "ve-sde"), 250),
    "ncsn": 200,
    "ncsnv2": 696,
    "edm": 18,
}
TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        size="small",
        recipe=training.Recipe(num_steps=1200, batch_size=64, learning_rate=2e-3, ema_decay=0.995),
        samples=500,
        block=50,
        cell=4,
        sample_steps=CPU_STEPS,
    ),
    "gpu": Tier(
        size="published",
        recipe=training.Recipe(100_000, 128, 2e-4, warmup_steps=1000, ema_decay=0.9999),
        samples=10_000,
        block=500,
        cell=8,
        sample_steps=PUBLISHED_STEPS,
    ),
}


def measured(
    key: Key, name: str, tier: Tier, members: data.Pool, num: int, sample_steps: int | None, work: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains a family and draws its samples, or goes on with both.

    Args:
      key: Typed key of training and sampling.
      name: The family.
      tier: How much is done.
      members: Training images.
      num: Samples.
      sample_steps: Steps of the sampler; None for the tier's.
      work: Scratch directory of this family and these settings.

    Returns:
      The family's row, but for how good the samples are, and the samples, uint8 [num, *shape].
    """
    key_train, key_sample = jax.random.split(key)
    family, schedule = models.FAMILIES[name], process.from_config(models.FAMILIES[name].schedule)
    weight = models.hybrid_weight(family, schedule)
    with stage(f"{name}: training") as show:
        run = training.fit(
            key_train,
            models.build(
                name, members.shape, size=tier.size, **({"bfloat16": True} if tier.size == "published" else {})
            ),
            schedule,
            members,
            replace(tier.recipe, vlb_weight=weight),
            out=work / "run",
            record={"family": name},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )
    steps = tier.sample_steps.get(name, schedule.steps) if sample_steps is None else sample_steps
    target = redrawn(run.target, sampler=family.sampler, sample_steps=steps)
    images, per_s = _drawn(key_sample, target, num, min(tier.block, max(num // 4, 1)), work / "samples")
    row = {
        "parameters": models.count_params(target.params),
        "train_images_per_s": trained_per_s(work / "run" / "log.jsonl", tier.recipe.batch_size),
        "sampler": family.sampler,
        "sample_steps": steps,
        "sample_images_per_s": per_s,
    }
    return row, images


def trained_per_s(log: Path, batch_size: int) -> float | None:
    """Returns images trained on a second, from the log of a run; None if it is too short."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return rate([(batch_size * row["step"], row["seconds"]) for row in rows])


def rate(stamps: list[tuple[int, float]]) -> float | None:
    """Returns the median rate between (count, seconds) stamps; None if there are too few.

    From the first stamp on: what comes before is the compiler's time. Pairs across a restart, whose clock begins anew,
    are left out.
    """
    rates = [(b - a) / (u - t) for (a, t), (b, u) in pairwise(stamps) if b > a and u > t]
    return round(statistics.median(rates), 2) if rates else None


def _drawn(key: Key, target: Target, num: int, block: int, out: Path) -> tuple[np.ndarray, float | None]:
    stamps: list[tuple[int, float]] = []
    fresh = not out.exists()  # blocks that were there before arrive at once
    with stage("sampling") as show:

        def progress(done: int, total: int) -> None:
            stamps.append((done, time.perf_counter()))
            show(done, total)

        images = draw_bank(key, target, num, block=block, out=out, progress=progress)
    return images, rate(stamps) if fresh else None
