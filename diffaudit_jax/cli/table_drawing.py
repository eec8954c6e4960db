"""Records that a generator of tables makes: drawn of a run, or read from a file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from diffaudit_jax import data
from diffaudit_jax.bank import drawn
from diffaudit_jax.cli.columns import Columns, is_table, read_table
from diffaudit_jax.cli.drawing import Drawing
from diffaudit_jax.cli.subject import Subject, Weights, load_subject, told_of
from diffaudit_jax.cli.table_columns import opened, values_of
from diffaudit_jax.cli.tables import TABDDPM, labels_like
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.types import InputError


class Records(NamedTuple):
    """Records of a generator, and what is known of them.

    Attributes:
      blocks: The records, in tables of `block` and fewer in the last: a model is asked for no more than are taken.
      num: How many there are in all.
      columns: Names of their columns.
      label: The column that says the class, None if there are no classes.
      labels: Class of each record, in their order, int [num]; None where there are no classes.
      names: Names of the classes by number.
      in_turn: Whether a model was asked for its classes in turn, as nobody knows how common they were.
      given: The whole file of records that were given and not drawn; None of a model.
      trainers: The records that trained a run of our own, if they can still be had; None for others.
      record: What `diffaudit train` wrote of a run of our own; empty for others.
      told: What a report says of where they are from, as JSON.
      encoder: What records of a run are decoded by; None of a file.
    """

    blocks: Iterator[data.Table]
    num: int
    columns: tuple[str, ...]
    label: str | None
    labels: Int[np.ndarray, " num"] | None
    names: tuple[str, ...]
    in_turn: bool
    given: data.Table | None
    trainers: data.Table | None
    record: dict[str, Any]
    told: dict[str, Any]
    encoder: Encoder | None = None


def makes_tables(path: Path) -> bool:
    """Returns whether what a path leads to makes tables: a run of them, or a file by its name."""
    if not (path / "run.json").is_file():
        return is_table(path)
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return record.get("family") == TABDDPM
    except (OSError, ValueError, AttributeError):
        return False  # whoever loads the run says what is wrong with it


def records(
    path: Path, weights: Weights, drawing: Drawing, num: int, *, seed: int, block: int, label: str | None = None
) -> Records:
    """Opens a generator of tables: nothing is drawn before it is taken.

    Args:
      path: A run of tables, or a table.
      weights: What a file of weights alone cannot tell; of no use here.
      drawing: How records are drawn of a model.
      num: Records; all there are, in random order, if a file has fewer.
      seed: Seed of the records.
      block: Records per block.
      label: The column of a file that says the class; a run has its own.

    Raises:
      InputError: if the path leads to neither, a number is not positive, or records cannot be drawn so.
    """
    for flag, value in (("num", num), ("block", block)):
        if value < 1:
            raise InputError(f"--{flag} must be at least 1, got {value}.")
    if (path / "run.json").is_file():
        return _of_run(path, weights, drawing, num, seed, block)
    if drawing != Drawing():
        raise InputError(f"{path} holds records, which are not drawn: leave --sampler, --steps and --guidance out.")
    whole = opened(path)
    order = np.random.default_rng(seed).permutation(len(whole))[:num]
    labels, names = (None, ()) if label is None else values_of(whole, label, "label")
    some = whole.take(order)
    blocks = (some.take(np.arange(start, min(start + block, len(some)))) for start in range(0, len(some), block))
    labels, told = None if labels is None else labels[order], {"source": "table"}
    return Records(blocks, len(some), tuple(whole.columns), label, labels, names, False, whole, None, {}, told)


def _of_run(path: Path, weights: Weights, drawing: Drawing, num: int, seed: int, block: int) -> Records:
    if drawing != Drawing():
        raise InputError(f"{path} draws records by its own steps: leave --sampler, --steps and --guidance out.")
    subject = load_subject(path, weights)
    target, record = subject.target, dict(subject.record)
    encoder, labels = encoder_of(path, subject), labels_like(record, num, seed)
    in_turn = labels is None and target.num_classes is not None
    if labels is None and target.num_classes is not None:
        labels = np.arange(num) % target.num_classes
    key = jax.random.fold_in(jax.random.key(seed), 4)

    def blocks() -> Iterator[data.Table]:
        start = 0
        for x in drawn(key, target, num, labels=labels, block=block):
            yield encoder.decode(x, None if labels is None else labels[start : start + len(x)])
            start += len(x)

    told = told_of(subject) | {"drawn": dict(target.config)}
    columns = tuple(column.name for column in encoder.columns)
    names = encoder.label_names or ()
    trainers = trainers_of(record)
    return Records(blocks(), num, columns, encoder.label, labels, names, in_turn, None, trainers, record, told, encoder)


def encoder_of(path: Path, subject: Subject) -> Encoder:
    """Returns what a run's records are decoded by.

    Raises:
      InputError: if the run did not keep it.
    """
    if subject.encoder is None:
        raise InputError(f"{path}/run.json holds no encoder that its records can be decoded by: train it again.")
    return subject.encoder


def trainers_of(record: Mapping[str, Any]) -> data.Table | None:
    """Returns the records that trained a run of our own, if they can still be had as they were.

    Args:
      record: What `diffaudit train` wrote of it.
    """
    if not {"data", "split"} <= set(record):
        return None
    columns = Columns(types=tuple(record.get("types", ())), drop=tuple(record.get("drop", ())))
    try:
        return data.from_record(record["split"], read_table(record["data"], columns, record.get("groups"))).members
    except InputError:
        return None
