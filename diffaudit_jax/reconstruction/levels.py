"""Releases of a set of targets at several values of mu, and what priors and baselines make of them.

The noise of a release, and that of a random reconstruction, is the target's own: the same at every mu.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.reconstruction.baselines import BASELINES, fit_baselines
from diffaudit_jax.reconstruction.curve import denoising_curve, error_at
from diffaudit_jax.reconstruction.denoise import denoised
from diffaudit_jax.reconstruction.leaks import Leak
from diffaudit_jax.reconstruction.release import EVERYTHING, Knowledge, at_mu, release
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.reconstruction.targets import Images
from diffaudit_jax.stream import Stream, stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Query

UNTRAINED = {"wiener": "wiener", "total variation": "total-variation", "non-local means": "non-local-means"}
"""Methods that take public images and no prior, and their names in `BASELINES`."""
NUM_NOISES = 4
"""Noise draws of each public image at each level of the prior's curve."""


class Reconstructions(NamedTuple):
    """Three attacks on k x n releases, float32 in [-1, 1].

    Attributes:
      diffusion: DDIM with eta = 0, [k, n, *shape].
      mean: The posterior mean, [k, n, *shape].
      samples: DDIM with noise, [k, n, num, *shape].
    """

    diffusion: Float[np.ndarray, "k n *shape"]
    mean: Float[np.ndarray, "k n *shape"]
    samples: Float[np.ndarray, "k n num *shape"]


def released(
    key: Key,
    targets: Images,
    mus: Float[np.ndarray, " k"],
    leak: Leak,
    *,
    num_releases: int = 1,
    knowledge: Knowledge = EVERYTHING,
    block: int = 64,
) -> Release:
    """Releases every target at every mu, all in one program.

    Args:
      key: Typed random key; target i has the noise of fold_in(key, i) at every mu.
      targets: Images in [-1, 1], [n, *shape].
      mus: mu of one release, [k].
      leak: The model that leaks.
      num_releases: T.
      knowledge: What the attacker knows.
      block: Targets per dispatch; k releases of each are on the device at once.

    Returns:
      y float32 [k, n, *shape], and sigma [k, n]. No network calls.

    Raises:
      InputError: as `release`, and if a mu is beyond what float32 can say.
    """

    def one(params: Any, key: Key, query: Query) -> Release:
        held = replace(leak, params=params)
        draw = lambda mu: release(  # noqa: E731
            key, query.x, held, at_mu(mu), num_releases=num_releases, knowledge=knowledge
        )
        # mu is no array to `Privacy`: the loop is unrolled, and the one gradient shared.
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[draw(float(mu)) for mu in mus])

    found = stream(one, leak.params, key, Query(targets, None, np.arange(len(targets))), block=block)
    if not (np.isfinite(found.y).all() and np.isfinite(found.sigma).all() and (found.sigma > 0).all()):
        raise InputError(
            f"mu runs from {min(mus):g} to {max(mus):g}, where float32 has no such noise, or cannot tell it: keep to "
            f"values such as 1 to 100."
        )
    return jax.tree.map(lambda leaf: np.swapaxes(leaf, 0, 1), found)


def reconstructed(
    key: Key,
    prior: Target,
    releases: Release,
    *,
    num: int,
    steps: int = 50,
    eta: float = 1.0,
    consistency: bool = False,
    cond: Int[np.ndarray, " n"] | None = None,
    block: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstructions:
    """Reconstructs k x n releases in all three ways, all in one program.

    Args:
      key: Typed random key; reconstruction j of target i draws from fold_in(fold_in(key, i), j), at every mu.
      prior: The prior.
      releases: y [k, n, *shape], sigma [k, n].
      num: Random reconstructions of each.
      steps: DDIM steps.
      eta: DDIM's eta of these.
      consistency: Whether every estimate of x is averaged with the release, see `denoise.denoised`.
      cond: Classes [n], or None.
      block: Random reconstructions per dispatch.
      progress: Called with (releases done, k n) after every block.

    Returns:
      The reconstructions. Costs k n (1 + (1 + num) min(steps, T)) network calls, T the steps of a discrete process.
    """
    k, n = releases.sigma.shape

    def one(params: Any, key: Key, query: Query) -> tuple[Example, Example, Float[Array, "num *shape"]]:
        (y, sigma), asked = query.x, replace(prior, params=params)

        def draw(key: Key, **settings: Any) -> Example:
            x = denoised(key, asked, y, sigma, cond=query.cond, steps=steps, consistency=consistency, **settings)
            return jnp.clip(x, -1.0, 1.0)

        keys = jax.vmap(lambda j: jax.random.fold_in(key, j))(jnp.arange(num))
        # As in an audit: a float32 product is less than that on a GPU or TPU unless asked for.
        with jax.default_matmul_precision("highest"):
            samples = jax.vmap(lambda key: draw(key, eta=eta))(keys)
            return draw(key), draw(key, method="posterior-mean"), samples

    flat = [np.asarray(leaf, np.float32).reshape(k * n, *leaf.shape[2:]) for leaf in releases]
    asked = Query(flat, None if cond is None else np.tile(np.asarray(cond), k), np.tile(np.arange(n), k))
    parts = []
    run = Stream(one, block=max(1, block // num), host=prior.host)
    for _, stop, part in run(prior.params, key, asked):
        parts.append(part)
        if progress is not None:
            progress(stop, k * n)
    whole = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
    return Reconstructions(*(leaf.reshape(k, n, *leaf.shape[1:]) for leaf in whole))


def untrained(releases: Release, public: Images) -> dict[str, Float[np.ndarray, "k n *shape"]]:
    """Returns what each of `UNTRAINED` makes of the releases, float64; no network calls.

    Args:
      releases: y [k, n, h, w, c], sigma [k, n].
      public: Images that these are fitted to.
    """
    fitted, sigma = fit_baselines(public), np.asarray(releases.sigma, np.float64)
    rows = list(zip(np.asarray(releases.y, np.float64), sigma, strict=True))
    return {name: np.stack([BASELINES[known](y, s, fitted) for y, s in rows]) for name, known in UNTRAINED.items()}


def noise_levels(sigma: Float[np.ndarray, "*any"]) -> Float[np.ndarray, " levels"]:
    """Returns the noise levels at which a curve is measured, to be read at `sigma`.

    There are ceil(2 log2(r)) + 1, r the greatest over the least: at most a factor sqrt(2) apart, where reading between
    them errs by 1.5 % at most (Gaussian data).
    """
    low, high = float(np.min(sigma)), float(np.max(sigma))
    return np.geomspace(low, high, max(2, int(np.ceil(2 * np.log2(high / low) - 1e-9)) + 1))


def prior_errors(
    key: Key,
    prior: Target,
    public: Images,
    sigma: Float[np.ndarray, "k n"],
    *,
    cond: Int[np.ndarray, " m"] | None = None,
    block: int = 64,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Reads the prior's denoising curve of public images at each target's noise; mean over targets.

    Returns:
      The error and its standard error over public images, which is no less than it should be: read at several levels,
      errors are taken for one and the same. Costs m x levels x `NUM_NOISES` network calls of m images.
    """
    block = max(1, block // NUM_NOISES)
    curve = denoising_curve(key, prior, public, noise_levels(sigma), num_noises=NUM_NOISES, cond=cond, block=block)
    return error_at(curve, sigma).mean(axis=1), error_at(curve._replace(mean=curve.se), sigma).mean(axis=1)
