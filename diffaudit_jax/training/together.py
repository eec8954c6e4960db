"""Several models of one architecture, trained in lockstep as one program, over the devices there are."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from diffaudit_jax.training.kept import Kept
from diffaudit_jax.training.parts import Part
from diffaudit_jax.training.state import Recipe, TrainState
from diffaudit_jax.training.steps import Advance, Progress, advancing, check_finite, next_stop


def advancing_together(step: Callable, mesh: Mesh) -> Advance:
    """Runs several steps of several models, each device its own.

    Args:
      step: One step of one model, ``step(state, part)``.
      mesh: Devices, one axis.
    """
    models, all_alike = PartitionSpec(*mesh.axis_names), PartitionSpec()
    own = Part(all_alike, models, models, models)  # pyright: ignore[reportArgumentType]
    many = jax.vmap(step, in_axes=(0, Part(None, 0, 0, 0)))  # pyright: ignore[reportArgumentType]
    return advancing(jax.shard_map(many, mesh=mesh, in_specs=(models, own), out_specs=models), jax.jit)


def trained_together(
    states: Sequence[TrainState],
    parts: Sequence[Part],
    advance: Advance,
    recipe: Recipe,
    kept: Sequence[Kept] | None,
    size: int,
    progress: Progress | None,
) -> list[TrainState]:
    """Trains models that stand at one step to the end of their recipe.

    Args:
      states: Where they stand.
      parts: What each is trained on.
      advance: Takes several steps of `size` models.
      recipe: Number of steps.
      kept: Run directories; None keeps everything in memory.
      size: Models that the program takes; the last is repeated in place of those that lack.
      progress: Called with (step, num_steps, info of the first model) every few steps.
    """
    lacking, num = size - len(states), len(states)
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states, *[states[-1]] * lacking)
    own = [part[1:] for part in (*parts, *[parts[-1]] * lacking)]
    part = Part(parts[0].pool, *(jnp.stack(column) for column in zip(*own, strict=True)))
    step, started = int(states[0].step), time.monotonic()
    while step < recipe.num_steps:
        stop = next_stop(step, recipe, None if kept is None else kept[0].every)
        state, infos = advance(state, part, stop - step)
        step, infos = stop, jax.tree.map(np.asarray, infos)
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], infos) for i in range(num)]
        for info in each:
            check_finite(step, state, info, recipe, None)
        if progress is not None:
            progress(step, recipe.num_steps, each[0])
        if kept is None:
            continue
        for run, info in zip(kept, each, strict=True):
            run.log(step, float(info.loss), float(info.grad_norm), time.monotonic() - started)
        if step % kept[0].every == 0 or step == recipe.num_steps:
            for run, one in zip(kept, _apart(state, num), strict=True):
                run.save(one)
    ended = _apart(state, num)
    for run, one in zip(kept or (), ended, strict=False):
        if not recipe.num_steps:
            run.save(one)  # no step was asked for: the untrained network
    return ended


def _apart(state: TrainState, num: int) -> list[TrainState]:
    """Returns the state of each model, by way of the host, so that its arrays are bound to no device."""
    plain: Any = jax.device_get(state._replace(key=jax.random.key_data(state.key)))
    each = [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), plain) for i in range(num)]
    return [one._replace(key=jax.random.wrap_key_data(one.key)) for one in each]
