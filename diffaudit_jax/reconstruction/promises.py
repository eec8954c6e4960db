"""What bounds promise of a set of targets, beside what was reached: picking them out, and coming near.

Both kinds of success have a kappa of their own. Who has to pick one of n targets is right by chance once in n, and that
bound is met by the candidate attack. Who has to come within eta of a target is right by guessing with a chance that
public images tell.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from diffaudit_jax.metrics.bounds import prior_kappa, rero
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.retrieval import Retrieval, retrieval
from diffaudit_jax.metrics.subsampled import rero_subsampled
from diffaudit_jax.reconstruction.candidates import log_likelihoods
from diffaudit_jax.reconstruction.leaks import linear_unit
from diffaudit_jax.reconstruction.levels import prior_errors, released
from diffaudit_jax.reconstruction.scoring import Metrics, WithoutPrior, distances, effective_norm, without_prior
from diffaudit_jax.reconstruction.targets import Images
from diffaudit_jax.stream import stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Params, Query

_LEAST_DRAWS, _DRAWS_A_TARGET = 5_000, 50
"""Draws that bound a training: about 4.4/kappa are needed at least, and kappa is one over the targets."""


class Bounds(NamedTuple):
    """What stands beside the attacks of one sweep. All but `rero` and `near` are about the linear unit.

    Attributes:
      rero: kappa -> bound on reconstruction, float64 [k].
      uninformed: What an attacker without a prior gets.
      prior_curve: The prior's denoising error of public images at every target's noise, mean over targets, and its
        standard error over public images, not less than it is; float64 [k] each. None without public images.
      picked: How often who knows all targets picks the right one, and the bound.
      near: How many reconstructions are near their targets, and can be; None if it was not asked for.
    """

    rero: Mapping[float, np.ndarray]
    uninformed: WithoutPrior | None = None
    prior_curve: tuple[np.ndarray, np.ndarray] | None = None
    picked: "Picked | None" = None
    near: "Near | None" = None


class Training(NamedTuple):
    """A whole DP-SGD training: the chance that a step draws the target, and its steps."""

    sampling_prob: float
    num_steps: int


class Picked(NamedTuple):
    """How often the likeliest of the n targets is the right one, and the most that any attack can make of it.

    No attack picks more often than `bound`, on average over targets: also not one that looks for the target that is
    nearest to a reconstruction.

    Attributes:
      found: Of the candidate attack, one a mu.
      bound: gamma(1/n), float64 [k].
      training: A whole training that was asked for, or None.
      training_bound: gamma(1/n) of it where its steps have this mu, with the interval of its simulation, one a mu.
    """

    found: tuple[Retrieval, ...]
    bound: np.ndarray
    training: Training | None
    training_bound: tuple[Estimate, ...] | None


class Near(NamedTuple):
    """How often a reconstruction lies within a mean squared error of its target, and how often one can.

    Attributes:
      eta: The mean squared error that counts as near.
      kappa: Chance that the best guess among public images and their mean is near. The best guess there is may be
        better: where none of them is near, the upper limit says how many targets there were, and little else.
      bound: gamma at the upper limit of kappa, float64 [k].
      within: Method -> share of reconstructions that are near, one a mu.
    """

    eta: float
    kappa: Estimate
    bound: np.ndarray
    within: dict[str, tuple[Estimate, ...]]


def linear_bounds(
    keys: tuple[Key, Key],
    prior: Target,
    targets: Images,
    mus: Float[np.ndarray, " k"],
    bounds: Bounds,
    *,
    num_releases: int = 1,
    training: Training | None = None,
    public: Images | None = None,
    cond: Int[np.ndarray, " m"] | None = None,
    block: int = 64,
) -> Bounds:
    """Adds what is known of releases of a linear unit, clipped to 1.

    Args:
      keys: Key of the releases, and of the noise on public images.
      prior: The prior.
      targets: Images in [-1, 1], [n, *shape].
      mus: mu of one release.
      bounds: What there is of other bounds.
      num_releases: T.
      training: A whole training to bound too.
      public: Images that the prior's own error is measured on, or None.
      cond: Their classes, or None.
      block: Releases per dispatch.

    Returns:
      The bounds. Costs what `levels.prior_errors` costs; no other network calls.
    """
    joint = mus * num_releases**0.5
    curve = None
    if public is not None:
        curve = prior_errors(keys[1], prior, public, effective_norm(targets) / joint[:, None], cond=cond, block=block)
    # By who knows all there is, whatever the attacker knows: the bound is about that one.
    exact = released(keys[0], targets, mus, linear_unit(targets.shape[1:]), num_releases=num_releases, block=block)
    found = picked(targets, np.asarray(exact.y), mus, num_releases=num_releases, training=training, block=block)
    return bounds._replace(uninformed=without_prior(targets, joint), prior_curve=curve, picked=found)


def picked(
    targets: Images,
    y: Float[np.ndarray, "k n *shape"],
    mus: Float[np.ndarray, " k"],
    *,
    num_releases: int = 1,
    training: Training | None = None,
    block: int = 64,
) -> Picked:
    """Picks every target out of all of them by its releases, and sets the bounds beside.

    Args:
      targets: Images in [-1, 1], [n, *shape].
      y: Releases of a linear unit clipped to 1, scaled back by the factor of clipping as it was.
      mus: mu of one release.
      num_releases: T, of which y is the mean.
      training: A whole training to bound too.
      block: Releases per dispatch.

    Returns:
      Rates and bounds. No network calls; n likelihoods of each of k n releases.
    """
    norms = effective_norm(targets)[:, None]
    flat = np.asarray(targets, np.float64).reshape(len(targets), -1)
    gradients = (np.asarray(y, np.float64).reshape(len(mus), *flat.shape) / norms).astype(np.float32)

    def one(candidates: Params, key: Key, query: Query) -> Float[Array, " n"]:
        del key
        return log_likelihoods(query.x, candidates, 1.0)

    asked = Query(gradients.reshape(-1, flat.shape[1]), None, np.arange(gradients.shape[0] * len(flat)))
    found = stream(one, (flat / norms).astype(np.float32), jax.random.key(0), asked, block=block)
    rows = np.asarray(found, np.float64).reshape(len(mus), len(flat), len(flat))
    kappa = 1 / len(flat)
    trained = None
    if training is not None:
        draws = max(_LEAST_DRAWS, _DRAWS_A_TARGET * len(flat))
        trained = tuple(rero_subsampled(kappa, mu, *training, num_draws=draws) for mu in mus)
    return Picked(tuple(retrieval(-row) for row in rows), rero(kappa, mus, num_releases), training, trained)


def coming_near(
    eta: float,
    scores: Mapping[str, Metrics],
    targets: Images,
    public: Images,
    mus: Float[np.ndarray, " k"],
    *,
    num_releases: int = 1,
) -> Near:
    """Counts reconstructions within eta of their targets, and bounds how many there can be.

    Args:
      eta: Mean squared error that counts as near, above 0.
      scores: Method -> metric -> float64 [k, n].
      targets: Images in [-1, 1], [n, *shape].
      public: Guesses, and what their mean is taken of.
      mus: mu of one release.
      num_releases: T.

    Raises:
      InputError: if eta is not positive and finite.
    """
    if not 0 < eta < float("inf"):
        raise InputError(f"an image is near within a mean squared error above 0 and finite, got {eta}.")
    guesses = np.concatenate([public, public.mean(axis=0, keepdims=True)])
    kappa = prior_kappa(distances(guesses, targets), eta)
    certain = kappa.high >= 1
    return Near(
        eta=eta,
        kappa=kappa,
        bound=np.ones(len(mus)) if certain else rero(kappa.high, mus, num_releases),
        within={
            method: tuple(clopper_pearson(int((row <= eta).sum()), len(row)) for row in each["mse"])
            for method, each in scores.items()
        },
    )
