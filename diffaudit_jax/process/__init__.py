"""Noising processes, by name: discrete schedules and continuous diffusions, all x_t = alpha(t) x0 + sigma(t) eps."""

from collections.abc import Callable, Mapping
from typing import Any

from diffaudit_jax.process.continuous import edm as edm
from diffaudit_jax.process.continuous import sub_vp_sde as sub_vp_sde
from diffaudit_jax.process.continuous import ve_sde as ve_sde
from diffaudit_jax.process.continuous import vp_sde as vp_sde
from diffaudit_jax.process.discrete import betas as betas
from diffaudit_jax.process.discrete import ddpm_cosine as ddpm_cosine
from diffaudit_jax.process.discrete import ddpm_linear as ddpm_linear
from diffaudit_jax.process.discrete import discrete as discrete
from diffaudit_jax.process.discrete import ladder as ladder
from diffaudit_jax.process.discrete import ncsn as ncsn
from diffaudit_jax.process.gaussian import VARIANCES as VARIANCES
from diffaudit_jax.process.gaussian import Posterior as Posterior
from diffaudit_jax.process.gaussian import Process as Process
from diffaudit_jax.process.gaussian import Variance as Variance
from diffaudit_jax.process.gaussian import log_variance as log_variance
from diffaudit_jax.process.gaussian import posterior as posterior
from diffaudit_jax.types import known

SCHEDULES: Mapping[str, Callable[..., Process]] = {
    "ddpm-linear": ddpm_linear,
    "ddpm-cosine": ddpm_cosine,
    "betas": betas,
    "ncsn": ncsn,
    "vp-sde": vp_sde,
    "sub-vp-sde": sub_vp_sde,
    "ve-sde": ve_sde,
    "edm": edm,
}


def from_config(config: Mapping[str, Any]) -> Process:
    """Makes a process again from its `config`.

    Raises:
      InputError: if the name is none of `SCHEDULES`.
    """
    arguments = dict(config)
    return SCHEDULES[known("schedule", arguments.pop("name"), SCHEDULES)](**arguments)
