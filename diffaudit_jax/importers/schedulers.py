"""What a scheduler_config.json of diffusers says: the noising process, and how the network is fed and read.

    DDPMScheduler, DDIMScheduler, PNDMScheduler    the table of betas; told the step, on images in [-1, 1]
    ScoreSdeVpScheduler                            VP-SDE; told 999 t
    ScoreSdeVeScheduler                            VE-SDE; told ln sigma, on images in [0, 1]

Where and how its sampler steps (`timestep_spacing`, `steps_offset`, `set_alpha_to_one`, ...) is not read: it says
nothing of the model.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.models.precondition import Predicts, Told
from diffaudit_jax.process import Process, Variance, betas, ddpm_cosine, ddpm_linear, ve_sde, vp_sde
from diffaudit_jax.types import InputError, known


class Schedule(NamedTuple):
    """A process with what training on it meant for the network."""

    process: Process
    predicts: Predicts = "eps"
    told: Told = "step"
    signed: bool = True
    variance: Variance = "fixed_small"
    clip: bool = True


MAX_STEPS = 100_000
MAX_NUMBER = 1e9  # JSON has integers that no float holds
PREDICTIONS: Mapping[str, Predicts] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCE_TYPES: Mapping[str, Variance] = {
    "fixed_small": "fixed_small",
    "fixed_small_log": "fixed_small",
    "fixed_large": "fixed_large",
    "fixed_large_log": "fixed_large",
    "learned_range": "learned",
}
BETAS: Mapping[str, Callable[[float, float, int], Process]] = {
    # Our linear schedule is stated for 1,000 steps.
    "linear": lambda low, high, steps: ddpm_linear(steps, low * steps / 1000, high * steps / 1000),
    "scaled_linear": lambda low, high, steps: betas(np.linspace(low**0.5, high**0.5, steps) ** 2),
    "squaredcos_cap_v2": lambda low, high, steps: ddpm_cosine(steps),
    "sigmoid": lambda low, high, steps: betas(low + (high - low) / (1 + np.exp(-np.linspace(-6, 6, steps)))),
}


def schedule(config: Mapping[str, Any]) -> Schedule:
    """Reads a scheduler's configuration; what it leaves out has diffusers' default.

    Args:
      config: The JSON of a scheduler_config.json.

    Raises:
      InputError: if the scheduler, or a value that the process depends on, is not one that is read.
    """
    name = config.get("_class_name")
    if not isinstance(name, str):
        raise InputError("the scheduler's configuration names no scheduler: it needs a _class_name.")
    return SCHEDULERS[known("scheduler", name, SCHEDULERS)](config)


def _discrete(config: Mapping[str, Any], clip: bool) -> Schedule:
    for option in ("rescale_betas_zero_snr", "thresholding"):
        if config.get(option):
            raise InputError(f"the scheduler's {option} is {shown(repr(config[option]))}, and only false is read.")
    clips = bool(config.get("clip_sample", clip))
    if clips and config.get("clip_sample_range", 1.0) != 1:
        raise InputError(
            f"the scheduler's clip_sample_range is {shown(repr(config['clip_sample_range']))}, and only 1 is read."
        )
    kind = _named(config, "variance_type", "fixed_small", VARIANCE_TYPES)
    # Before prediction_type there was predict_epsilon.
    default = "epsilon" if config.get("predict_epsilon", True) else "sample"
    predicts = PREDICTIONS[_named(config, "prediction_type", default, PREDICTIONS)]
    return Schedule(_table(config), predicts, variance=VARIANCE_TYPES[kind], clip=clips)


def _table(config: Mapping[str, Any]) -> Process:
    if (trained := config.get("trained_betas")) is not None:
        if not isinstance(trained, list) or not all(map(_is_number, trained)):
            raise InputError("the scheduler's trained_betas are not a list of numbers: copy its configuration again.")
        return betas(np.asarray(trained, np.float64))
    low, high = _number(config, "beta_start", 1e-4), _number(config, "beta_end", 0.02)
    steps = _number(config, "num_train_timesteps", 1000)
    if steps != round(steps) or not 2 <= steps <= MAX_STEPS or not 0 < low <= high < 1:
        raise InputError(
            f"the scheduler's betas of {low} to {high} in {steps} steps are no schedule: copy its configuration again."
        )
    return BETAS[_named(config, "beta_schedule", "linear", BETAS)](low, high, round(steps))


def _score_sde_ve(config: Mapping[str, Any]) -> Schedule:
    low, high = _number(config, "sigma_min", 0.01), _number(config, "sigma_max", 1348.0)
    # Of images in [0, 1]: noise levels are twice as high in [-1, 1].
    return Schedule(ve_sde(2 * low, 2 * high), "score", "log-noise", signed=False, clip=False)


def _score_sde_vp(config: Mapping[str, Any]) -> Schedule:
    low, high = _number(config, "beta_min", 0.1), _number(config, "beta_max", 20)
    return Schedule(vp_sde(low, high), "eps", "time", clip=False)


SCHEDULERS: Mapping[str, Callable[[Mapping[str, Any]], Schedule]] = {
    "DDPMScheduler": lambda config: _discrete(config, clip=True),
    "DDIMScheduler": lambda config: _discrete(config, clip=True),
    "PNDMScheduler": lambda config: _discrete(config, clip=False),
    "ScoreSdeVeScheduler": _score_sde_ve,
    "ScoreSdeVpScheduler": _score_sde_vp,
}


def _number(config: Mapping[str, Any], option: str, default: float) -> float:
    value = config.get(option, default)
    if not _is_number(value):
        raise InputError(
            f"the scheduler's {option} is {shown(repr(value))}, not a number up to {MAX_NUMBER:.0e}: copy its "
            "configuration again."
        )
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


def _named(config: Mapping[str, Any], option: str, default: str, names: Mapping[str, Any]) -> str:
    return known(option, str(config.get(option, default)), names)
