"""fit_table: from the records of a table to a TabDDPM, resumable and private as `fit` is."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from diffaudit_jax.data import Pool
from diffaudit_jax.models.tabular import TabDdpm
from diffaudit_jax.training.dpsgd import Privacy
from diffaudit_jax.training.run import Run, table_run
from diffaudit_jax.training.state import Recipe, init_state
from diffaudit_jax.training.steps import Progress
from diffaudit_jax.training.trainee import Trainee, fitted
from diffaudit_jax.types import Example, Key, Params


def fit_table(
    key: Key | None,
    model: TabDdpm,
    members: Pool,
    recipe: Recipe | None = None,
    *,
    privacy: Privacy | None = None,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> Run:
    """Trains a TabDDPM on encoded records; minimises `diffusion.table_losses`' eps at a random time.

    Args:
      key: As in `fit`; None for a private run.
      model: Architecture and noising, e.g. ``models.tabddpm(*encoder.layout, num_classes=2)``.
      members: Records, as `data.Encoder` encodes them (and labels, used if the model is class-conditional).
      recipe: Steps, batch, learning rate, average; default `Recipe()`.
      privacy: As in `fit`.
      out: As in `fit`.
      record: Further JSON for run.json; the encoder's config under "encoder" is what samples are decoded by.
      checkpoint_every: As in `fit`.
      progress: As in `fit`.

    Returns:
      The run; `run.target` is what to audit.

    Raises:
      InputError: as `fit`.

    References:
      Kotelnikov et al. 2023, https://arxiv.org/abs/2209.15421
    """
    return fitted(
        records(model, Recipe() if recipe is None else recipe),
        key,
        members,
        privacy=privacy,
        out=out,
        record=record,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )


def records(model: TabDdpm, recipe: Recipe) -> Trainee:
    """Returns a model of a table's records as what is trained."""
    return Trainee(
        model,
        recipe,
        {"model": dict(model.config)},
        partial(init_state, network=model.network, recipe=recipe),
        table_loss(model),
        lambda state, config: table_run(state, model, recipe, config),
    )


def table_loss(model: TabDdpm) -> Callable[[Params, Key, Example, Array | None], Float[Array, ""]]:
    """Makes the training loss of one record: the objective of its noising at a random time."""
    diffusion, network = model.diffusion, model.network

    def loss(params: Params, key: Key, x: Example, label: Array | None) -> Float[Array, ""]:
        key_time, key_noise, key_dropout = jax.random.split(key, 3)
        t, eps = diffusion.schedule.draw(key_time), jax.random.normal(key_noise, x.shape)
        pred = network.apply(params, diffusion.corrupt(x, t, eps), t, label, key=key_dropout)
        return diffusion.objective(pred, x, t, eps)

    return loss
