"""Loss trajectories: how well the target denoises a query, at every time of a grid.

One network call per (t, noise) gives eps-MSE, x0-MSE and the bound's term at once; every statistic and truncation is a
score on what one pass stored.

References:
  Zhu et al. 2023, Data Forensics in Diffusion Models, https://arxiv.org/abs/2302.07801
  Matsumoto et al. 2023, https://arxiv.org/abs/2302.03262 (the loss at one time)
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.access import WhiteBox, white_box
from diffaudit_jax.attack import Attack, Score, Spec
from diffaudit_jax.losses import Losses, losses
from diffaudit_jax.process import VARIANCES, Variance
from diffaudit_jax.types import Example, InputError, Key, Query, Time, known

Loss = Literal["eps", "x0", "vlb"]
LOSSES: tuple[Loss, ...] = ("eps", "x0", "vlb")
Statistic = Literal["sum", "mean", "median", "min", "max"]
By = Literal["time", "value"]
STATISTICS = {"sum": np.sum, "mean": np.mean, "median": np.median, "min": np.min, "max": np.max}


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
      loss: Which loss: eps-MSE, x0-MSE, or the bound's term in bits per dimension.
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
      A white-box attack whose features are `Losses` of [times, noises]. Costs len(times) x num_noises network calls a
      query.

    Raises:
      InputError: if a time lies outside (0, 1], the grid is empty, or a truncation keeps nothing.

    References:
      Zhu et al. 2023, https://arxiv.org/abs/2302.07801
    """
    grid = _grid(times)
    if num_noises < 1:
        raise InputError(f"at least 1 noise draw per time is needed, got {num_noises=}.")
    known("variance", variance, VARIANCES)

    def observe(access: WhiteBox, evidence: Key, key: Key, query: Query) -> Losses:
        noise_key = evidence if common_noise else key

        def one(t: Time, eps: Example) -> Losses:
            xt = access.process.corrupt(query.x, t, eps)
            pred = access.predict_at(access.params, xt, t, query.cond)
            return losses(access.process, pred, query.x, t, eps, variance=variance, clip=clip)

        def at(t: Time) -> Losses:
            return jax.vmap(one, (None, 0))(t, noise_at(noise_key, t, num_noises, query.x.shape))

        return jax.lax.map(at, jnp.asarray(grid))

    spec = Spec(
        name="loss_trajectory",
        access="white",
        paper="https://arxiv.org/abs/2302.07801",
        calls=len(grid) * num_noises,
        config={
            "times": [round(float(t), 6) for t in grid],
            "num_noises": num_noises,
            "common_noise": common_noise,
            "variance": variance,
            "clip": clip,
        },
        scoring={"loss": loss, "statistic": statistic, "truncate": truncate, "by": by},
    )
    evidence = jax.random.key(0) if noise_key is None else noise_key
    rule = score(grid, loss=loss, statistic=statistic, truncate=truncate, by=by)
    return Attack(spec, white_box, evidence, observe, rule)


def score(
    times: Sequence[float] | Float[np.ndarray, " times"],
    *,
    loss: Loss = "eps",
    statistic: Statistic = "mean",
    truncate: float | None = None,
    by: By = "time",
) -> Score:
    """Makes the score of a stored trajectory; arguments as in `loss_trajectory`, no network calls.

    Returns:
      ``Losses of [n, times, noises] -> float64 [n]``, higher = member.

    Raises:
      InputError: if the truncation keeps nothing, or a name is unknown.
    """
    grid = _grid(times)
    known("loss", loss, LOSSES)
    known("statistic", statistic, STATISTICS)
    known("truncation", by, ("time", "value"))
    if truncate is not None and not 0 <= truncate <= 1:
        raise InputError(f"truncate is a time or a share, from 0 to 1, got {truncate}; step i of T is (i + 1)/T.")
    keep = np.ones(len(grid), bool) if truncate is None or by == "value" else grid <= np.float32(truncate)
    # 0.29 x 100 is 28.999999999999996: a share of whole losses is not to lose one to that.
    dropped = 0 if truncate is None or by == "time" else int(truncate * len(grid) + 1e-9)
    if not keep.any() or not 0 <= dropped < len(grid):
        raise InputError(
            f"{truncate=} by {by} keeps none of the {len(grid)} times from {grid.min():.4g} on: "
            f"truncate less, or take more times."
        )

    def rule(features: Losses) -> Float[np.ndarray, " n"]:
        kept = average(features, loss)[:, keep]
        if dropped:
            kept = np.sort(kept, axis=1)[:, :-dropped]
        return -STATISTICS[statistic](kept, axis=1)

    return rule


def average(features: Losses, loss: Loss) -> Float[np.ndarray, "n times"]:
    """Returns one loss of a stored trajectory, averaged over its noise draws, in float64."""
    return np.asarray(getattr(features, loss), np.float64).mean(axis=-1)


def noise_at(key: Key, t: Time, num_noises: int, shape: tuple[int, ...]) -> Float[Array, "n *shape"]:
    """Draws the noise for time t. It depends on (key, t) alone, so grids that share a time share its noise."""
    key = jax.random.fold_in(key, jax.lax.bitcast_convert_type(t, jnp.uint32))
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), shape))(jnp.arange(num_noises))


def _grid(times: Sequence[float] | Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    grid = np.asarray(times, np.float32).reshape(-1)
    if not grid.size or not ((grid > 0) & (grid <= 1)).all():
        shown = f"{grid.min():.4g} to {grid.max():.4g}" if grid.size else "none"
        raise InputError(f"an attack's times lie in (0, 1], got {shown}; a published 0-based step i of T is (i + 1)/T.")
    return grid
