"""Likelihood: the density that the target's probability-flow ODE gives the query.

    log p(x) = log p_1(xbar_1) + integral over s of div eps,     dxbar/ds = eps(alpha xbar, t),   xbar = x_t/alpha

References:
  Hu and Pang 2023, Membership Inference of Diffusion Models, https://arxiv.org/abs/2301.09956
  Song et al. 2021, https://arxiv.org/abs/2011.13456 (the ODE and its likelihood)
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import WhiteBox, white_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.sampler import log_likelihood
from diffaudit_jax.types import Example, InputError, Key, Prediction, Query, Time


def likelihood(
    times: Sequence[float] | Float[np.ndarray, " times"],
    *,
    num_probes: int = 1,
    probe_key: Key | None = None,
    common_probes: bool = True,
) -> Attack[WhiteBox]:
    """Scores by the log density of the query under the target.

    score(x) = -b(x),   b(x) = log2(127.5) - log p(x)/(D ln 2),   the bits per dimension of an 8-bit image of D numbers

    The path goes by Heun steps, with an error of second order in their length, and the divergence is estimated from
    random signs v as v . (d eps/d xbar) v. The published attack integrates by an adaptive Runge-Kutta method, whose
    number of calls is not known beforehand. The query is taken as it is, not dequantised.

    Args:
      times: Grid in (0, 1], in any order; a 0 is left out, so ``edm_grid(process, 32)`` of `sampler` can be given. The
        least time is where density is measured, the greatest should be 1, where the prior is known.
      num_probes: Arrays of signs that the divergence is averaged over.
      probe_key: Key of the common signs, default key 0.
      common_probes: Whether all queries share their signs. What the signs add to v . M v over the trace of M is twice
        the sum of M_ij v_i v_j over pairs of dimensions: as far as the denoiser joins the same dimensions at all
        queries, it is the same for all and their order does not feel it. Otherwise each query's own key draws them.

    Returns:
      A white-box attack whose features are bits per dimension, float32, one a query. Over k times above 0 it costs
      2 (k - 1) network calls a query, and `num_probes` directional derivatives of each.

    Raises:
      InputError: if a time lies outside [0, 1], fewer than two are above 0, or no signs are drawn.

    References:
      Hu and Pang 2023, https://arxiv.org/abs/2301.09956
    """
    grid = np.unique(np.asarray(times, np.float32))
    grid = checked_grid(grid[grid != 0])
    if num_probes < 1 or len(grid) < 2:
        raise InputError(f"a likelihood needs 2 or more times above 0 and 1 probe, got {len(grid)}, {num_probes=}.")

    def observe(access: WhiteBox, evidence: Key, key: Key, query: Query) -> Time:
        if access.process is None:
            raise InputError("a density along the probability-flow ODE needs Gaussian noise: leave likelihood out.")
        process = access.process
        check_steps(process, grid)

        def denoise(xt: Example, t: Time) -> Prediction:
            return access.predict_at(access.params, xt, t, query.cond)

        probe_key = evidence if common_probes else key
        nats = log_likelihood(probe_key, process, denoise, query.x, grid, num_probes=num_probes)
        return math.log2(127.5) - nats / (query.x.size * math.log(2))

    asked = {
        "times": digits(grid),
        "num_probes": num_probes,
        "common_probes": common_probes,
    }
    spec = Spec("likelihood", "white", "https://arxiv.org/abs/2301.09956", 2 * (len(grid) - 1), asked)
    evidence = jax.random.key(0) if probe_key is None else probe_key
    return Attack(spec, white_box, evidence, observe, lambda features: -np.asarray(features, np.float64))
