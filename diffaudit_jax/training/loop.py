"""fit: from members to a target, resumable from a run directory."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.data import Pool
from diffaudit_jax.models import Model, from_linen, precondition
from diffaudit_jax.process import Process
from diffaudit_jax.training.batches import Poisson
from diffaudit_jax.training.checkpoints import Checkpoints, claim, read_config
from diffaudit_jax.training.dpsgd import Privacy, PrivateInfo, make_private_step
from diffaudit_jax.training.kept import Kept
from diffaudit_jax.training.mechanism import check_separable
from diffaudit_jax.training.run import Run, ledger_of, run_of
from diffaudit_jax.training.secret import forget, secret_key
from diffaudit_jax.training.state import Data, Recipe, TrainInfo, TrainState, example_loss, init_state, make_step
from diffaudit_jax.types import InputError, Key

Info: TypeAlias = TrainInfo | PrivateInfo
Progress = Callable[[int, int, Info], None]


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
    data = _resident(model, members)
    config = {
        "model": dict(model.config),
        "process": dict(process.config),
        "recipe": asdict(recipe),
        "members": members.fingerprint(),
        **(_public(key) if privacy is None else _private(privacy, recipe, len(members), key is not None)),
        **(record or {}),
    }
    if out is not None:
        claim(Path(out), config)
    if key is None:
        key = secret_key(None if out is None else Path(out))
    network = from_linen(model, process)
    # Initial weights run once and compile slowly on CPU: four times faster without optimisation, equal to rounding.
    init = partial(init_state, network=network, recipe=recipe)
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    state = jax.jit(init, compiler_options=quick)(key)
    if out is None:
        state = _train(state, data, network, model, process, recipe, privacy, None, progress)
        return run_of(state, model, process, recipe, config)
    before = read_config(Path(out)).get("spent")
    checkpoints = Checkpoints(Path(out))
    try:
        latest = checkpoints.latest()
        if latest is not None and latest > recipe.num_steps:
            raise InputError(f"{out} has been trained {latest} steps already: ask for at least as many.")
        if latest is not None:
            restored = checkpoints.restore(state)
            state = restored if privacy is None else restored._replace(key=state.key)
        kept = Kept(Path(out), config, privacy is not None, checkpoints, checkpoint_every)
        kept.begin(state, before)
        state = _train(state, data, network, model, process, recipe, privacy, kept, progress)
        if checkpoints.latest() is None:
            kept.save(state)  # no step was asked for: the untrained network
    finally:
        checkpoints.close()
    if privacy is not None:
        forget(Path(out))
    return run_of(state, model, process, recipe, config)


def _public(key: Key | None) -> dict[str, Any]:
    if key is None:
        raise InputError("training needs a key: give jax.random.key(seed). Only a private run draws its own.")
    return {"key": np.asarray(jax.random.key_data(key)).tolist()}


def _private(privacy: Privacy, recipe: Recipe, num_examples: int, key_given: bool) -> dict[str, Any]:
    Poisson(num_examples, recipe.batch_size, privacy.truncated_batch_size)  # for its errors, and for the ledger's
    if privacy.noise_multiplier:
        ledger_of(privacy, recipe, num_examples, max(recipe.num_steps, 1), key_given=key_given)
    return {"key": None, "privacy": {**asdict(privacy), "num_examples": num_examples, "key_given": key_given}}


def _train(
    state: TrainState,
    data: Data,
    network: Any,
    model: Model,
    process: Process,
    recipe: Recipe,
    privacy: Privacy | None,
    kept: Kept | None,
    progress: Progress | None,
) -> TrainState:
    loss = example_loss(
        network,
        process,
        recipe,
        null_label=model.num_classes if model.null_class else None,
        learn_sigma=model.learn_sigma,
        weight=partial(precondition.weight, model.predicts, process),
    )
    if privacy is None:
        advance = _advance(make_step(loss, recipe), jax.jit)
    else:
        check_separable(jax.random.key(0), loss, state.params, data)
        advance = _advance(make_private_step(loss, recipe, privacy), None)

    step, started = int(state.step), time.monotonic()
    every = recipe.num_steps if kept is None else kept.every
    while step < recipe.num_steps:
        stop = min(step - step % _CHUNK + _CHUNK, recipe.num_steps, step - step % every + every)
        state, info = advance(state, data, stop - step)
        step = stop
        _check_finite(step, state, info, recipe, privacy)
        if progress is not None:
            progress(step, recipe.num_steps, info)
        if kept is not None:
            kept.log(step, float(info.loss), float(info.grad_norm), time.monotonic() - started)
            if step % every == 0 or step == recipe.num_steps:
                kept.save(state)
    return state


def _check_finite(step: int, state: TrainState, info: Info, recipe: Recipe, privacy: Privacy | None) -> None:
    if privacy is not None:  # by its weights: whether there is a model must not hang on one image's loss
        if all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params)):
            return
        raise InputError(
            f"training diverged: at step {step} the weights are not finite; lower learning_rate "
            f"({recipe.learning_rate})."
        )
    # The gradient too: a loss is taken before its update and may be the last finite one.
    if not bool(jnp.isfinite(info.loss) & jnp.isfinite(info.grad_norm)):
        raise InputError(
            f"training diverged: at step {step} the loss is {float(info.loss)} and the gradient's norm "
            f"{float(info.grad_norm)}; lower learning_rate ({recipe.learning_rate}) or clip_norm ({recipe.clip_norm})."
        )


_CHUNK = 20


def _advance(step: Callable, compiled: Callable | None) -> Callable[[TrainState, Data, int], tuple[TrainState, Info]]:
    """Runs several steps: one program on accelerators, one program per step on CPU, or as many as a step brings along.

    On CPU, XLA computes a convolution's weight gradient inside a loop about 100 times slower than outside.
    """
    if jax.default_backend() == "cpu":
        one = step if compiled is None else compiled(step, donate_argnums=0)

        def unrolled(state: TrainState, data: Data, count: int) -> tuple[TrainState, Info]:
            info = None
            for _ in range(count):
                state, info = one(state, data)
            assert info is not None
            return state, info

        return unrolled

    def scanned(state: TrainState, data: Data, count: int) -> tuple[TrainState, Info]:
        state, infos = jax.lax.scan(lambda carry, _: step(carry, data), state, length=count)
        return state, jax.tree.map(lambda leaf: leaf[-1], infos)

    return jax.jit(scanned, static_argnums=2, donate_argnums=0)


def _resident(model: Model, members: Pool) -> Data:
    if not len(members):
        raise InputError("there are no members to train on: the pool is empty.")
    if tuple(members.x.shape[1:]) != tuple(model.shape):
        raise InputError(f"images of shape {members.x.shape[1:]} do not fit a model for {model.shape}.")
    if model.num_classes is None:
        return Data(jnp.asarray(members.x), None)
    if members.labels is None:
        raise InputError("a class-conditional model needs labels, and these members have none: set num_classes=None.")
    for label in (int(members.labels.min()), int(members.labels.max())):
        if not 0 <= label < model.num_classes:
            raise InputError(f"label {label} does not fit a model of {model.num_classes} classes, 0 and up.")
    return Data(jnp.asarray(members.x), jnp.asarray(members.labels))
