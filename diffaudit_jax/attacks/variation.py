"""Variations of a query (ReDiffuse): a model that was trained on an image gives it back from its noised self.

    xbar = mean of n variations V(x, t),   V noises x to t and takes it back to clean by deterministic DDIM

The average removes what the service's own noise does to one variation. Needs an image-to-image service only.

References:
  Li et al. 2024, https://arxiv.org/abs/2405.20771
"""

from typing import Any, Literal, NamedTuple

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import Variation, variation_box
from diffaudit_jax.attack import Attack, Score, Spec
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.attacks.statistics import checked_grid
from diffaudit_jax.types import Example, InputError, Key, Query, Time, known

Distance = Literal["mse", "ssim"]
DISTANCES: tuple[Distance, ...] = ("mse", "ssim")


class Likeness(NamedTuple):
    """How like its averaged variation a query is: mean squared error, and mean structural similarity (1 = the same)."""

    mse: Time
    ssim: Time


def variation(
    t: float = 0.2,
    *,
    num_variations: int = 5,
    num_steps: int = 10,
    distance: Distance = "mse",
    clip: bool = True,
) -> Attack[Variation]:
    """Scores by how far the mean of several variations of the query lies from it.

    score(x) = -D(x, 1/n sum_i V(x, t; eps_i)),   D = mean squared error, or 1 - SSIM

    The service draws its own noise, anew for each variation of each query.

    Args:
      t: Time in (0, 1] to which the service noises the query.
      num_variations: Variations that are averaged, n.
      num_steps: The service's DDIM steps from t back to clean data.
      distance: D. Both are stored, so this is free to change.
      clip: Whether the service clips x0 estimates to [-1, 1].

    Returns:
      An image-to-image attack on images, whose features are `Likeness`. Costs num_variations x num_steps network calls
      a query.

    Raises:
      InputError: if t lies outside (0, 1], a number is not positive or the distance is unknown; in an audit, if
        examples are no images, or t is fewer than `num_steps` steps of the target's process from clean data.

    References:
      Li et al. 2024, https://arxiv.org/abs/2405.20771
    """
    time: Any = checked_grid([t])[0]  # NumPy's, so that it is known while the program is traced
    if num_variations < 1:
        raise InputError(f"at least 1 variation of each query is needed, got {num_variations=}.")

    def observe(access: Variation, evidence: Any, key: Key, query: Query) -> Likeness:
        if query.x.ndim != 3:
            raise InputError(f"variations are compared as images (height, width, channels), got {query.x.shape}.")
        keys = api_keys(key, jnp.asarray(time), num_variations)
        mean = jax.vmap(lambda key: access.vary(key, query.x, time, query.cond))(keys).mean(0)
        return Likeness(jnp.mean((mean - query.x) ** 2), ssim(query.x, mean))

    config = {"t": float(str(time)), "num_variations": num_variations, "num_steps": num_steps, "clip": clip}
    calls, paper = num_variations * num_steps, "https://arxiv.org/abs/2405.20771"
    spec = Spec("variation", "variation", paper, calls, config, {"distance": distance})
    return Attack(spec, variation_box(num_steps, clip=clip), (), observe, score(distance))


def score(distance: Distance = "mse") -> Score:
    """Makes the score of stored likenesses, no network calls.

    Returns:
      ``Likeness of [n] -> float64 [n]``, minus the distance.

    Raises:
      InputError: if the distance is unknown.
    """
    known("distance", distance, DISTANCES)

    def rule(features: Likeness) -> Float[np.ndarray, " n"]:
        if distance == "mse":
            return -np.asarray(features.mse, np.float64)
        return np.asarray(features.ssim, np.float64) - 1

    return rule


def ssim(x: Example, y: Example) -> Time:
    """Returns the mean structural similarity of two images in [-1, 1], averaged over channels.

    The window is the usual Gaussian one of 11 x 11 pixels, or as much of it as fits into a smaller image.

    References:
      Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    return jnp.asarray(dm_pix.ssim((x + 1) / 2, (y + 1) / 2, filter_size=min(11, *x.shape[:2])))
