"""One attack, one thing varied: what the attacker knows of the noise, how often is released, whom the prior has seen.

Every study attacks by one `Attacker`; all its releases are reconstructed in one pass. Differences have an interval over
targets, at a level of 0.95 each: of many mu, one in twenty is off.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.bounds import checked_count
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.reconstruction.attacker import Attacker, gains, joined
from diffaudit_jax.reconstruction.denoise import prior_of
from diffaudit_jax.reconstruction.release import Knowledge, misbelieved
from diffaudit_jax.reconstruction.scoring import Metrics
from diffaudit_jax.reconstruction.targets import checked_grid, checked_public, checked_targets, typical_norm
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key

SIGMA_FACTORS = (0.8, 1.2)
"""Noise believed over the noise there is: the published check."""


class UnknownNoise(NamedTuple):
    """Attackers who know less and less of the same releases.

    Attributes:
      names: v attackers: "known", "wavelet" (sigma from the picture), "typical" (the factor of clipping from the usual
        norm of public images), and those of `SIGMA_FACTORS`, such as "0.8 sigma".
      mus: float64 [k].
      sigma: What each believes, [v, k, n].
      scores: Metric -> float64 [v, k, n].
      lost: Attacker -> metric -> its mean less that of "known", one a mu.
    """

    names: tuple[str, ...]
    mus: np.ndarray
    sigma: np.ndarray
    scores: Metrics
    lost: dict[str, dict[str, tuple[Estimate, ...]]]


class Rounds(NamedTuple):
    """T releases at mu, averaged, beside one release at mu sqrt(T).

    Attributes:
      rounds: T, [r].
      mus: mu of one release, float64 [k].
      averaged: Metric -> float64 [r, k, n].
      single: The same of one release at mu sqrt(T), with noise of its own.
      difference: Averaged less single: metric -> one a mu, for each T. In theory 0.
    """

    rounds: np.ndarray
    mus: np.ndarray
    averaged: Metrics
    single: Metrics
    difference: tuple[dict[str, tuple[Estimate, ...]], ...]


class SeenByPrior(NamedTuple):
    """Targets that trained the prior beside others of their kind.

    Attributes:
      mus: float64 [k].
      seen: Metric -> float64 [k, n] of targets that trained it.
      unseen: Metric -> float64 [k, m] of others.
      difference: Seen less unseen: metric -> one a mu.
      remembered: Whether the squared error of seen targets is clearly less, bool [k]: the prior's memory is measured
        there, not the privacy of the release.
    """

    mus: np.ndarray
    seen: Metrics
    unseen: Metrics
    difference: dict[str, tuple[Estimate, ...]]
    remembered: Bool[np.ndarray, " k"]


def unknown_noise(
    key: Key, prior: Target, targets: Any, mus: ArrayLike, public: Any, *, attacker: Attacker | None = None
) -> UnknownNoise:
    """Attacks the same releases knowing less of them.

    Args:
      key: Typed random key.
      prior: The prior.
      targets: Distinct images [n, h, w, c], uint8 or floats in [-1, 1]; 4 or more.
      mus: mu of one release.
      public: Images like the prior's data, whose mean norm is the typical one.
      attacker: How is attacked, DDIM if not given.

    Returns:
      The study. Costs 5 k n min(steps, T') network calls, T' the steps of a discrete process; 5 k n of the posterior
      mean.

    Raises:
      InputError: if images or settings cannot be.
    """
    attacker, grid, x = _asked(prior, targets, mus, attacker)
    seen = checked_public(public, x)
    known = Knowledge(), Knowledge(noise="wavelet"), Knowledge(clip="typical", typical_norm=typical_norm(seen))
    told = [attacker.released(key, x, grid, knowledge=each) for each in known]
    told += [misbelieved(told[0], sigma_factor=factor) for factor in SIGMA_FACTORS]
    names = ("known", "wavelet", "typical", *(f"{factor:g} sigma" for factor in SIGMA_FACTORS))
    releases = joined(told)
    scores = attacker.scores(prior, releases, x)
    rows = {name: _row(scores, i) for i, name in enumerate(names)}
    lost = {name: gains(row, rows["known"], paired=True) for name, row in rows.items() if name != "known"}
    return UnknownNoise(names, grid, np.asarray(releases.sigma, np.float64), scores, lost)


def rounds(
    key: Key,
    prior: Target,
    targets: Any,
    mus: ArrayLike,
    *,
    num_releases: Sequence[int] = (1, 4, 16),
    attacker: Attacker | None = None,
) -> Rounds:
    """Attacks the mean of T releases, and one release that says as much.

    Args:
      key: Typed random key.
      prior: The prior.
      targets: Distinct images [n, h, w, c], uint8 or floats in [-1, 1]; 4 or more.
      mus: mu of one release.
      num_releases: T.
      attacker: How is attacked, DDIM if not given.

    Returns:
      The study. Costs 2 r k n min(steps, T') network calls of r values of T, T' the steps of a discrete process;
      2 r k n of the posterior mean.

    Raises:
      InputError: if images or settings cannot be.
    """
    attacker, grid, x = _asked(prior, targets, mus, attacker)
    counts = [int(count) for count in np.atleast_1d(checked_count("num_releases", num_releases))]
    if not counts:
        raise InputError("num_releases holds no number: give some, such as 1 and 4.")
    keys = jax.random.split(key, 2 * len(counts))
    averaged = [attacker.released(keys[i], x, grid, num_releases=count) for i, count in enumerate(counts)]
    single = [attacker.released(keys[~i], x, grid * count**0.5) for i, count in enumerate(counts)]
    scores = attacker.scores(prior, joined([joined(averaged), joined(single)]), x)
    means, ones = _row(scores, 0), _row(scores, 1)
    difference = [gains(_row(means, i), _row(ones, i), paired=True) for i in range(len(counts))]
    return Rounds(np.asarray(counts), grid, means, ones, tuple(difference))


def seen_by_prior(
    key: Key, prior: Target, seen: Any, unseen: Any, mus: ArrayLike, *, attacker: Attacker | None = None
) -> SeenByPrior:
    """Attacks images that trained the prior, and others.

    Args:
      key: Typed random key.
      prior: The prior.
      seen: Distinct images [n, h, w, c] that trained it, uint8 or floats in [-1, 1]; 4 or more.
      unseen: The same of images that did not.
      mus: mu of one release.
      attacker: How is attacked, DDIM if not given.

    Returns:
      The study. Costs k (n + m) min(steps, T') network calls, T' the steps of a discrete process; k (n + m) of the
      posterior mean.

    Raises:
      InputError: if images or settings cannot be, or an image is on both sides.
    """
    both = [checked_targets(side, prior.shape) for side in (seen, unseen)]
    attacker, grid, x = _asked(prior, np.concatenate(both), mus, attacker)
    scores = attacker.scores(prior, attacker.released(key, x, grid), x)
    n = len(both[0])
    first, second = ({name: s[:, part] for name, s in scores.items()} for part in (slice(n), slice(n, None)))
    difference = gains(first, second, paired=False)
    return SeenByPrior(grid, first, second, difference, np.array([each.high < 0 for each in difference["mse"]]))


def _asked(
    prior: Target, targets: Any, mus: ArrayLike, attacker: Attacker | None
) -> tuple[Attacker, np.ndarray, np.ndarray]:
    prior_of(prior)
    return attacker or Attacker(), checked_grid(mus), checked_targets(targets, prior.shape)


def _row(scores: Metrics, i: int) -> Metrics:
    return {name: values[i] for name, values in scores.items()}
