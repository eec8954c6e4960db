"""SecMI: how far one deterministic step up in noise and down again leads away from where it began.

    x_s = alpha_s x0_hat(x_t, t) + sigma_s eps_hat(x_t, t)      a DDIM step from t to s, up (s > t) or down

On data a model has learned by heart its noise estimates hardly change from one step to the next, and the way up is
the way down.

References:
  Duan et al. 2023, https://arxiv.org/abs/2302.01316
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import GrayBox, gray_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.sampler.discrete import ddim_step
from diffaudit_jax.types import Example, InputError, Key, Prediction, Query, Time

PUBLISHED = tuple((i + 1) / 1000 for i in range(0, 101, 10))
"""The published grid: the steps 0, 10, ..., 100 of 1,000, counted from 0."""


class StepError(NamedTuple):
    """The error of one step and back: its square summed over the pixels, and the image |x' - x| it is the sum of."""

    error: Time
    difference: Example


def step_error(times: Sequence[float] | Float[np.ndarray, " times"] = PUBLISHED) -> Attack[GrayBox]:
    """Scores by the error of one deterministic DDIM step and back, taken where an inversion of the query ends (SecMI).

    score(x) = -||x' - x_(k-1)||^2,   x -> x_1 -> ... -> x_(k-1) -> x_k -> x'

    Each arrow is a DDIM step between neighbours of t_0 < ... < t_k, the last one from t_k down to t_(k-1). The query
    itself is shown as x at t_0. At the published times: inverted to step 90, then 90 -> 100 -> 90. Deterministic.

    Args:
      times: The grid t_0 < ... < t_k in (0, 1], of 2 times or more; default the published one, for 1,000 steps.

    Returns:
      A gray-box attack whose features are a `StepError`: `score` reads its `error`, a learned scorer (SecMI-NNs) its
      `difference`. Costs len(times) network calls a query: 11 as published.

    Raises:
      InputError: if a time lies outside (0, 1], there are fewer than 2, or they do not increase; when run, if the
        target's schedule is too coarse to tell them apart.

    References:
      Duan et al. 2023, https://arxiv.org/abs/2302.01316
    """
    grid = checked_grid(times)
    if len(grid) < 2 or not (np.diff(grid) > 0).all():
        shown = ", ".join(f"{t:.4g}" for t in grid[:4]) + ("" if len(grid) <= 4 else ", ...")
        raise InputError(f"a step error needs 2 times or more, each later than the one before it, got {shown}.")

    def observe(access: GrayBox, evidence: None, key: Key, query: Query) -> StepError:
        check_steps(access.process, grid)

        def step(xt: Example, t: Time, s: Time) -> Example:
            x0_hat = access.denoise(api_keys(key, t)[0], xt, t, query.cond)
            eps = (xt - access.process.alpha(t) * x0_hat) / access.process.sigma(t)
            pred = Prediction(eps, x0_hat)
            return ddim_step(access.process, pred, xt, t, s, jnp.zeros_like(xt), eta=0.0, clip=False)

        def walk(path: _Path, move: tuple[Time, Time]) -> tuple[_Path, None]:
            return _Path(path.one_ago, path.here, step(path.here, *move)), None

        # The first question, about the query itself, is asked outside the scan: other attacks may ask it too.
        path = _Path(query.x, query.x, step(query.x, grid[0], grid[1]))
        moves = jnp.asarray(grid[1:]), jnp.asarray(np.append(grid[2:], grid[-2]))
        path, _ = jax.lax.scan(walk, path, moves)
        difference = jnp.abs(path.here - path.two_ago)
        return StepError(jnp.sum(difference**2), difference)

    spec = Spec(
        name="step_error",
        access="gray",
        paper="https://arxiv.org/abs/2302.01316",
        calls=len(grid),
        config={"times": digits(grid)},
        clean=(float(grid[0]),),
    )
    return Attack(spec, gray_box, None, observe, score)


def score(features: StepError) -> Float[np.ndarray, " n"]:
    """Returns minus the error of n queries, float64 [n]: SecMI's statistic."""
    return -np.asarray(features.error, np.float64)


class _Path(NamedTuple):
    """The last three images of a walk; memory does not grow with its length."""

    two_ago: Example
    one_ago: Example
    here: Example
