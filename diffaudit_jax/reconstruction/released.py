"""The record that attackers work on: a noisy image, and how noisy they take it to be."""

from typing import NamedTuple

from jaxtyping import Array, Float

from diffaudit_jax.types import Example


class Release(NamedTuple):
    """What one privatised gradient says of an image: y = x + sigma n, with n standard normal.

    With a leading axis n on both fields it is a set of releases.

    Attributes:
      y: The noisy image, in units of images in [-1, 1]; not clipped.
      sigma: Standard deviation of its noise in the same units, as the attacker knows or estimates it.
    """

    y: Example
    sigma: Float[Array, ""]
