"""Denoising a release with a diffusion prior: to the prior, y = x + sigma n is one of its own noised examples.

With L(t) = sigma(t)/alpha(t) the noise level of the prior's process:

    t*      the time at which L is sigma: exactly of a continuous process, the nearest step (in log) of a discrete one
    x_t*    = alpha(t*) y                         (alpha is 1 in VE, EDM and NCSN: no scaling there)

    ddim              DDIM from t* to clean data. eta = 0 follows the probability flow, which ties the result to y;
                      eta = 1 draws from the posterior of x given y, as far as the prior knows it.
    posterior-mean    E[x | y], one call at t*: were the prior exact, the least squared error there is; blurred.

For data N(m, v) they are, in the limit of many steps, m + sqrt(v/(v + sigma^2)) (y - m); draws from
N(m + v/(v + sigma^2) (y - m), v sigma^2/(v + sigma^2)); and the mean of these.

Noise above the process's greatest level L(1) is scaled down to it, y L(1)/sigma, and x with it: the network is asked at
noise it knows, about an image fainter than it was. Noise below the first level is taken for the first: y nearly stays.

References:
  Schwethelm et al. 2024, https://arxiv.org/abs/2403.07588
  Song et al. 2020, https://arxiv.org/abs/2010.02502 (DDIM)
"""

from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.models.precondition import DATA_STD
from diffaudit_jax.process import Process
from diffaudit_jax.process.continuous import FIRST_TIME
from diffaudit_jax.process.gaussian import time_of
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.sampler import ddim_step
from diffaudit_jax.stream import stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Network, Prediction, Query, Time, known

Method = Literal["ddim", "posterior-mean"]
METHODS: tuple[Method, ...] = ("ddim", "posterior-mean")


def reconstruct(
    key: Key,
    target: Target,
    releases: Release,
    *,
    num: int = 1,
    eta: float = 0.0,
    steps: int = 50,
    method: Method = "ddim",
    consistency: bool = False,
    cond: Int[np.ndarray, " n"] | None = None,
    block: int = 64,
) -> Float[np.ndarray, "n num *shape"]:
    """Reconstructs images from their releases, each `num` times.

    Reconstruction j of release i draws from fold_in(fold_in(key, i), j): it is the same whatever `num`, the other
    releases and the block.

    Args:
      key: Typed random key; without effect where nothing is drawn (eta = 0, posterior-mean).
      target: The prior.
      releases: Noisy images [n, *shape] in units of images in [-1, 1], and their noise [n].
      num: Reconstructions of each release; more than 1 need eta > 0.
      eta: DDIM's eta: 0 is deterministic, 1 draws from the posterior.
      steps: DDIM steps from t* to clean data.
      method: See `METHODS`.
      consistency: Whether every estimate of x is averaged with y (see `denoised`).
      cond: Classes [n] of a conditional prior, or None.
      block: Reconstructions per dispatch.

    Returns:
      float32, clipped to [-1, 1], which brings none further from an image. Costs n x num x min(steps, T) network calls,
      T the steps of a discrete process (no bound of a continuous one), and n of the posterior mean.

    Raises:
      InputError: if the prior offers samples only or has another shape, a release is no noisy image, or several
        reconstructions are asked of a deterministic method.
    """
    prior_of(target)
    _check_method(method, eta, steps)
    _check_releases(releases, target, cond)
    if num < 1:
        raise InputError(f"each release is reconstructed at least once, got {num=}.")
    if num > 1 and (method != "ddim" or not eta):
        raise InputError(f"{num} reconstructions by {method} with {eta=} are all the same: ask for ddim with eta=1.")

    def one(params: Any, key: Key, query: Query) -> Example:
        (y, sigma), j = query.x
        prior, drawn = replace(target, params=params), jax.random.fold_in(key, j)
        # As in an audit: a float32 product is less than that on a GPU or TPU unless asked for.
        with jax.default_matmul_precision("highest"):
            x = denoised(
                drawn, prior, y, sigma, cond=query.cond, eta=eta, steps=steps, method=method, consistency=consistency
            )
        return jnp.clip(x, -1.0, 1.0)

    n = len(releases.y)
    repeated = lambda leaf: np.repeat(np.asarray(leaf), num, axis=0)  # noqa: E731
    noisy = [repeated(np.asarray(leaf, np.float32)) for leaf in releases]
    asked = Query((noisy, np.tile(np.arange(num), n)), None if cond is None else repeated(cond), repeated(np.arange(n)))
    found = stream(one, target.params, key, asked, block=block, host=target.host)
    return found.reshape(n, num, *target.shape)


