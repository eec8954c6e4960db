"""Models of one pool, begun, taken on from where each stands, and finished: one after another or in lockstep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool

from diffaudit_jax.data import Pool
from diffaudit_jax.training.checkpoints import Checkpoints, claim, stands
from diffaudit_jax.training.kept import Kept
from diffaudit_jax.training.parts import Part, batch_of_part, parts_of
from diffaudit_jax.training.run import Run
from diffaudit_jax.training.state import TrainState, make_step
from diffaudit_jax.training.steps import Advance, Info, Progress, advancing, compiled_quickly, trained
from diffaudit_jax.training.together import advancing_together, trained_together
from diffaudit_jax.training.trainee import Trainee, config_of, resident
from diffaudit_jax.types import InputError, Key


class Several(NamedTuple):
    """Models to be trained.

    Attributes:
      trainee: What each is.
      keys: Key of each.
      pool: Their pool.
      inside: Whether a model is trained on a record, in the order of the pool.
      folders: Run directory of each, or None.
      record: Further JSON for run.json.
      every: Steps between checkpoints.
      progress: Called with steps of all models.
    """

    trainee: Trainee
    keys: Sequence[Key]
    pool: Pool
    inside: Bool[np.ndarray, "K n"]
    folders: Sequence[Path | None]
    record: Mapping[str, Any] | None
    every: int
    progress: Progress | None

    def shown(self, before: int, at_once: int = 1) -> Progress | None:
        """Returns what shows the progress of models that are trained at once, after those before."""
        if (show := self.progress) is None:
            return None

        def progress(step: int, num_steps: int, info: Info) -> None:
            show(before * num_steps + at_once * step, len(self.keys) * num_steps, info)

        return progress

    def begun(self, k: int) -> dict[str, Any]:
        """Returns what a model's run.json holds; its directory is made, or checked to hold this very run."""
        config = config_of(self.trainee, self.keys[k], self.pool.take(self.inside[k]), None, self.record)
        if (folder := self.folders[k]) is not None:
            claim(folder, config)
        return config


def train_each(several: Several) -> list[Run | None]:
    """Trains one model after another; returns those that are kept in no directory."""
    trainee = several.trainee
    parts = parts_of(resident(trainee.model, several.pool), several.inside)
    # One program for all: a part's size is not written into it.
    advance = advancing(make_step(trainee.loss, trainee.recipe, batch_of_part), jax.jit)
    runs: list[Run | None] = []
    for k, (key, part, folder) in enumerate(zip(several.keys, parts, several.folders, strict=True)):
        config = several.begun(k)
        state = trained(
            compiled_quickly(trainee.init, key),
            part,
            advance,
            trainee.recipe,
            config,
            folder,
            every=several.every,
            progress=several.shown(k),
        )
        runs.append(trainee.run(state, config) if folder is None else None)
    return runs


def train_together(several: Several, together: int, mesh: Mesh) -> list[Run | None]:
    """Trains models that stand at the same step in lockstep; returns those that are kept in no directory.

    Args:
      several: The models.
      together: How many at once, at most.
      mesh: Devices over which these are spread.
    """
    trainee = several.trainee
    parts = parts_of(resident(trainee.model, several.pool), several.inside)
    together = min(together, len(parts))
    size = -(-together // mesh.size) * mesh.size
    advance = advancing_together(make_step(trainee.loss, trainee.recipe, batch_of_part), mesh)
    configs, runs = [several.begun(k) for k in range(len(parts))], dict[int, Run | None]()
    begun = [_stands(folder, trainee.recipe.num_steps) for folder in several.folders]
    for step in sorted(set(begun)):
        alike = [k for k, at in enumerate(begun) if at == step]
        for first in range(0, len(alike), together):
            group = alike[first : first + together]
            states = _taken_on(several, group, configs, parts, advance, size, len(runs))
            for k, state in zip(group, states, strict=True):
                runs[k] = trainee.run(state, configs[k]) if several.folders[k] is None else None
    return [runs[k] for k in range(len(parts))]


def _taken_on(
    several: Several,
    group: Sequence[int],
    configs: Sequence[dict[str, Any]],
    parts: Sequence[Part],
    advance: Advance,
    size: int,
    before: int,
) -> list[TrainState]:
    """Trains models that stand at one step to their end, from their directories if they have any."""
    states = [compiled_quickly(several.trainee.init, several.keys[k]) for k in group]
    show, kept, opened = several.shown(before, len(group)), None, [several.folders[k] for k in group]
    stores = [Checkpoints(folder) for folder in opened if folder is not None]
    try:
        if stores:
            states = [
                state if store.latest() is None else store.restore(state)
                for store, state in zip(stores, states, strict=True)
            ]
            kept = [
                Kept(store.directory, configs[k], False, store, several.every)
                for store, k in zip(stores, group, strict=True)
            ]
            for run, state in zip(kept, states, strict=True):
                run.begin(state, None)
        recipe = several.trainee.recipe
        return trained_together(states, [parts[k] for k in group], advance, recipe, kept, size, show)
    finally:
        for store in stores:
            store.close()


def _stands(folder: Path | None, num_steps: int) -> int:
    """Returns the step at which a model stands, -1 if nothing of it is kept.

    Raises:
      InputError: if it has been trained further than asked for.
    """
    if folder is None:
        return -1
    latest = stands(folder)
    if latest is not None and latest > num_steps:
        raise InputError(f"{folder} has been trained {latest} steps already: ask for at least as many.")
    return -1 if latest is None else latest
