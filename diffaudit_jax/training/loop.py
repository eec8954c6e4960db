"""fit: from members to a target, resumable from a run directory."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from diffaudit_jax.data import Pool
from diffaudit_jax.models import Model, from_linen, precondition
from diffaudit_jax.process import Process
from diffaudit_jax.training.dpsgd import Privacy
from diffaudit_jax.training.run import Run, run_of
from diffaudit_jax.training.state import Recipe, example_loss, init_state
from diffaudit_jax.training.steps import Progress
from diffaudit_jax.training.trainee import Trainee, fitted
from diffaudit_jax.types import Key


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
    return fitted(
        images(model, process, Recipe() if recipe is None else recipe),
        key,
        members,
        privacy=privacy,
        out=out,
        record=record,
        checkpoint_every=checkpoint_every,
        progress=progress,
    )


def images(model: Model, process: Process, recipe: Recipe) -> Trainee:
    """Returns a model of images as what is trained."""
    network = from_linen(model, process)
    loss = example_loss(
        network,
        process,
        recipe,
        null_label=model.num_classes if model.null_class else None,
        learn_sigma=model.learn_sigma,
        weight=partial(precondition.weight, model.predicts, process),
    )
    return Trainee(
        model,
        recipe,
        {"model": dict(model.config), "process": dict(process.config)},
        partial(init_state, network=network, recipe=recipe),
        loss,
        lambda state, config: run_of(state, model, process, recipe, config),
    )
