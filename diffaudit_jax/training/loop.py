"""fit: from members to a target, resumable from a run directory."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.data import Pool
from diffaudit_jax.models import Model, from_linen, precondition
from diffaudit_jax.models.gan import Gan
from diffaudit_jax.models.tabular import TabDdpm
from diffaudit_jax.models.vae import Vae
from diffaudit_jax.process import Process
from diffaudit_jax.training.batches import Poisson
from diffaudit_jax.training.checkpoints import claim
from diffaudit_jax.training.dpsgd import Privacy, make_private_step
from diffaudit_jax.training.mechanism import check_separable
from diffaudit_jax.training.run import Run, ledger_of, run_of
from diffaudit_jax.training.secret import secret_key
from diffaudit_jax.training.state import Data, Recipe, example_loss, init_state, make_step
from diffaudit_jax.training.steps import Advance, Progress, advancing, compiled_quickly, trained
from diffaudit_jax.types import InputError, Key, Params


def fit(
    key: Key | None,
    model: Model,
    process: Process,
    members: Pool,
    recipe: Recipe | None = None,
    *,
    privacy: Privacy | None = None,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> Run:
    """Trains a model on the members.

    A run killed at any moment and started again with the same arguments ends with the parameters of one never
    killed: every step's randomness comes from the key and the step number.

    Args:
      key: Typed key: initial weights and all of training. None for a private run, whose key is then drawn from the
        operating system's entropy and kept in the file secret.key of `out` until the run is done. Whoever guesses a key
        that is given, the one of a small seed say, can subtract the noise: the guarantee then says that it was given.
      model: Architecture, e.g. ``models.unet((28, 28, 1))``.
      process: Noising process.
      members: Training images (and labels, used if the model is class-conditional).
      recipe: Steps, batch, learning rate, EMA, ...; default `Recipe()`.
      privacy: How training is made private (DP-SGD); None for plain training. `Run.ledger` says what was done. The log
        then holds no losses: they carry no noise.
      out: Run directory for checkpoints and log; None keeps everything in memory.
      record: Further JSON for run.json, e.g. where the data came from. If it has a "family", one of `models.FAMILIES`,
        the target draws its samples by that family's sampler, else by DDIM.
      checkpoint_every: Steps between checkpoints; the last step always has one.
      progress: Called with (step, num_steps, info) every few steps.

    Returns:
      The run; `run.target` is what to audit.

    Raises:
      InputError: if the members do not fit the model, the loss is no longer finite, `out` holds another run, or a
        private run is asked for that no accountant or no clipping could bound.
    """
    recipe = Recipe() if recipe is None else recipe
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}.")
    data = resident(model, members)
    config = {
        "model": dict(model.config),
        "process": dict(process.config),
        "recipe": asdict(recipe),
        "members": members.fingerprint(),
        **private_config(key, privacy, recipe, len(members)),
        **(record or {}),
    }
    if out is not None:
        claim(Path(out), config)
    key = keyed(key, out)
    network = from_linen(model, process)
    state = compiled_quickly(partial(init_state, network=network, recipe=recipe), key)
    loss = example_loss(
        network,
        process,
        recipe,
        null_label=model.num_classes if model.null_class else None,
        learn_sigma=model.learn_sigma,
        weight=partial(precondition.weight, model.predicts, process),
    )
    advance = advanced(loss, state.params, data, recipe, privacy)
    state = trained(
        state, data, advance, recipe, config, out, privacy=privacy, every=checkpoint_every, progress=progress
    )
    return run_of(state, model, process, recipe, config)


def advanced(loss: Any, params: Params, data: Data, recipe: Recipe, privacy: Privacy | None) -> Advance:
    """Returns what takes steps down a loss of one example, privately if asked to.

    Raises:
      InputError: if it is to be private, and the loss reads other examples.
    """
    if privacy is None:
        return advancing(make_step(loss, recipe), jax.jit)
    check_separable(jax.random.key(0), loss, params, data)
    return advancing(make_private_step(loss, recipe, privacy), None)


def keyed(key: Key | None, out: str | os.PathLike | None) -> Key:
    """Returns the key of a training, of a private one that was given none from the operating system's entropy."""
    return secret_key(None if out is None else Path(out)) if key is None else key


def private_config(key: Key | None, privacy: Privacy | None, recipe: Recipe, num_examples: int) -> dict[str, Any]:
    """Returns what run.json holds of a training's key and privacy.

    Raises:
      InputError: if a plain training has no key, or no accountant could bound a private one.
    """
    return public(key) if privacy is None else _private(privacy, recipe, num_examples, key is not None)


def public(key: Key | None) -> dict[str, Any]:
    """Returns what run.json holds of a key that is no secret."""
    if key is None:
        raise InputError("training needs a key: give jax.random.key(seed). Only a private run draws its own.")
    return {"key": np.asarray(jax.random.key_data(key)).tolist()}


def _private(privacy: Privacy, recipe: Recipe, num_examples: int, key_given: bool) -> dict[str, Any]:
    Poisson(num_examples, recipe.batch_size, privacy.truncated_batch_size)  # for its errors, and for the ledger's
    if privacy.noise_multiplier:
        ledger_of(privacy, recipe, num_examples, max(recipe.num_steps, 1), key_given=key_given)
    return {"key": None, "privacy": {**asdict(privacy), "num_examples": num_examples, "key_given": key_given}}


def resident(model: Model | Vae | Gan | TabDdpm, members: Pool) -> Data:
    """Returns the members on the device.

    Raises:
      InputError: if there are none, or they do not fit the model.
    """
    if not len(members):
        raise InputError("there are no members to train on: the pool is empty.")
    if tuple(members.x.shape[1:]) != tuple(model.shape):
        raise InputError(f"members of shape {members.x.shape[1:]} do not fit a model for {model.shape}.")
    if model.num_classes is None:
        return Data(jnp.asarray(members.x), None)
    if members.labels is None:
        raise InputError("a class-conditional model needs labels, and these members have none: set num_classes=None.")
    for label in (int(members.labels.min()), int(members.labels.max())):
        if not 0 <= label < model.num_classes:
            raise InputError(f"label {label} does not fit a model of {model.num_classes} classes, 0 and up.")
    return Data(jnp.asarray(members.x), jnp.asarray(members.labels))
