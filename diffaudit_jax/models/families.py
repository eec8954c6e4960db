"""Published diffusion models by name: architecture, noising process and sampler, as published and at a small width.

Small means a stem of 4x4 pixel blocks and one level of 64 channels: what two CPU cores train in minutes, keeping all
that tells one family from another (what is predicted and at which noise, the norm, the learned variance).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffaudit_jax.models.adapter import Model
from diffaudit_jax.models.architectures import from_config
from diffaudit_jax.process import Process
from diffaudit_jax.types import known

Size = Literal["small", "published"]
SIZES: tuple[Size, ...] = ("small", "published")


@dataclass(frozen=True)
class Family:
    """What a published model is made of.

    Attributes:
      paper: URL of the source.
      schedule: Configuration of its process, for `process.from_config`.
      small: Configuration of its network at a small width, for `build`.
      published: The same at the published width.
      sampler: The sampler it is published with.
      vlb_weight: Weight of the bound in its hybrid loss, if its variance is learned; None for T/1000.
    """

    paper: str
    schedule: Mapping[str, Any]
    small: Mapping[str, Any]
    published: Mapping[str, Any]
    sampler: str
    vlb_weight: float | None = 1.0


_SMALL = {"name": "unet", "channels": 64, "mults": (1,), "num_blocks": 1, "patch": 4, "middle_attention": False}
_GUIDED = {"scale_shift": True, "learn_sigma": True}
_IMPROVED = {**_GUIDED, "told": "step-of-1000", "num_heads": 4}
_BIGGAN = {**_GUIDED, "resblock_updown": True, "head_channels": 64}
_CIFAR = {"name": "unet", "channels": 128, "mults": (1, 2, 2, 2), "num_blocks": 2, "attention": (16,), "groups": 32}
_DDPM = {"embedding": "ddpm", "asymmetric": True}
_SDE = {"told": "time", "embedding": "ddpm"}
_VE = {"predicts": "score", "told": "log-noise", "embedding": "fourier"}
_EDM = {"predicts": "edm", "told": "edm", "embedding": "fourier"}

FAMILIES: Mapping[str, Family] = {
    "ddpm": Family(
        "https://arxiv.org/abs/2006.11239",
        {"name": "ddpm-linear", "num_steps": 1000},
        _SMALL,
        {**_CIFAR, **_DDPM, "dropout": 0.1},
        "ancestral",
    ),
    "improved-diffusion": Family(
        "https://arxiv.org/abs/2102.09672",
        {"name": "ddpm-cosine", "num_steps": 4000},
        {**_SMALL, **_IMPROVED, "middle_attention": True},
        {**_CIFAR, **_IMPROVED, "num_blocks": 3, "attention": (16, 8), "dropout": 0.3},
        "ancestral",
        vlb_weight=None,
    ),
    "guided-diffusion": Family(
        "https://arxiv.org/abs/2105.05233",
        {"name": "ddpm-linear", "num_steps": 1000},
        {**_SMALL, **_BIGGAN, "patch": 2, "mults": (1, 1), "attention": (8, 7), "middle_attention": True},
        {**_CIFAR, **_BIGGAN, "channels": 192, "mults": (1, 2, 3, 4), "num_blocks": 3, "attention": (32, 16, 8)},
        "ancestral",
    ),
    "ncsn": Family(
        "https://arxiv.org/abs/1907.05600",
        {"name": "ncsn", "num_steps": 10, "sigma_min": 0.02, "sigma_max": 2.0},
        {"name": "ncsn", "channels": 16, "patch": 2, "num_levels": 10},
        {"name": "ncsn", "channels": 128, "num_levels": 10},
        "langevin",
    ),
    "ncsnv2": Family(
        "https://arxiv.org/abs/2006.09011",
        {"name": "ncsn", "num_steps": 232, "sigma_min": 0.02, "sigma_max": 100.0},
        {"name": "ncsn", "channels": 16, "patch": 2},
        {"name": "ncsn", "channels": 128},
        "langevin",
    ),
    "vp-sde": Family(
        "https://arxiv.org/abs/2011.13456",
        {"name": "vp-sde"},
        {**_SMALL, **_SDE},
        {**_CIFAR, **_SDE, "num_blocks": 4, "dropout": 0.1},
        "euler-maruyama",
    ),
    "sub-vp-sde": Family(
        "https://arxiv.org/abs/2011.13456",
        {"name": "sub-vp-sde"},
        {**_SMALL, **_SDE},
        {**_CIFAR, **_SDE, "num_blocks": 4, "dropout": 0.1},
        "euler-maruyama",
    ),
    "ve-sde": Family(
        "https://arxiv.org/abs/2011.13456",
        {"name": "ve-sde"},
        {**_SMALL, **_VE},
        {"name": "ncsnpp", "mults": (1, 2, 2, 2), "num_blocks": 4, "attention": (16,), "dropout": 0.1},
        "predictor-corrector",
    ),
    "edm": Family(
        "https://arxiv.org/abs/2206.00364",
        {"name": "edm"},
        {**_SMALL, **_EDM},
        {**_CIFAR, **_EDM, "mults": (2, 2, 2), "num_blocks": 4, "dropout": 0.13},
        "heun",
    ),
}


def hybrid_weight(family: Family, process: Process) -> float:
    """Returns the weight of the bound in a family's hybrid loss on this process."""
    return process.steps / 1000 if family.vlb_weight is None else family.vlb_weight


def build(name: str, shape: tuple[int, ...], *, size: Size = "small", **options: Any) -> Model:
    """Builds a family's network for images of `shape`.

    A family attends on grids of certain sides; those that the image does not lead to are left out, as in the published
    code.

    Args:
      name: Family, one of `FAMILIES`.
      shape: (height, width, channels) of one image.
      size: "small" or "published" width.
      **options: What to change, as in `models.unet` or `models.ncsn`.

    Raises:
      InputError: if a name is unknown, an option is not one of this network's, or the image does not fit it.
    """
    family = FAMILIES[known("model", name, FAMILIES)]
    config = {**{"small": family.small, "published": family.published}[known("size", size, SIZES)], "shape": shape}
    if "attention" in config and "attention" not in options:
        config |= options
        grids = [shape[0] // config.get("patch", 1) // 2**level for level in range(len(config["mults"]))]
        config["attention"] = tuple(side for side in config["attention"] if side in grids)
    return from_config(config | options)
