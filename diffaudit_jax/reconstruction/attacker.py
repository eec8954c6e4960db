"""One way to attack, so that studies vary something else: it reconstructs sets of releases and scores them."""

from typing import NamedTuple

import jax
import numpy as np
from scipy.stats import t

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.reconstruction.denoise import Method, reconstruct
from diffaudit_jax.reconstruction.leaks import linear_unit
from diffaudit_jax.reconstruction.levels import released
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.reconstruction.release import EVERYTHING, Knowledge
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.reconstruction.scoring import Metrics, Scorer
from diffaudit_jax.reconstruction.targets import Images
from diffaudit_jax.target import Target
from diffaudit_jax.types import Key


class Attacker(NamedTuple):
    """A deterministic attack on releases of a linear unit, the worst case.

    Attributes:
      method: See `denoise.METHODS`.
      steps: DDIM steps.
      perceptual: Distance of images that is scored as "lpips", or None.
      block: Reconstructions per dispatch.
    """

    method: Method = "ddim"
    steps: int = 50
    perceptual: Perceptual | None = None
    block: int = 64

    @property
    def scorer(self) -> Scorer:
        """Scores pairs of images; compiled at its first call, so keep it."""
        return Scorer(self.perceptual, block=self.block)

    def released(
        self, key: Key, targets: Images, mus: np.ndarray, *, num_releases: int = 1, knowledge: Knowledge = EVERYTHING
    ) -> Release:
        """Releases every target at every mu: y [k, n, *shape], sigma [k, n]; see `levels.released`."""
        leak = linear_unit(targets.shape[1:])
        return released(key, targets, mus, leak, num_releases=num_releases, knowledge=knowledge, block=self.block)

    def reconstructed(self, prior: Target, releases: Release) -> np.ndarray:
        """Reconstructs releases [*lead, *shape], whatever their leading axes, in one pass."""
        lead = np.shape(releases.sigma)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(lead) :]), releases)
        # Nothing is drawn: the key is without effect.
        key, steps, block = jax.random.key(0), self.steps, self.block
        found = reconstruct(key, prior, flat, method=self.method, steps=steps, block=block)
        return found.reshape(releases.y.shape)

    def scores(self, prior: Target, releases: Release, targets: Images) -> Metrics:
        """Returns metric -> float64 [*lead, n] of releases [*lead, n, *shape]."""
        return self.scorer(self.reconstructed(prior, releases), targets)


def joined(releases: list[Release]) -> Release:
    """Stacks sets of releases, each of the same shape, on a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *releases)


def gain(a: np.ndarray, b: np.ndarray, *, paired: bool, level: float = 0.95) -> Estimate:
    """Returns mean a - mean b with Student's interval over targets; Welch's, where they are not the same ones."""
    sides = (a - b,) if paired else (a, b)
    shares = np.array([side.var(ddof=1) / len(side) for side in sides])
    value, variance = float(np.mean(a) - np.mean(b)), shares.sum()
    if not variance:
        return Estimate(value, value, value)
    free = variance**2 / sum(share**2 / (len(side) - 1) for share, side in zip(shares, sides, strict=True))
    half = float(t.isf(tail(level), free) * np.sqrt(variance))
    return Estimate(value, value - half, value + half)


def gains(a: Metrics, b: Metrics, *, paired: bool) -> dict[str, tuple[Estimate, ...]]:
    """Returns `gain` of each metric, one for each mu: scores are [k, n]."""
    return {name: tuple(gain(x, y, paired=paired) for x, y in zip(a[name], b[name], strict=True)) for name in a}
