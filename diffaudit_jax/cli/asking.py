"""What is asked of a model and how: the flags that attacks are made from."""

from dataclasses import dataclass
from typing import Literal

from diffaudit_jax.attack import AccessName


@dataclass(frozen=True)
class Asking:
    """What is asked, and how it is scored."""

    access: AccessName = "white"
    """What the attacker has: white, the weights; gray, a service that shows its estimate of the clean image at any
    step; variation, an image-to-image service; black, generated images. Each has all that comes after it, too."""
    attack: tuple[str, ...] | None = None
    """Attacks by name (`diffaudit attacks` lists them), with spaces or commas between, or all, all-white, all-gray, ...
    If not given: the three losses with white-box access (of a VAE, elbo), else all attacks of the access itself."""

    times: int = 50
    """Times of the trajectories, evenly strided over the linear DDPM schedule.
    On other schedules they are the times of the same noise levels, as far as the schedule has them."""
    noises: int = 1
    """Noise draws per time, of trajectories, gsa and pfami."""
    draws: int = 50
    """Draws of a VAE's code for each image, of elbo."""
    statistic: Literal["sum", "mean", "median", "min", "max"] = "mean"
    """How the losses over time are joined, of trajectories."""
    truncate: float | None = 0.3
    """Keep times up to this, in (0, 1] (--by time), or drop this share of the largest losses (--by value).
    A time of the linear DDPM schedule, like the grid. Published attacks look at a tenth to a third of the schedule,
    where an image is still recognisable."""
    by: Literal["time", "value"] = "time"
    """What the truncation goes by; a VAE has no times, and elbo is truncated by value or not at all."""
    clip: bool = True
    """Clip estimates of the clean image to the range of images, as published evaluations do."""

    api_levels: int | None = None
    """Protection: gray-box and image-to-image answers are rounded to this many levels a channel, 256 for 8 bits."""
    api_noise: float = 0.0
    """Protection: standard deviation of Gaussian noise on these answers, drawn anew for each; images span 2."""
    api_shared_noise: float = 0.0
    """Protection: the same, of noise that all queries share."""
    query_budget: int | None = None
    """Network calls that a service allows in all, with those of the bank and without those of white-box attacks; an
    audit that would make more is refused before it asks."""

    bank: int = 2000
    """Images drawn of the model for black-box attacks; a folder of images is taken whole."""
    bank_steps: int = 25
    """Steps of DDIM for each of them."""
    surrogate_model: str | None = None
    """Family of the model that is trained on the bank for the attack `surrogate`; if not given the audited run's own,
    ddpm for models from elsewhere."""
    surrogate_steps: int = 2000
    """Steps for which it is trained."""
