"""fit_many: shadows, K models on K parts of one pool, of which each record knows those it was inside of."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffaudit_jax.data import Inclusion, Pool, check_distinct, coin_flips
from diffaudit_jax.models import Model
from diffaudit_jax.models.tabular import TabDdpm
from diffaudit_jax.process import Process
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.training.checkpoints import stands
from diffaudit_jax.training.dpsgd import Privacy
from diffaudit_jax.training.included import claim_shadows, read_inclusion, read_record
from diffaudit_jax.training.loop import images
from diffaudit_jax.training.run import Run, load_run
from diffaudit_jax.training.several import Several, train_each, train_together
from diffaudit_jax.training.state import Recipe
from diffaudit_jax.training.steps import Progress
from diffaudit_jax.training.tables import records
from diffaudit_jax.training.trainee import check_interval, fitted, private_config, public
from diffaudit_jax.types import InputError, Key

_COINS = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Many:
    """Models of one pool. ``many[k]`` is the run of the k-th, read anew from its directory if there is one.

    Attributes:
      inclusion: Who was inside which.
      directory: Where they are kept; None in memory.
      held: The runs kept in memory; none if there is a directory.
    """

    inclusion: Inclusion
    directory: Path | None = None
    held: tuple[Run, ...] = ()

    def __len__(self) -> int:
        return len(self.inclusion.inside)

    def __getitem__(self, k: int) -> Run:
        if not 0 <= k < len(self):
            raise IndexError(k)
        return self.held[k] if self.directory is None else load_run(shadow(self.directory, k))

    def __iter__(self) -> Iterator[Run]:
        return (self[k] for k in range(len(self)))

    def check_finished(self) -> None:
        """Refuses models in a directory of which one is missing, or stands before the step that all are to reach.

        Raises:
          InputError: naming the first.
        """
        if self.directory is None:
            return
        at = [stands(shadow(self.directory, k)) for k in range(len(self))]
        end = max(read_record(self.directory)["recipe"]["num_steps"], *(step or 0 for step in at))
        if short := [k for k, step in enumerate(at) if step is None or step < end]:
            k = short[0]
            how = "is not there" if at[k] is None else f"was stopped at step {at[k]} of {end}"
            raise InputError(
                f"shadow {k} of {self.directory} {how} (of {len(short)} such): give its `diffaudit shadows` again, "
                f"which goes on."
            )


def fit_many(
    key: Key,
    model: Model | TabDdpm,
    process: Process | None,
    pool: Pool,
    num_models: int,
    recipe: Recipe | None = None,
    *,
    inclusion: Inclusion | None = None,
    privacy: Privacy | None = None,
    out: str | os.PathLike | None = None,
    record: Mapping[str, Any] | None = None,
    checkpoint_every: int = 1000,
    together: int | None = None,
    mesh: Mesh | None = None,
    progress: Progress | None = None,
) -> Many:
    """Trains K models, model k as ``fit(fold_in(key, k), ...)`` does on the records inside of it.

    A call that was killed and is given again goes on. Trained one after another, a model has the very bits of the model
    trained alone. Trained together, its batches, times and noise are those bits, and its sums are taken in another
    order: in float64 the weights agree to rounding; in float32 those of two small models agreed to 3e-6 after 6 steps
    in which two shadows came to differ by 2. Adam magnifies roundings where a gradient is nearly 0, so that this grows
    with the number of steps, as it does between two devices.

    Args:
      key: Typed key; of the coins too.
      model: Architecture.
      process: Noising process; None of a TabDDPM, which has its own.
      pool: Whom the coins are tossed for; rows differ. Models are conditional on its labels as in `fit`.
      num_models: K, 2 or more.
      recipe: Steps, batch, learning rate, ...; default `Recipe()`.
      inclusion: Who is inside which model; default ``coin_flips``. It may hold more records than the pool.
      privacy: How training is made private. Models are then trained by `fit` one after another, and the key is not
        stored. Whoever knows it can subtract their noise: shadows are for who audits, and no release.
      out: Directory for all of it; None keeps everything in memory.
      record: Further JSON for shadows.json and each model's run.json.
      checkpoint_every: Steps between checkpoints.
      together: Models trained at once, as one program; default 1 on CPU, where a convolution that knows several
        models' weights is slow, and all of them elsewhere. Memory grows with it, and a directory may be continued with
        another number.
      mesh: Devices over which those are spread, one axis; default all local ones.
      progress: Called with (steps of all models, their total, info) every few steps.

    Returns:
      The models; K x num_steps steps of training.

    Raises:
      InputError: as `fit`, before the first is trained; if fewer than two models are asked for, equal records of the
        pool are not inside the same models (a twin would make a non-member a member), the inclusion does not fit, or
        `out` holds other shadows.

    References:
      Carlini et al. 2022, https://arxiv.org/abs/2112.03570
    """
    recipe = Recipe() if recipe is None else recipe
    check_interval(checkpoint_every)
    inclusion = _inclusion(key, pool, num_models, inclusion)
    if isinstance(model, TabDdpm) == (process is not None):
        raise InputError("a TabDdpm has a noising of its own and takes process=None, other models need a process.")
    trainee = records(model, recipe) if isinstance(model, TabDdpm) else images(model, process, recipe)  # pyright: ignore[reportArgumentType]
    if privacy is not None:
        private_config(key, privacy, recipe, int(inclusion.inside.sum(axis=1).min()))  # for its errors, of the smallest
    if out is not None:
        # Before any model, so that a directory that was stopped early is known, too.
        told = {"num_models": num_models, "pool": pool.fingerprint(), **({} if privacy is not None else public(key))}
        told |= {**trainee.config, "recipe": asdict(recipe), **(record or {})}
        told |= {} if privacy is None else {"privacy": asdict(privacy)}
        claim_shadows(Path(out), told, inclusion, pool)
    together = (1 if jax.default_backend() == "cpu" else num_models) if together is None else together
    if together < 1:
        raise InputError(f"together={together} models cannot be trained at once: give 1 or more.")
    keys = [jax.random.fold_in(key, k) for k in range(num_models)]
    folders = [None if out is None else shadow(Path(out), k) for k in range(num_models)]
    several = Several(trainee, keys, pool, inclusion.inside, folders, record, checkpoint_every, progress)
    if privacy is not None:
        held: Sequence[Run | None] = [_alone(several, k, privacy) for k in range(num_models)]
    elif together == 1:
        held = train_each(several)
    else:
        held = train_together(several, together, local_mesh() if mesh is None else mesh)
    if out is not None:
        return Many(inclusion, Path(out))
    return Many(inclusion, held=tuple(run for run in held if run is not None))


def load_many(directory: str | os.PathLike) -> Many:
    """Returns what a directory of shadows holds.

    Raises:
      InputError: if it holds none, or is damaged.
    """
    read_record(Path(directory))
    return Many(read_inclusion(Path(directory))[0], Path(directory))


def shadow(directory: Path, k: int) -> Path:
    """Returns where the k-th shadow is."""
    return directory / f"shadow-{k}"


def _alone(several: Several, k: int, privacy: Privacy) -> Run:
    return fitted(
        several.trainee,
        several.keys[k],
        several.pool.take(several.inside[k]),
        privacy=privacy,
        out=several.folders[k],
        record=several.record,
        checkpoint_every=several.every,
        progress=several.shown(k),
    )


def _inclusion(key: Key, pool: Pool, num_models: int, given: Inclusion | None) -> Inclusion:
    if given is None:
        check_distinct(pool)
        return coin_flips(jax.random.fold_in(key, _COINS), pool.rows, num_models)
    inside = given.of(pool.rows)
    if len(inside) != num_models or num_models < 2:
        raise InputError(f"an inclusion of {len(inside)} models cannot be that of num_models={num_models}, 2 or more.")
    if len(np.unique(pool.rows)) < len(pool):
        raise InputError(f"{pool.name} has rows that repeat: pass renumbered(pool).")
    _, first, twin = np.unique(pool.hashes(), return_index=True, return_inverse=True)
    apart = np.flatnonzero((inside != inside[:, first[twin]]).any(axis=0))
    if len(apart):
        check_distinct(pool.take(np.isin(twin, twin[apart])))
    if len(empty := np.flatnonzero(~inside.any(axis=1))):
        raise InputError(f"model {empty[0]} has no record inside it: toss for more records, or for other coins.")
    return Inclusion(pool.rows, inside)
