"""Noising of a table's record: its numbers by a Gaussian process, each of its categories by a multinomial one.

A record is x = [numbers, one one-hot block per categorical column]. With abar = alpha^2 of the schedule, a =
abar_t/abar_s and K the categories of a column,

    numbers      x_t = alpha x0 + sigma eps
    categories   x_t ~ Cat(abar_t x0 + (1 - abar_t)/K)
                 x_s | x_t, x0 ~ Cat(pi),   pi ~ [a x_t + (1 - a)/K] [abar_s x0 + (1 - abar_s)/K]

Noise is Gaussian everywhere, so that one draw serves both: a category is the greatest of log q + Gumbel, the Gumbel
being -log(-log Phi(eps)).

References:
  Kotelnikov et al. 2023, TabDDPM, https://arxiv.org/abs/2209.15421
  Hoogeboom et al. 2021, https://arxiv.org/abs/2102.05379
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffaudit_jax.process.gaussian import Process
from diffaudit_jax.types import Example, InputError, Time

Padded = Float[Array, "columns k"]
BOUND = 5.2
"""Greatest score of a number: that of the members' extremes, in units of a standard normal's deviation."""
NEVER = -1e30
"""Logarithm of the probability of a category that a column does not have; finite, so that its gradient is 0."""


class Blocks:
    """Where the categorical columns are in the tail of a record, gathered so that columns of like size are one array.

    Arrays of one size for all columns would be mostly empty beside a column of many categories, and a loop over columns
    compiles for minutes: sizes are rounded up to powers of two, and there is an array for each.
    """

    def __init__(self, sizes: Sequence[int]):
        """Lays out columns of these numbers of categories, each 2 or more."""
        if sizes and min(sizes) < 2:
            raise InputError(f"a categorical column has at least 2 categories, got {min(sizes)}: leave it out.")
        self.sizes = tuple(sizes)
        starts, widths = np.cumsum([0, *sizes]), [1 << (size - 1).bit_length() for size in sizes]
        self.index, self.real = [], []
        for width in sorted(set(widths)):
            some = [i for i, of in enumerate(widths) if of == width]
            offset = np.arange(width)[None]
            real = offset < np.array([sizes[i] for i in some])[:, None]
            self.index.append(np.where(real, starts[some][:, None] + offset, 0))
            self.real.append(real)
        flat = np.concatenate([at[real] for at, real in zip(self.index, self.real, strict=True)] or [np.zeros(0, int)])
        self._back = np.argsort(flat)

    def split(self, v: Float[Array, " d"], fill: float = 0.0) -> list[Padded]:
        """Returns the columns of a vector, in an array [columns, K] for each size, padded."""
        return [jnp.where(real, v[index], fill) for index, real in zip(self.index, self.real, strict=True)]

    def join(self, parts: Sequence[Padded]) -> Float[Array, " d"]:
        """Inverse of `split`."""
        if not parts:
            return jnp.zeros(0)
        flat = [part[np.nonzero(real)] for part, real in zip(parts, self.real, strict=True)]
        return jnp.concatenate(flat)[self._back]

    def each(self, function: Callable[..., Padded], *vectors: Float[Array, " d"]) -> Float[Array, " d"]:
        """Returns ``function(real, *columns)`` of every array of columns, joined again."""
        return self.join([function(*parts) for parts in zip(self.real, *map(self.split, vectors), strict=True)])

    def log_softmax(self, logits: Float[Array, " d"]) -> Float[Array, " d"]:
        """Returns log-probabilities, normalised in each column."""
        return self.each(lambda real, v: jax.nn.log_softmax(jnp.where(real, v, NEVER), axis=-1), logits)

    def greatest(self, v: Float[Array, " d"]) -> Float[Array, " d"]:
        """Returns the greatest of each column as a one-hot."""

        def one(real: Bool[np.ndarray, "columns k"], part: Padded) -> Padded:
            return jax.nn.one_hot(jnp.argmax(jnp.where(real, part, NEVER), axis=-1), part.shape[-1])

        return self.each(one, v)

    def sums(self, v: Float[Array, " d"]) -> Float[Array, " columns"]:
        """Returns the sum of each column, columns in the order of their sizes."""
        parts = [part.sum(-1) for part in self.split(v)]
        return jnp.concatenate(parts) if parts else jnp.zeros(0)

    def uniform(self) -> Float[np.ndarray, " d"]:
        """Returns 1/K at every category of a column of K."""
        return np.concatenate([np.full(size, 1 / size) for size in self.sizes] or [np.zeros(0)]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Mixed:
    """The noising of records of `num_numeric` numbers and of categorical columns.

    Attributes:
      schedule: The Gaussian process, discrete; its abar is the categories' too.
      num_numeric: Numbers, which come first.
      blocks: The categorical columns.
    """

    schedule: Process
    num_numeric: int
    blocks: Blocks

    def apart(self, x: Example) -> tuple[Example, Example]:
        """Returns the numbers and the categories of a record."""
        return x[: self.num_numeric], x[self.num_numeric :]

    def corrupt(self, x0: Example, t: Time, eps: Example) -> Example:
        """Returns x_t of a record and Gaussian noise, both [d]."""
        (numbers, categories), (noise, luck) = self.apart(x0), self.apart(eps)
        log_q = jnp.log(self.marginal(categories, t))
        return jnp.concatenate([self.schedule.corrupt(numbers, t, noise), self.blocks.greatest(log_q + gumbel(luck))])

    def marginal(self, categories: Example, t: Time) -> Example:
        """Returns abar_t x0 + (1 - abar_t)/K, of one-hots or of estimates of them; t = 0 gives x0."""
        return self.schedule.alpha(t) ** 2 * categories + self.schedule.sigma(t) ** 2 * self.blocks.uniform()

    def log_posterior(self, categories: Example, xt: Example, s: Time, t: Time) -> Example:
        """Returns log q(x_s | x_t, x0) of the categories, s = 0 giving x0 itself.

        Args:
          categories: x0, one-hots or probabilities.
          xt: The categories at t, one-hots.
          s: Earlier time, 0 <= s < t.
          t: Later time.
        """
        v = self.schedule.transition_var(s, t)  # 1 - a, without the digits that the difference loses
        came = (1 - v) * xt + v * self.blocks.uniform()
        from_x0 = self.marginal(categories, s)
        # Below the least normal number the logarithm has no gradient.
        return self.blocks.log_softmax(jnp.log(jnp.maximum(from_x0, 1e-30)) + jnp.log(came))


def gumbel(eps: Float[Array, " d"]) -> Float[Array, " d"]:
    """Returns Gumbel noise of Gaussian noise, -log(-log Phi(eps)), exact in both tails."""
    below, above = jnp.minimum(eps, 0.0), jnp.maximum(eps, 0.0)
    log_u = jnp.where(eps < 0, jax.scipy.special.log_ndtr(below), jnp.log1p(-jax.scipy.special.ndtr(-above)))
    return -jnp.log(-log_u)
