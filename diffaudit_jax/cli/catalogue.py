"""Attacks by name: what access each needs, and how it is made for one target at the command line's settings.

Times are the published ones, of the linear DDPM schedule; `setting` turns them into the target's.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffaudit_jax import attacks
from diffaudit_jax.attack import AccessName, Attack
from diffaudit_jax.attacks.elbo import elbo
from diffaudit_jax.attacks.fluctuation import PUBLISHED_TIMES
from diffaudit_jax.attacks.gradient import Aggregate
from diffaudit_jax.attacks.statistics import Loss
from diffaudit_jax.attacks.step_error import PUBLISHED
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.setting import Setting, grid, nearest, own, process_of, truncated
from diffaudit_jax.sampler.ode import edm_grid
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, known


class Entry(NamedTuple):
    """An attack of the catalogue.

    Attributes:
      access: What it needs.
      observed: Name of what is asked; entries that share it are scores of the same answers.
      make: Makes it.
      about: What it measures, in a few words.
      of: What it asks about: a diffusion model, one of images or of a table, a VAE, or any that draws.
    """

    access: AccessName
    observed: str
    make: Callable[[Setting], Attack]
    about: str
    of: Literal["diffusion", "images", "table", "vae", "any"] = "diffusion"


ACCESS: tuple[AccessName, ...] = ("white", "gray", "variation", "black")
"""Kinds of access, each with all that comes after it."""


def named(asking: Asking, target: Target | None = None) -> tuple[str, ...]:
    """Returns the names of the attacks that are asked for, each once.

    Args:
      asking: The flags.
      target: Who is asked, which decides what the usual attacks and all of them are; None for a diffusion model.

    Raises:
      InputError: if there is none, one is unknown, or one needs more access than the attacker has.
    """
    kind = kind_of(target)
    usual = ("elbo",) if kind == "vae" else USUAL
    usual = usual if asking.access == "white" else (f"all-{asking.access}",)
    words = usual if asking.attack is None else [part for word in asking.attack for part in word.split(",") if part]
    names = list(dict.fromkeys(name for word in words for name in _meant(word, asking.access, kind)))
    if not names:
        raise InputError("no attack is named: give --attack some of those that `diffaudit attacks` lists.")
    for name in names:
        needed = ENTRIES[name].access
        if ACCESS.index(needed) < ACCESS.index(asking.access):
            raise InputError(f"{name} needs {needed} access, and with --access {asking.access} there is less.")
    return tuple(names)


def _meant(word: str, access: AccessName, kind: str) -> list[str]:
    kinds = {f"all-{kind}": kind for kind in ACCESS}
    if word == "all":
        found = [name for name, entry in ENTRIES.items() if ACCESS.index(entry.access) >= ACCESS.index(access)]
    elif word in kinds:
        found = [name for name, entry in ENTRIES.items() if entry.access == kinds[word]]
    else:
        return [known("attack", word, [*ENTRIES, "all", *kinds])]
    # Of a VAE or a table no attack is gray-box: those that there are say what is wrong.
    return [name for name in found if ENTRIES[name].of in ASKED[kind]] or found


def kind_of(target: Target | None) -> str:
    """Returns what a target is to the catalogue, a key of `ASKED`; None is a diffusion model of images."""
    if target is not None and target.bound is not None:
        return "vae"
    return "table" if target is not None and target.noising is not None else "images"


ASKED = {"images": ("any", "diffusion", "images"), "table": ("any", "diffusion", "table"), "vae": ("any", "vae")}
"""Kind of model -> which entries ask about it."""


def check_answered(names: tuple[str, ...], target: Target) -> None:
    """Refuses attacks that this kind of model cannot answer.

    Raises:
      InputError: if one is.
    """
    for name in names:
        of, kind = ENTRIES[name].of, kind_of(target)
        if kind == "table" and of not in ASKED[kind]:
            raise InputError(
                f"{name} follows Gaussian noise, and a table's categories are noised otherwise: leave it out."
                if of == "images"
                else f"{name} asks the encoder of a VAE, and this model has none: leave it out."
            )
        if of == "table" and kind != "table":
            raise InputError(f"{name} asks about columns of a table, and this model is of images: leave it out.")
        if of == "vae" and target.bound is None:
            raise InputError(f"{name} asks the encoder of a VAE, and this model has none: leave it out.")
        asks = of in ("diffusion", "images") and kind != "table"
        if asks and target.process is None and "images" not in target.config:
            other = "" if target.bound is None else "--attack elbo or "
            raise InputError(
                f"{name} asks a diffusion model, and this one only draws images: give {other}--access black."
            )


def _scoring(setting: Setting) -> dict[str, Any]:
    return {"statistic": setting.asking.statistic, "truncate": truncated(setting), "by": setting.asking.by}


def _noise(setting: Setting) -> dict[str, Any]:
    return {"num_noises": setting.asking.noises, "noise_key": setting.key}


def _loss(loss: Loss, setting: Setting) -> Attack:
    options = {"clip": setting.asking.clip, "variance": setting.variance, **_noise(setting), **_scoring(setting)}
    return attacks.loss_trajectory(grid(setting), loss=loss, **options)


def _gsa(aggregate: Aggregate, setting: Setting) -> Attack:
    return attacks.gradient_norms(own(setting, np.arange(1, 11) / 10), aggregate=aggregate, **_noise(setting))


def _likelihood(setting: Setting) -> Attack:
    process = process_of(setting)
    times = edm_grid(process, 25, least=float(process.noise_level(jnp.float32(1 / process.steps))))
    return attacks.likelihood(np.sort(times[times > 0]), probe_key=setting.key)


def _elbo(setting: Setting) -> Attack:
    asking = setting.asking
    truncate = asking.truncate if asking.by == "value" else None
    return elbo(asking.draws, statistic=asking.statistic, truncate=truncate, noise_key=setting.key)


def _x0_api(setting: Setting) -> Attack:
    return attacks.x0_trajectory(grid(setting), clip=setting.asking.clip, **_noise(setting), **_scoring(setting))


def _secmi(setting: Setting) -> Attack:
    return attacks.step_error(own(setting, PUBLISHED))


def _pia(normalised: bool, setting: Setting) -> Attack:
    return attacks.proximal([nearest(setting, 0.201)], first=nearest(setting, 0.001), normalised=normalised)


def _sima(setting: Setting) -> Attack:
    return attacks.clean_query([nearest(setting, 0.101)])


def _pfami(setting: Setting) -> Attack:
    return attacks.fluctuation(own(setting, PUBLISHED_TIMES), **_noise(setting))


def _rediffuse(setting: Setting) -> Attack:
    t, steps = nearest(setting, 0.2), process_of(setting).num_steps
    # A coarse schedule has fewer steps from there to clean data than the ten of a service on a fine one.
    num_steps = 10 if steps is None else min(10, round(t * steps))
    return attacks.variation(t, num_steps=num_steps, clip=setting.asking.clip)


def _nearest(k: int, setting: Setting) -> Attack:
    assert setting.bank is not None, "a bank is drawn before black-box attacks are made"
    columns = setting.num_numeric
    return attacks.nearest(setting.bank, k=k, features=None if columns is None else attacks.mixed_distance(columns))


def _surrogate(setting: Setting) -> Attack:
    surrogate = setting.surrogate
    assert surrogate is not None, "a surrogate is trained before it is asked"
    diffusion = surrogate.diffusion
    assert diffusion is not None
    inner = _loss("eps", setting._replace(process=diffusion.schedule, variance=surrogate.variance))
    return attacks.by_surrogate(inner, surrogate)


ENTRIES: Mapping[str, Entry] = {
    "eps-loss": Entry(
        "white", "trajectory", partial(_loss, "eps"), "error of the predicted noise, over a grid of times"
    ),
    "x0-loss": Entry("white", "trajectory", partial(_loss, "x0"), "error of the predicted clean image"),
    "vlb-loss": Entry("white", "trajectory", partial(_loss, "vlb"), "terms of the variational bound"),
    "numeric-loss": Entry(
        "white", "trajectory", partial(_loss, "numeric"), "of a table, the part of eps-loss of its numbers", of="table"
    ),
    "categorical-loss": Entry(
        "white", "trajectory", partial(_loss, "categorical"), "of a table, the part of its categories", of="table"
    ),
    "gsa1": Entry("white", "gsa1", partial(_gsa, "loss"), "gradient of the mean loss, a norm per tensor of weights"),
    "gsa2": Entry("white", "gsa2", partial(_gsa, "gradient"), "gradient of each time's loss, norms averaged"),
    "likelihood": Entry("white", "likelihood", _likelihood, "log density along the probability-flow ODE", of="images"),
    "elbo": Entry("white", "elbo", _elbo, "bound of a VAE, over draws of its code", of="vae"),
    "x0-api": Entry("gray", "x0-api", _x0_api, "error of the clean image that a service shows", of="images"),
    "secmi": Entry("gray", "secmi", _secmi, "error of one DDIM step up in noise and back", of="images"),
    "pia": Entry(
        "gray", "pia", partial(_pia, False), "change of the noise estimate when it is what is added", of="images"
    ),
    "pian": Entry(
        "gray", "pian", partial(_pia, True), "the same, of an estimate scaled to the size of noise", of="images"
    ),
    "sima": Entry("gray", "sima", _sima, "noise seen in the query itself", of="images"),
    "pfami": Entry("gray", "pfami", _pfami, "rise of the loss when the query is cropped", of="images"),
    "rediffuse": Entry("variation", "rediffuse", _rediffuse, "distance to the mean of variations", of="images"),
    "nearest": Entry("black", "nearest", partial(_nearest, 1), "distance to the nearest generated image", of="any"),
    "nearest-5": Entry("black", "nearest-5", partial(_nearest, 5), "mean distance to the five nearest", of="any"),
    "surrogate": Entry("black", "surrogate", _surrogate, "eps-loss of a model trained on generated images", of="any"),
}
"""What `--attack` and `diffaudit attacks` know."""

USUAL = ("eps-loss", "x0-loss", "vlb-loss")
"""White-box attacks that are made of a diffusion model if none is named: they share one pass."""
