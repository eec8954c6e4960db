"""Who is asked about: members and non-members of a run's own split, or those a user gives."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.planner import tossed
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_split import split_of_run
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.types import InputError, Query, known


@dataclass(frozen=True)
class Asked:
    """Who is asked about."""

    queries: int | None = None
    """Ask about only this many images, drawn at random, members and non-members in proportion (unless coins
    were tossed, which a part of their own number would bind); all if not given."""
    members: str | None = None
    """Images the model was trained on: a path or name as in `diffaudit train`. A run has a split of its own to ask
    about if not given; other checkpoints need it."""
    nonmembers: str | None = None
    """Images of the same kind that it was not trained on; given together with --members."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about images that are on both sides: refuse them, or keep them as members only; records of tables on
    both sides are dropped from both."""
    types: tuple[str, ...] = ()
    """Kinds of columns of tables given as files, where inferred wrongly: NAME=numeric or NAME=categorical."""
    drop: tuple[str, ...] = ()
    """Columns of these tables to leave out."""
    strata: tuple[str, ...] = ()
    """Compare how exposed the groups of these are: label, or attributes that the images come with, e.g. smile."""


def check_sizes(members: int, nonmembers: int) -> None:
    """Refuses sides that are too small for statistics, before a network is trained or asked."""
    if min(members, nonmembers) < FEWEST:
        raise InputError(
            f"{members} members and {nonmembers} non-members are too few for statistics: "
            f"ask about at least {FEWEST} of each."
        )


def asked(options: Asked, split: data.Split, seed: int) -> data.Split:
    """Returns the split, or a random part of it with `--queries`.

    Members and non-members are in proportion; where coins were tossed a part is drawn whatever they said, as its coins
    would depend on each other otherwise.

    Raises:
      InputError: if there are not so many, or of coins too few fell one way.
    """
    total = len(split.member)
    if options.queries is None:
        return split
    if not 2 <= options.queries <= total:
        raise InputError(f"--queries must be between 2 and the {total} there are, got {options.queries}.")
    sides, draws = (split.members, split.nonmembers), np.random.default_rng(seed)
    if split.coin is not None:
        drawn = np.isin(np.arange(total), draws.permutation(total)[: options.queries])
        kept = np.split(drawn, [len(split.members)])
        inside, outside = (int(keep.sum()) for keep in kept)
        if min(inside, outside) < FEWEST:
            least = min(total, tossed(FEWEST, split.coin))
            raise InputError(
                f"--queries {options.queries} draws {inside} members and {outside} non-members, as their coins fell, "
                f"and statistics ask for at least {FEWEST} of each: ask about {least} or more."
            )
        return replace(
            split,
            **{name: side.take(keep) for name, side, keep in zip(("members", "nonmembers"), sides, kept, strict=True)},
        )
    part = options.queries / total
    sizes = [max(1, round(part * len(side))) for side in sides]
    chosen = [side.take(np.sort(draws.permutation(len(side))[:size])) for side, size in zip(sides, sizes, strict=True)]
    return replace(split, members=chosen[0], nonmembers=chosen[1])


def split_of(options: Asked, path: Path, subject: Subject) -> data.Split:
    """Returns the images or records given, or else the run's own split."""
    if (options.members is None) != (options.nonmembers is None):
        raise InputError("give --members and --nonmembers together: an audit compares the two.")
    if subject.encoder is not None:
        return split_of_run(options, subject.record, path)
    if options.members is not None and options.nonmembers is not None:
        return data.pair(_pool(options.members), _pool(options.nonmembers), duplicates=options.duplicates)
    if not {"data", "split"} <= set(subject.record):
        raise InputError(f"{path} records no split: give --members and --nonmembers.")
    try:
        return data.from_record(subject.record["split"], _pool(subject.record["data"], subject.record.get("groups")))
    except InputError as error:
        raise InputError(f"the images that {path} was split from are not as they were: {error}") from error


def queries_of(split: data.Split, num_classes: int | None) -> Query:
    """Returns what is asked, with labels if the model takes them."""
    queries = split.queries
    if num_classes is None:
        return queries._replace(cond=None)
    if queries.cond is None:
        raise InputError("the model is conditioned on labels and these images have none: give images with labels.")
    if queries.cond.max() >= num_classes:
        raise InputError(
            f"label {queries.cond.max()} is beyond the {num_classes} classes that the model was trained on: "
            f"give images of these classes."
        )
    return queries


def strata_of(options: Asked, split: data.Split) -> dict[str, np.ndarray]:
    """Returns the group of every image in each stratification that is asked for."""
    both = data.concatenate(split.members, split.nonmembers)
    columns = {name: column for name, column in (both.attributes or {}).items() if column.ndim == 1}
    if both.labels is not None:
        columns["label"] = np.asarray(both.label_names)[both.labels] if both.label_names else both.labels
    for name in options.strata:
        if not columns:
            raise InputError(f"--strata {name} was asked for, and the images have neither labels nor attributes.")
        known("stratification", name, columns)
    return {name: columns[name] for name in options.strata}


def _pool(source: str, groups: str | None = None) -> data.Pool:
    pool = data.load(source, groups=groups)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{source} is a table: an image model is audited on images.")
    return pool
