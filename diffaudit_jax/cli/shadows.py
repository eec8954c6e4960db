"""diffaudit shadows: models trained as a run was, on random halves of the records that an audit asks about."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
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

    Each is trained as the run was, on a random half of its members, non-members and reference. `diffaudit audit
    --shadows DIR` then says how its answers would look with a record and without it. Audits of other runs of the same
    records may share them. Shadows that were stopped go on when the same command is given again.
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
    pool = data.concatenate(*(side for side in (split.members, split.nonmembers, split.reference) if side is not None))
    key = jax.random.key(options.seed)
    inclusion = tossed(jax.random.fold_in(key, 1), pool, options.num, by_group=split.by == "group")
    _tell(options, run, pool, len(split.members))
    with stage("training shadows") as show:
        return training.fit_many(
            jax.random.fold_in(key, 2),
            run.model,
            run.process,
            pool,
            options.num,
            run.recipe,
            inclusion=inclusion,
            privacy=run.privacy,
            out=options.out,
            record=recorded(options, run.config, split.by, len(split.members)),
            checkpoint_every=options.checkpoint_every,
            together=options.together,
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )


def tossed(key: Key, pool: data.Pool, num: int, *, by_group: bool) -> data.Inclusion:
    """Tosses one set of coins for each person, or else for each record and whatever equals it.

    A twin with coins of its own would put a record inside of models that it is said to be outside of.

    Args:
      key: Typed key.
      pool: Records.
      num: Shadows.
      by_group: Whether a person is in or out as a whole.
    """
    units = pool.groups if by_group and pool.groups is not None else pool.hashes()
    _, unit = np.unique(units, return_inverse=True)
    # Known by the least of its rows, whatever else is in the pool.
    rows = np.full(unit.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(rows, unit, pool.rows)
    return data.Inclusion(pool.rows, data.coin_flips(key, rows, num).inside[:, unit])


KEPT = ("family", "data", "groups", "label", "sensitive", "types", "drop", "unseen", "encoder")
"""What shadows keep of the record of their run: where records are from, and how they are read."""


def recorded(options: Shadows, config: Mapping[str, Any], by: str, members: int) -> dict[str, Any]:
    """Returns what is recorded of shadows, beside their architecture and recipe."""
    kept = {name: config[name] for name in KEPT if name in config}
    told = {"of": str(options.run.resolve()), "of_members": members, "by": by, "shadow_seed": options.seed}
    return {**kept, **told}


def _tell(options: Shadows, run: training.Run, pool: data.Pool, members: int) -> None:
    """Says what will be done, and whether shadows see as much as the run did."""
    half, noun = len(pool) // 2, "records" if isinstance(run.model, TabDdpm) else "images"
    Console(width=None if sys.stdout.isatty() else 120).print(
        f"{options.num} shadows of {options.run}, each trained {run.recipe.num_steps:,} steps on about {half:,} of the "
        f"{len(pool):,} {noun} of its split, into {options.out}",
        highlight=False,
        soft_wrap=True,
    )
    if not 0.8 <= half / members <= 1.25:
        warnings.warn(
            f"the run was trained on {members:,} {noun} and its shadows on about {half:,}: the fewer there are, the "
            f"more is learned by heart, so they are less like it than they could be. Train it with as many "
            f"non-members as members.",
            stacklevel=2,
        )
