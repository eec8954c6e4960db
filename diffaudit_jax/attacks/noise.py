"""Where an attack's randomness has its address: noise by (key, time), and the keys that an API draws from.

A draw depends on its key, its time and its count alone, never on the grid or the attack that asks for it. So grids that
share a time share its noise, and an attack sees the same alone and in one pass with others.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffaudit_jax.types import Key, Time


def noise_at(key: Key, t: Time, num_noises: int, shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    """Draws the noise for time t. It depends on (key, t) alone, so grids that share a time share its noise."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys_at(key, t, num_noises))


def keys_at(key: Key, t: Time, num: int) -> Key:
    """Returns `num` keys for time t."""
    key = jax.random.fold_in(key, jax.lax.bitcast_convert_type(t, jnp.uint32))
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num))


def api_keys(key: Key, t: Time, num: int = 1) -> Key:
    """Returns the keys of `num` questions at time t, for an API that is random itself; `key` is the query's own."""
    # No time has the bits of 0, so an API's randomness meets none of the attack's noise.
    return keys_at(jax.random.fold_in(key, 0), t, num)
