"""What the attacker of `diffaudit reconstruct` does and knows."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.aimed import classes_of
from diffaudit_jax.reconstruction import Knowledge, linear_unit
from diffaudit_jax.reconstruction.baselines import clipped
from diffaudit_jax.reconstruction.levels import reconstructed, released
from diffaudit_jax.reconstruction.sweep import Shown
from diffaudit_jax.reconstruction.targets import typical_norm
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, to_signed


@dataclass(frozen=True)
class Attacker:
    """What the attacker does and knows."""

    num: int = 4
    """Random reconstructions of each release, whose agreement is measured."""
    steps: int = 50
    """Steps of DDIM."""
    eta: float = 1.0
    """How much random reconstructions draw anew, DDIM's eta; 1 draws from the posterior as the prior knows it."""
    consistency: bool = False
    """Average every estimate of the image with the release: nearer to it, and noisier."""
    releases: int = 1
    """Releases of each target, which the attacker averages."""
    clip: Literal["known", "typical", "measured"] = "known"
    """Whether the attacker knows by what factor a gradient was clipped, or guesses it: from the norm that public images
    usually have, or from what is measured of the gradient as well."""
    noise: Literal["known", "wavelet"] = "known"
    """Whether the attacker knows the noise, or estimates it from the release."""


def knowledge_of(attacker: Attacker, public: data.Pool | None) -> Knowledge:
    """Returns what the attacker knows; a norm that is typical is the mean over public images."""
    if attacker.clip == "known":
        return Knowledge(noise=attacker.noise)
    if public is None:
        raise InputError(f"--clip {attacker.clip} takes the norm of public images for typical: give --public.")
    return Knowledge(attacker.clip, attacker.noise, typical_norm(public.x))


def pictured(
    key: Key,
    prior: Target,
    images: data.Pool,
    mus: np.ndarray,
    attacker: Attacker,
    knowledge: Knowledge,
    *,
    block: int,
) -> Shown:
    """Attacks images that are to be shown, in the way that `sweep` attacks targets, and measures nothing."""
    keys, x = jax.random.split(key), signed(images)
    found = released(
        keys[0], x, mus, linear_unit(x.shape[1:]), num_releases=attacker.releases, knowledge=knowledge, block=block
    )
    drawn = reconstructed(
        keys[1],
        prior,
        found,
        num=attacker.num,
        steps=attacker.steps,
        eta=attacker.eta,
        consistency=attacker.consistency,
        cond=classes_of(images, prior.num_classes),
        block=block,
    )
    spread = drawn.samples.std(axis=2, ddof=1).mean(axis=-1)
    return Shown(x, clipped(np.asarray(found.y)), drawn.diffusion, drawn.mean, drawn.samples, spread)


def signed(pool: data.Pool) -> np.ndarray:
    """Returns images in [-1, 1], float32."""
    return np.asarray(to_signed(jnp.asarray(pool.x)))
