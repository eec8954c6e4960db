"""Loss trajectories: how well the target denoises a query, at every time of a grid.

One network call per (t, noise) gives eps-MSE, x0-MSE and the bound's term at once, or from an API that returns clean
estimates x0-MSE alone; every statistic and truncation is a score on what one pass stored.

References:
  Zhu et al. 2023, Data Forensics in Diffusion Models, https://arxiv.org/abs/2302.07801
  Matsumoto et al. 2023, https://arxiv.org/abs/2302.03262 (the loss at one time)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import GrayBox, WhiteBox, gray_box, white_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.noise import api_keys, noise_at
from diffaudit_jax.attacks.statistics import LOSSES as LOSSES
from diffaudit_jax.attacks.statistics import STATISTICS as STATISTICS
from diffaudit_jax.attacks.statistics import By, Errors, Loss, Statistic, check_steps, checked_grid, digits
from diffaudit_jax.attacks.statistics import average as average
from diffaudit_jax.attacks.statistics import score as score
from diffaudit_jax.process import VARIANCES, Variance
from diffaudit_jax.types import Example, Key, Query, Time, known


def loss_trajectory(
    times: Sequence[float] | Float[np.ndarray, " times"],
    *,
    loss: Loss = "eps",
    statistic: Statistic = "mean",
    truncate: float | None = None,
    by: By = "time",
    num_noises: int = 1,
    noise_key: Key | None = None,
    common_noise: bool = True,
    variance: Variance = "fixed_small",
    clip: bool = True,
) -> Attack[WhiteBox]:
    """Scores by the target's loss on the query over a grid of times.

    score(x) = -statistic over kept t of l_t(x),   l_t(x) = mean over noises of loss(x, t, eps)

    Args:
      times: Grid in (0, 1]; ``process.times(50)`` strides over a schedule's steps.
      loss: Which loss: eps-MSE, x0-MSE, or the bound's term in bits per dimension; of a table's records eps is what
        they are trained by, and its parts "numeric" and "categorical" (`diffusion`).
      statistic: How the kept losses are joined.
      truncate: None keeps all. ``by="time"`` keeps t <= truncate; ``by="value"`` drops this fraction of each query's
        losses, the largest.
      by: What is truncated by. Time is the paper's description; its released code sorts by value.
      num_noises: Noise draws per time.
      noise_key: Key of the common noise, default key 0.
      common_noise: Whether all queries share their noise (common random numbers: the luck of a draw cancels in the
        comparison); otherwise each query's own key draws it.
      variance: Reverse variance in the bound's terms.
      clip: Whether x0 estimates are clipped to [-1, 1] before they are scored, as published evaluations do.

    Returns:
      A white-box attack whose features are `Losses` (of a table `TableLosses`) of [times, noises]. Costs len(times) x
      num_noises network calls a query.

    Raises:
      InputError: if a time lies outside (0, 1], the grid is empty, or a truncation keeps nothing.

    References:
      Zhu et al. 2023, https://arxiv.org/abs/2302.07801
    """
    grid = checked_grid(times, num_noises)
    known("variance", variance, VARIANCES)

    def observe(access: WhiteBox, evidence: Key, key: Key, query: Query) -> Any:
        check_steps(access.diffusion.schedule, grid)
        noise_key = evidence if common_noise else key

        def one(t: Time, eps: Example) -> Any:
            xt = access.diffusion.corrupt(query.x, t, eps)
            pred = access.predict_at(access.params, xt, t, query.cond)
            return access.diffusion.losses(pred, query.x, t, eps, variance=variance, clip=clip)

        return _over(grid, lambda t: noise_at(noise_key, t, num_noises, query.x.shape), one)

    config = {"variance": variance, "clip": clip}
    scoring = {"loss": loss, "statistic": statistic, "truncate": truncate, "by": by}
    spec = _spec("loss_trajectory", "white", grid, num_noises, common_noise, config, scoring)
    evidence = jax.random.key(0) if noise_key is None else noise_key
    return Attack(spec, white_box, evidence, observe, score(grid, **scoring))


def x0_trajectory(
    times: Sequence[float] | Float[np.ndarray, " times"],
    *,
    statistic: Statistic = "mean",
    truncate: float | None = None,
    by: By = "time",
    num_noises: int = 1,
    noise_key: Key | None = None,
    common_noise: bool = True,
    clip: bool = True,
) -> Attack[GrayBox]:
    """Scores by how far an API's clean estimates lie from the query, over a grid of times.

    score(x) = -statistic over kept t of e_t(x),   e_t(x) = mean over noises of mean (x0_hat(x_t, t) - x)^2

    The gray-box twin of ``loss_trajectory(loss="x0")``: same noise, same errors, from an API that returns x0 estimates
    and neither weights nor eps. Errors grow with t, so without a truncation the largest times decide.

    Args:
      times: Grid in (0, 1]; ``process.times(50)`` strides over a schedule's steps.
      statistic: How the kept errors are joined.
      truncate: None keeps all. ``by="time"`` keeps t <= truncate; ``by="value"`` drops this fraction of each query's
        errors, the largest.
      by: What is truncated by.
      num_noises: Noise draws per time.
      noise_key: Key of the common noise, default key 0.
      common_noise: Whether all queries share their noise; otherwise each query's own key draws it.
      clip: Whether x0 estimates are clipped to [-1, 1] before they are scored.

    Returns:
      A gray-box attack whose features are `Errors` of [times, noises]. Costs len(times) x num_noises network calls a
      query.

    Raises:
      InputError: if a time lies outside (0, 1], the grid is empty, or a truncation keeps nothing.

    References:
      Zhu et al. 2023, https://arxiv.org/abs/2302.07801 (their x0 loss)
    """
    grid = checked_grid(times, num_noises)

    def observe(access: GrayBox, evidence: Key, key: Key, query: Query) -> Errors:
        check_steps(access.process, grid)
        noise_key = evidence if common_noise else key

        def draws(t: Time) -> tuple[Example, Key]:
            return noise_at(noise_key, t, num_noises, query.x.shape), api_keys(key, t, num_noises)

        def one(t: Time, draw: tuple[Example, Key]) -> Errors:
            eps, key = draw
            x0_hat = access.denoise(key, access.process.corrupt(query.x, t, eps), t, query.cond)
            return Errors(jnp.mean(((jnp.clip(x0_hat, -1.0, 1.0) if clip else x0_hat) - query.x) ** 2))

        return _over(grid, draws, one)

    scoring = {"statistic": statistic, "truncate": truncate, "by": by}
    spec = _spec("x0_trajectory", "gray", grid, num_noises, common_noise, {"clip": clip}, scoring)
    evidence = jax.random.key(0) if noise_key is None else noise_key
    return Attack(spec, gray_box, evidence, observe, score(grid, loss="x0", **scoring))


def _over(grid: Float[np.ndarray, " times"], draws: Callable[[Time], Any], one: Callable[[Time, Any], Any]) -> Any:
    """Returns `one` at every (time, draw), with leading axes [times, noises]."""
    return jax.lax.map(lambda t: jax.vmap(lambda draw: one(t, draw))(draws(t)), jnp.asarray(grid))


def _spec(
    name: str,
    access: Literal["white", "gray"],
    grid: Float[np.ndarray, " times"],
    num_noises: int,
    common_noise: bool,
    config: Mapping[str, Any],
    scoring: Mapping[str, Any],
) -> Spec:
    asked = {
        "times": digits(grid),
        "num_noises": num_noises,
        "common_noise": common_noise,
        **config,
    }
    return Spec(name, access, "https://arxiv.org/abs/2302.07801", len(grid) * num_noises, asked, scoring)
