"""Whom a target is compared with: shadows of the same records, all of them or as many as there is time for."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from diffaudit_jax import data, shadows, training
from diffaudit_jax.cli.asked import Asked, queries_of
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_split import split_of_run
from diffaudit_jax.training.included import read_inclusion, read_record
from diffaudit_jax.types import InputError, Query


@dataclass(frozen=True)
class Shadowed:
    """Whom a target is compared with."""

    shadows: Path | None = None
    """Directory of `diffaudit shadows`, of this run or another of the same records, 8 shadows or more: white- and
    gray-box attacks are then scored against them too, by LiRA (online and offline), RMIA and calibration."""


class Compared(NamedTuple):
    """Shadows that can be compared with a target.

    Attributes:
      directory: Where they are, and where their answers are kept for audits of other targets.
      many: The shadows.
      record: What they are.
      queries: What they are asked: the target's queries, by their rows, as the shadows see them.
      chosen: Which of them are asked, rising.
    """

    directory: Path
    many: training.Many
    record: Mapping[str, Any]
    queries: Query
    chosen: tuple[int, ...]

    @property
    def inclusion(self) -> data.Inclusion:
        """Who was inside those that are asked."""
        return self.many.inclusion._replace(inside=self.many.inclusion.inside[list(self.chosen)])


def check_own(options: Shadowed, asked: Asked) -> None:
    """Refuses to compare answers about records that shadows do not know."""
    if options.shadows is not None and (asked.members is not None or asked.nonmembers is not None):
        raise InputError("--shadows compares answers about a run's own records: leave --members and --nonmembers out.")


def comparable(names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns those attacks that shadows are asked, too: all that ask a model about the query alone."""
    return tuple(name for name in names if ENTRIES[name].access in ("white", "gray"))


def read_shadows(
    options: Shadowed, names: tuple[str, ...], subject: Subject
) -> tuple[Mapping[str, Any], training.Many] | None:
    """Returns what the shadows are and themselves, None if none are asked for.

    Args:
      options: The flags.
      names: Attacks that can be compared.
      subject: The target.

    Raises:
      InputError: if nothing can be compared, they are too few, or one is missing or was stopped before its end.
    """
    if (directory := options.shadows) is None:
        return None
    if not names or "split" not in subject.record:
        raise InputError("--shadows compares a run's white- and gray-box attacks, and none is asked for: leave it out.")
    record, many = read_record(directory), training.load_many(directory)
    shadows.check_enough(len(many))
    many.check_finished()
    return record, many


def compared(
    options: Shadowed,
    names: tuple[str, ...],
    subject: Subject,
    queries: Query,
    run: Path,
    num: int | None = None,
) -> Compared | None:
    """Returns the shadows that are asked for, None if none are.

    Args:
      options: The flags.
      names: Attacks that can be compared.
      subject: The target.
      queries: What it is asked.
      run: Where it is.
      num: How many of them are asked, 8 or more; all if not given.

    Raises:
      InputError: if nothing can be compared, or they are too few, or of other records than the queries, or so many of
        them cannot be compared about each query.
    """
    if (directory := options.shadows) is None or (found := read_shadows(options, names, subject)) is None:
        return None
    record, many = found
    inside = many.inclusion.of(queries.row)
    chosen = tuple(range(len(many))) if num is None else _chosen(inside, num, queries.row)
    order = np.argsort(queries.row)  # whoever is the target's member: shadows are then asked alike for all targets
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[order], queries)
    if record.get("encoder") != subject.record.get("encoder"):
        own = _as_they_see(record, subject, own.row, run)
    _check_content(own, directory)
    _note(record, many.inclusion, subject, directory)
    return Compared(directory, many, record, own, chosen)


def _chosen(inside: Bool[np.ndarray, "K n"], num: int, rows: np.ndarray) -> tuple[int, ...]:
    """Chooses shadows, each the first of those that leave the fewest queries that all so far hold, or none does.

    Raises:
      InputError: if some are left in the end: what they score with and without such a query cannot be compared.
    """
    sides = np.stack([inside, ~inside])
    bare, chosen = np.ones((2, inside.shape[1]), bool), []
    for _ in range(num):
        left = (bare[:, None] & ~sides).sum(axis=(0, 2))
        left[chosen] = bare.size + 1
        chosen.append(int(left.argmin()))
        bare &= ~sides[:, chosen[-1]]
    if len(alike := np.flatnonzero(bare.any(axis=0))):
        raise InputError(
            f"{num} of the {len(inside)} shadows are to be asked, and row {rows[alike[0]]} (of {len(alike)} such) is "
            f"inside all or none of them: ask about fewer --queries, or give a longer --budget-minutes."
        )
    return tuple(sorted(chosen))


def _as_they_see(record: Mapping[str, Any], subject: Subject, rows: np.ndarray, run: Path) -> Query:
    """Returns records of the target's table as the shadows' encoder, fitted on another run's members, has them."""
    if "encoder" not in record or subject.encoder is None:
        raise InputError("one of the run and the shadows is of images and the other of a table: train shadows of it.")
    split = split_of_run(Asked(), {**subject.record, "encoder": record["encoder"], "unseen": "drop"}, run)
    pool = data.at_rows(data.concatenate(split.members, split.nonmembers), rows)
    return queries_of(data.Split(pool, pool.take(np.arange(0))), subject.target.num_classes)


def _check_content(queries: Query, directory: Path) -> None:
    inclusion, hashes = read_inclusion(directory)
    known = hashes[data.located(queries.row, inclusion.rows)[0]]
    found = data.Pool(np.asarray(queries.x), queries.row, "queries").hashes()
    if len(other := queries.row[found != known]):
        raise InputError(
            f"row {other[0]} (of {len(other)} such) is another record than the one that the shadows of {directory} "
            f"know by this row: train shadows of this run."
        )


def _note(record: Mapping[str, Any], inclusion: data.Inclusion, subject: Subject, directory: Path) -> None:
    """Says in what the shadows were trained otherwise than the target."""
    parts = ("model", "process", "recipe", "encoder", "privacy")
    differ = [name for name in parts if _plain(record.get(name)) != _plain(subject.record.get(name))]
    split, inside = subject.record["split"], int(inclusion.inside.sum(axis=1).mean())
    trained_on = sum(len(split[side]["rows"]) for side in ("members", "always") if side in split)
    differ += [] if 0.8 <= inside / trained_on <= 1.25 else [f"records, {inside:,} and not {trained_on:,}"]
    if differ:
        warnings.warn(
            f"the shadows of {directory} were trained otherwise than the run (other {', other '.join(differ)}): they "
            f"tell less surely how its answers would look with a record and without it.",
            stacklevel=2,
        )


def _plain(stored: Any) -> Any:
    """Leaves out of a run's privacy what differs with the number of its records."""
    return stored and {name: value for name, value in stored.items() if name not in ("num_examples", "key_given")}


def told_of_shadows(found: Compared | None) -> dict[str, Any]:
    """Returns what a report's provenance says of shadows."""
    if found is None:
        return {}
    told = {name: found.record.get(name) for name in ("of", "of_members", "by", "data", "recipe")}
    counts = {"num": len(found.chosen), "pool": len(found.many.inclusion.rows)}
    if len(found.chosen) < len(found.many):
        counts |= {"of_num": len(found.many), "chosen": list(found.chosen)}
    return {"shadows": {"directory": str(found.directory), **counts, **told}}
