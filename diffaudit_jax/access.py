"""Threat models: what an attack may ask of a target, as records it cannot see around.

A `Target` is everything; a grant narrows it to the record an attack declares. A black-box record holds no parameters:
a type checker refuses the access, and so does Python.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.diffusion import Diffusion
from diffaudit_jax.process import Process
from diffaudit_jax.sampler.discrete import ddim_step
from diffaudit_jax.sampler.grids import descent
from diffaudit_jax.target import BoundTerms, Target
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time


@dataclass(frozen=True)
class BlackBox:
    """Samples only: ``sample(key, cond) -> Example``."""

    sample: Callable[[Key, Any], Example]


@dataclass(frozen=True)
class Variation:
    """An image-to-image service: ``vary(key, x, t, cond)`` noises x to time t and denoises it again."""

    vary: Callable[[Key, Example, Time, Any], Example]


@dataclass(frozen=True)
class GrayBox:
    """Intermediate outputs: ``denoise(key, xt, t, cond)`` returns the x0 estimate, without gradients."""

    process: Process
    denoise: Callable[[Key, Example, Time, Any], Example]


@dataclass(frozen=True)
class WhiteBox:
    """Weights: ``predict_at(params, xt, t, cond) -> Prediction`` at any parameters, and the target's own.

    `process` is that of a model of images; the noising of a table's records is no Gaussian one.
    """

    diffusion: Diffusion
    predict_at: Callable[[Params, Example, Time, Any], Prediction]
    params: Params
    process: Process | None = None


@dataclass(frozen=True)
class Bound:
    """Weights of a VAE: ``terms(key, x, cond) -> BoundTerms`` draws a code of x and takes the bound apart there."""

    terms: Callable[[Key, Example, Any], BoundTerms]


def black_box(target: Target) -> BlackBox:
    """Grants samples."""
    return BlackBox(lambda key, cond=None: target.sample(target.params, key, cond))


@functools.cache  # one service is one grant, which `attack.together` compares
def variation_box(num_steps: int = 10, *, clip: bool = True) -> Callable[[Target], Variation]:
    """Grants an image-to-image service: it noises an example to t and takes it back to clean by deterministic DDIM.

    Its time is a Python number, known while the program is traced, and its noise is drawn from the key of the question.
    One variation costs `num_steps` network calls and lets no gradient through.

    Args:
      num_steps: DDIM steps from t to clean data, evenly spaced (over the steps of a discrete process).
      clip: Whether x0 estimates are clipped to [-1, 1] at every step, as an image service does.

    Raises:
      InputError: if `num_steps` is not positive; when granted, if the target has no noising process; when asked, if t
        is fewer than `num_steps` steps from clean data.
    """
    if num_steps < 1:
        raise InputError(f"a variation takes at least 1 step, got {num_steps=}.")

    def grant(target: Target) -> Variation:
        process, network = _diffusion(target, "image-to-image")

        def vary(key: Key, x: Example, t: Time, cond: Any = None) -> Example:
            times = jnp.asarray(descent(process, float(t), num_steps))

            def step(xt: Example, pair: tuple[Time, Time]) -> tuple[Example, None]:
                t, s = pair
                pred = network.apply(target.params, xt, t, cond)
                return ddim_step(process, pred, xt, t, s, jnp.zeros_like(xt), eta=0.0, clip=clip), None

            xt = process.corrupt(x, times[0], jax.random.normal(key, x.shape))
            return jax.lax.stop_gradient(jax.lax.scan(step, xt, (times[:-1], times[1:]))[0])

        return Variation(vary)

    return grant


def gray_box(target: Target) -> GrayBox:
    """Grants intermediate outputs.

    Raises:
      InputError: if the target has no noising process.
    """
    process, network = _diffusion(target, "gray-box")

    def denoise(key: Key, xt: Example, t: Time, cond: Any = None) -> Example:
        del key  # a deterministic API; a protected one draws its noise from it
        return jax.lax.stop_gradient(network.apply(target.params, xt, t, cond).x0)

    return GrayBox(process, denoise)


def noise_of(access: GrayBox, key: Key, xt: Example, t: Time, cond: Any = None) -> Example:
    """Returns the noise that an API's clean estimate implies: eps = (x_t - alpha x0_hat)/sigma. One network call."""
    x0_hat = access.denoise(key, xt, t, cond)
    return (xt - access.process.alpha(t) * x0_hat) / access.process.sigma(t)


def asked_once(access: GrayBox) -> GrayBox:
    """The same API, which answers a question that it was asked before from memory, at no call.

    Questions are the same if they are about the very same arrays at the same time, and the time is a NumPy float, known
    while the program is traced. Ask them outside loops: what a loop remembers means nothing outside.
    """
    answers: dict[tuple[int, float, int], tuple[Any, ...]] = {}

    def denoise(key: Key, xt: Example, t: Time, cond: Any = None) -> Example:
        if not isinstance(t, np.floating):
            return access.denoise(key, xt, t, cond)
        question = id(xt), float(t), id(cond)
        if question not in answers:
            # With the arrays themselves, so that no other array comes to have their identity.
            answers[question] = access.denoise(key, xt, t, cond), xt, cond
        return answers[question][0]

    return GrayBox(access.process, denoise)


def white_box(target: Target) -> WhiteBox:
    """Grants the weights.

    Raises:
      InputError: if the target has no noising process, or no gradients.
    """
    diffusion, network = target.diffusion, target.network
    if diffusion is None or network is None:
        raise InputError("white-box access needs a diffusion model, and this target offers samples only.")
    if target.host:
        raise InputError("white-box access needs gradients and this target is a Python function: audit it gray-box.")
    predict_at = lambda params, xt, t, cond=None: network.apply(params, xt, t, cond)  # noqa: E731
    return WhiteBox(diffusion, predict_at, target.params, target.process)


def bound_box(target: Target) -> Bound:
    """Grants the weights of a VAE.

    Raises:
      InputError: if the target is none.
    """
    bound = target.bound
    if bound is None:
        raise InputError("the terms of a VAE's bound need a VAE, and this target is none: ask for another attack.")
    return Bound(lambda key, x, cond=None: bound(target.params, key, x, cond))


def _diffusion(target: Target, access: str) -> tuple[Process, Network]:
    if target.noising is not None:
        raise InputError(
            f"{access} attacks follow Gaussian noise, and a table's categories are noised otherwise: audit it "
            "white-box or black-box."
        )
    if target.process is None or target.network is None:
        raise InputError(f"{access} access needs a diffusion model, and this target offers samples only.")
    return target.process, target.network
