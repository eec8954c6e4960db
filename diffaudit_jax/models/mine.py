"""The statistic network of MINE: one number for ONE pair, larger where its two halves belong together."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class Statistic(nn.Module):
    """T(x, z): dense layers of rectified units on both halves at once.

    Attributes:
      widths: Of the hidden layers; as published 100 and 20.
    """

    widths: tuple[int, ...] = (100, 20)

    @nn.compact
    def __call__(self, x: Float[Array, " d"], z: Float[Array, " k"]) -> Float[Array, ""]:
        """Returns T."""
        h = jnp.concatenate([x, z])
        for i, width in enumerate(self.widths):
            h = nn.relu(nn.Dense(width, name=f"hidden{i}")(h))
        return nn.Dense(1, name="out")(h)[0]
