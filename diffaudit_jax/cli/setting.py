"""What attacks are made from, and the target's own times for those of the linear DDPM schedule.

Families are compared at matched noise, never at equal t: t = 0.3 is a noise level of 1.2 on the linear schedule, and of
0.26 in VE.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.data import Encoder
from diffaudit_jax.process import Process, Variance, ddpm_linear
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import InputError, Key, Network, Prediction

Times = Float[np.ndarray, " times"]


class Setting(NamedTuple):
    """What attacks are made from.

    Attributes:
      asking: The command line's flags.
      process: The target's, of a table that of its numbers; None where only samples can be had.
      variance: Its reverse variance, in the bound.
      key: Key of noise that queries share.
      bank: Images drawn of it, if an attack that is asked for needs them.
      surrogate: A model trained on them, likewise.
      num_numeric: Numbers of a record, of a table; None of images.
    """

    asking: Asking
    process: Process | None = None
    variance: Variance = "fixed_small"
    key: Key | None = None
    bank: np.ndarray | None = None
    surrogate: Target | None = None
    num_numeric: int | None = None


def setting_of(asking: Asking, target: Target, encoder: Encoder | None, seed: int) -> Setting:
    """Returns what attacks on a target are made from, but for banks and surrogates.

    Args:
      asking: The command line's flags.
      target: Who is asked.
      encoder: Between records of a table and what it sees; None of images.
      seed: Seed of the audit.
    """
    return Setting(
        asking,
        None if target.diffusion is None else target.diffusion.schedule,
        target.variance,
        jax.random.fold_in(jax.random.key(seed), 3),
        num_numeric=None if encoder is None else encoder.layout.num_numeric,
    )


def audit_key(seed: int) -> Key:
    """Returns the key of an audit's queries."""
    return jax.random.fold_in(jax.random.key(seed), 2)


def blank(process: Process, shape: tuple[int, ...]) -> Target:
    """Returns a model of this process that knows nothing, for what can be said of attacks without asking any."""
    network = Network(lambda key: (), lambda params, xt, t, cond=None, *, key=None: Prediction(xt, xt))
    return diffusion_target((), network, process, shape)


def process_of(setting: Setting) -> Process:
    """Returns the target's process.

    Raises:
      InputError: if it has none.
    """
    if setting.process is None:
        raise InputError("there are generated images only, and no model to ask: give --access black.")
    return setting.process


def own(setting: Setting, times: Sequence[float] | Times) -> Times:
    """Returns the target's times of the noise levels that the linear DDPM schedule has at `times`."""
    process, reference, grid = process_of(setting), ddpm_linear(), np.asarray(times, np.float32)
    return grid if process.config == reference.config else process.matched(reference, grid)


def nearest(setting: Setting, t: float) -> float:
    """Returns the target's time of the noise level nearest to that of the linear DDPM schedule at t."""
    process, reference = process_of(setting), ddpm_linear()
    same = process.config == reference.config
    return t if same else float(process.time_at(reference.noise_level(jnp.float32(t))))


def grid(setting: Setting) -> Times:
    """Returns the times of trajectories."""
    return own(setting, ddpm_linear().times(setting.asking.times))


def truncated(setting: Setting) -> float | None:
    """Returns the truncation in the target's own time, or as the share that it is.

    Raises:
      InputError: if it is neither a time nor a share.
    """
    truncate = setting.asking.truncate
    if truncate is not None and not 0 <= truncate <= 1:
        raise InputError(f"truncate is a time or a share, from 0 to 1, got {truncate}; step i of T is (i + 1)/T.")
    if truncate is None or setting.asking.by == "value":
        return truncate
    own_time = nearest(setting, truncate)
    # The same time as one of the grid's, but for roundings: up to it means with it.
    return own_time if own_time == truncate else min(1.0, own_time * (1 + 1e-5))
