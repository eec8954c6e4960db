"""Who has which images in benchmarks/utility.py: public ones, and each seed's private and test images."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import pool_of
from benchmarks.utility_arms import Case, Plan, cases
from benchmarks.utility_priors import Effort
from diffaudit_jax import data
from diffaudit_jax.training.state import Data
from diffaudit_jax.types import InputError, Key, to_signed


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      public: Public images.
      test: Test images, at most a fifth of the set.
      private: Private images at most; all that are left, if fewer.
      parts: A batch is one part of so many, on average.
      hidden: Hidden units of the perceptron.
      epsilons: Epsilon of each private training.
      delta: Its delta.
      seeds: Number of seeds.
      rehearsals: Number of times that the parts of the public images change places, up to 3.
      plans: What is chosen among for private training.
      public_plans: The same for training on public images.
      prior: How diffusion priors are made.
      hindsight: Epsilons at which every arm is trained by every plan, of the first `hindsight_seeds` seeds.
      hindsight_seeds: 2 or more.
    """

    public: int
    test: int
    private: int
    parts: int
    hidden: int
    epsilons: tuple[float, ...]
    delta: float
    seeds: int
    rehearsals: int
    plans: tuple[Plan, ...]
    public_plans: tuple[Plan, ...]
    prior: Effort
    hindsight: tuple[float, ...]
    hindsight_seeds: int


class Sides(NamedTuple):
    """One seed's images: private, and the test."""

    private: Data
    test: Data


@dataclass(frozen=True)
class Bench:
    """One set of images and one network: all that its arms share."""

    tier: Tier
    name: str
    seed: int
    case: int

    def key(self, use: int, index: int = 0) -> Key:
        """Returns the key of one use: 0 public images, 1 a seed's images, 2 its training, 3 priors, 4 rehearsals."""
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), use), index)

    @cached_property
    def pool(self) -> data.Pool:
        """All images."""
        pool = pool_of(self.name)
        if pool.labels is None or len(pool) < 4 * self.tier.public:
            raise InputError(
                f"{self.name} has {len(pool)} images, of which {self.tier.public} with labels are public "
                f"and more are private: give a larger set, with labels."
            )
        return pool

    @cached_property
    def dealt(self) -> tuple[data.Pool, data.Pool]:
        """The public images, and the rest."""
        public = self.tier.public
        both = data.split(self.key(0), self.pool, members=public, nonmembers=len(self.pool) - public, by="record")
        return both.members, both.nonmembers

    @property
    def num_examples(self) -> int:
        """Private images."""
        return min(self.tier.private, len(self.pool) - self.tier.public - self.num_test)

    @property
    def num_test(self) -> int:
        """Test images."""
        return min(self.tier.test, len(self.pool) // 5)

    @property
    def batch_size(self) -> int:
        """Private images in a batch, on average."""
        return self.num_examples // self.tier.parts

    @cached_property
    def center(self) -> np.ndarray:
        """Mean public image."""
        return np.asarray(to_signed(jnp.asarray(self.dealt[0].x))).mean(0).ravel()

    @cached_property
    def public(self) -> Data:
        """The public images."""
        return self.taken(self.dealt[0])

    @cached_property
    def network(self) -> Case:
        """The network."""
        classes = self.pool.num_classes
        assert classes is not None
        return cases(len(self.center), classes, self.tier.hidden)[self.case]

    def taken(self, pool: data.Pool) -> Data:
        """Returns images less the public mean, flat, and their labels."""
        x = np.asarray(to_signed(jnp.asarray(pool.x))).reshape(len(pool), -1) - self.center
        return Data(jnp.asarray(x), jnp.asarray(pool.labels))

    def sides(self, seed: int) -> Sides:
        """Deals one seed's images."""
        split = data.split(
            self.key(1, seed), self.dealt[1], members=self.num_examples, nonmembers=self.num_test, by="record"
        )
        return Sides(self.taken(split.members), self.taken(split.nonmembers))
