"""Gradient attacks (GSA): how hard the loss on a query pulls at each tensor of the weights.

With L_t(x) = mean over noises of mean (eps_hat(x_t, t) - eps)^2 (of a table its objective), and tensors w of weights:

    aggregate "loss" (GSA1)        g_w(x) = || d/dw mean over t of L_t(x) ||_2      one backward pass
    aggregate "gradient" (GSA2)    g_w(x) = mean over t of || d/dw L_t(x) ||_2      a backward pass at each time

References:
  Pang et al. 2023, White-box Membership Inference Attacks against Diffusion Models, https://arxiv.org/abs/2308.06405
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.access import WhiteBox, white_box
from diffaudit_jax.attack import Attack, Score, Spec
from diffaudit_jax.attacks.noise import noise_at
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.types import Example, Key, Params, Query, Time, known

Aggregate = Literal["loss", "gradient"]
AGGREGATES: tuple[Aggregate, ...] = ("loss", "gradient")
Statistic = Literal["log", "norm"]
STATISTICS: tuple[Statistic, ...] = ("log", "norm")

# Steps 99, 199, ..., 999 of 1,000, counted from 0 as published.
_TIMES = np.arange(1, 11) / 10
# The least norm that float32 tells from 0: the squares of smaller numbers are lost.
_LEAST = float(np.sqrt(np.finfo(np.float32).tiny))


def gradient_norms(
    times: Sequence[float] | Float[np.ndarray, " times"] | None = None,
    *,
    aggregate: Aggregate = "loss",
    statistic: Statistic = "log",
    num_noises: int = 1,
    noise_key: Key | None = None,
    common_noise: bool = True,
) -> Attack[WhiteBox]:
    """Scores by the gradient of the training loss on the query, as one norm per tensor of the weights.

    score(x) = -mean over w of log g_w(x)  ("log"),   -sqrt(sum over w of g_w(x)^2)  ("norm")

    Training ends where its members no longer pull, so theirs are the smaller gradients. The published attack learns
    from shadow models how to read the norms; these scores need none.

    Args:
      times: Grid in (0, 1]; default 0.1, 0.2, ..., 1, the published one.
      aggregate: What is averaged over times: the losses (GSA1), or the norms of their gradients (GSA2).
      statistic: How the norms are joined, see `score`.
      num_noises: Noise draws per time; the loss at a time is their mean.
      noise_key: Key of the common noise, default key 0.
      common_noise: Whether all queries share their noise; otherwise each query's own key draws it.

    Returns:
      A white-box attack whose features are float32 [tensors], the norms in the order of ``jax.tree.leaves(params)``.
      Costs len(times) x num_noises network calls a query, each of them with a backward pass, and while a block is on
      the device the memory of as many training examples: at 10 times, 32x32 and 0.7 M parameters 9 MB a query on CPU
      (GSA1), 13 MB (GSA2). Where memory is short, audit with a smaller `block`.

    Raises:
      InputError: if a time lies outside (0, 1], the grid is empty, no noise is drawn, or a name is unknown.

    References:
      Pang et al. 2023, https://arxiv.org/abs/2308.06405
    """
    grid = checked_grid(_TIMES if times is None else times, num_noises)
    known("aggregate", aggregate, AGGREGATES)

    # One gradient for each group of draws: all of them, or those at one time.
    groups = (1, len(grid) * num_noises) if aggregate == "loss" else (len(grid), num_noises)

    def observe(access: WhiteBox, evidence: Key, key: Key, query: Query) -> Float[Array, " tensors"]:
        check_steps(access.diffusion.schedule, grid)
        noise_key = evidence if common_noise else key

        def loss(params: Params, t: Time, eps: Example) -> Time:
            pred = access.predict_at(params, access.diffusion.corrupt(query.x, t, eps), t, query.cond)
            return access.diffusion.objective(pred, query.x, t, eps)

        def norms(t: Float[Array, " draws"], eps: Float[Array, "draws *shape"]) -> Float[Array, " tensors"]:
            return _norms(jax.grad(lambda params: jax.vmap(loss, (None, 0, 0))(params, t, eps).mean())(access.params))

        draws = jax.vmap(lambda t: noise_at(noise_key, t, num_noises, query.x.shape))(jnp.asarray(grid))
        eps = draws.reshape(*groups, *query.x.shape)
        # By vmap: in a loop over times, the gradient of a convolution's weights is a hundred times slower on CPU.
        return jax.vmap(norms)(jnp.asarray(np.repeat(grid, num_noises).reshape(groups)), eps).mean(0)

    asked = {
        "times": digits(grid),
        "aggregate": aggregate,
        "num_noises": num_noises,
        "common_noise": common_noise,
    }
    calls, paper = len(grid) * num_noises, "https://arxiv.org/abs/2308.06405"
    spec = Spec("gradient_norms", "white", paper, calls, asked, {"statistic": statistic})
    evidence = jax.random.key(0) if noise_key is None else noise_key
    return Attack(spec, white_box, evidence, observe, score(statistic))


def score(statistic: Statistic = "log") -> Score:
    """Makes the score of stored gradient norms; no network calls.

    "log" weighs all tensors alike and does not depend on the scale in which any of them is written: whatever multiplies
    one tensor's gradients shifts all scores by the same amount. "norm" is the length of the whole gradient (in GSA1),
    which the few tensors with the largest gradients decide.

    A norm of 0 counts as the least that float32 resolves, 1e-19. So a tensor that is never trained, or lies under a
    head of zeros, adds the same to every score.

    Args:
      statistic: "log" is minus the mean logarithm of the norms, "norm" minus the root of their sum of squares.

    Returns:
      ``float [n, tensors] -> float64 [n]``, higher = member.

    Raises:
      InputError: if the statistic is unknown.
    """
    known("statistic", statistic, STATISTICS)

    def rule(features: Float[np.ndarray, "n tensors"]) -> Float[np.ndarray, " n"]:
        norms = np.asarray(features, np.float64)
        if statistic == "norm":
            return -np.sqrt((norms**2).sum(axis=1))
        return -np.log(np.maximum(norms, _LEAST)).mean(axis=1)

    return rule


def _norms(gradient: Any) -> Float[Array, " tensors"]:
    return jnp.stack([jnp.sqrt(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)])
