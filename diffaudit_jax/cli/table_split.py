"""Sides of an audit of a table: dealt as records, and shown to a model as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.columns import Columns, read_table
from diffaudit_jax.cli.truth import check_truth
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.asked import Asked


def encoded(
    encoder: data.Encoder, split: data.Split[data.Table], unseen: Literal["refuse", "drop"] = "refuse"
) -> data.Split[data.Pool]:
    """Returns the sides of a split as a model sees them.

    Args:
      encoder: Fitted on the members, or on all who had a coin.
      split: Tables.
      unseen: What to do about records that hold what no member does.
    """
    sides = (split.members, split.nonmembers, split.always)
    members, nonmembers, always = (
        _encoded(encoder, side, unseen) if side is not None and len(side) else None for side in sides
    )
    some = next(side for side in (members, nonmembers, always) if side is not None)
    empty = some.take(np.zeros(len(some), bool))
    return data.Split(members or empty, nonmembers or empty, always=always, by=split.by, coin=split.coin)


def _encoded(encoder: data.Encoder, table: data.Table, unseen: Literal["refuse", "drop"]) -> data.Pool:
    """Returns a side as a model sees it, with its columns of text beside it, for strata."""
    pool = encoder.encode(table, unseen=unseen)
    kept = data.at_rows(table, pool.rows)
    return replace(pool, attributes={name: kept.columns[name] for name in kept.categorical})


def columns_of(record: Mapping[str, Any]) -> Columns:
    """Returns how a run's table was read."""
    return Columns(label=record["label"], types=tuple(record["types"]), drop=tuple(record["drop"]))


def split_of_run(options: Asked, record: Mapping[str, Any], path: Path) -> data.Split[data.Pool]:
    """Returns who is asked about of a run of a table: its own split, or the tables given, as the model sees them."""
    encoder, columns = data.Encoder.from_config(record["encoder"]), columns_of(record)
    if options.members is not None and options.nonmembers is not None:
        given = [read_table(source, columns) for source in (options.members, options.nonmembers)]
        split = paired(*given, duplicates=options.duplicates)
        check_truth(split, record["split"])
        return encoded(encoder, split, record["unseen"])
    try:
        split = data.from_record(record["split"], read_table(record["data"], columns, record["groups"]))
    except InputError as error:
        raise InputError(f"the table that {path} was split from is not as it was: {error}") from error
    return encoded(encoder, split, record["unseen"])


def paired(members: data.Table, nonmembers: data.Table, *, duplicates: data.Duplicates) -> data.Split[data.Table]:
    """Makes a split of tables that come separately; rows count through both.

    Records of few columns are often equal to somebody else's. Kept on one side only, as images are, the common ones
    would all be members, and the sides would differ by that: dropped ones are dropped from both.

    Raises:
      InputError: if records are on both sides and are to be refused, or none is left.
    """
    members, nonmembers = (
        replace(side, rows=np.arange(start, start + len(side)))
        for side, start in ((members, 0), (nonmembers, len(members)))
    )
    if duplicates == "refuse":
        data.check_overlap(members, nonmembers)
        return data.Split(members, nonmembers)
    both = np.intersect1d(members.hashes(), nonmembers.hashes())
    sides = [side.take(~np.isin(side.hashes(), both)) for side in (members, nonmembers)]
    if not all(map(len, sides)):
        raise InputError(f"every record of {members.name} or {nonmembers.name} is on both sides: give others.")
    return data.Split(*sides)
