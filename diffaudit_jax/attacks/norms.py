"""p-norms of noise estimates: taken of one query on the device, joined over the times on the host.

    ||e||_p = (sum |e_i|^p)^(1/p)

Norms are stored, not their powers: at a small sigma an estimate may be of size 100, and powers of that leave float32's
range. On the host, in float64, a norm can be raised to any power that a score asks for.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.attack import Score
from diffaudit_jax.types import Example, InputError


def norm(e: Example, p: float) -> Float[Array, ""]:
    """Returns ||e||_p over all entries of one example."""
    size, largest = jnp.abs(e), jnp.max(jnp.abs(e))
    # Powers of entries up to 1, which cannot overflow.
    scaled = size / jnp.where(largest > 0, largest, 1.0)
    return largest * jnp.sum(scaled**p) ** (1 / p)


def mean_norm(power: float = 1.0) -> Score:
    """Makes the score of stored norms: minus the mean over the times of ||e||^power, in float64.

    Returns:
      ``norms of [n, times] -> float64 [n]``, higher = member.
    """
    return lambda norms: -np.mean(np.asarray(norms, np.float64) ** power, axis=1)


def checked_power(p: float) -> float:
    """Returns the p of a norm.

    Raises:
      InputError: if it is below 1, infinite or not a number.
    """
    if not 1 <= p < np.inf:
        raise InputError(f"a p-norm needs a finite p of 1 or more, got {p=}; published attacks use 4.")
    return float(p)
