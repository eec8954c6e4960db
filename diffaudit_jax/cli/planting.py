"""Flags that plant records in a training set more than once, and the split that this leaves."""

from dataclasses import dataclass, replace

import jax

from diffaudit_jax import data
from diffaudit_jax.cli.private import Private
from diffaudit_jax.data.pool import R
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Planting:
    """Members that are trained on more than once, for `diffaudit extract` to look for."""

    plant: str | None = None
    """Train on some members more often than once, as TIMES:HOW_MANY, e.g. 10:20,100:4 for 20 of them ten times and 4
    a hundred times, drawn at random. They are asked about once each."""


def with_planted(options: Planting, private: Private, split: data.Split[R], seed: int) -> data.Split[R]:
    """Returns a split whose training set holds some members more often: the further copies are always in.

    Raises:
      InputError: if the flag cannot be read or fulfilled, training is private, or records have coins.
    """
    if options.plant is None:
        return split
    if private.dp:
        raise InputError("--plant repeats records, and --dp bounds what is revealed of one: leave one of them out.")
    if split.coin is not None:
        raise InputError("--plant repeats records, and --canaries looks for one each: leave one of them out.")
    key = jax.random.fold_in(jax.random.key(seed), 5)
    return replace(split, always=data.further(key, split.members, _times(options.plant)))


def _times(text: str) -> dict[int, int]:
    times: dict[int, int] = {}
    for part in text.split(","):
        often, sign, count = part.strip().partition(":")
        if not (sign and often.isdecimal() and count.isdecimal()) or int(often) in times:
            raise InputError(f"--plant takes TIMES:HOW_MANY, each TIMES once, e.g. 10:20,100:4, got {text!r}.")
        times[int(often)] = int(count)
    return times
