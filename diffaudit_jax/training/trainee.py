"""What is trained, and its training: the body that `fit` and `fit_table` share."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.data import Pool
from diffaudit_jax.models import Model
from diffaudit_jax.models.gan import Gan
from diffaudit_jax.models.tabular import TabDdpm
from diffaudit_jax.models.vae import Vae
from diffaudit_jax.training.batches import Poisson
from diffaudit_jax.training.checkpoints import claim
from diffaudit_jax.training.dpsgd import Privacy, make_private_step
from diffaudit_jax.training.mechanism import check_separable
from diffaudit_jax.training.run import Run, ledger_of
from diffaudit_jax.training.secret import secret_key
from diffaudit_jax.training.state import Data, Recipe, TrainState, make_step
from diffaudit_jax.training.steps import Advance, Progress, advancing, compiled_quickly, trained
from diffaudit_jax.types import InputError, Key, Params


class Trainee(NamedTuple):
    """What is trained, and how.

    Attributes:
      model: Architecture.
      recipe: Steps, batch, learning rate, ...
      config: JSON of the model and its noising, for run.json.
      init: ``init(key) -> TrainState`` before the first step.
      loss: Loss of one example, ``loss(params, key, x, label)``.
      run: ``run(state, config) -> Run``.
    """

    model: Model | TabDdpm
    recipe: Recipe
    config: Mapping[str, Any]
    init: Callable[[Key], TrainState]
    loss: Callable[..., Any]
    run: Callable[[TrainState, Mapping[str, Any]], Run]


def fitted(
    trainee: Trainee,
    key: Key | None,
    members: Pool,
    *,
    privacy: Privacy | None,
    out: str | os.PathLike | None,
    record: Mapping[str, Any] | None,
    checkpoint_every: int,
    progress: Progress | None,
) -> Run:
    """Trains it, from where its run directory stands; arguments and errors are those of `fit`."""
    check_interval(checkpoint_every)
    data = resident(trainee.model, members)
    config = config_of(trainee, key, members, privacy, record)
    if out is not None:
        claim(Path(out), config)
    state = compiled_quickly(trainee.init, keyed(key, out))
    advance = advanced(trainee.loss, state.params, data, trainee.recipe, privacy)
    state = trained(
        state, data, advance, trainee.recipe, config, out, privacy=privacy, every=checkpoint_every, progress=progress
    )
    return trainee.run(state, config)


def check_interval(checkpoint_every: int) -> None:
    """Refuses checkpoints that lie no step apart."""
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, got {checkpoint_every}.")


def config_of(
    trainee: Trainee, key: Key | None, members: Pool, privacy: Privacy | None, record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns what run.json holds of a training.

    Raises:
      InputError: if a plain training has no key, or no accountant could bound a private one.
    """
    return {
        **trainee.config,
        "recipe": asdict(trainee.recipe),
        "members": members.fingerprint(),
        **private_config(key, privacy, trainee.recipe, len(members)),
        **(record or {}),
    }


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
