"""fit: from members to a target, resumable from a run directory."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.data import Pool
from diffaudit_jax.models import FAMILIES, Model, from_linen, in_float32, precondition
from diffaudit_jax.models import from_config as model_from_config
from diffaudit_jax.process import Process
from diffaudit_jax.process import from_config as process_from_config
from diffaudit_jax.sampler.catalogue import check_sampler, usual_steps
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.training.checkpoints import Checkpoints, claim, read_config, write_config
from diffaudit_jax.training.state import Data, Recipe, TrainInfo, TrainState, example_loss, init_state, make_step
from diffaudit_jax.types import InputError, Key

Progress = Callable[[int, int, TrainInfo], None]


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model.

    Attributes:
      target: The model to audit: averaged weights (the last ones if there is no EMA), computed in float32.
      state: Final training state.
      model: Its architecture.
      process: Its noising process.
      recipe: How it was trained.
      config: JSON of the above and of what the caller recorded.
    """

    target: Target
    state: TrainState
    model: Model
    process: Process
    recipe: Recipe
    config: Mapping[str, Any]


def fit(
    key: Key,
    model: Model,
    process: Process,
    members: Pool,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    progress: Progress | None = None,
) -> Run:
    """Trains a model on the members.

    A run killed at any moment and started again with the same arguments ends with the parameters of one never
    killed: every step's randomness comes from the key and the step number.

    Args:
      key: Typed key: initial weights and all of training.
      model: Architecture, e.g. ``models.unet((28, 28, 1))``.
      process: Noising process.
      members: Training images (and labels, used if the model is class-conditional).
      recipe: Steps, batch, learning rate, EMA, ...; default `Recipe()`.
      out: Run directory for checkpoints and log; None keeps everything in memory.
      record: Further JSON for run.json, e.g. where the data came from. If it has a "family", one of `models.FAMILIES`,
        the target draws its samples by that family's sampler, else by DDIM.
      checkpoint_every: Steps between checkpoints; the last step always has one.
      progress: Called with (step, num_steps, info) every few steps.

    Returns:
      The run; `run.target` is what to audit.

    Raises:
      InputError: if the members do not fit the model, the loss is no longer finite, or `out` holds another run.
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
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        **(record or {}),
    }
    network = from_linen(model, process)
    # Initial weights run once and compile slowly on CPU: four times faster without optimisation, equal to rounding.
    init = partial(init_state, network=network, recipe=recipe)
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    state = jax.jit(init, compiler_options=quick)(key)
    if out is None:
        state = _train(state, data, network, model, process, recipe, None, checkpoint_every, progress)
        return _run(state, model, process, recipe, config)
    claim(Path(out), config)
    checkpoints = Checkpoints(Path(out))
    try:
        latest = checkpoints.latest()
        if latest is not None and latest > recipe.num_steps:
            raise InputError(f"{out} has been trained {latest} steps already: ask for at least as many.")
        write_config(Path(out), config)  # a run may be given more steps than it was begun with
        if latest is not None:
            state = checkpoints.restore(state)
        state = _train(state, data, network, model, process, recipe, checkpoints, checkpoint_every, progress)
    finally:
        checkpoints.close()
    return _run(state, model, process, recipe, config)


def load_run(directory: str | os.PathLike) -> Run:
    """Loads a finished (or interrupted) run from its directory.

    Raises:
      InputError: if there is no run, no checkpoint, or the checkpoint is damaged or of another architecture.
    """
    config = read_config(Path(directory))
    try:
        model, process = model_from_config(config["model"]), process_from_config(config["process"])
        recipe = Recipe(**config["recipe"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{directory}/run.json is of another version or damaged ({error}): restore it, or train again."
        ) from error
    like = jax.eval_shape(lambda: init_state(jax.random.key(0), from_linen(model, process), recipe))
    checkpoints = Checkpoints(Path(directory))
    try:
        state = checkpoints.restore(like)
    finally:
        checkpoints.close()
    return _run(state, model, process, recipe, config)


def _train(
    state: TrainState,
    data: Data,
    network: Any,
    model: Model,
    process: Process,
    recipe: Recipe,
    checkpoints: Checkpoints | None,
    checkpoint_every: int,
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
    advance = _advance(make_step(loss, recipe))
    step, started = int(state.step), time.monotonic()
    while step < recipe.num_steps:
        stop = min(step - step % _CHUNK + _CHUNK, recipe.num_steps, step - step % checkpoint_every + checkpoint_every)
        state, info = advance(state, data, stop - step)
        step = stop
        # The gradient too: a loss is taken before its update and may be the last finite one.
        if not bool(jnp.isfinite(info.loss) & jnp.isfinite(info.grad_norm)):
            raise InputError(
                f"training diverged: at step {step} the loss is {float(info.loss)} and the gradient's norm "
                f"{float(info.grad_norm)}; lower learning_rate ({recipe.learning_rate}) or clip_norm "
                f"({recipe.clip_norm})."
            )
        if progress is not None:
            progress(step, recipe.num_steps, info)
        if checkpoints is not None:
            _log(checkpoints.directory, step, info, time.monotonic() - started)
            if step % checkpoint_every == 0 or step == recipe.num_steps:
                checkpoints.save(state)
    if checkpoints is not None and checkpoints.latest() is None:
        checkpoints.save(state)  # no step was asked for: the untrained network
    return state


_CHUNK = 20


def _advance(step: Callable) -> Callable[[TrainState, Data, int], tuple[TrainState, TrainInfo]]:
    """Runs several steps: one program on accelerators, one program per step on CPU.

    On CPU, XLA computes a convolution's weight gradient inside a loop about 100 times slower than outside.
    """
    if jax.default_backend() == "cpu":
        one = jax.jit(step, donate_argnums=0)

        def unrolled(state: TrainState, data: Data, count: int) -> tuple[TrainState, TrainInfo]:
            info = None
            for _ in range(count):
                state, info = one(state, data)
            assert info is not None
            return state, info

        return unrolled

    def scanned(state: TrainState, data: Data, count: int) -> tuple[TrainState, TrainInfo]:
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


def _run(state: TrainState, model: Model, process: Process, recipe: Recipe, config: Mapping[str, Any]) -> Run:
    params = state.ema if recipe.ema_decay else state.params
    network = from_linen(in_float32(model), process)
    variance = "learned" if model.learn_sigma else "fixed_small"
    sampler = _sampler(str(config.get("family")), process)
    target = diffusion_target(
        params,
        network,
        process,
        model.shape,
        num_classes=model.num_classes,
        variance=variance,
        sampler=sampler,
        sample_steps=usual_steps(sampler, process),
    )
    return Run(target, state, model, process, recipe, config)


def _sampler(family: str, process: Process) -> str:
    """Returns the family's own sampler, or DDIM if there is no family or its own refuses the process chosen for it."""
    if family not in FAMILIES:
        return "ddim"
    own = FAMILIES[family].sampler
    try:
        check_sampler(own, process, usual_steps(own, process))
    except InputError:
        return "ddim"
    return own


def _log(directory: Path, step: int, info: TrainInfo, seconds: float) -> None:
    row = {"step": step, "loss": float(info.loss), "grad_norm": float(info.grad_norm), "seconds": round(seconds, 3)}
    with open(directory / "log.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
