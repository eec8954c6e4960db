"""Who a training command trains on: so many records, or those whose coins say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.data.pool import R
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.train import Train


NONMEMBERS = 1000
"""Who is held out if nothing else is said."""


@dataclass(frozen=True)
class Canaries:
    """Coins that let an audit say what epsilon is at least."""

    canaries: int | None = None
    """Toss a fair coin for each of this many images, or records: trained on, or held out. An audit asks about all of
    them, and says what epsilon is at least. --members more are trained on in any case and never asked about (0 is
    fine), and --nonmembers is for the coins to say."""


def dealt(options: Train, source: R) -> data.Split[R]:
    """Draws who is trained on and who is held out, by number or by coins.

    Args:
      options: The command.
      source: Images or a table.

    Raises:
      InputError: if a flag says nothing, or the records cannot be dealt.
    """
    key, by = jax.random.key(options.seed), "group" if options.groups else "record"
    canaries = options.canaries.canaries
    if canaries is None:
        wanted = NONMEMBERS if options.nonmembers is None else options.nonmembers
        held_out = min(wanted, max(len(source) - options.members, min(wanted, 1)))
        return data.split(
            key, source, members=options.members, nonmembers=held_out, duplicates=options.duplicates, by=by
        )
    if canaries < 1:
        raise InputError(f"--canaries tosses for at least 1 record, got {canaries}.")
    if options.nonmembers is not None:
        raise InputError("--nonmembers is for the coins of --canaries to say: leave it out.")
    if options.members < 0:
        raise InputError(f"--members are trained on beside --canaries, 0 or more, got {options.members}.")
    source = data.distinct(source) if options.duplicates == "drop" else source
    there, what = len(source), "records"
    if by == "group" and source.groups is not None:
        there, what = len(np.unique(source.groups)), "people, of each of whom one record is taken"
    if canaries + options.members > there:
        raise InputError(
            f"--canaries {canaries} and --members {options.members} are more than the {there} that {options.data} has "
            f"({what}): ask for fewer."
        )
    return data.split_coin(key, source, queries=canaries, always=options.members, by=by)
