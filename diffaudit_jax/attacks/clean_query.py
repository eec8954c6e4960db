"""SimA: how much noise a model sees in the query itself.

References:
  Rao et al. 2025, https://arxiv.org/abs/2509.25003
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.access import GrayBox, gray_box, noise_of
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.attacks.norms import checked_power, mean_norm, norm
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.types import Key, Query, Time


def clean_query(times: Sequence[float] | Float[np.ndarray, " times"] = (0.101,), *, p: float = 4.0) -> Attack[GrayBox]:
    """Scores by the noise estimate at the query itself, to which no noise was added (SimA).

    score(x) = -mean over t of ||eps_hat(x, t)||_p^p

    The estimate is the query's distance, in units of sigma, from what the model would make of it: a kernel-weighted
    mean of the training data, near a member the member itself. Deterministic.

    Args:
      times: Times t in (0, 1] that the API is told; default the 0-based step 100 of 1,000. One call each.
      p: Of the norm, 1 or more.

    Returns:
      A gray-box attack whose features are the norms ||eps_hat(x, t)||_p of [times]; the score raises them to p, in
      float64. Costs len(times) network calls a query.

    Raises:
      InputError: if a time lies outside (0, 1], the grid is empty, or p is below 1; when run, if the target's
        schedule takes a time for clean data or two for one.

    References:
      Rao et al. 2025, https://arxiv.org/abs/2509.25003
    """
    grid, p = checked_grid(times), checked_power(p)

    def observe(access: GrayBox, evidence: None, key: Key, query: Query) -> Float[Array, " times"]:
        check_steps(access.process, grid)

        def one(t: Time) -> Time:
            return norm(noise_of(access, api_keys(key, t)[0], query.x, t, query.cond), p)

        # The first time outside the loop: other attacks may ask about the query at it too.
        first = one(grid[0])[None]
        return jnp.concatenate([first, jax.lax.map(one, jnp.asarray(grid[1:]))]) if len(grid) > 1 else first

    spec = Spec(
        name="clean_query",
        access="gray",
        paper="https://arxiv.org/abs/2509.25003",
        calls=len(grid),
        config={"times": digits(grid), "p": p},
        scoring={"statistic": "mean", "power": p},
        clean=(float(grid[0]),),
    )
    return Attack(spec, gray_box, None, observe, mean_norm(p))
