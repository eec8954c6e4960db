"""PIA: how far a model's noise estimate moves when its estimate at clean data is the noise that is added.

References:
  Kong et al. 2023, https://arxiv.org/abs/2305.18355
"""

from collections.abc import Sequence
from math import pi, sqrt

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.access import GrayBox, gray_box, noise_of
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.attacks.norms import checked_power, mean_norm, norm
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.types import Example, Key, Query, Time


def proximal(
    times: Sequence[float] | Float[np.ndarray, " times"] = (0.201,),
    *,
    first: float = 0.001,
    p: float = 4.0,
    normalised: bool = False,
) -> Attack[GrayBox]:
    """Scores by how far the noise estimate moves from that at the query itself (PIA; normalised, PIAN).

    score(x) = -mean over t of ||e0 - eps_hat(alpha_t x + sigma_t e0, t)||_p,   e0 = eps_hat(x, first)

    PIAN rescales e0 to e0 sqrt(2/pi)/mean |e0|, the size of Gaussian noise, as its released code does; the paper
    prints pi/2 under the root. The norm is the paper's; the code keeps its p-th power, which ranks the same at one
    time. Deterministic.

    Args:
      times: Times t in (0, 1]; default the published 0-based step 200 of 1,000.
      first: Time at which the query itself is shown as x_t; default the first step of 1,000.
      p: Of the norm, 1 or more.
      normalised: Whether e0 is rescaled.

    Returns:
      A gray-box attack whose features are the norms of [times]. Costs 1 + len(times) network calls a query.

    Raises:
      InputError: if a time or `first` lies outside (0, 1], the grid is empty, or p is below 1; when run, if the
        target's schedule takes a time for clean data or two for one.

    References:
      Kong et al. 2023, https://arxiv.org/abs/2305.18355
    """
    grid, start, p = checked_grid(times), checked_grid([first]), checked_power(p)

    def observe(access: GrayBox, evidence: None, key: Key, query: Query) -> Float[Array, " times"]:
        check_steps(access.process, start)
        check_steps(access.process, grid)
        # Outside the loop, and of the query itself: other attacks may ask it too.
        e0 = noise_of(access, api_keys(key, start[0])[0], query.x, start[0], query.cond)
        if normalised:
            e0 = _of_noise_size(e0)

        def one(t: Time) -> Time:
            xt = access.process.corrupt(query.x, t, e0)
            # The second question at its time where t is `first`, so an API's randomness is another.
            return norm(e0 - noise_of(access, api_keys(key, t, 2)[1], xt, t, query.cond), p)

        return jax.lax.map(one, jnp.asarray(grid))

    config = {"first": digits(start)[0], "p": p, "normalised": normalised}
    spec = Spec(
        name="proximal",
        access="gray",
        paper="https://arxiv.org/abs/2305.18355",
        calls=1 + len(grid),
        config={"times": digits(grid), **config},
        scoring={"statistic": "mean", "power": 1.0},
        clean=(float(start[0]),),
    )
    return Attack(spec, gray_box, None, observe, mean_norm())


def _of_noise_size(e0: Example) -> Example:
    """Rescales to mean |e0| = sqrt(2/pi), that of standard Gaussian noise; an estimate of no noise at all stays 0."""
    size = jnp.mean(jnp.abs(e0))
    return e0 * (sqrt(2 / pi) / jnp.where(size > 0, size, 1.0))
