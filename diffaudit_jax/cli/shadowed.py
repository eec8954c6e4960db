"""An audit that compares a target with shadows: asked the same, with the same key and noise, one after another."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from diffaudit_jax import data, shadows, training
from diffaudit_jax.auditing import Observations, audit, content_hash, fingerprints, observing
from diffaudit_jax.cli.asked import Asked, queries_of
from diffaudit_jax.cli.passes import Pass, Seen, passes
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import Setting
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.table_split import split_of_run
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import Target
from diffaudit_jax.training.included import read_inclusion, read_record
from diffaudit_jax.types import InputError, Key, Query


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
    """

    directory: Path
    many: training.Many
    record: Mapping[str, Any]
    queries: Query


def check_own(options: Shadowed, asked: Asked) -> None:
    """Refuses to compare answers about records that shadows do not know."""
    if options.shadows is not None and (asked.members is not None or asked.nonmembers is not None):
        raise InputError("--shadows compares answers about a run's own records: leave --members and --nonmembers out.")


def compared(options: Shadowed, names: tuple[str, ...], subject: Subject, queries: Query, run: Path) -> Compared | None:
    """Returns the shadows that are asked for, None if none are.

    Args:
      options: The flags.
      names: Attacks that can be compared.
      subject: The target.
      queries: What it is asked.
      run: Where it is.

    Raises:
      InputError: if nothing can be compared, or they are too few, or of other records than the queries.
    """
    if (directory := options.shadows) is None:
        return None
    if not names or "split" not in subject.record:
        raise InputError("--shadows compares a run's white- and gray-box attacks, and none is asked for: leave it out.")
    record, many = read_record(directory), training.load_many(directory)
    if len(many) < shadows.FEWEST_SHADOWS:
        raise InputError(f"LiRA needs at least {shadows.FEWEST_SHADOWS} shadow models, got {len(many)}: train more.")
    many.inclusion.of(queries.row)  # for its error
    order = np.argsort(queries.row)  # whoever is the target's member: shadows are then asked alike for all targets
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[order], queries)
    if record.get("encoder") != subject.record.get("encoder"):
        own = _as_they_see(record, subject, own.row, run)
    _check_content(own, directory)
    _note(record, many.inclusion, subject, directory)
    return Compared(directory, many, record, own)


def _as_they_see(record: Mapping[str, Any], subject: Subject, rows: np.ndarray, run: Path) -> Query:
    """Returns records of the target's table as the shadows' encoder, fitted on another run's members, has them."""
    if "encoder" not in record or subject.encoder is None:
        raise InputError("one of the run and the shadows is of images and the other of a table: train shadows of it.")
    split = split_of_run(Asked(), {**subject.record, "encoder": record["encoder"], "unseen": "drop"}, run)
    pool = data.at_rows(data.concatenate(split.members, split.nonmembers), rows)
    return queries_of(data.Split(pool, pool.take(np.arange(0))), subject.target.num_classes)


def _check_content(queries: Query, directory: Path) -> None:
    inclusion, hashes = read_inclusion(directory)
    order = np.argsort(inclusion.rows)
    known = hashes[order[np.searchsorted(inclusion.rows, queries.row, sorter=order)]]
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
    members, inside = len(subject.record["split"]["members"]["rows"]), int(inclusion.inside.sum(axis=1).mean())
    differ += [] if 0.8 <= inside / members <= 1.25 else [f"records, {inside:,} and not {members:,}"]
    if differ:
        warnings.warn(
            f"the shadows of {directory} were trained otherwise than the run (other {', other '.join(differ)}): they "
            f"tell less surely how its answers would look with a record and without it.",
            stacklevel=2,
        )


def _plain(stored: Any) -> Any:
    """Leaves out of a run's privacy what differs with the number of its records."""
    return stored and {name: value for name, value in stored.items() if name not in ("num_examples", "key_given")}


