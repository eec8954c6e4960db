"""What `diffaudit extract` compares: samples of a model, what trained it, and what did not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.asked import Asked, split_of
from diffaudit_jax.cli.columns import is_table, like, read_table
from diffaudit_jax.cli.drawing import Drawing, drawn_as, generated
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import device_of
from diffaudit_jax.cli.subject import Subject, load_subject, told_of
from diffaudit_jax.cli.table_columns import joined
from diffaudit_jax.cli.table_split import columns_of, paired
from diffaudit_jax.cli.tables import labels_like
from diffaudit_jax.cli.truth import check_truth
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.metrics.points import Images
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.extract import Extract

BANK = "bank"


class Sides(NamedTuple):
    """What is compared.

    Attributes:
      generated: Samples, uint8 images or a table.
      members: What trained the model, each record as often as it did.
      heldout: What did not; None if there is none.
      rows: Each member's row in the data that a run was trained of.
      groups: Person of each member and then of each held-out record, if a run's split is by person; else None.
      told: Where they come from, as JSON.
    """

    generated: Images | data.Table
    members: Images | data.Table
    heldout: Images | data.Table | None
    rows: np.ndarray
    groups: np.ndarray | None
    told: dict[str, Any]


def sides_of(options: Extract) -> Sides:
    """Returns samples and records, drawn or read.

    Raises:
      InputError: if they cannot be had, or records of a table are to be shown.
    """
    subject = load_subject(options.run, options.weights)
    if options.samples is not None and options.drawing != Drawing():
        raise InputError("--samples are not drawn: leave --sampler, --steps and --guidance out.")
    found = _of(options, subject)
    return found._replace(told=told_of(subject) | _told(options, found.generated) | found.told)


def _of(options: Extract, subject: Subject) -> Sides:
    if subject.encoder is not None:
        if options.show_images:
            raise InputError("--show-images shows images, and this is a table: leave it out.")
        return _of_table(options, subject, subject.encoder)
    split = _split(options, subject)
    whole = split.training
    heldout = split.nonmembers.x if len(split.nonmembers) else None
    groups = np.concatenate([_people(side) for side in (whole, split.nonmembers)]) if split.by == "group" else None
    made, told = _images(options, subject)
    return Sides(made, whole.x, heldout, whole.rows, groups, told)


def _people(side: data.Pool | data.Table) -> np.ndarray:
    assert side.groups is not None, "a split by group has groups"
    return side.groups


def _told(options: Extract, made: Images | data.Table) -> dict[str, Any]:
    """Returns what was asked for, and of which samples, as JSON."""
    digest = made.fingerprint() if isinstance(made, data.Table) else hashlib.sha256(made.tobytes()).hexdigest()
    return {
        "run": str(options.run),
        "samples": None if options.samples is None else str(options.samples),
        "data": {name: getattr(options, name) for name in ("members", "nonmembers", "duplicates")},
        "seeds": {"drawing": options.seed},
        "hashes": {"samples": digest},
        "block": options.block,
        "device": device_of(options.devices),
    }


def _split(options: Extract, subject: Subject) -> data.Split[data.Pool]:
    given = Asked(members=options.members, nonmembers=options.nonmembers)
    if options.members is None or options.nonmembers is None:
        return split_of(given, options.run, subject)
    sides = [data.load(source) for source in (options.members, options.nonmembers)]
    for source, side in zip((options.members, options.nonmembers), sides, strict=True):
        if not isinstance(side, data.Pool):
            raise InputError(f"{source} is a table: an image model is compared with images.")
    members, others = (side for side in sides if isinstance(side, data.Pool))
    if options.duplicates == "drop":
        # Members that are there more often stay: how often is what this is about.
        others = others.take(~np.isin(others.hashes(), members.hashes()))
    split = data.pair(members, others)
    check_truth(split, subject.record.get("split"))
    return split


def _images(options: Extract, subject: Subject) -> tuple[Images, dict[str, Any]]:
    if options.samples is not None:
        if is_table(options.samples):
            raise InputError(f"{options.samples} is a table: give images, as the model draws them.")
        settings = {"seed": options.seed, "block": options.block}
        return generated(options.samples, options.weights, Drawing(), options.num, **settings).all(), {}
    target = drawn_as(subject, options.drawing, options.run)
    labels = None if target.num_classes is None else np.arange(options.num) % target.num_classes
    drawn = {name: target.config.get(name) for name in ("sampler", "sample_steps", "clip")}
    return _drawn(options, target, labels), {"drawn": drawn | {"guidance": options.drawing.guidance}}


def _drawn(options: Extract, target: Any, labels: np.ndarray | None, least: int = 1) -> np.ndarray:
    with stage("sampling") as show:
        return draw_bank(
            jax.random.fold_in(jax.random.key(options.seed), 4),
            target,
            options.num,
            labels=labels,
            block=max(options.block, least),
            mesh=local_mesh(options.devices),
            out=options.out / BANK,
            progress=show,
        )


def _of_table(options: Extract, subject: Subject, encoder: Encoder) -> Sides:
    record, columns = subject.record, columns_of(subject.record)
    if options.members is not None and options.nonmembers is not None:
        given = [read_table(source, columns) for source in (options.members, options.nonmembers)]
        split = paired(given[0], given[1], duplicates=options.duplicates)
        check_truth(split, record["split"])
    else:
        split = data.from_record(record["split"], read_table(record["data"], columns, record["groups"]))
    rows = split.members.rows
    whole = split.members
    if split.always is not None:
        rows = np.concatenate([rows, split.always.rows])
        whole = joined([whole, split.always], whole.name)
    if options.samples is not None:
        if not is_table(options.samples):
            raise InputError(f"{options.samples} is no table: give a CSV or Parquet file of samples.")
        made = read_table(str(options.samples), columns)
        made = made.take(np.random.default_rng(options.seed).permutation(len(made))[: options.num])
    else:
        if options.drawing != Drawing():
            raise InputError(f"{options.run} draws over all its steps: leave --sampler, --steps and --guidance out.")
        labels = labels_like(record, options.num, options.seed)
        made = encoder.decode(_drawn(options, subject.target, labels, 1024), labels)
    heldout = like(split.nonmembers, made) if len(split.nonmembers) else None
    sides = [side for side in (split.members, split.always, split.nonmembers) if side is not None]
    groups = np.concatenate([_people(side) for side in sides]) if split.by == "group" else None
    return Sides(made, like(whole, made), heldout, rows, groups, {})
