"""How much of the benchmark on shadows is done, by what there is to do it on."""

from collections.abc import Mapping
from dataclasses import dataclass

from diffaudit_jax import training
from diffaudit_jax.models.families import Size

BLOCK = 8
"""Shadows come in blocks that hold every record in half of them, so that the first 8, 16, ... of them do too."""


@dataclass(frozen=True)
class Side:
    """What is audited of one kind of data.

    Attributes:
      pool: Records; each model is trained on a random half.
      population: Others, known to be no members, that quantile regression learns from.
      recipe: How every model is trained.
      shadows: Numbers of shadows, ascending, multiples of `BLOCK`.
      targets: Models that are audited, each on coins of its own.
      times: Times of the loss trajectory: of images over the first 30 % of the schedule, of a table over all of it.
      noises: Noises at each.
    """

    pool: int
    population: int
    recipe: training.Recipe
    shadows: tuple[int, ...]
    targets: int
    times: int
    noises: int


@dataclass(frozen=True)
class Tier:
    """How much is done.

    Attributes:
      size: Width of the networks.
      images: Of images.
      tables: Of a table's records.
      canaries: Numbers of canaries, ascending.
      lessons: How the model with canaries is trained.
      planted: How often a record is repeated -> how many such records, of extraction.
      copying: How the model with repeated records is trained.
      samples: Numbers of samples, ascending, that are searched for copies.
      sample_steps: Steps of DDIM for each.
      block: Queries per dispatch.
    """

    size: Size
    images: Side
    tables: Side
    canaries: tuple[int, ...]
    lessons: training.Recipe
    planted: Mapping[int, int]
    copying: training.Recipe
    samples: tuple[int, ...]
    sample_steps: int
    block: int


TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        size="small",
        images=Side(300, 600, training.Recipe(1500, 32, 2e-3, warmup_steps=50, ema_decay=0.99), (8,), 2, 6, 4),
        tables=Side(
            1000,
            1000,
            training.Recipe(2000, 256, 2e-3, warmup_steps=50, ema_decay=0.99, anneal=True),
            (8, 16, 32),
            4,
            20,
            4,
        ),
        canaries=(50, 100, 200, 400, 800, 1600),
        lessons=training.Recipe(20_000, 256, 2e-3, warmup_steps=50, ema_decay=0.99, anneal=True),
        planted={1: 150, 3: 20, 10: 10, 30: 6, 100: 4},
        copying=training.Recipe(4000, 32, 2e-3, warmup_steps=50, ema_decay=0.99),
        samples=(250, 500, 1000, 2000),
        sample_steps=25,
        block=100,
    ),
    "gpu": Tier(
        size="published",
        images=Side(
            1800, 200, training.Recipe(20_000, 128, 2e-4, warmup_steps=500, ema_decay=0.999), (8, 16, 64), 2, 15, 8
        ),
        tables=Side(
            1500,
            1000,
            training.Recipe(10_000, 512, 2e-3, warmup_steps=50, ema_decay=0.99, anneal=True),
            (8, 16, 64),
            4,
            30,
            8,
        ),
        canaries=(50, 100, 200, 400, 800, 1600),
        lessons=training.Recipe(50_000, 512, 2e-3, warmup_steps=50, ema_decay=0.99, anneal=True),
        planted={1: 1000, 3: 50, 10: 20, 30: 10, 100: 10},
        copying=training.Recipe(60_000, 128, 2e-4, warmup_steps=500, ema_decay=0.999),
        samples=(1000, 5000, 20_000),
        sample_steps=50,
        block=500,
    ),
}
