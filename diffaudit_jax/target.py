"""The audited model, whatever made it: its parameters, how it is sampled and, of a diffusion model, how it is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffaudit_jax.diffusion import Diffusion, gaussian
from diffaudit_jax.process import Process, Variance
from diffaudit_jax.sampler.catalogue import SAMPLERS, check_sampler, usual_steps
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Time, known


class BoundTerms(NamedTuple):
    """What a VAE's bound is made of at one draw z of its encoder, scalars in nats: -ln p(x) <= E reconstruction + kl.

    Attributes:
      reconstruction: -ln p(x | z).
      kl: KL(q(z | x) || p(z)), the same at every draw.
      ratio: ln q(z | x) - ln p(z), whose mean it is; reconstruction + ratio is -ln p(x) where q is the posterior.
    """

    reconstruction: Time
    kl: Time
    ratio: Time


@dataclass(frozen=True, eq=False)
class Target:
    """The audited model.

    Attributes:
      params: Its parameters, a pytree of arrays.
      shape: Shape of one example.
      sample: ``sample(params, key, cond) -> Example``.
      process: Its Gaussian noising process; None for models without one (a GAN, a table's).
      network: Its network; None where only samples can be had.
      config: JSON that tells this target from others of the same parameters (architecture, schedule).
      num_classes: Classes of a conditional model, else None.
      variance: The reverse variance it was trained or published with.
      host: Whether its functions are Python's, of NumPy arrays, which no compiled program can call and no gradient
        passes; the stream then runs un-jitted (`importers.from_callable`).
      bound: ``bound(params, key, x, cond) -> BoundTerms``, at one draw of the encoder, of a VAE; None of others.
      noising: The noising of a diffusion model that has no Gaussian process, as of a table's records.
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
    bound: Callable[[Params, Key, Example, Any], BoundTerms] | None = None
    noising: Diffusion | None = None

    @property
    def diffusion(self) -> Diffusion | None:
        """What losses and gradients ask of its noising: that of its process, or one of its own; None without either."""
        return self.noising if self.process is None else gaussian(self.process)


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


def redrawn(
    target: Target, *, sampler: str | None = None, sample_steps: int | None = None, network: Network | None = None
) -> Target:
    """The same diffusion model, sampled in another way.

    Args:
      target: The model.
      sampler: One of `sampler.SAMPLERS`; its own if not given.
      sample_steps: Steps per sample; the sampler's usual ones if not given.
      network: The network that is asked, e.g. a guided one; its own if not given.

    Raises:
      InputError: if the target offers samples only, or the sampler does not go with its process.
    """
    if target.process is None or target.network is None:
        raise InputError("this target offers samples only, drawn as they are: give the model that they are of.")
    sampler = known("sampler", sampler or target.config["sampler"], SAMPLERS)
    standard = ("network", "process", "sampler", "sample_steps", "clip")
    return diffusion_target(
        target.params,
        network or target.network,
        target.process,
        target.shape,
        config={name: value for name, value in target.config.items() if name not in standard},
        num_classes=target.num_classes,
        variance=target.variance,
        sampler=sampler,
        sample_steps=usual_steps(sampler, target.process) if sample_steps is None else sample_steps,
        clip=target.config["clip"],
    )
