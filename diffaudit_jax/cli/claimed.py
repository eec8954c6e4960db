"""Who a verdict on sets is about: suspect sets, unpublished records of the same source, and the people behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.asked import Asked, split_of
from diffaudit_jax.cli.columns import read_table
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_split import columns_of
from diffaudit_jax.data.table import MISSING
from diffaudit_jax.metrics.dataset import FEWEST
from diffaudit_jax.types import InputError, known


@dataclass(frozen=True)
class Claimed:
    """Who is asked about."""

    suspect: tuple[str, ...] = ()
    """Sets that may have been trained on: paths or names as in `diffaudit train`. A run's own members if not given,
    which checks the verdict and not the run."""
    unpublished: str | None = None
    """Records of the same source that cannot have been trained on, such as drafts that never left the house; a run's
    own non-members if no suspect set is given."""
    people: str | None = None
    """Attribute, or column, that says which person each record is of: every person is judged too."""
    queries: int | None = None
    """Ask about only this many records of each set, drawn at random, with --people this many people; all if not
    given."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about records that are both suspect and unpublished: refuse them, or leave them out of both."""


class Side(NamedTuple):
    """One set.

    Attributes:
      name: What it is called.
      pool: Its records as the model sees them.
      hashes: Content of each as it came, str [n].
      people: Person of each, str [n]; None if nobody asked.
      trained: Who trained the run, by its own record, bool [n]; None if that is not known.
    """

    name: str
    pool: data.Pool
    hashes: np.ndarray
    people: np.ndarray | None
    trained: np.ndarray | None


def claimed(options: Claimed, subject: Subject, path: Path, seed: int) -> tuple[list[Side], Side]:
    """Returns the suspect sets, and the unpublished one.

    Args:
      options: The flags.
      subject: The model.
      path: Where it is.
      seed: Seed of `--queries`.

    Raises:
      InputError: if a set is missing or too small, two sides share a record or a person, or an unpublished record
        trained the run.
    """
    if options.suspect and options.unpublished is None:
        raise InputError(
            "give --unpublished too: without records of the same source that the model cannot have seen, nobody can "
            "say how it would treat the suspect ones had it not seen them either."
        )
    if options.unpublished is not None and not options.suspect:
        raise InputError("--unpublished is compared with a suspect set: give --suspect, or leave both out.")
    if options.unpublished is None:
        sides = _own(options, subject, path)
    else:
        repeated = next((name for name in options.suspect if options.suspect.count(name) > 1), None)
        if repeated:
            raise InputError(f"--suspect names {repeated} twice: name each set once.")
        sides = [_side(source, options, subject) for source in (*options.suspect, options.unpublished)]
    sides = _apart(sides, options.duplicates)
    trained = sides[-1].trained
    if trained is not None and trained.any():
        raise InputError(
            f"{trained.sum()} of the {len(trained)} records of --unpublished are ones this run was trained on: take "
            "them out, or see whether --suspect and --unpublished are swapped."
        )
    sides = [_some(side, options.queries, seed) for side in sides]
    for side in sides:
        count = len(np.unique(_whose(side)))
        if count < FEWEST:
            what = "different records" if side.people is None else "people"
            raise InputError(f"{side.name} has {count} {what}, too few for a verdict: give at least {FEWEST}.")
    return sides[:-1], sides[-1]


def units(sides: Sequence[Side]) -> list[np.ndarray]:
    """Returns the person of each record of each side, int; equal records count as one person's if nobody was named."""
    called = np.concatenate([_whose(side) for side in sides])
    codes = np.unique(called, return_inverse=True)[1]
    return np.split(codes, np.cumsum([len(side.pool) for side in sides])[:-1])


def _whose(side: Side) -> np.ndarray:
    return side.hashes if side.people is None else side.people


def _own(options: Claimed, subject: Subject, path: Path) -> list[Side]:
    """Returns the run's own members, as suspects, and its non-members."""
    if not {"data", "split"} <= set(subject.record):
        raise InputError(f"{path} records no split: give --suspect and --unpublished.")
    split, record = split_of(Asked(), path, subject), subject.record["split"]
    members, nonmembers = split.members, split.nonmembers
    if not len(nonmembers):
        raise InputError(f"{path} held no records out: give --suspect and --unpublished.")
    kept = {
        name: dict(zip(record[name]["rows"], record[name]["hashes"], strict=True)) for name in ("members", "nonmembers")
    }

    def side(name: str, pool: data.Pool, trained: bool) -> Side:
        hashes = np.array([kept[name][row] for row in pool.rows.tolist()], "<U64")
        people = None if options.people is None else _people(subject.record["data"], pool, options.people)
        return Side(f"{name} of {path.name}", pool, hashes, people, np.full(len(pool), trained))

    return [side("members", members, True), side("nonmembers", nonmembers, False)]