def ask_shadows(
    found: Compared, names: tuple[str, ...], setting: Setting, *, key: Key, block: int, mesh: Mesh
) -> dict[str, list[Observations]]:
    """Asks each shadow what the target was asked; answers found in the directory are not asked for again.

    One shadow is held at a time, and its answers only until they are scored.

    Args:
      found: The shadows.
      names: Attacks.
      setting: What attacks on the target are made from.
      key: Key of the audit.
      block: Queries per dispatch.
      mesh: Devices.

    Returns:
      Name of an attack -> observations of each shadow, without features.
    """
    made: dict[str, Pass] = {}
    streams: dict[str, Stream] = {}
    folders: dict[str, Path] = {}
    seen: dict[str, list[Observations]] = {name: [] for name in names}
    for k, run in enumerate(found.many):
        if not made:
            made = passes(names, _theirs(setting, run.target, found.record))
            streams = {
                where: Stream(observing(each.attack, run.target), mesh=mesh, block=block)
                for where, each in made.items()
            }
            folders = {
                where: found.directory / "observations" / _asked(each, run.target, found.queries, key)
                for where, each in made.items()
            }
        for where, each in made.items():
            with stage(f"asking shadow {k + 1} of {len(found.many)}: {where}") as show:
                answers = audit(
                    each.attack,
                    run.target,
                    found.queries,
                    key=key,
                    block=block,
                    mesh=mesh,
                    out=folders[where] / f"shadow-{k}",
                    progress=show,
                    stream=streams[where],
                ).features
            for name, (observed, attack) in each.scored.items():
                seen[name].append(Observations((), attack.score(answers[observed]), found.queries.row))
    return seen


def _theirs(setting: Setting, target: Target, record: Mapping[str, Any]) -> Setting:
    """Returns what attacks on shadows are made from: on the same noise levels, should their process be another."""
    encoder = None if "encoder" not in record else data.Encoder.from_config(record["encoder"])
    return setting._replace(
        process=None if target.diffusion is None else target.diffusion.schedule,
        variance=target.variance,
        num_numeric=None if encoder is None else encoder.layout.num_numeric,
    )


def _asked(made: Pass, target: Target, queries: Query, key: Key) -> str:
    """Returns a name for what is asked, whoever is: attack, queries and key."""
    prints = fingerprints(made.attack, target, queries, key)
    return content_hash(tuple(prints[name] for name in ("version", "attack", "queries", "key")))[:16]


PAPERS = {
    "lira": "https://arxiv.org/abs/2112.03570",
    "lira-offline": "https://arxiv.org/abs/2112.03570",
    "rmia": "https://arxiv.org/abs/2312.03262",
    "calibrated": "https://arxiv.org/abs/2111.08440",
}
"""How a target's scores are compared with those of its shadows."""


def with_shadows(seen: Seen, rows: np.ndarray, found: Compared, by: Mapping[str, list[Observations]]) -> Seen:
    """Adds to what passes saw of a target its scores compared with its shadows', under names ``ATTACK+HOW``."""
    scores, specs, inclusion = dict(seen.scores), dict(seen.specs), found.many.inclusion
    for name, others in by.items():
        own = Observations((), seen.scores[name], rows)
        against = {
            "lira": shadows.lira(own, others, inclusion),
            "lira-offline": shadows.lira(own, others, inclusion, online=False),
            "rmia": shadows.rmia(own, others, inclusion),
            "calibrated": without(own, others, inclusion),
        }
        for how, values in against.items():
            config = {**seen.specs[name].get("config", {}), "shadows": len(others), "compared": how}
            scores[f"{name}+{how}"] = values
            specs[f"{name}+{how}"] = {**seen.specs[name], "paper": PAPERS[how], "config": config}
    return seen._replace(scores=scores, specs=specs)


def without(own: Observations, others: list[Observations], inclusion: data.Inclusion) -> np.ndarray:
    """Subtracts what the shadows that were trained without a record score it, in the mean."""
    order = np.argsort(others[0].rows)
    at = order[np.searchsorted(others[0].rows, own.rows, sorter=order)]
    by_shadow = np.stack([np.asarray(other.scores, np.float64)[at] for other in others])
    return own.scores - by_shadow.mean(axis=0, where=~inclusion.of(own.rows))


def told_of_shadows(found: Compared | None) -> dict[str, Any]:
    """Returns what a report's provenance says of shadows."""
    if found is None:
        return {}
    told = {name: found.record.get(name) for name in ("of", "of_members", "by", "data", "recipe")}
    counts = {"num": len(found.many), "pool": len(found.many.inclusion.rows)}
    return {"shadows": {"directory": str(found.directory), **counts, **told}}
