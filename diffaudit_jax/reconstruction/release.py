"""What one image becomes in DP-SGD, batch of one, and what the attacker makes of it: a noisy image.

    g~ = lam g + s n,   lam = min(1, C/||g||),   s = C noise_multiplier/sqrt(T)      what the server sees
    y, sigma = way back of (g~/lam, s/lam)                                           what the attacker works on

A linear unit has g = x and y = x + sigma n. Where clipping is active, sigma = ||x||/(mu sqrt(T)), with
mu = 1/noise_multiplier, whatever C: the mean squared error of a pixel has the expectation ||x||^2/(mu^2 T). Where it is
not, sigma = s.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from diffaudit_jax.reconstruction.estimate import measured_factor, signal_free_std, typical_factor, wavelet_std
from diffaudit_jax.reconstruction.leaks import Leak
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.training.dpsgd import Privacy
from diffaudit_jax.training.mechanism import clipped_sum, standard_normal
from diffaudit_jax.types import Example, InputError, Key, Params, known, to_signed

Clip = Literal["known", "typical", "measured"]
Noise = Literal["known", "wavelet", "silent"]
CLIPS: tuple[Clip, ...] = ("known", "typical", "measured")
NOISES: tuple[Noise, ...] = ("known", "wavelet", "silent")


@dataclass(frozen=True)
class Knowledge:
    """What the attacker knows of clipping and noise, and how the rest is guessed.

    Attributes:
      clip: "known" is the factor lam of this very gradient; "typical" guesses C/`typical_norm`, "measured" the norm
        that is left beneath the noise over `typical_norm`. It cancels from leaks that divide weights by biases.
      noise: "known" is s; "wavelet" estimates it from the gradient's pictures, "silent" from the coordinates that carry
        no signal.
      typical_norm: Norm of a gradient before clipping, as the prior has it; where `clip` is not known.

    Raises:
      InputError: if a name is unknown, or `typical_norm` is missing, not wanted, or not positive.
    """

    clip: Clip = "known"
    noise: Noise = "known"
    typical_norm: float | None = None

    def __post_init__(self):
        known("clip", self.clip, CLIPS)
        known("noise", self.noise, NOISES)
        if (self.clip == "known") != (self.typical_norm is None):
            raise InputError(
                f"typical_norm is what an unknown factor of clipping is guessed from, got {self.typical_norm} with "
                f"clip={self.clip!r}: give it with 'typical' or 'measured', and only there."
            )
        if self.typical_norm is not None and not 0 < self.typical_norm < float("inf"):
            raise InputError(f"typical_norm must be above 0 and finite, got {self.typical_norm}.")


EVERYTHING = Knowledge()


def at_mu(mu: float, l2_clip_norm: float = 1.0) -> Privacy:
    """Returns the clipping and noise at which one release is mu-GDP: noise_multiplier = 1/mu.

    Args:
      mu: Gaussian differential privacy of one release; the less, the more private. T of them are mu sqrt(T).
      l2_clip_norm: C.

    Raises:
      InputError: if `mu` is not positive, or C is not positive and finite.
    """
    if not mu > 0:
        raise InputError(f"mu must be above 0, got {mu}: 1 is private, 10 hardly is.")
    return Privacy(noise_multiplier=1 / mu, l2_clip_norm=l2_clip_norm)


def release(
    key: Key,
    x0: Example,
    leak: Leak,
    privacy: Privacy,
    *,
    num_releases: int = 1,
    knowledge: Knowledge = EVERYTHING,
) -> Release:
    """Returns what one image's privatised gradient says of it: `attacked` of `privatised`.

    Pure, of one image; batch it by `stream`, with ``leak.params`` as the shared argument. Costs one call of the leaking
    model with its gradient, and `num_releases` draws of noise.

    Args:
      key: Typed key of the noise.
      x0: The image, in [-1, 1] or uint8, of the leak's shape.
      leak: The model, and the way back.
      privacy: Clipping and noise; see `at_mu`. Its other settings (sampling, delta) say nothing of a batch of one.
      num_releases: T releases of the same image under the same parameters, which the attacker averages.
      knowledge: What the attacker knows.

    Returns:
      Noisy image, and the standard deviation of its noise as the attacker believes it.

    Raises:
      InputError: if the image is not of the leak's shape, clipping is by layer, there are no releases, or the noise
        cannot be estimated in the way asked for.
    """
    if x0.shape != leak.shape:
        raise InputError(f"the image has shape {x0.shape}, the leak {leak.shape}: make the leak for these images.")
    noisy, factor = privatised(key, leak.gradient(to_signed(x0)), privacy, num_releases=num_releases)
    return attacked(noisy, factor, leak, privacy, num_releases=num_releases, knowledge=knowledge)


def privatised(
    key: Key, gradient: Params, privacy: Privacy, *, num_releases: int = 1
) -> tuple[Params, Float[Array, ""]]:
    """Clips and noises one gradient as a DP-SGD step on a batch of one does; the mean of `num_releases` such steps.

    Args:
      key: Typed key. Of one release, what the step calls its noise key, and then the very noise of that step.
      gradient: Gradient on one example.
      privacy: Clipping and noise.
      num_releases: T; the noises are independent.

    Returns:
      The noisy gradient, with noise of standard deviation ``privacy.stddev``/sqrt(T); and lam, the factor of clipping.

    Raises:
      InputError: if clipping is by layer, or there are no releases.
    """
    if privacy.per_layer:
        raise InputError("a gradient clipped by layer has a factor for each tensor: use Privacy(per_layer=False).")
    if num_releases < 1:
        raise InputError(f"num_releases must be at least 1, got {num_releases}.")
    rows = jax.tree.map(lambda leaf: leaf[None], gradient)
    clipped, norms, _ = clipped_sum(rows, jnp.ones(1, bool), privacy.l2_clip_norm)
    noise = _mean_noise(key, gradient, num_releases)
    noisy = jax.tree.map(lambda leaf, z: leaf + privacy.stddev * z, clipped, noise)
    return noisy, jnp.minimum(1.0, privacy.l2_clip_norm / norms[0])


def attacked(
    gradient: Params,
    factor: Float[Array, ""],
    leak: Leak,
    privacy: Privacy,
    *,
    num_releases: int = 1,
    knowledge: Knowledge = EVERYTHING,
) -> Release:
    """Goes back from a noisy gradient to a noisy image.

    Args:
      gradient: What was released, averaged over releases.
      factor: lam; looked at only where ``knowledge.clip`` is "known".
      leak: The model, and the way back.
      privacy: Clipping, and the noise, which is looked at only where ``knowledge.noise`` is "known".
      num_releases: T.
      knowledge: What the attacker knows.

    Raises:
      InputError: if the noise cannot be estimated in the way asked for.
    """
    stddev = _noise_std(gradient, leak, privacy.stddev / num_releases**0.5, knowledge.noise)
    if knowledge.typical_norm is not None:
        if knowledge.clip == "typical":
            factor = typical_factor(privacy.l2_clip_norm, knowledge.typical_norm)
        else:
            factor = measured_factor(ravel_pytree(gradient)[0], stddev, knowledge.typical_norm)
    return leak.image(jax.tree.map(lambda leaf: leaf / factor, gradient), stddev / factor)


def misbelieved(release: Release, *, sigma_factor: float = 1.0, scale_factor: float = 1.0) -> Release:
    """Returns a release as an attacker has it who is wrong about noise or scale: y f, and sigma f e.

    Args:
      release: One release or a set.
      sigma_factor: e, the noise believed over the noise there is; 0.8 and 1.2 are the published check.
      scale_factor: f, the scale of the image believed over its own.

    Raises:
      InputError: if a factor is not positive.
    """
    if not min(sigma_factor, scale_factor) > 0:
        raise InputError(f"factors must be above 0, got sigma_factor {sigma_factor} and scale_factor {scale_factor}.")
    return Release(release.y * scale_factor, release.sigma * (scale_factor * sigma_factor))


def _mean_noise(key: Key, like: Params, num: int) -> Params:
    if num == 1:
        return standard_normal(key, like)
    keys = jax.random.split(key, num)
    add = lambda t, total: jax.tree.map(jnp.add, total, standard_normal(keys[t], like))  # noqa: E731
    # From the first draw on, not from zeros: inside the stream a carry must vary over devices as the keys do.
    total = jax.lax.fori_loop(1, num, add, standard_normal(keys[0], like))
    return jax.tree.map(lambda leaf: leaf / num, total)


def _noise_std(gradient: Params, leak: Leak, stddev: float, noise: Noise) -> Float[Array, ""]:
    if noise == "wavelet":
        return wavelet_std(leak.pictures(gradient))
    if noise == "silent":
        if leak.silent is None:
            raise InputError(
                f"noise='silent' needs coordinates of the gradient that carry no signal, and this {leak.name} has "
                f"none: {leak.mend}, or use 'wavelet'."
            )
        return signal_free_std(leak.silent(gradient))
    return jnp.float32(stddev)
