"""What `diffaudit property` does with tables: a column that records have is read, another is told by a classifier."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.aim import Aim, check_several
from diffaudit_jax.cli.labelled import Labelled, check_counts
from diffaudit_jax.cli.table_columns import NONE, numbered, opened, shared_with, values_of
from diffaudit_jax.cli.table_drawing import Records, records
from diffaudit_jax.cli.table_features import features_of, lesson
from diffaudit_jax.cli.values import Asked, asked_of
from diffaudit_jax.data.codes import Categorical, shown
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.data.quantiles import Numeric
from diffaudit_jax.report.property_shares import Training
from diffaudit_jax.training.receivers import RECORDS
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.property import Property

ROLE = "property"


def table_aimed(options: Property) -> Aim:
    """Opens a generator of tables, and refuses what does not go together before anything is trained or drawn.

    Args:
      options: The command.

    Raises:
      InputError: if a column is unknown, lacks values or has too many, or tables do not go together.
    """
    aux = options.labelled
    name = _checked(options)
    of_file = aux.aux_label if options.by_label else None
    made = records(
        options.run,
        options.weights,
        options.drawing,
        options.num,
        seed=options.seed,
        block=options.block,
        label=of_file,
    )
    if options.by_label and made.labels is None:
        raise InputError(
            f"{options.run} has no classes: name a column of it with --aux-label, or leave --by-label out."
        )
    names = made.names if options.by_label else ()
    if name in made.columns:
        values = _values(options, made, name)
        asked = _asked(options, values, name, str(options.run))
        return Aim(
            made, asked, "column", None, None, None, _truth(made, name, asked), names,
            reads=lambda block: asked.codes(numbered(block, name, ROLE, values, missing=True)),
        )  # fmt: skip
    if aux.aux is None:
        near = difflib.get_close_matches(name, made.columns, n=1)
        mend = (
            f"did you mean {near[0]!r}?" if near else "give --aux, a table that has it, for a classifier to learn from."
        )
        raise InputError(f"{options.run} has no column {name!r}: {mend}")
    return _told(options, made, name, names)


def check_records(flag: str, name: str, source: object) -> str:
    """Returns a classifier's name.

    Args:
      flag: What says it.
      name: The classifier.
      source: What it would be trained for.

    Raises:
      InputError: if it is none of records.
    """
    if name not in RECORDS:
        *others, last = RECORDS
        raise InputError(f"{flag} {name} is for images, and {source} is a table: name {', '.join(others)} or {last}.")
    return name


def _checked(options: Property) -> str:
    """Refuses flags that do not go together; returns the property's name."""
    aux, telling = options.labelled, options.telling
    if telling.discriminator_steps < 1:
        raise InputError(f"--discriminator-steps must be at least 1, got {telling.discriminator_steps}.")
    if telling.discriminator is not None:
        check_records("--discriminator", telling.discriminator, options.run)
    if telling.clip is not None or telling.prompts:
        raise InputError(f"--clip and --prompts are for images, and {options.run} is a table: leave them out.")
    if aux.aux is None and aux.aux_test is not None:
        raise InputError("--aux-test goes with --aux: give both, or leave it out.")
    if aux.property is None:
        raise InputError(f"{options.run} is a table: name the column that is the property with --property.")
    return aux.property


def _values(options: Property, made: Records, name: str) -> tuple[str, ...]:
    """Returns the values that a column of a generator may have: those of its file, or of what trained its run."""
    if made.given is not None:
        return values_of(made.given, name, ROLE, missing=True)[1]
    assert made.encoder is not None
    column = next(each for each in made.encoder.columns if each.name == name)
    if isinstance(column, Categorical):
        return tuple(shown(value) or NONE for value in column.values)
    if isinstance(column, Numeric):
        if not column.values:
            raise InputError(f"{name!r} of {options.run} is a number of many values: bin it, or name another column.")
        return (*map(shown, column.values), *((NONE,) if column.median is not None else ()))
    return (NONE if column.value is None else shown(column.value) or NONE,)


def _asked(options: Property, values: tuple[str, ...], name: str, source: str) -> Asked:
    if len(values) < 2:
        raise InputError(
            f"{name!r} is {', '.join(values)} for all records of {source}: a property to tell apart has two values or "
            "more."
        )
    asked = asked_of(values, name, options.labelled.value)
    check_several(options, asked)
    return asked


def _told(options: Property, made: Records, name: str, names: tuple[str, ...]) -> Aim:
    """Returns the aim where labelled records teach who tells the property."""
    aux = options.labelled
    assert aux.aux is not None
    everyone = opened(aux.aux)
    codes, values = values_of(everyone, name, ROLE)
    asked = _asked(options, values, name, aux.aux)
    column = aux.aux_label if options.by_label else None
    # The class is no feature: a classifier may not call by it what is counted by it.
    without = tuple(dict.fromkeys(each for each in (name, made.label, column) if each is not None))
    encoder = features_of(everyone, made.columns, without)
    if made.given is not None and column not in everyone.columns:
        column = None  # the class of the samples alone: errors are those of all records
    by = None if column is None else numbered(everyone, column, "label", made.names)
    labelled = _kept(encoder, everyone, asked.codes(codes), by, made, asked, aux.aux)
    test = None
    if aux.aux_test is not None:
        others = opened(aux.aux_test)
        if both := int(shared_with(others, everyone).sum()):
            raise InputError(
                f"{both} records of {aux.aux_test} are in {aux.aux} too: errors are counted on records that taught "
                "nothing, so remove them from one."
            )
        codes = asked.codes(numbered(others, name, ROLE, values))
        by = None if column is None else numbered(others, column, "label", made.names)
        test = _kept(encoder, others, codes, by, made, asked, aux.aux_test)
    who = options.telling.discriminator or "boosting"
    return Aim(made, asked, who, labelled, test, None, _truth(made, name, asked), names, encoder)


def _kept(
    encoder: Encoder,
    table: data.Table,
    codes: np.ndarray,
    by: np.ndarray | None,
    made: Records,
    asked: Asked,
    source: str,
) -> Labelled:
    """Returns labelled records, those left out that trained the generator."""
    seen = np.zeros(len(table), bool) if made.trainers is None else shared_with(table, made.trainers)
    left_out, size = int(seen.sum()), len(asked.told)
    where = f"but for {left_out} that trained the generator, {source}" if left_out else source
    check_counts(np.bincount(codes[~seen], minlength=size), asked, where, "records")
    for y in () if by is None else range(len(made.names)):
        counts = np.bincount(codes[~seen & (by == y)], minlength=size)
        check_counts(counts, asked, f"of class {made.names[y]!r} {source}", "records")
    pool = lesson(encoder, table.take(~seen), codes[~seen])
    return Labelled(pool, codes[~seen], left_out, None if by is None else by[~seen])


def _truth(made: Records, name: str, asked: Asked) -> Training | None:
    """Counts the values of the records that trained a generator; None if they are not known."""
    trainers, size = made.trainers, len(asked.told)
    if trainers is None or name not in trainers.columns:
        return None
    try:
        coded = asked.codes(numbered(trainers, name, ROLE, asked.values, missing=True))
        labels = None if made.label is None else numbered(trainers, made.label, "label", made.names)
    except InputError:
        return None
    classes = {} if labels is None else {int(y): labels == y for y in np.unique(labels)}
    by = {y: np.bincount(coded[where], minlength=size) for y, where in classes.items()}
    return Training(np.bincount(coded, minlength=size), by)