def _side(source: str, options: Claimed, subject: Subject) -> Side:
    name = Path(source).name or source
    read: data.Pool | data.Table
    if subject.encoder is None:
        read = data.load(source)
        if not isinstance(read, data.Pool):
            raise InputError(f"{source} is a table, and the model is of images: give images.")
        pool = read
    else:
        read = read_table(source, columns_of(subject.record))
        pool = subject.encoder.encode(read, unseen=subject.record["unseen"])
    hashes = data.at_rows(read, pool.rows).hashes()
    people = None if options.people is None else _people(source, pool, options.people)
    record = subject.record.get("split")
    if record is None:
        return Side(name, pool, hashes, people, None)
    stored = [each for side in ("members", "always") for each in record.get(side, {}).get("hashes", ())]
    return Side(name, pool, hashes, people, np.isin(hashes, stored))


def _people(source: str, pool: data.Pool, name: str) -> np.ndarray:
    """Returns the person of each record by their own name, which is the same in every source."""
    read = data.at_rows(data.load(source), pool.rows)
    columns = read.columns if isinstance(read, data.Table) else (read.attributes or {})
    if not columns:
        raise InputError(f"{source} has no attributes: --people {name} needs one that says whose each record is.")
    values = np.asarray(columns[known("attribute", name, columns)])
    if values.ndim != 1:
        raise InputError(f"{name} of {source} holds {values.ndim} axes: --people takes one value a record.")
    if lacking := int(np.isin(values.astype(str), (*MISSING, "nan")).sum()):
        raise InputError(
            f"{name} of {source} is missing in {lacking} of {len(values)} records: nobody can say whose they are, take "
            "them out."
        )
    whole = values.dtype.kind == "f" and np.array_equal(values, np.rint(values))
    return (values.astype(np.int64) if whole else values).astype(str)


def _apart(sides: Sequence[Side], duplicates: str) -> list[Side]:
    """Refuses records, and people, that are both suspect and unpublished; or drops such records from both."""
    *suspects, unpublished = sides
    both = np.intersect1d(np.concatenate([side.hashes for side in suspects]), unpublished.hashes)
    if len(both) and duplicates == "refuse":
        raise InputError(
            f"{len(both)} records are both suspect and unpublished, which no record can be: take them out, or give "
            "--duplicates drop to leave them out of both."
        )
    sides = [_taken(side, np.flatnonzero(~np.isin(side.hashes, both))) for side in sides] if len(both) else list(sides)
    if unpublished.people is not None:
        people = [np.unique(side.people) for side in sides if side.people is not None]
        shared = np.intersect1d(np.concatenate(people[:-1]), people[-1])
        if len(shared):
            raise InputError(
                f"{len(shared)} people have suspect and unpublished records: a person is on one side, for records of "
                "one person are alike."
            )
    return sides


def _some(side: Side, most: int | None, seed: int) -> Side:
    if most is None:
        return side
    if most < FEWEST:
        raise InputError(f"--queries must be at least {FEWEST}, for each set, got {most}.")
    whose = _whose(side)
    names = np.unique(whose)
    if len(names) <= most:
        return side
    drawn = np.random.default_rng(seed).choice(names, most, replace=False)
    return _taken(side, np.flatnonzero(np.isin(whose, drawn)))


def _taken(side: Side, rows: np.ndarray) -> Side:
    people, trained = (None if each is None else each[rows] for each in (side.people, side.trained))
    return Side(side.name, side.pool.take(rows), side.hashes[rows], people, trained)


def plain(pool: data.Pool, with_labels: bool) -> data.Pool:
    """Returns records with their labels, if a model is told any, and nothing else: sets need share no attributes."""
    labels = {} if with_labels else {"labels": None, "label_names": None}
    return replace(pool, groups=None, attributes=None, **labels)
