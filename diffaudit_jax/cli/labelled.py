"""Labelled images: which value of a property each has, by which a discriminator learns and its errors are counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffaudit_jax import data
from diffaudit_jax.cli.values import Asked, asked_of, column_of
from diffaudit_jax.types import InputError

LEAST = 10
"""Labelled images of each value, and of each value in a class: half of them teach and the others judge."""
NUM_NAMED = 3


@dataclass(frozen=True)
class Aux:
    """Labelled images, and what is asked of them."""

    aux: str | None = None
    """Labelled images: a path or name as in `diffaudit train`. Those that trained the generator are left out. Only
    --discriminator clip does without; how often it errs is not known then. Of a table: labelled records, which are not
    looked at where the property is one of its own columns."""
    property: str | None = None
    """Attribute of --aux that is the property; its own labels if not given. Of a table: its name as a column."""
    value: str | None = None
    """Value whose share is asked for, beside all others together. If not given, the greater of two; of three or more,
    the share of each."""
    aux_test: str | None = None
    """Further labelled images to count errors on; half of --aux if not given."""
    aux_label: str | None = None
    """Attribute of --aux that says the class of an image, by number or name, for errors by class in --by-label:
    `labels` for its own labels. Errors of all images together if not given. Of a table in a file: the column that is
    the class, there too."""


class Labelled(NamedTuple):
    """Labelled images, none of which trained the generator.

    Attributes:
      pool: The images, each once.
      codes: What each is of what is told apart.
      left_out: How many were left out because they trained the generator.
      by: Class of each among the generator's, None if nobody says.
    """

    pool: data.Pool
    codes: Int[np.ndarray, " n"]
    left_out: int
    by: Int[np.ndarray, " n"] | None = None

    @property
    def lesson(self) -> data.Pool:
        """The images, labelled by what is told apart."""
        return replace(self.pool, labels=self.codes.astype(np.int32), label_names=None)


def labelled(aux: Aux, shape: tuple[int, ...], trained: Sequence[str]) -> tuple[Asked, Labelled, data.Pool]:
    """Loads the labelled images, and refuses what nobody can learn from.

    Args:
      aux: What was asked for; `aux` is given.
      shape: Shape of a generated image.
      trained: Content hashes of the images that trained the generator.

    Returns:
      What is asked for; the images, their classes not yet told; and all that were loaded.

    Raises:
      InputError: if they are no images, of another shape, or have no such property, or too few of a value.
    """
    assert aux.aux is not None
    pool = _images(aux.aux, shape)
    codes, values = column_of(pool, aux.property)
    name = aux.property or "label"
    if len(values) < 2:
        raise InputError(
            f"{name!r} is {', '.join(values)} for all {len(pool)} images of {aux.aux}: a property to tell apart has "
            "two values or more."
        )
    asked = asked_of(values, name, aux.value)
    return asked, _kept(pool, asked.codes(codes), asked, aux.aux, trained), pool


def tested(aux: Aux, asked: Asked, beside: data.Pool, trained: Sequence[str]) -> Labelled:
    """Loads the images of --aux-test.

    Args:
      aux: What was asked for; `aux_test` is given.
      asked: Of --aux.
      beside: All images of --aux.
      trained: As in `labelled`.

    Raises:
      InputError: as `labelled`, and if it has a value that --aux lacks, or shares an image with it.
    """
    assert aux.aux_test is not None
    pool = _images(aux.aux_test, beside.shape)
    _, a, b = np.intersect1d(beside.hashes(), pool.hashes(), return_indices=True)
    if len(a):
        rows = ", ".join(f"{i} = {j}" for i, j in sorted(zip(a.tolist(), b.tolist(), strict=True))[:NUM_NAMED])
        raise InputError(
            f"{len(a)} images are both in {aux.aux} and in {aux.aux_test} (rows {rows}{', ...' * (len(a) > NUM_NAMED)})"
            ": errors are counted on images that taught nothing, so remove them from one."
        )
    codes, values = column_of(pool, aux.property)
    if other := set(values) - set(asked.values):
        raise InputError(f"{aux.aux_test} has {sorted(other)[0]!r} and {aux.aux} has not: give the same values.")
    numbers = np.array([asked.values.index(value) for value in values])
    return _kept(pool, asked.codes(numbers[codes]), asked, aux.aux_test, trained)


def by_class(found: Labelled, aux: Aux, classes: Sequence[int], names: Sequence[str], asked: Asked) -> Labelled:
    """Returns labelled images that know their class among the generator's, those of other classes left out.

    Args:
      found: Labelled images.
      aux: What was asked for; `aux_label` is given.
      classes: The generator's classes that are asked about.
      names: Names of its classes by number; numbers where it has none.
      asked: What is asked for.

    Raises:
      InputError: if there is no such attribute, or a class has too few images of a value.
    """
    codes, values = column_of(found.pool, aux.aux_label)
    numbers = np.array([_number(value, names) for value in values])[codes]
    for y in classes:
        counts = np.bincount(found.codes[numbers == y], minlength=len(asked.told))
        check_counts(counts, asked, f"of class {names[y]!r} {found.pool.name}")
    inside = np.isin(numbers, classes)
    return Labelled(found.pool.take(inside), found.codes[inside], found.left_out, numbers[inside])


def _number(value: str, names: Sequence[str]) -> int:
    """Returns the class that a value names: by the classes' names, or as their number, which a bool is too."""
    if value in names:
        return names.index(value)
    if value in ("False", "True"):
        return int(value == "True")
    return int(value) if value.isdecimal() else -1


def _images(source: str, shape: tuple[int, ...]) -> data.Pool:
    pool = data.load(source)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{source} is a table: a property is told of images.")
    if pool.shape != tuple(shape):
        raise InputError(f"{source} has images of {pool.shape} and the generator draws {tuple(shape)}: resize them.")
    return pool


def _kept(pool: data.Pool, codes: np.ndarray, asked: Asked, source: str, trained: Sequence[str]) -> Labelled:
    pool = data.distinct(data.renumbered(pool))
    codes, seen = codes[pool.rows], np.isin(pool.hashes(), trained)
    left_out = int(seen.sum())
    counts = np.bincount(codes[~seen], minlength=len(asked.told))
    check_counts(counts, asked, f"but for {left_out} that trained the generator, {source}" if left_out else source)
    return Labelled(pool.take(~seen), codes[~seen], left_out)


def check_counts(counts: np.ndarray, asked: Asked, source: str, nouns: str = "images") -> None:
    """Refuses too few labelled examples of a value.

    Args:
      counts: Of each of what is told apart.
      asked: What is asked for.
      source: Where they are from.
      nouns: What they are called.

    Raises:
      InputError: if there are fewer than `LEAST` of one.
    """
    few = np.flatnonzero(counts < LEAST)
    if len(few):
        shown = ", ".join(f"{counts[i]} of {asked.told[i]!r}" for i in few[:NUM_NAMED])
        raise InputError(
            f"{source} has too few labelled {nouns}, {shown}{', ...' * (len(few) > NUM_NAMED)}: {LEAST} or more of "
            "each value are needed."
        )
