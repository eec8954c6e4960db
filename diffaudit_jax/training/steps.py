"""Steps taken one after another, from where a run stands to its end: looked at, logged and saved on the way."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from diffaudit_jax.training.checkpoints import Checkpoints, read_config
from diffaudit_jax.training.dpsgd import Privacy, PrivateInfo
from diffaudit_jax.training.kept import Kept
from diffaudit_jax.training.secret import forget
from diffaudit_jax.training.state import Recipe, TrainInfo, TrainState
from diffaudit_jax.types import InputError, Key

Info: TypeAlias = TrainInfo | PrivateInfo
Progress: TypeAlias = Callable[[int, int, Info], None]
Advance: TypeAlias = Callable[[TrainState, Any, int], tuple[TrainState, Info]]


def compiled_quickly(init: Callable[[Key], TrainState], key: Key) -> TrainState:
    """Returns an initial state, run once: on CPU it compiles four times faster unoptimised, equal to rounding."""
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(init, compiler_options=quick)(key)


def trained(
    state: TrainState,
    data: Any,
    advance: Advance,
    recipe: Recipe,
    config: dict[str, Any],
    out: str | os.PathLike | None,
    *,
    privacy: Privacy | None = None,
    every: int,
    progress: Progress | None,
) -> TrainState:
    """Trains a state to the end of its recipe, from where its run directory stands.

    Args:
      state: The state before the first step.
      data: The members, or whatever the step takes in their place.
      advance: Takes several steps.
      recipe: Number of steps.
      config: What run.json holds.
      out: Run directory, claimed already; None keeps everything in memory.
      privacy: How training is made private.
      every: Steps between checkpoints.
      progress: Called with (step, num_steps, info) every few steps.
    """
    if out is None:
        return _train(state, data, advance, recipe, privacy, None, progress)
    before = read_config(Path(out)).get("spent")
    checkpoints = Checkpoints(Path(out))
    try:
        latest = checkpoints.latest()
        if latest is not None and latest > recipe.num_steps:
            raise InputError(f"{out} has been trained {latest} steps already: ask for at least as many.")
        if latest is not None:
            restored = checkpoints.restore(state)
            state = restored if privacy is None else restored._replace(key=state.key)
        kept = Kept(Path(out), config, privacy is not None, checkpoints, every)
        kept.begin(state, before)
        state = _train(state, data, advance, recipe, privacy, kept, progress)
        if checkpoints.latest() is None:
            kept.save(state)  # no step was asked for: the untrained network
    finally:
        checkpoints.close()
    if privacy is not None:
        forget(Path(out))
    return state


def _train(
    state: TrainState,
    data: Any,
    advance: Advance,
    recipe: Recipe,
    privacy: Privacy | None,
    kept: Kept | None,
    progress: Progress | None,
) -> TrainState:
    step, started = int(state.step), time.monotonic()
    while step < recipe.num_steps:
        stop = next_stop(step, recipe, None if kept is None else kept.every)
        state, info = advance(state, data, stop - step)
        step = stop
        check_finite(step, state, info, recipe, privacy)
        if progress is not None:
            progress(step, recipe.num_steps, info)
        if kept is not None:
            kept.log(step, float(info.loss), float(info.grad_norm), time.monotonic() - started)
            if step % kept.every == 0 or step == recipe.num_steps:
                kept.save(state)
    return state


def next_stop(step: int, recipe: Recipe, every: int | None) -> int:
    """Returns the step at which to look up next: to show how it goes, to save (every so many steps), or to end."""
    every = recipe.num_steps if every is None else every
    return min(step - step % _CHUNK + _CHUNK, recipe.num_steps, step - step % every + every)


def check_finite(step: int, state: TrainState, info: Info, recipe: Recipe, privacy: Privacy | None) -> None:
    """Refuses to go on with a training that diverged."""
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


def advancing(step: Callable, compiled: Callable | None) -> Advance:
    """Runs several steps: one program on accelerators, one program per step on CPU, or as many as a step brings along.

    On CPU, XLA computes a convolution's weight gradient inside a loop about 100 times slower than outside.
    """
    if jax.default_backend() == "cpu":
        one = step if compiled is None else compiled(step, donate_argnums=0)

        def unrolled(state: TrainState, data: Any, count: int) -> tuple[TrainState, Info]:
            info = None
            for _ in range(count):
                state, info = one(state, data)
            assert info is not None
            return state, info

        return unrolled

    def scanned(state: TrainState, data: Any, count: int) -> tuple[TrainState, Info]:
        state, infos = jax.lax.scan(lambda carry, _: step(carry, data), state, length=count)
        return state, jax.tree.map(lambda leaf: leaf[-1], infos)

    return jax.jit(scanned, static_argnums=2, donate_argnums=0)