def denoised(
    key: Key,
    target: Target,
    y: Example,
    sigma: Time,
    *,
    cond: Any = None,
    eta: float = 0.0,
    steps: int = 50,
    method: Method = "ddim",
    consistency: bool = False,
) -> Example:
    """Denoises one release; pure, and `sigma` may be traced.

    DDIM goes from t* to 0 in times t* k/steps, rounded to the steps of a discrete process. Where t* is fewer than
    `steps` of these from clean data some coincide, and answers between them are not used.

    With consistency each estimate x0_hat, at noise level L, is replaced by its precision-weighted mean with y,

        x0 = (x0_hat/r^2 + y/sigma^2)/(1/r^2 + 1/sigma^2),   r^2 = L^2 d^2/(L^2 + d^2),   d = `DATA_STD`,

    where r is the error of x0_hat for data of deviation d, were it independent of y. It is not, as DDIM starts from y:
    at t*, where L = sigma, the two join to the posterior mean of a release with half the noise variance (of such
    Gaussian data). y counts twice, and too much of its noise is kept.

    Args:
      key: Typed random key.
      target: The prior; its estimates of x are clipped to [-1, 1] where its own sampler clips them.
      y: Noisy image, not clipped.
      sigma: Its noise.
      cond: Class of a conditional prior, or None.
      eta: DDIM's eta, 0 or more.
      steps: DDIM steps.
      method: See `METHODS`.
      consistency: See above.

    Returns:
      An image, not clipped unless the prior clips. Costs min(steps, T) network calls, T the steps of a discrete process
      (no bound of a continuous one), and 1 of the posterior mean.

    Raises:
      InputError: if the target offers samples only, or a setting cannot be.
    """
    process, network = prior_of(target)
    _check_method(method, eta, steps)
    t, xt = started(process, y, sigma)
    clip = bool(target.config.get("clip", True))

    def predicted(xt: Example, t: Time) -> Prediction:
        pred = network.apply(target.params, xt, t, cond)
        return _consistent(process, pred, xt, t, y, sigma) if consistency else pred

    if method == "posterior-mean":
        x0_hat = predicted(xt, t).x0
        return jnp.clip(x0_hat, -1.0, 1.0) if clip else x0_hat

    def step(xt: Example, inputs: tuple[Time, Time, Key]) -> tuple[Example, None]:
        t, s, key = inputs
        z = jax.random.normal(key, xt.shape) if eta else jnp.zeros_like(xt)
        xs = ddim_step(process, predicted(xt, t), xt, t, s, z, eta=eta, clip=clip)
        return jnp.where(s < t, xs, xt), None

    times = descending(process, t, steps)
    return jax.lax.scan(step, xt, (times[:-1], times[1:], jax.random.split(key, len(times) - 1)))[0]


def started(process: Process, y: Example, sigma: Time) -> tuple[Time, Example]:
    """Returns t* and x_t*: where in the prior's process a release belongs."""
    greatest = process.noise_level(jnp.float32(1))
    t = process.time_at(sigma)
    return t, process.alpha(t) * jnp.minimum(1.0, greatest / sigma) * y


def descending(process: Process, t: Time, steps: int) -> Float[Array, " times"]:
    """Returns min(steps, T) + 1 times from t to 0; unlike `sampler.grids.descent`, of a t that is traced.

    None but the last lies before the first step of a discrete process, or before `FIRST_TIME` of a continuous one.
    """
    num = min(steps, process.num_steps or steps)
    left = np.arange(num, -1, -1)
    if process.num_steps is None:
        times = jnp.maximum(t * jnp.asarray(left / num, jnp.float32), FIRST_TIME)
    else:
        # Rounded in whole numbers: step x left/num may be a half, or a rounding off one.
        index = (2 * process.step(t) * jnp.asarray(left) + num) // (2 * num)
        times = time_of(jnp.maximum(index, 1), process.num_steps)
    return times.at[-1].set(0.0)


def prior_of(target: Target) -> tuple[Process, Network]:
    """Returns what of a target serves as a prior.

    Raises:
      InputError: if it offers samples only.
    """
    if target.process is None or target.network is None:
        raise InputError("a prior is a diffusion model, to be asked at any noise, and this target offers samples only.")
    return target.process, target.network


def _consistent(process: Process, pred: Prediction, xt: Example, t: Time, y: Example, sigma: Time) -> Prediction:
    level2 = process.noise_level(t) ** 2
    r2 = level2 * DATA_STD**2 / (level2 + DATA_STD**2)
    x0_hat = pred.x0 + r2 / (r2 + sigma**2) * (y - pred.x0)
    return Prediction((xt - process.alpha(t) * x0_hat) / process.sigma(t), x0_hat)


def _check_method(method: str, eta: float, steps: int) -> None:
    known("method", method, METHODS)
    if not 0 <= eta < float("inf"):
        raise InputError(f"DDIM's eta is 0 (deterministic) or more, got {eta}.")
    if steps < 1:
        raise InputError(f"DDIM takes at least 1 step to clean data, got {steps=}.")


def _check_releases(releases: Release, target: Target, cond: Any) -> None:
    y, sigma, shape = np.asarray(releases.y), np.asarray(releases.sigma), tuple(target.shape)
    if y.shape[1:] != shape or not jnp.issubdtype(y.dtype, jnp.floating):
        raise InputError(f"releases are floats [n, *{shape}], of the prior's shape, got {y.dtype} of shape {y.shape}.")
    if sigma.shape != y.shape[:1]:
        raise InputError(f"every release has its sigma, got sigma of shape {sigma.shape} for {len(y)}.")
    if cond is not None and np.shape(cond) != y.shape[:1]:
        raise InputError(f"every release has its class, got classes of shape {np.shape(cond)} for {len(y)}.")
    if not np.isfinite(y).all():
        raise InputError("a release holds NaN or infinity: its noise was too large for its numbers.")
    if not ((sigma > 0) & np.isfinite(sigma)).all():
        raise InputError(f"noise is positive and finite, got sigma from {sigma.min()} to {sigma.max()}.")
