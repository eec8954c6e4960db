"""What `diffaudit fairness` does with tables: who is tested, what receivers see, and groups that are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int

from diffaudit_jax import data
from diffaudit_jax.cli.cells import Cells, check_filled
from diffaudit_jax.cli.samples_check import together
from diffaudit_jax.cli.shared import Shared
from diffaudit_jax.cli.table_columns import numbered, shared_with
from diffaudit_jax.cli.table_features import encoded, features_of, lesson
from diffaudit_jax.data.codes import Categorical, shown
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.metrics.corrected import Corrected
from diffaudit_jax.metrics.implied import implied_gap
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.report.fairness import Checked
from diffaudit_jax.types import InputError, known

if TYPE_CHECKING:
    from diffaudit_jax.cli.fairness import Fairness, Sides


class Seen(NamedTuple):
    """A generator's samples as whoever receives them sees them.

    Attributes:
      pool: What classifiers learn: x and labels.
      test: What they are asked about, the test images or records, in the same form.
      table: The records, None of images.
    """

    pool: data.Pool
    test: np.ndarray
    table: data.Table | None

    def fingerprint(self) -> str:
        """Returns one hash of the samples."""
        return self.pool.fingerprint() if self.table is None else self.table.fingerprint()


def seen_of(table: data.Table, test: Cells, options: Fairness) -> Seen:
    """Returns records with what classifiers look at: columns that the test records have too, but the label.

    Args:
      table: Records of a generator.
      test: Test records.
      options: The command.

    Raises:
      InputError: if a record has another label, all have one, or there is nothing to look at.
    """
    hidden = (options.labels, options.sensitive) if options.without_sensitive else (options.labels,)
    labels = numbered(table, options.labels, "label", test.values)
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"{options.labels!r} is {test.values[labels[0]]!r} in all {len(table)} records of {table.name}: receivers "
            "learn to tell two labels, so draw more, or train on both."
        )
    encoder = features_of(table, tuple(test.records.columns), hidden)
    return Seen(lesson(encoder, table, labels), encoded(encoder, test.records), table)


def check_aux_records(aux: Cells, test: Cells, options: Fairness) -> None:
    """Refuses labelled records that are of another kind than test records, or are among them.

    Raises:
      InputError: naming what differs, or how many are in both.
    """
    if (aux.groups, aux.values) != (test.groups, test.values):
        raise InputError(
            f"{options.aux} has groups {', '.join(aux.groups)} and labels {', '.join(aux.values)}, {options.test} "
            f"{', '.join(test.groups)} and {', '.join(test.values)}: give records of one kind."
        )
    if both := int(shared_with(test.records, aux.records).sum()):
        raise InputError(
            f"{both} records are in --test {options.test} and in --aux {options.aux}: take them out of one of the two."
        )


def unknown_sides(sides: Sides, options: Fairness) -> Sides:
    """Leaves out test and labelled records that trained a generator, and refuses what then does not go together.

    Args:
      sides: Generators of tables, and records.
      options: The command.

    Raises:
      InputError: if a generator lacks the label, or has other labels, or too few records are left.
    """
    for each in sides.generators:
        _check_label(each, sides.test, options)
    names, test, aux = (options.labels, options.sensitive), sides.test, sides.aux
    test, left_out = _unknown(sides.generators, test)
    what = f"{options.test}, without {left_out} records that generators know," if left_out else options.test
    check_filled(test.counts, test.groups, what, *names, noun=test.noun)
    if aux is not None:
        aux, left = _unknown(sides.generators, aux)
        what = f"{options.aux}, without {left} records that generators know," if left else str(options.aux)
        check_filled(aux.counts, aux.groups, what, *names, least=2, noun=aux.noun)
    return sides._replace(test=test, left_out=left_out, aux=aux)


def _unknown(generators: Sequence[Shared], cells: Cells) -> tuple[Cells, int]:
    seen = np.zeros(len(cells.s), bool)
    for each in generators:
        if each.trainers is not None:
            seen |= shared_with(cells.records, each.trainers)
    return cells.take(~seen), int(seen.sum())


def _check_label(each: Shared, test: Cells, options: Fairness) -> None:
    made, name = each.records, options.labels
    known(f"column of {each.path}", name, made.columns)
    if made.given is not None:
        found = np.unique(numbered(made.given, name, "label", test.values))
        values = tuple(test.values[y] for y in found)
    else:
        assert made.encoder is not None
        column = next(column for column in made.encoder.columns if column.name == name)
        values = tuple(map(shown, column.values)) if isinstance(column, Categorical) else ()
    if values != test.values:
        raise InputError(
            f"{name!r} of {each.path} is {', '.join(values) or 'a number'}, and {' or '.join(test.values)} in "
            f"{options.test}: give the same two values."
        )


class Grouping(NamedTuple):
    """Who says which group a record is of.

    Attributes:
      encoder: What a discriminator sees of a record; None if records say it themselves.
      lesson: Labelled records that teach the discriminator, labelled by group; None if nobody has to be taught.
      by: The labels of these.
    """

    encoder: Encoder | None
    lesson: data.Pool | None
    by: np.ndarray | None


def grouping_of(sides: Sides, options: Fairness) -> Grouping | None:
    """Returns who says the groups of samples; None if nobody does."""
    columns = [set(each.records.columns) for each in sides.generators]
    if all(options.sensitive in each for each in columns):
        return Grouping(None, None, None)
    if sides.aux is None:
        return None
    aux = sides.aux
    encoder = features_of(aux.records, tuple(set.intersection(*columns)), (options.labels, options.sensitive))
    return Grouping(encoder, lesson(encoder, aux.records, aux.s, aux.groups), aux.y)


def read_check(table: data.Table, labels: Int[np.ndarray, " n"], groups: Sequence[str], sensitive: str) -> Checked:
    """Returns the shares of groups among samples of each label, as a column says them, and the gap that they imply.

    Args:
      table: Samples.
      labels: Their labels, 0 and 1.
      groups: What the groups are called.
      sensitive: The column.
    """
    told = numbered(table, sensitive, "group", groups)
    shares: dict[tuple[str, int], Corrected] = {}
    for value in [1] if len(groups) == 2 else range(len(groups)):
        for y in (0, 1):
            has = told[labels == y] == value
            found = clopper_pearson(int(has.sum()), len(has), together(len(groups)))
            shares[groups[value], y] = Corrected(found, found, found.value, True)
    if len(groups) > 2:
        return Checked(shares, None)
    one, zero = (shares[groups[1], y].estimate for y in (1, 0))
    return Checked(shares, implied_gap(one, zero, float(labels.mean())))
