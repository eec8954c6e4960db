"""Models that draw an image in one step, by name: the VAE and the GAN that diffusion models are compared with."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffaudit_jax.models.gan import Gan, gan
from diffaudit_jax.models.vae import Vae, vae
from diffaudit_jax.target import Target
from diffaudit_jax.types import Params, known

GeneratorSize = Literal["tiny", "small", "published"]


@dataclass(frozen=True)
class Generative:
    """A generative model of one step.

    Attributes:
      paper: URL of the source.
      make: Makes it for a shape, with options.
      sizes: Options of each size: tiny for tests, small for two CPU cores, published.
    """

    paper: str
    make: Callable[..., Vae | Gan]
    sizes: Mapping[str, Mapping[str, Any]]


GENERATORS: Mapping[str, Generative] = {
    "vae": Generative(
        "https://arxiv.org/abs/1312.6114",
        vae,
        {
            "tiny": {"channels": 8, "mults": (1, 1), "latent": 8},
            "small": {},
            "published": {"channels": 128, "mults": (1, 2, 4, 8), "latent": 128},
        },
    ),
    "gan": Generative(
        "https://arxiv.org/abs/1802.05957",
        gan,
        {
            "tiny": {
                "channels": 8,
                "levels": 1,
                "latent": 8,
                "critic_channels": 8,
                "halvings": 1,
                "flat": 1,
                "patch": 2,
            },
            "small": {
                "channels": 32,
                "levels": 2,
                "latent": 64,
                "critic_channels": 32,
                "halvings": 1,
                "flat": 2,
                "patch": 2,
            },
            "published": {},
        },
    ),
}


def generator(name: str, shape: tuple[int, ...], *, size: GeneratorSize = "small", **options: Any) -> Vae | Gan:
    """Builds a VAE or a GAN for images of `shape`.

    Args:
      name: One of `GENERATORS`.
      shape: (height, width, channels) of one image.
      size: One of "tiny", "small" and "published".
      **options: What to change, as in `vae` or `gan`.

    Raises:
      InputError: if a name is unknown, an option is not one of this model's, or the image does not fit it.
    """
    sizes = GENERATORS[known("model", name, GENERATORS)].sizes
    return generator_from_config({"name": name, "shape": shape, **sizes[known("size", size, sizes)], **options})


def generator_from_config(config: Mapping[str, Any]) -> Vae | Gan:
    """Makes a model again from its `config`.

    Raises:
      InputError: if the name is none of `GENERATORS`, or an option is none of that model's.
    """
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    name = known("model", arguments.pop("name"), GENERATORS)
    make = GENERATORS[name].make
    for option in arguments:
        known(f"option of {name}", option, inspect.signature(make).parameters)
    return make(**arguments)


def generator_target(model: Vae | Gan, params: Params) -> Target:
    """Returns a VAE or a GAN as a target: samples, and of a VAE the terms of its bound.

    Args:
      model: The model.
      params: Its parameters; of a GAN those of the generator.
    """
    return Target(
        params,
        model.shape,
        model.sample,
        config={"network": {"model": dict(model.config)}},
        num_classes=model.num_classes,
        bound=model.terms if isinstance(model, Vae) else None,
    )
