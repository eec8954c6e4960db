"""The same attack by priors that know less and less, and on images of several sizes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.shift import curve_gap
from diffaudit_jax.metrics.transition import Transition
from diffaudit_jax.reconstruction import scoring
from diffaudit_jax.reconstruction.attacker import Attacker
from diffaudit_jax.reconstruction.baselines import BASELINES, fit_baselines
from diffaudit_jax.reconstruction.curve import denoising_curve
from diffaudit_jax.reconstruction.denoise import prior_of
from diffaudit_jax.reconstruction.levels import NUM_NOISES, noise_levels
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.reconstruction.scoring import Metrics
from diffaudit_jax.reconstruction.targets import Images, checked_grid, checked_public, checked_targets
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key

_LEAST = 4  # priors of which a rank correlation has an interval


class PriorDial(NamedTuple):
    """What p priors make of the same releases, by their distance from the targets' data.

    Attributes:
      names: The priors, the matched one first.
      mus: float64 [k].
      distance: Kullback-Leibler divergence that the excess error of denoising public images integrates to, from the
        greatest noise of a release to the least, in nats; float64 [p]. 0 of the matched prior.
      distance_se: Its standard error over public images, float64 [p].
      scores: Metric -> float64 [p, k, n].
      unrelated: Metric -> mean between each target and others, float64 [n].
      correlation: Metric -> rank correlation of distance and mean score over priors, one a mu. Of errors, it is
        positive where distance hurts.
    """

    names: tuple[str, ...]
    mus: np.ndarray
    distance: np.ndarray
    distance_se: np.ndarray
    scores: Metrics
    unrelated: Metrics
    correlation: dict[str, tuple[Estimate, ...]]


class Size(NamedTuple):
    """The attack on images of one size.

    Attributes:
      sigma: Noise of the releases, float64 [k, n].
      scores: Metric -> float64 [k, n].
      unrelated: Metric -> mean between each target and others, float64 [n].
      relative: Mean squared error over that between targets, one a mu.
      transition: Metric -> where it is half way from unrelated images.
    """

    sigma: np.ndarray
    scores: Metrics
    unrelated: Metrics
    relative: tuple[Estimate, ...]
    transition: dict[str, Transition]


def prior_dial(
    key: Key,
    priors: Mapping[str, Target | None],
    targets: Any,
    mus: ArrayLike,
    public: Any,
    *,
    attacker: Attacker | None = None,
) -> PriorDial:
    """Attacks the same releases with several priors, and measures how far each is from the targets' data.

    Without a prior is Wiener's filter of public images: the prior of independent Gaussian pixels, which has a distance
    as the others do (its error is known in closed form, not clipped, each image filtered by what the others are like).

    Args:
      key: Typed random key.
      priors: By name, the one matched to the targets first; None attacks without. 4 or more.
      targets: Distinct images [n, h, w, c], uint8 or floats in [-1, 1]; 4 or more.
      mus: mu of one release, 2 or more values.
      public: Images of the targets' kind, which trained no prior.
      attacker: How is attacked, DDIM if not given.

    Returns:
      The study. Costs, for each prior, k n min(steps, T') network calls (k n of the posterior mean), T' the steps of a
      discrete process, and 4 m a level for m public images, with `levels.noise_levels` of the targets' noise.

    Raises:
      InputError: if priors are too few, the first is none, or images or settings cannot be.
    """
    matched = next(iter(priors.values()), None)
    if len(priors) < _LEAST or matched is None:
        raise InputError(
            f"a dial takes {_LEAST} priors or more, the matched one first, got {list(priors)}: add some, and put one "
            f"that is a model first."
        )
    for prior in filter(None, priors.values()):
        prior_of(prior)
        if prior.shape != matched.shape:
            raise InputError(f"a prior takes images {prior.shape} and the matched one {matched.shape}: give one shape.")
    attacker, grid, x = attacker or Attacker(), _grid(mus), checked_targets(targets, matched.shape)
    seen = checked_public(public, x)
    keys = jax.random.split(key, 2)
    releases = attacker.released(keys[0], x, grid)
    levels = noise_levels(scoring.effective_norm(x) / grid[:, None])
    curves = [_curve(keys[1], prior, seen, levels, attacker.block) for prior in priors.values()]
    # By image: their differences share images and noise.
    gaps = np.stack([curve_gap(levels, curve, curves[0], x[0].size).divergence[:, -1] for curve in curves])
    distance = gaps.mean(axis=1)
    scorer = attacker.scorer
    scores = scorer(np.stack([_attacked(attacker, prior, releases, seen) for prior in priors.values()]), x)
    distances = np.tile(distance, (len(grid), 1))
    return PriorDial(
        names=tuple(priors),
        mus=grid,
        distance=distance,
        distance_se=gaps.std(axis=1, ddof=1) / np.sqrt(gaps.shape[1]),
        scores=scores,
        unrelated=scorer.unrelated(x),
        correlation={name: scoring.ranked(distances, values.mean(-1).T) for name, values in scores.items()},
    )


def image_sizes(
    key: Key, sizes: Mapping[int, tuple[Target, Any]], mus: ArrayLike, *, attacker: Attacker | None = None
) -> dict[int, Size]:
    """Attacks the same images at several sizes, each with a prior of its own.

    Args:
      key: Typed random key.
      sizes: Side -> a prior, and the targets [n, h, w, c] of that size, uint8 or floats in [-1, 1]; 4 or more.
      mus: mu of one release, 2 or more values.
      attacker: How is attacked, DDIM if not given.

    Returns:
      Side -> what became of the targets. Costs k n min(steps, T') network calls a size, T' the steps of a discrete
      process; k n of the posterior mean.

    Raises:
      InputError: if images or settings cannot be.
    """
    attacker, grid, found = attacker or Attacker(), _grid(mus), {}
    checked = {side: (prior, checked_targets(images, prior.shape)) for side, (prior, images) in sizes.items()}
    for side, (prior, x) in checked.items():
        releases, scorer = attacker.released(key, x, grid), attacker.scorer
        scores, unrelated = scorer(attacker.reconstructed(prior, releases), x), scorer.unrelated(x)
        found[side] = Size(
            sigma=np.asarray(releases.sigma, np.float64),
            scores=scores,
            unrelated=unrelated,
            relative=scoring.relative(scores["mse"], x),
            transition=scoring.transitions(grid, scores, unrelated),
        )
    return found


def _attacked(attacker: Attacker, prior: Target | None, releases: Release, public: Images) -> np.ndarray:
    if prior is not None:
        return attacker.reconstructed(prior, releases)
    fitted = fit_baselines(public)
    rows = zip(np.asarray(releases.y, np.float64), np.asarray(releases.sigma, np.float64), strict=True)
    return np.stack([BASELINES["wiener"](y, sigma, fitted) for y, sigma in rows])


def _curve(key: Key, prior: Target | None, public: Images, levels: np.ndarray, block: int) -> np.ndarray:
    """Returns the error of every public image at every level, [m, levels]."""
    if prior is not None:
        block = max(1, block // NUM_NOISES)
        return denoising_curve(key, prior, public, levels, num_noises=NUM_NOISES, block=block).errors
    # Of each image by all others: fitted to itself too, the filter would seem nearer than it is.
    x, others = public.reshape(len(public), -1).astype(np.float64), len(public) - 1
    mean = (x.sum(0) - x) / others
    var = np.maximum(((x**2).sum(0) - x**2) / others - mean**2, 0.0)
    kept = (var / (var + level**2) for level in levels)
    errors = [(1 - w) ** 2 * (x - mean) ** 2 + w**2 * level**2 for w, level in zip(kept, levels, strict=True)]
    return np.stack([error.mean(axis=1) for error in errors], axis=1)


def _grid(mus: ArrayLike) -> np.ndarray:
    grid = checked_grid(mus)
    if len(grid) < 2:
        raise InputError(f"noise is varied over 2 values of mu or more, got {grid.tolist()}: add some.")
    return grid
