"""diffaudit shadows: models trained as a run was, on random halves of the records that an audit asks about."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from jaxtyping import Bool
from rich.console import Console

from diffaudit_jax import data, training
from diffaudit_jax.cli.asked import Asked, split_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import of_run
from diffaudit_jax.models import Model
from diffaudit_jax.models.tabular import TabDdpm
from diffaudit_jax.types import InputError, Key


@dataclass(frozen=True)
class Shadows:
    """Train shadows of a run: models of which it is known whom they were trained on, to compare the run with.

    Each is trained as the run was, on a random half of its members, non-members and reference, and on whoever the run
    was trained on in any case. `diffaudit audit --shadows DIR` then says how its answers would look with a record and
    without it. Audits of other runs of the same records may share them. Shadows that were stopped go on when the same
    command is given again.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of `diffaudit train`, of a diffusion model or a table."""
    out: Path
    """Directory for the shadows; made if it does not exist."""
    num: int = 16
    """Shadows to train; an audit needs 8 or more."""
    together: int | None = None
    """Shadows trained at once, over all devices; one on CPU and all of them elsewhere if not given."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Seed of the coins, the weights and training."""


def run_shadows(options: Shadows) -> training.Many:
    """Runs the command; returns the shadows.

    Raises:
      InputError: if there are to be fewer than two, or the run is not finished, no diffusion model or table, or of
        records that are not as they were.
    """
    if options.num < 2:
        raise InputError(f"--num {options.num} shadows cannot each hold a random half: give 2 or more, 16 if you can.")
    if options.together is not None and options.together < 1:
        raise InputError(f"--together must be at least 1, got {options.together}.")
    run = training.load_run(options.run)
    if not isinstance(run.model, Model | TabDdpm):
        raise InputError(f"{options.run} is a {run.config['family']}: shadows are trained of diffusion models.")
    if int(run.state.step) < run.recipe.num_steps:
        raise InputError(
            f"{options.run} was stopped at step {int(run.state.step)} of {run.recipe.num_steps}: give its "
            f"`diffaudit train` again, and then train its shadows."
        )
    split = split_of(Asked(), options.run, of_run(run))
    pool, always = pooled(split)
    key_coins, key_training = keys(options.seed)
    inclusion = tossed(key_coins, pool, options.num, by_group=split.by == "group", always=always)
    recipe = _sampled(run, inclusion)
    _tell(options, run, inclusion, len(split.training), recipe)
    with stage("training shadows") as show:
        return training.fit_many(
            key_training,
            run.model,
            run.process,
            pool,
            options.num,
            recipe,
            inclusion=inclusion,
            privacy=run.privacy,
            out=options.out,
            record=recorded(options, run.config, split.by, len(split.training)),
            checkpoint_every=options.checkpoint_every,
            together=options.together,
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )


def keys(seed: int) -> tuple[Key, Key]:
    """Returns the keys of the coins and of training: no other command's at the same seed.

    split(key)[i] is fold_in(key, i). Coins from fold_in(key(seed), 1) were those that dealt who gets a coin in the run.
    """
    key_coins, key_training = jax.random.split(jax.random.fold_in(jax.random.key(seed), 9))
    return key_coins, key_training


BEYOND = 2**32
"""First row that no record has: what is drawn for a record knows 32 bits of its row."""


def pooled(split: data.Split[data.Pool]) -> tuple[data.Pool, Bool[np.ndarray, " n"]]:
    """Returns what shadows are trained on some of, each with a row of its own, and who of it is never asked about.

    Args:
      split: The run's. Further copies of its members have the rows of these.
    """
    sides = [side for side in (split.members, split.nonmembers, split.reference) if side is not None]
    asked = data.concatenate(*sides)
    if split.always is None:
        return asked, np.zeros(len(asked), bool)
    pool = data.concatenate(asked, split.always)
    always = np.arange(len(pool)) >= len(asked)
    copies = always & np.isin(pool.rows, asked.rows)
    pool.rows[copies] = BEYOND + np.arange(copies.sum())
    return pool, always


def tossed(
    key: Key, pool: data.Pool, num: int, *, by_group: bool, always: Bool[np.ndarray, " n"] | None = None
) -> data.Inclusion:
    """Tosses one set of coins for each person, or else for each record and whatever equals it.

    A twin with coins of its own would put a record inside of models that it is said to be outside of; so would one
    that is always in.

    Args:
      key: Typed key.
      pool: Records.
      num: Shadows.
      by_group: Whether a person is in or out as a whole.
      always: Who is never asked about, and inside every shadow unless it goes with somebody who is; nobody if None.
    """
    units = pool.groups if by_group and pool.groups is not None else pool.hashes()
    _, unit = np.unique(units, return_inverse=True)
    # Known by the least of its rows, whatever else is in the pool.
    rows = np.full(unit.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(rows, unit, pool.rows)
    inside = data.coin_flips(key, rows, num).inside[:, unit]
    if always is not None:
        inside[:, ~np.isin(unit, unit[~always])] = True
    return data.Inclusion(pool.rows, inside)


KEPT = ("family", "data", "groups", "label", "sensitive", "types", "drop", "unseen", "encoder")
"""What shadows keep of the record of their run: where records are from, and how they are read."""


def recorded(options: Shadows, config: Mapping[str, Any], by: str, trained_on: int) -> dict[str, Any]:
    """Returns what is recorded of shadows, beside their architecture and recipe."""
    kept = {name: config[name] for name in KEPT if name in config}
    told = {"of": str(options.run.resolve()), "of_members": trained_on, "by": by, "shadow_seed": options.seed}
    return {**kept, **told}


def _sampled(run: training.Run, inclusion: data.Inclusion) -> training.Recipe:
    """Returns the run's recipe, of a private run with batches that the smallest part can be expected to fill."""
    smallest = int(inclusion.inside.sum(axis=1).min())
    most = run.recipe.batch_size if run.privacy is None else max(1, smallest)
    return replace(run.recipe, batch_size=min(run.recipe.batch_size, most))


def _tell(
    options: Shadows, run: training.Run, inclusion: data.Inclusion, trained_on: int, recipe: training.Recipe
) -> None:
    """Says what will be done, and whether shadows see as much as the run did."""
    half, noun = round(inclusion.inside.sum(axis=1).mean()), "records" if isinstance(run.model, TabDdpm) else "images"
    Console(width=None if sys.stdout.isatty() else 120).print(
        f"{options.num} shadows of {options.run}, each trained {run.recipe.num_steps:,} steps on about {half:,} of the "
        f"{len(inclusion.rows):,} {noun} of its split, into {options.out}",
        highlight=False,
        soft_wrap=True,
    )
    if not 0.8 <= half / trained_on <= 1.25:
        warnings.warn(
            f"the run was trained on {trained_on:,} {noun} and its shadows on about {half:,}: the fewer there are, the "
            f"more is learned by heart, so they are less like it than they could be. Train it with as many "
            f"non-members as members.",
            stacklevel=2,
        )
    if recipe.batch_size < run.recipe.batch_size:
        warnings.warn(
            f"the run's batches of {run.recipe.batch_size:,} are more than one of its shadows is trained on: theirs "
            f"are of {recipe.batch_size:,}, and noise weighs more in them.",
            stacklevel=2,
        )
    if run.privacy is not None:
        warnings.warn(
            "the run's noise is secret, and that of its shadows follows from --seed, which is stored with them: "
            "whoever has it can subtract it. They are for this audit; do not publish them.",
            stacklevel=2,
        )
