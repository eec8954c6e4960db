"""Threat models: what an attack may ask of a target, as records it cannot see around.

A `Target` is everything; a grant narrows it to the record an attack declares. A black-box record holds no parameters:
a type checker refuses the access, and so does Python.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from diffaudit_jax.process import Process, Variance
from diffaudit_jax.sampler.catalogue import SAMPLERS, check_sampler
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time, known


@dataclass(frozen=True, eq=False)
class Target:
    """The audited model.

    Attributes:
      params: Its parameters, a pytree of arrays.
      shape: Shape of one example.
      sample: ``sample(params, key, cond) -> Example``.
      process: Its noising process; None for models without one (a GAN).
      network: Its network; None where only samples can be had.
      config: JSON that tells this target from others of the same parameters (architecture, schedule).
      num_classes: Classes of a conditional model, else None.
      variance: The reverse variance it was trained or published with.
      host: Whether its functions are Python's, of NumPy arrays, which no compiled program can call and no gradient
        passes; the stream then runs un-jitted (`importers.from_callable`).
    """

    params: Params
    shape: tuple[int, ...]
    sample: Callable[[Params, Key, Any], Example]
    process: Process | None = None
    network: Network | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    variance: Variance = "fixed_small"
    host: bool = False


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
    """Weights: ``predict_at(params, xt, t, cond) -> Prediction`` at any parameters, and the target's own."""

    process: Process
    predict_at: Callable[[Params, Example, Time, Any], Prediction]
    params: Params


def black_box(target: Target) -> BlackBox:
    """Grants samples."""
    return BlackBox(lambda key, cond=None: target.sample(target.params, key, cond))


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
    process, network = _diffusion(target, "white-box")
    if target.host:
        raise InputError("white-box access needs gradients and this target is a Python function: audit it gray-box.")
    predict_at = lambda params, xt, t, cond=None: network.apply(params, xt, t, cond)  # noqa: E731
    return WhiteBox(process, predict_at, target.params)


def diffusion_target(
    params: Params,
    network: Network,
    process: Process,
    shape: tuple[int, ...],
    *,
    config: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    variance: Variance = "fixed_small",
    sampler: str = "ddim",
    sample_steps: int = 50,
) -> Target:
    """A diffusion model as a target.

    Args:
      params: Parameters to audit.
      network: The network they belong to.
      process: Its noising process.
      shape: Shape of one example.
      config: Further JSON; with those of network and process, part of the audit's fingerprint.
      num_classes: Classes of a conditional model, else None.
      variance: Reverse variance.
      sampler: How samples are drawn, one of `sampler.SAMPLERS`.
      sample_steps: Steps per sample, at most the process's where the sampler strides over them.

    Raises:
      InputError: if the sampler is unknown or does not go with the process.
    """
    draw = SAMPLERS[known("sampler", sampler, SAMPLERS)]
    sample_steps = min(sample_steps, process.steps) if sampler == "ddim" else sample_steps
    check_sampler(sampler, process, sample_steps)

    def sample(params: Params, key: Key, cond: Any = None) -> Example:
        denoise = lambda xt, t: network.apply(params, xt, t, cond)  # noqa: E731
        return draw(key, process, denoise, shape, sample_steps, variance)

    described = {
        "network": dict(network.config),
        "process": dict(process.config),
        "sampler": sampler,
        "sample_steps": sample_steps,
        **(config or {}),
    }
    return Target(params, tuple(shape), sample, process, network, described, num_classes, variance)


def _diffusion(target: Target, access: str) -> tuple[Process, Network]:
    if target.process is None or target.network is None:
        raise InputError(f"{access} access needs a diffusion model, and this target offers samples only.")
    return target.process, target.network
