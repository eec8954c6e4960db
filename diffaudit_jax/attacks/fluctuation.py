"""Fluctuation of the loss around a query (PFAMI): members sit in a dip, so that the loss rises as the image is changed.

    Delta_s(x) = mean over t of (L_t(x_s) - L_t(x))/L_t(x),   x_s = x cropped to a share s of its sides and resized back

L_t is the eps-MSE that an API of clean estimates implies. x and x_s are asked about with the SAME noise: what the noise
alone makes of both losses cancels in their difference. The released code draws anew for each.

References:
  Fu et al. 2023, https://arxiv.org/abs/2308.12143
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.access import GrayBox, gray_box, noise_of
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.noise import api_keys, noise_at
from diffaudit_jax.attacks.statistics import check_steps, checked_grid, digits
from diffaudit_jax.types import Example, InputError, Key, Query, Time

STRENGTHS: tuple[float, ...] = tuple(round(float(s), 6) for s in np.linspace(0.95, 0.70, 10))
"""Published shares of the sides that a crop keeps."""
PUBLISHED_TIMES: tuple[float, ...] = tuple((step + 1) / 1000 for step in range(0, 500, 50))
"""The 0-based steps 0, 50, ..., 450 of 1,000."""


def fluctuation(
    times: Sequence[float] | Float[np.ndarray, " times"] | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS[5:6],
    num_noises: int = 1,
    noise_key: Key | None = None,
    common_noise: bool = True,
) -> Attack[GrayBox]:
    """Scores by how much the loss rises, relative to its own size, when the query is cropped a little.

    score(x) = mean over strengths s and times t of (L_t(x_s) - L_t(x))/L_t(x)
    L_t(x)   = mean over noises of mean (eps_hat(alpha_t x + sigma_t eps, t) - eps)^2

    One strength, the published sixth, is PFAMI_Met. ``strengths=STRENGTHS`` stores the whole map, 110 calls at the
    published times, and scores its mean; a scorer learned on the map is PFAMI_NN.

    Args:
      times: Grid in (0, 1], default the published `PUBLISHED_TIMES`.
      strengths: Shares of the sides that crops keep, each in (0, 1).
      num_noises: Noise draws per time, over which the losses are averaged.
      noise_key: Key of the common noise, default key 0.
      common_noise: Whether all queries share their noise; otherwise each query's own key draws it. A query and its
        crops share it in either case.

    Returns:
      A gray-box attack on images, whose features are the losses, float32 [1 + strengths, times]; row 0 is the query's
      own. Costs (1 + len(strengths)) x len(times) x num_noises network calls a query, 20 by default.

    Raises:
      InputError: if a time lies outside (0, 1], a strength outside (0, 1), or there is none; in an audit, if examples
        are no images of at least 2 x 2 pixels, or the target's schedule takes a time for clean data or two for one.

    References:
      Fu et al. 2023, https://arxiv.org/abs/2308.12143
    """
    grid = checked_grid(PUBLISHED_TIMES if times is None else times, num_noises)
    shares = _checked_strengths(strengths)
    views = 1 + len(shares)

    def observe(access: GrayBox, evidence: Key, key: Key, query: Query) -> Float[Array, "views times"]:
        check_steps(access.process, grid)
        noise_key = evidence if common_noise else key
        shown = jnp.stack([query.x, *(cropped(query.x, share) for share in shares)])

        def losses(t: Time) -> Float[Array, " views"]:
            draws = noise_at(noise_key, t, num_noises, query.x.shape)
            keys = api_keys(key, t, views * num_noises).reshape(views, num_noises)

            def loss(x: Example, key: Key, eps: Example) -> Time:
                eps_hat = noise_of(access, key, access.process.corrupt(x, t, eps), t, query.cond)
                return jnp.mean((eps_hat - eps) ** 2)

            over_noises = jax.vmap(loss, (None, 0, 0))
            return jax.vmap(over_noises, (0, 0, None))(shown, keys, draws).mean(1)

        return jax.lax.map(losses, jnp.asarray(grid)).T

    config = {
        "times": digits(grid),
        "strengths": list(shares),
        "num_noises": num_noises,
        "common_noise": common_noise,
    }
    spec = Spec("fluctuation", "gray", "https://arxiv.org/abs/2308.12143", views * len(grid) * num_noises, config)
    return Attack(spec, gray_box, jax.random.key(0) if noise_key is None else noise_key, observe, score)


def fluctuations(losses: Float[np.ndarray, "n views times"]) -> Float[np.ndarray, "n strengths times"]:
    """Returns (L_t(x_s) - L_t(x))/L_t(x) of stored losses, in float64: the map that a learned scorer is fitted on."""
    stored = np.asarray(losses, np.float64)
    # A query that a model denoises without any error has no loss to divide by.
    return (stored[:, 1:] - stored[:, :1]) / np.maximum(stored[:, :1], np.finfo(np.float32).tiny)


def score(losses: Float[np.ndarray, "n views times"]) -> Float[np.ndarray, " n"]:
    """Returns the mean of `fluctuations` over strengths and times; higher = member."""
    return fluctuations(losses).mean((1, 2))


def cropped(x: Example, share: float) -> Example:
    """Returns an image's middle, a share of its sides rounded down to pixels, resized back bilinearly.

    Raises:
      InputError: if it is no image of at least 2 x 2 pixels.
    """
    if x.ndim != 3 or min(x.shape[:2]) < 2:
        raise InputError(f"only images (height, width, channels) of 2 x 2 pixels or more are cropped, got {x.shape}.")
    sides = [max(1, int(side * share + 1e-9)) for side in x.shape[:2]]  # 0.29 x 100 is 28.999999999999996
    top, left = (round((side - kept) / 2) for side, kept in zip(x.shape[:2], sides, strict=True))
    middle = x[top : top + sides[0], left : left + sides[1]]
    return jax.image.resize(middle, x.shape, "bilinear")


def _checked_strengths(strengths: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(round(float(share), 6) for share in strengths)
    if not shares or not all(0 < share < 1 for share in shares):
        raise InputError(f"strengths are shares of an image's sides, in (0, 1), got {list(shares)}.")
    return shares
