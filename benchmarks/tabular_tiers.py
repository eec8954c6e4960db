"""How much of the benchmark on tables is done, by what there is to do it on."""

from dataclasses import dataclass
from typing import Any

from diffaudit_jax import training
from diffaudit_jax.models.tabular import TableSize


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      recipe: How the generator of most records is trained.
      small: How those of few records are.
      private: How those with differential privacy are, and the one beside them without.
      microbatch: Records whose gradients a private step takes at once.
      delta: Of private training.
      samples: Records drawn of the generator of most records.
      drawn: Records drawn of every other one.
      few: Members whose generators are trained from under- to over-fitted.
      fits: Training steps of these.
      asked: Members asked about, and as many others, at most.
      num_times: Times of a loss trajectory.
      num_noises: Noises at each.
      members: Records of a training set of property inference, at most.
      aux: Records that the receiver has of his own, at most.
      tall: Rows and columns of a large table.
      wide: Rows and categorical columns of a wide one.
      scale_steps: Training steps on these.
      scale_samples: Records drawn of these.
      block: Records per dispatch.
    """

    size: TableSize
    recipe: training.Recipe
    small: training.Recipe
    private: training.Recipe
    microbatch: int
    delta: float
    samples: int
    drawn: int
    few: tuple[int, ...]
    fits: tuple[int, ...]
    asked: int
    num_times: int
    num_noises: int
    members: int
    aux: int
    tall: tuple[int, int]
    wide: tuple[int, int]
    scale_steps: int
    scale_samples: int
    block: int


def _recipe(num_steps: int, batch_size: int, **changes: Any) -> training.Recipe:
    settings = {"learning_rate": 2e-3, "warmup_steps": 50, "ema_decay": 0.99, "anneal": True, **changes}
    return training.Recipe(num_steps, batch_size, **settings)


TIERS = {
    "cpu": Tier(
        size="small",
        recipe=_recipe(3000, 1024),
        small=_recipe(1000, 256),
        private=_recipe(200, 512),
        microbatch=64,
        delta=1e-5,
        samples=10_000,
        drawn=2000,
        few=(500, 2000),
        fits=(200, 800, 3200, 9600),
        asked=1000,
        num_times=20,
        num_noises=2,
        members=2000,
        aux=2000,
        tall=(200_000, 40),
        wide=(20_000, 1000),
        scale_steps=200,
        scale_samples=2000,
        block=500,
    ),
    "gpu": Tier(
        size="published",
        recipe=_recipe(30_000, 4096, ema_decay=0.999),
        small=_recipe(10_000, 1024, ema_decay=0.999),
        private=_recipe(5000, 4096, ema_decay=0.999),
        microbatch=512,
        delta=1e-5,
        samples=200_000,
        drawn=10_000,
        few=(500, 2000, 10_000),
        fits=(500, 2000, 10_000, 50_000),
        asked=5000,
        num_times=50,
        num_noises=4,
        members=10_000,
        aux=2000,
        tall=(200_000, 40),
        wide=(150_000, 1000),
        scale_steps=200,
        scale_samples=2000,
        block=4096,
    ),
}
