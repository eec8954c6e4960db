"""Threat models: what an attack may ask of a target, as records it cannot see around.

A `Target` is everything; a grant narrows it to the record an attack declares. A black-box record holds no parameters:
a type checker refuses the access, and so does Python.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.process import Process, Variance
from diffaudit_jax.sampler.catalogue import SAMPLERS, check_sampler
from diffaudit_jax.sampler.discrete import ddim_step
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
            times = jnp.asarray(_descent(process, float(t), num_steps))

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
    clip: bool = True,
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
      clip: Whether DDIM and ancestral sampling clip the estimate of x0 to [-1, 1]; the others never do.

    Raises:
      InputError: if the sampler is unknown or does not go with the process.
    """
    draw = SAMPLERS[known("sampler", sampler, SAMPLERS)]
    sample_steps = min(sample_steps, process.steps) if sampler == "ddim" else sample_steps
    check_sampler(sampler, process, sample_steps)

    def sample(params: Params, key: Key, cond: Any = None) -> Example:
        denoise = lambda xt, t: network.apply(params, xt, t, cond)  # noqa: E731
        return draw(key, process, denoise, shape, sample_steps, variance, clip)

    described = {
        "network": dict(network.config),
        "process": dict(process.config),
        "sampler": sampler,
        "sample_steps": sample_steps,
        "clip": clip,
        **(config or {}),
    }
    return Target(params, tuple(shape), sample, process, network, described, num_classes, variance)


def _diffusion(target: Target, access: str) -> tuple[Process, Network]:
    if target.process is None or target.network is None:
        raise InputError(f"{access} access needs a diffusion model, and this target offers samples only.")
    return target.process, target.network


def _descent(process: Process, t: float, num_steps: int) -> Float[np.ndarray, " times"]:
    """Returns `num_steps` + 1 times from t down to 0, evenly spaced over the steps of a discrete process."""
    share = np.arange(num_steps, -1, -1) / num_steps
    if process.num_steps is None:
        return (t * share).astype(np.float32)
    step = round(t * process.num_steps)
    if step < num_steps:
        raise InputError(
            f"t = {t:.4g} is step {step} of {process.num_steps}, and {num_steps} steps are to lead from there to clean "
            f"data: ask for fewer, or for a larger t."
        )
    return (np.round(step * share) / process.num_steps).astype(np.float32)
