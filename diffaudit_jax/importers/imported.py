"""What an importer returns: all that a checkpoint says about a diffusion model."""

from typing import NamedTuple

from diffaudit_jax.models import Model
from diffaudit_jax.process import Process, Variance
from diffaudit_jax.types import Params


class Imported(NamedTuple):
    """A model trained elsewhere, of which a target is made.

        network = from_linen(imported.model, imported.process)
        target = diffusion_target(imported.params, network, imported.process, imported.model.shape)

    Attributes:
      model: Architecture, and how it is fed and read.
      process: The noising process it was trained on.
      params: Its parameters, float32.
      variance: Reverse variance that its own sampler uses.
      clip: Whether its own sampler clips the estimate of x0 to [-1, 1].
    """

    model: Model
    process: Process
    params: Params
    variance: Variance = "fixed_small"
    clip: bool = True
