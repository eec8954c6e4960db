"""Samplers by name, each with the grid its paper uses: what a target and the command line choose from."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp

from diffaudit_jax.process import Process, Variance
from diffaudit_jax.sampler.discrete import ancestral, ddim
from diffaudit_jax.sampler.grids import Denoise, grid
from diffaudit_jax.sampler.langevin import annealed_langevin
from diffaudit_jax.sampler.ode import edm_grid, heun
from diffaudit_jax.sampler.sde import euler_maruyama, predictor_corrector
from diffaudit_jax.types import Example, InputError, Key

Sampler: TypeAlias = Callable[[Key, Process, Denoise, tuple[int, ...], int, Variance, bool], Example]


def _ddim(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, _: Variance, clip: bool
) -> Example:
    return ddim(key, process, denoise, shape, grid(process, steps), clip=clip)


def _ancestral(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, variance: Variance, clip: bool
) -> Example:
    return ancestral(key, process, denoise, shape, grid(process, steps), variance=variance, clip=clip)


def _langevin(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, *_: Variance | bool
) -> Example:
    return annealed_langevin(key, process, denoise, shape, num_inner=max(1, round(steps / process.steps)))


def _euler(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, *_: Variance | bool
) -> Example:
    return euler_maruyama(key, process, denoise, shape, grid(process, steps))


def _corrected(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, *_: Variance | bool
) -> Example:
    return predictor_corrector(key, process, denoise, shape, grid(process, steps))


def _heun(
    key: Key, process: Process, denoise: Denoise, shape: tuple[int, ...], steps: int, *_: Variance | bool
) -> Example:
    with jax.ensure_compile_time_eval():
        first = float(process.noise_level(jnp.float32(1 / process.steps)))
    return heun(key, process, denoise, shape, edm_grid(process, steps, least=first))


SAMPLERS: Mapping[str, Sampler] = {
    "ddim": _ddim,
    "ancestral": _ancestral,
    "langevin": _langevin,
    "euler-maruyama": _euler,
    "predictor-corrector": _corrected,
    "heun": _heun,
}


def usual_steps(name: str, process: Process) -> int:
    """Returns the steps that a sampler takes over a process if none are asked for.

    50 of DDIM, 18 of Heun, 100 updates at each of NCSN's 10 levels and 5 at each of NCSNv2's hundreds; else as many
    as the process has.
    """
    steps = process.steps
    return {"ddim": min(50, steps), "heun": 18, "langevin": max(1000, 5 * steps)}.get(name, steps)


def check_sampler(name: str, process: Process, num_steps: int) -> None:
    """Refuses a sampler that a process does not allow, before anything is traced.

    Args:
      name: One of `SAMPLERS`.
      process: Noising process.
      num_steps: Steps over the process (over all levels and updates, of Langevin dynamics).

    Raises:
      InputError: if they do not go together.
    """
    if num_steps < 1:
        raise InputError(f"a sampler takes at least 1 step, got {num_steps}.")
    continuous, kind = process.num_steps is None, process.config.get("name")
    if name == "euler-maruyama" and not continuous:
        raise InputError(f"Euler-Maruyama needs a continuous process, and this is {kind}: use predictor-corrector.")
    if name == "langevin" and kind != "ncsn":
        raise InputError(f"Langevin dynamics needs the ladder of an NCSN, and this is {kind}: use predictor-corrector.")
    if name not in ("langevin", "heun") and num_steps > process.steps:
        raise InputError(f"{kind} has {process.steps} steps, {num_steps} were asked for: ask for as many at most.")
