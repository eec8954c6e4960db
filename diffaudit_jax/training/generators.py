"""fit_vae and fit_gan: from members to a model that draws an image in one step, resumable as `fit` is."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffaudit_jax.data import Pool
from diffaudit_jax.models.gan import Gan
from diffaudit_jax.models.vae import Vae
from diffaudit_jax.training.adversarial import GanRecipe, init_gan_state, make_gan_step
from diffaudit_jax.training.checkpoints import claim
from diffaudit_jax.training.run import Run, generator_run
from diffaudit_jax.training.state import Recipe, init_state, make_step
from diffaudit_jax.training.steps import Progress, advancing, compiled_quickly, trained
from diffaudit_jax.training.trainee import public, resident
from diffaudit_jax.types import Example, InputError, Key, Params, to_signed


def fit_vae(
    key: Key,
    vae: Vae,
    members: Pool,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> Run:
    """Trains a VAE on the members: minimises reconstruction + kl at one draw of the code, per dimension.

    A run killed at any moment and started again with the same arguments ends with the parameters of one never killed.

    Args:
      key: Typed key: initial weights and all of training.
      vae: Architecture, e.g. ``models.generators.generator("vae", (28, 28, 1))``.
      members: Training images (and labels, used if the model is class-conditional).
      recipe: Steps, batch, learning rate, average, flip; default `Recipe()`.
      out: Run directory for checkpoints and log; None keeps everything in memory.
      record: Further JSON for run.json, e.g. where the data came from.
      checkpoint_every: Steps between checkpoints; the last step always has one.
      progress: Called with (step, num_steps, info) every few steps.

    Returns:
      The run; `run.target` is what to audit.

    Raises:
      InputError: if the members do not fit the model, the loss is no longer finite, or `out` holds another run.
    """
    recipe = Recipe() if recipe is None else recipe

    def loss(params: Params, key: Key, x: Example, label: Array | None) -> Float[Array, ""]:
        key_draw, key_flip = jax.random.split(key)
        x = to_signed(x)
        if recipe.flip:
            x = jnp.where(jax.random.bernoulli(key_flip), x[:, ::-1], x)
        terms = vae.terms(params, key_draw, x, label)
        return (terms.reconstruction + terms.kl) / x.size

    init = partial(init_state, network=vae, recipe=recipe)
    make = lambda: advancing(make_step(loss, recipe), jax.jit)  # noqa: E731
    return _fit(key, vae, members, recipe, init, make, out, record, checkpoint_every, progress)


def fit_gan(
    key: Key,
    gan: Gan,
    members: Pool,
    recipe: GanRecipe | None = None,
    *,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> Run:
    """Trains a GAN on the members, by hinge losses and with a critic of spectral norm 1; resumable as `fit_vae` is.

    Args:
      key: Typed key: initial weights and all of training.
      gan: Networks, e.g. ``models.generators.generator("gan", (28, 28, 1))``.
      members: Training images (and labels, used if the model is class-conditional).
      recipe: Steps of the generator, batch, learning rate, average, ...; default `GanRecipe()`.
      out: As in `fit_vae`.
      record: As in `fit_vae`.
      checkpoint_every: As in `fit_vae`.
      progress: As in `fit_vae`; the loss is the critic's.

    Returns:
      The run; `run.target` has the generator alone.

    Raises:
      InputError: as `fit_vae`.
    """
    recipe = GanRecipe() if recipe is None else recipe
    init = partial(init_gan_state, gan=gan, recipe=recipe)
    make = lambda: advancing(make_gan_step(gan, recipe), None)  # noqa: E731
    return _fit(key, gan, members, recipe, init, make, out, record, checkpoint_every, progress)


def _fit(
    key: Key,
    model: Vae | Gan,
    members: Pool,
    recipe: Recipe,
    init: Callable[[Key], Any],
    make: Callable[[], Any],
    out: str | os.PathLike | None,
    record: Mapping[str, Any] | None,
    checkpoint_every: int,
    progress: Progress | None,
) -> Run:
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}.")
    data = resident(model, members)
    config = {
        "model": dict(model.config),
        "recipe": asdict(recipe),
        "members": members.fingerprint(),
        **public(key),
        **(record or {}),
    }
    if out is not None:
        claim(Path(out), config)
    state = compiled_quickly(init, key)
    state = trained(state, data, make(), recipe, config, out, every=checkpoint_every, progress=progress)
    return generator_run(state, model, recipe, config)
