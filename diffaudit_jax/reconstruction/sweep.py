"""One attack at every privacy level: releases by mu, what a diffusion prior makes of them, and the bounds beside.

    mu  ->  release y = x + sigma n  ->  reconstructions by DDIM, by the posterior mean, and drawn at random
            sigma = ||x||/(mu sqrt(T)) where clipping is active

Every mu has the noise n of the same target and key, and so have its random reconstructions: values at neighbouring mu
differ by mu alone, and do not depend on which others are asked.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.bounds import rero
from diffaudit_jax.metrics.gdp import gdp_epsilon
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.retrieval import Retrieval
from diffaudit_jax.metrics.transition import Transition
from diffaudit_jax.reconstruction import scoring
from diffaudit_jax.reconstruction.agreement import Agreement, agreement
from diffaudit_jax.reconstruction.baselines import clipped
from diffaudit_jax.reconstruction.denoise import prior_of
from diffaudit_jax.reconstruction.leaks import LINEAR, Leak, linear_unit
from diffaudit_jax.reconstruction.levels import Reconstructions, reconstructed, released, untrained
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.reconstruction.promises import Bounds, Training, coming_near, linear_bounds
from diffaudit_jax.reconstruction.release import EVERYTHING, Knowledge
from diffaudit_jax.reconstruction.targets import Images, checked_grid, checked_public, checked_targets
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key


class Shown(NamedTuple):
    """The first s targets and what became of them, float32 in [-1, 1].

    Attributes:
      targets: [s, *shape].
      release: The clipped releases, [k, s, *shape].
      diffusion: By DDIM with eta = 0, [k, s, *shape].
      mean: By the posterior mean, [k, s, *shape].
      samples: Drawn at random, [k, s, num, *shape].
      spread: Standard deviation of each pixel over these, mean over channels, [k, s, h, w]; not in [-1, 1].
    """

    targets: np.ndarray
    release: np.ndarray
    diffusion: np.ndarray
    mean: np.ndarray
    samples: np.ndarray
    spread: np.ndarray


class Sweep(NamedTuple):
    """What k values of mu show of n targets.

    Attributes:
      mus: mu of one release, increasing, float64 [k].
      epsilons: epsilon of all T releases, float64 [k].
      sigma: Noise of each release as the attacker believes it, float64 [k, n].
      believed: That over the noise there is, float64 [k, n]; None of another leak than the linear unit.
      scores: Method -> metric -> float64 [k, n]. Methods are "diffusion" (DDIM, eta = 0), "posterior mean", "release"
        (clipped) and, with public images, those of `levels.UNTRAINED`; metrics those of `scoring.Scorer`.
      unrelated: Metric -> mean between each target and others, float64 [n].
      retrieval: Method -> top-1 by mean squared error among the targets, one a mu.
      relative: Method -> mean squared error over that between targets, one a mu.
      agreement_error: Error that the random reconstructions tell of themselves, float64 [k, n].
      agreement_ratio: That over the error of unrelated images, float64 [k, n].
      agreement_rank: Its rank correlation with their true error, one a mu.
      bounds: What stands beside the attacks.
      transition: Method -> metric -> where it is half way from unrelated images.
      shown: The first targets, in pictures.
    """

    mus: np.ndarray
    epsilons: np.ndarray
    sigma: np.ndarray
    believed: np.ndarray | None
    scores: Mapping[str, Mapping[str, np.ndarray]]
    unrelated: Mapping[str, np.ndarray]
    retrieval: Mapping[str, tuple[Retrieval, ...]]
    relative: Mapping[str, tuple[Estimate, ...]]
    agreement_error: np.ndarray
    agreement_ratio: np.ndarray
    agreement_rank: tuple[Estimate, ...]
    bounds: Bounds
    transition: Mapping[str, Mapping[str, Transition]]
    shown: Shown


def sweep(
    key: Key,
    prior: Target,
    targets: UInt8[np.ndarray, "n *shape"] | Images,
    mus: ArrayLike,
    *,
    public: UInt8[np.ndarray, "m *shape"] | Float[np.ndarray, "m *shape"] | None = None,
    num: int = 4,
    steps: int = 50,
    eta: float = 1.0,
    consistency: bool = False,
    knowledge: Knowledge = EVERYTHING,
    num_releases: int = 1,
    kappas: Sequence[float] = (1e-2, 1e-4, 1e-6),
    near: float | None = None,
    training: Training | None = None,
    delta: float = 1e-5,
    leak: Leak | None = None,
    cond: Int[np.ndarray, " n"] | None = None,
    public_cond: Int[np.ndarray, " m"] | None = None,
    perceptual: Perceptual | None = None,
    shown: int = 4,
    block: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Attacks every target at every mu, and sets bounds, baselines and unrelated images beside.

    Args:
      key: Typed random key.
      prior: The prior. Targets that trained it measure its memory, not the privacy of the release.
      targets: Distinct images [n, h, w, c], uint8 or floats in [-1, 1]; 4 or more.
      mus: mu of one release, 2 or more values in any order.
      public: Images like the prior's data, none of which is a target or has trained it; None goes without what needs
        them.
      num: Random reconstructions of each release, 2 or more.
      steps: DDIM steps.
      eta: DDIM's eta of random reconstructions.
      consistency: Whether every estimate of x is averaged with the release, see `denoise.denoised`.
      knowledge: What the attacker knows.
      num_releases: T.
      kappas: Chances of a guess from the prior alone.
      near: Mean squared error that counts as reconstructed, whose kappa is estimated from public images; or None.
      training: A whole training to bound too, whose steps have these mu; or None.
      delta: Of epsilon.
      leak: The model that leaks; a linear unit, which the bounds are about, if not given.
      cond: Classes [n] of a conditional prior, or None.
      public_cond: Classes [m] of the public images, of which the prior's curve is told; or None.
      perceptual: Distance of images that is scored as "lpips", or None.
      shown: How many targets are kept in pictures.
      block: Reconstructions per dispatch.
      progress: Called with (releases done, k n) after every block.

    Returns:
      The sweep. Costs k n (1 + (1 + num) min(steps, T')) network calls, T' the steps of a discrete process (no bound of
      a continuous one), and, with m public images, 4 m for each of ceil(2 log2(r)) + 1 noise levels, r the greatest
      over the least max(||x||, 1)/mu.

    Raises:
      InputError: if the prior offers samples only or has another shape, a setting cannot be, targets are too few, the
        same, of one colour, public or of unknown class, the noise cannot be estimated in the way asked for, or a kappa
        cannot without public images.
    """
    grid = checked_grid(mus)
    _check(prior, grid, num, steps, eta)
    bounds = Bounds({kappa: rero(kappa, grid, num_releases) for kappa in kappas})
    if near is not None and public is None:
        raise InputError(f"how likely a guess within {near:g} is, public images tell: give some, or no such distance.")
    joint = grid * num_releases**0.5
    epsilons = gdp_epsilon(joint, delta)
    x = checked_targets(targets, prior.shape, cond, prior.num_classes)
    seen = None if public is None else checked_public(public, x, public_cond, prior.num_classes)
    keys, leak = jax.random.split(key, 3), leak or linear_unit(x.shape[1:])
    found = released(keys[0], x, grid, leak, num_releases=num_releases, knowledge=knowledge, block=block)
    if leak.name == LINEAR:  # before any attack
        known = {"num_releases": num_releases, "training": training, "public": seen, "cond": public_cond}
        bounds = linear_bounds((keys[0], keys[2]), prior, x, grid, bounds, block=block, **known)
    drawn = reconstructed(
        keys[1],
        prior,
        found,
        num=num,
        steps=steps,
        eta=eta,
        consistency=consistency,
        cond=cond,
        block=block,
        progress=progress,
    )
    images = {"diffusion": drawn.diffusion, "posterior mean": drawn.mean, "release": clipped(np.asarray(found.y))}
    images |= {} if seen is None else untrained(found, seen)
    scorer = scoring.Scorer(perceptual, block=block)
    # All methods at once, so that the features of a target are made once.
    every, unrelated = scorer(np.stack([*images.values()], dtype=np.float32), x), scorer.unrelated(x)
    scores = {name: {metric: values[i] for metric, values in every.items()} for i, name in enumerate(images)}
    told = [agreement(row, x if seen is None else seen) for row in drawn.samples]
    errors = np.stack([each.error for each in told])
    true = [((row - x[:, None]).astype(np.float64) ** 2).reshape(len(x), -1).mean(axis=1) for row in drawn.samples]
    if near is not None and seen is not None:
        bounds = bounds._replace(near=coming_near(near, scores, x, seen, grid, num_releases=num_releases))
    sigma = np.asarray(found.sigma, np.float64)
    return Sweep(
        mus=grid,
        epsilons=epsilons,
        sigma=sigma,
        believed=sigma * joint[:, None] / scoring.effective_norm(x) if leak.name == LINEAR else None,
        scores=scores,
        unrelated=unrelated,
        retrieval={name: scoring.retrieved(each, x) for name, each in images.items()},
        relative={name: scoring.relative(each["mse"], x) for name, each in scores.items()},
        agreement_error=errors,
        agreement_ratio=np.stack([each.ratio for each in told]),
        agreement_rank=scoring.ranked(errors, np.stack(true)),
        bounds=bounds,
        transition={name: scoring.transitions(grid, each, unrelated) for name, each in scores.items()},
        shown=_shown(x, images["release"], drawn, told, slice(min(shown, len(x)))),
    )


def _shown(x: Images, release: np.ndarray, drawn: Reconstructions, told: Sequence[Agreement], few: slice) -> Shown:
    return Shown(
        targets=x[few],
        release=release[:, few].astype(np.float32),
        diffusion=drawn.diffusion[:, few],
        mean=drawn.mean[:, few],
        samples=drawn.samples[:, few],
        spread=np.stack([each.std[few].mean(axis=-1) for each in told]).astype(np.float32),
    )


def _check(prior: Target, mus: np.ndarray, num: int, steps: int, eta: float) -> None:
    """Asks what would fail only after the network has run."""
    prior_of(prior)
    if mus.ndim != 1 or len(mus) < 2:
        raise InputError(f"a sweep goes over 2 values of mu or more, got {mus.tolist()}: add some, such as 1 and 100.")
    if num < 2 or not 0 < eta < float("inf") or steps < 1:
        raise InputError(
            f"agreement takes 2 or more random reconstructions, got {num=}, {eta=} and {steps=}: eta is above 0, and "
            f"steps are 1 or more."
        )
