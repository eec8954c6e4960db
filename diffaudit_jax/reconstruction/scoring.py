"""Scores of reconstructions against their targets: all metrics of all pairs, and what is made of them over targets."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.retrieval import Retrieval, relative_error, retrieval
from diffaudit_jax.metrics.transition import Transition, transition
from diffaudit_jax.metrics.uninformed import Law, uninformed
from diffaudit_jax.reconstruction.agreement import rank_correlation
from diffaudit_jax.reconstruction.perceptual import Perceptual, PerceptualDistances
from diffaudit_jax.reconstruction.similarity import BEST, DATA_RANGE, similarity
from diffaudit_jax.reconstruction.targets import Images
from diffaudit_jax.stream import Stream
from diffaudit_jax.types import Key, Query

Metrics: TypeAlias = dict[str, np.ndarray]

NUM_UNRELATED = 50
"""How many of the other targets each target is set against."""
# Of two images that differ by roundings of float32: PSNR has no greater value here, not even of equal ones.
_PSNR_MOST = 20 * float(np.log10(DATA_RANGE / np.finfo(np.float32).eps))
_TAIL = 0.025
_BEST = {**BEST, "lpips": 0.0}


class Scorer:
    """Every metric of any number of pairs, compiled once: "mse", "psnr", "ssim", "ncc", and "lpips" where given.

    Args:
      perceptual: Distance scored as "lpips", or None.
      block: Pairs per dispatch.
    """

    def __init__(self, perceptual: Perceptual | None = None, *, block: int = 64):
        def score(shared: Any, key: Key, query: Query) -> dict[str, Float[Array, ""]]:
            found = similarity(*query.x)._asdict()
            return {**found, "psnr": jnp.minimum(found["psnr"], _PSNR_MOST)}

        self._run = Stream(score, block=block)
        self._seen = None if perceptual is None else PerceptualDistances(perceptual, block=block)

    def __call__(self, found: np.ndarray, targets: Images) -> Metrics:
        """Scores images against their targets.

        Args:
          found: Images in [-1, 1], [*lead, n, *shape].
          targets: [n, *shape].

        Returns:
          Metric -> float64 [*lead, n]. "lpips" costs a pass of every image found and of every target.
        """
        lead, seen = found.shape[: found.ndim - targets.ndim + 1], self._seen
        scores = {name: values.reshape(lead) for name, values in self._similar(found, targets).items()}
        rows = found.reshape(-1, *targets.shape)
        return scores if seen is None else scores | {"lpips": seen.to(rows, targets).reshape(lead)}

    def unrelated(self, targets: Images) -> Metrics:
        """Returns the mean of each metric between a target and up to `NUM_UNRELATED` others, float64 [n]."""
        num = min(NUM_UNRELATED, len(targets) - 1)
        rows = [self._similar(np.roll(targets, -shift, axis=0), targets) for shift in range(1, num + 1)]
        means = {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}
        return means if self._seen is None else means | {"lpips": self._seen.among(targets, num).mean(axis=1)}

    def _similar(self, found: np.ndarray, targets: Images) -> Metrics:
        """Returns the metrics that need no network, of found images row by row."""
        x = np.asarray(found, np.float32).reshape(-1, *targets.shape[1:])
        y = np.asarray(targets, np.float32)
        y = np.broadcast_to(y, (len(x) // len(y), *y.shape)).reshape(x.shape)
        parts = [part for _, _, part in self._run((), jax.random.key(0), Query((x, y), None, np.arange(len(x))))]
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def distances(found: Images, targets: Images) -> Float[np.ndarray, "n m"]:
    """Returns the mean squared difference of each image and each target, float64."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (found, targets))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0.0) / a.shape[1]


def retrieved(found: Float[np.ndarray, "k n *shape"], targets: Images) -> tuple[Retrieval, ...]:
    """Returns how often the target is nearest, by mean squared error among all targets; one for each row."""
    return tuple(retrieval(distances(row, targets)) for row in found)


def relative(mse: Float[np.ndarray, "k n"], targets: Images) -> tuple[Estimate, ...]:
    """Returns the error over that of taking one target for another; one for each row."""
    between = distances(targets, targets)
    return tuple(relative_error(row, between) for row in mse)


def ranked(estimated: Float[np.ndarray, "k n"], true: Float[np.ndarray, "k n"]) -> tuple[Estimate, ...]:
    """Returns the rank correlation of each row; 0 within [-1, 1] where errors are all the same and nothing is known."""
    flat = Estimate(0.0, -1.0, 1.0)
    pairs = zip(estimated, true, strict=True)
    return tuple(rank_correlation(a, b) if np.ptp(a) and np.ptp(b) else flat for a, b in pairs)


def transitions(
    mus: Float[np.ndarray, " k"], scores: Mapping[str, Float[np.ndarray, "k n"]], unrelated: Metrics
) -> dict[str, Transition]:
    """Locates the transition of each metric that has a best value: half way to the last one would go with the grid."""
    return {
        name: transition(mus, scores[name].T, unrelated[name], best=_BEST[name]) for name in scores if name in _BEST
    }


class WithoutPrior(NamedTuple):
    """What an attacker without a prior gets of each target at each mu: "mse", "psnr", "ncc" -> float64 [k, n].

    Attributes:
      mean: Expected over the noise of a release.
      low: Below it lie 2.5 % of releases.
      high: Above it lie 2.5 %.
    """

    mean: Metrics
    low: Metrics
    high: Metrics


def without_prior(targets: Images, mus: Float[np.ndarray, " k"]) -> WithoutPrior:
    """Returns the errors of the release itself, of the linear unit clipped to 1, under one release of mu."""
    x = np.asarray(targets, np.float64).reshape(len(targets), -1)
    norms, variances = effective_norm(targets), x.var(axis=1)
    laws = [
        [uninformed(norm, x.shape[1], mu, variance=v) for norm, v in zip(norms, variances, strict=True)] for mu in mus
    ]

    def of(told: Callable[[Law], Any]) -> Metrics:
        names = ("mse", "psnr", "ncc")
        return {name: np.array([[float(told(getattr(law, name))) for law in row] for row in laws]) for name in names}

    mean, low, high = (
        of(lambda law: law.mean),
        of(lambda law: law.quantile(_TAIL)),
        of(lambda law: law.quantile(1 - _TAIL)),
    )
    # Where there is next to no noise, a quantile of NCC is no number, and the mean is as near as float64 tells.
    ends = ({name: np.where(np.isfinite(v), v, mean[name]) for name, v in end.items()} for end in (low, high))
    return WithoutPrior(mean, *ends)


def effective_norm(targets: Images) -> Float[np.ndarray, " n"]:
    """Returns max(||x||, 1), float64: over mu, the noise of a linear unit's release clipped to 1."""
    x = np.asarray(targets, np.float64).reshape(len(targets), -1)
    return np.maximum(np.linalg.norm(x, axis=1), 1.0)
