"""Poisson sampling: batches that hold each example independently, with one probability, as privacy accounting assumes.

Example i of n draws a number u_i, uniform on 32 bits, and is sampled if u_i < q. The batch holds the sampled examples
in the order of their numbers, which is a uniformly random one: cut off at the truncated batch size, it leaves a
uniformly random part of them. That is the truncation of jax-privacy's `CyclicPoissonSampling`, as a function of a key.

References:
  Abadi et al. 2016, Deep Learning with Differential Privacy, https://arxiv.org/abs/1607.00133
  Chua et al. 2024, Scalable DP-SGD: Shuffling vs. Poisson Subsampling (truncation), https://arxiv.org/abs/2411.04205
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from diffaudit_jax.types import InputError, Key


class Batch(NamedTuple):
    """One batch in a fixed number of rows.

    The real rows come first. Padding repeats examples of the pool, and its mask is False.
    """

    index: Int[Array, " rows"]
    mask: Bool[Array, " rows"]
    overflow: Int[Array, ""]  # sampled, but cut off


@dataclass(frozen=True)
class Poisson:
    """Draws each of n examples with probability `batch_size`/n.

    Attributes:
      n: Examples in the pool.
      batch_size: Expected examples per batch.
      truncated_batch_size: Greatest number of examples in a batch, a uniformly random part of those sampled; None for
        no truncation. What truncation costs in privacy is for the accountant to say.
      multiple: The number of rows is rounded up to a multiple of this.

    Raises:
      InputError: if the batch is empty or larger than the pool, or is truncated below its expected size.
    """

    n: int
    batch_size: int
    truncated_batch_size: int | None = None
    multiple: int = 1

    def __post_init__(self):
        if not 1 <= self.batch_size <= self.n:
            raise InputError(
                f"an expected batch of {self.batch_size} cannot be sampled from {self.n} examples: "
                f"batch_size lies between 1 and their number."
            )
        if self.truncated_batch_size is not None and self.truncated_batch_size < self.batch_size:
            raise InputError(
                f"truncated_batch_size must be at least batch_size, got {self.truncated_batch_size} < "
                f"{self.batch_size}: examples would be dropped at most steps."
            )

    @property
    def sampling_prob(self) -> float:
        """Probability of each example at each step; what is drawn is at most 2^-32 below it, never above."""
        return self.batch_size / self.n

    @property
    def capacity(self) -> int:
        """Greatest number of examples in a batch."""
        return self.n if self.truncated_batch_size is None else min(self.n, self.truncated_batch_size)

    @property
    def rows(self) -> int:
        """Rows of a batch, padding included."""
        return -(-self.capacity // self.multiple) * self.multiple

    def draw(self, key: Key) -> Batch:
        """Draws a batch, as a function of the key alone."""
        # Rounded down, so that no example is sampled more often than is accounted for.
        last = np.uint32(self.batch_size * 2**32 // self.n - 1)
        u = jax.random.bits(key, (self.n,), jnp.uint32)
        sampled = (u <= last).sum(dtype=jnp.int32)
        index = jnp.pad(jnp.argsort(u)[: self.capacity].astype(jnp.int32), (0, self.rows - self.capacity))
        mask = jnp.arange(self.rows) < jnp.minimum(sampled, self.capacity)
        return Batch(index, mask, jnp.maximum(sampled - self.capacity, 0))


def step_keys(key: Key, step: Int[Array, ""]) -> tuple[Key, Key, Key]:
    """Returns the keys of a private step: of its batch, of its examples' draws, and of its noise.

    They are functions of the run's key and the step alone. A step that is lost and repeated has the batch and the noise
    it had before and releases nothing new; no noise is ever added to two batches.
    """
    key_batch, key_examples, key_noise = jax.random.split(jax.random.fold_in(key, step), 3)
    return key_batch, key_examples, key_noise


@partial(jax.jit, static_argnums=(0, 2))
def count_overflow(poisson: Poisson, key: Key, num_steps: int) -> Int[Array, ""]:
    """Counts the examples that truncation cut off in the first steps of a run; resumed or not, they are the same.

    Args:
      poisson: The sampling.
      key: The run's key. A private run that drew it from the operating system no longer has it when it is done.
      num_steps: Steps taken.
    """
    overflow = lambda step: poisson.draw(step_keys(key, step)[0]).overflow  # noqa: E731
    return jax.lax.map(overflow, jnp.arange(num_steps)).sum(dtype=jnp.int32)
