"""diffaudit fairness: how fair classifiers are that were trained on a generator's samples."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from diffaudit_jax.cli.cells import Cells, alphas_of, celled, check_filled, dealt
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.drawing import Drawing, Generated
from diffaudit_jax.cli.shared import Shared, shared
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.cli.table_drawing import makes_tables
from diffaudit_jax.cli.table_fairness import check_aux_records, unknown_sides
from diffaudit_jax.cli.table_property import check_records
from diffaudit_jax.models.receivers import LEAST_SIDE
from diffaudit_jax.report import FairnessReport
from diffaudit_jax.report.nouns import RECORD
from diffaudit_jax.training.receivers import NAMES
from diffaudit_jax.types import InputError, known


@dataclass(frozen=True)
class Fairness:
    """Audit generators by classifiers that are trained on their samples and tested on real images, or real records.

    Writes report.html, fairness.json, and predictions.npz with what every classifier says of every test image.
    """

    generators: tyro.conf.Positional[tuple[Path, ...]]
    """What to audit, one or several: run directories of `diffaudit train --class-conditional`, checkpoints, or
    generated images: a folder whose sub-folders are the two labels, or an .npz with labels. Or all of tables: runs of
    --model tabddpm, or synthetic CSV or Parquet files."""
    test: str
    """Real images (or records) with label and group: a path or name as in `diffaudit train`, such as the test.npz of
    `diffaudit poison --hold-out`."""
    labels: str
    """Attribute of the test images that is the label, in the order of the generator's two classes. Of a table a column,
    whose values are 0 and 1 in sorted order."""
    sensitive: str
    """Attribute of the test images that is the sensitive group, of a table a column."""
    out: Path
    """Directory for the report; made if it does not exist."""
    alpha: tuple[str, ...] = ()
    """Poisoning ratio of each generator in order, with spaces or commas between; if not given, as the manifest says
    beside the images that trained it."""
    clean: Path | None = None
    """The generator without poison, beside which others are set; that of alpha 0 if not given."""
    receiver: tuple[str, ...] | None = None
    """Classifiers to train, of lenet, resnet, mlp, vit, logistic, boosting; lenet if not given. Of tables boosting,
    logistic and mlp; boosting if not given. The verdict is by the first."""
    without_sensitive: bool = False
    """Hide the group's column from classifiers of records; images have none."""
    receiver_steps: int = 1000
    """Training steps of a receiver that is a network, and of the discriminator."""
    num: int = 2000
    """Samples of each generator, its classes in turn; all there are, if it is a folder or file with fewer."""
    balance_test: bool = False
    """Draw as many test images of every cell, so that parity does not mix with how labels and groups go together."""
    aux: str | None = None
    """Labelled real images with the same two attributes, none of them a test image. They train a discriminator of the
    group, which looks for poison in the samples themselves and sorts their pictures. Tables that have the group as a
    column are read, and need none."""
    discriminator: str | None = None
    """Network or classifier that is this discriminator, of the same as --receiver; resnet if not given, of tables
    boosting."""
    show_samples: bool = True
    """Show samples of every cell in the report; never images of a set that stands for its generator."""
    block: int = 64
    """Samples per dispatch, over all devices."""
    seed: int = 0
    """Seed of everything that is drawn."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(default_factory=Drawing)
    """How images are drawn."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""

    @property
    def tables(self) -> bool:
        """Whether generators are of tables."""
        return makes_tables(self.generators[0])

    @property
    def receivers(self) -> tuple[str, ...]:
        """The classifiers, by name."""
        return self.receiver if self.receiver is not None else ("boosting" if self.tables else "lenet",)

    @property
    def judge(self) -> str:
        """The discriminator, by name."""
        return self.discriminator or ("boosting" if self.tables else "resnet")


class Sides(NamedTuple):
    """What generators are audited with, all checked.

    Attributes:
      generators: The generators.
      clean: Name of the clean one, or None.
      test: Test images, none of which is known to have trained a generator.
      left_out: How many of them were.
      aux: Labelled images, or None.
    """

    generators: list[Shared]
    clean: str | None
    test: Cells
    left_out: int
    aux: Cells | None


def check(options: Fairness) -> tuple[float, ...]:
    """Refuses what can be seen to be wrong before anything is loaded; returns the ratios that were given.

    Raises:
      InputError: if a number is out of range, a name is not known, or the directory holds something else.
    """
    for flag, value, least in (("num", options.num, 2), ("receiver-steps", options.receiver_steps, 1)):
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if not options.generators:
        raise InputError("there is no generator to audit: name one or more before the flags.")
    if options.receiver is not None and not options.receiver:
        raise InputError(f"--receiver takes one name or more, of {', '.join(NAMES)}, got none.")
    for name in (*options.receivers, options.judge):
        known("receiver", name, NAMES)
    if len(set(options.receivers)) < len(options.receivers):
        raise InputError(f"--receiver names one twice ({' '.join(options.receivers)}): name each once.")
    if options.labels == options.sensitive:
        raise InputError(f"--labels and --sensitive are both {options.labels!r}: name two attributes.")
    _check_kinds(options)
    check_out(options.out, FairnessReport)
    return alphas_of(options.alpha)


def _check_kinds(options: Fairness) -> None:
    """Refuses generators of images beside those of tables, and what only one of the two kinds has."""
    everyone = [*options.generators, *([] if options.clean is None else [options.clean])]
    tables = [path for path in everyone if makes_tables(path)]
    if tables and len(tables) < len(everyone):
        other = next(path for path in everyone if path not in tables)
        raise InputError(f"{tables[0]} makes tables and {other} does not: audit generators of one kind at a time.")
    for flag, source in (("--test", options.test), ("--aux", options.aux)):
        if source is not None and is_table(source) != bool(tables):
            kind = "tables" if tables else "images"
            raise InputError(
                f"{flag} {source} is {'no' if tables else 'a'} table, and generators make {kind}: change one."
            )
    if not tables:
        if options.without_sensitive:
            raise InputError("--without-sensitive is about a column of a table, and these are images: leave it out.")
        return
    for name in options.receivers:
        check_records("--receiver", name, tables[0])
    check_records("--discriminator", options.judge, tables[0])


def sides_of(options: Fairness, alphas: tuple[float, ...]) -> Sides:
    """Loads images and opens generators, and refuses what does not go together before anything is drawn or trained."""
    names = options.labels, options.sensitive
    test = celled(options.test, *names)
    aux = None if options.aux is None else celled(options.aux, *names)
    if aux is not None and test.noun == RECORD:
        check_aux_records(aux, test, options)
    elif aux is not None:
        _check_aux(aux, test, options)
    generators, clean = shared(
        options.generators,
        alphas,
        options.clean,
        options.weights,
        options.drawing,
        num=options.num,
        seed=options.seed,
        block=options.block,
    )
    if test.noun == RECORD:
        return _balanced(unknown_sides(Sides(generators, clean, test, 0, aux), options), options)
    for each in generators:
        assert isinstance(each.images, Generated)
        if tuple(each.images.shape) != test.images.shape:
            raise InputError(
                f"{each.path} makes images of {tuple(each.images.shape)} and {options.test} has {test.images.shape}: "
                f"resize the test images."
            )
    known_to = [one for each in generators for one in each.known]
    seen = np.isin(test.pool.hashes(), known_to)
    test = test.take(~seen)
    if aux is not None:
        aux = _unseen(aux, known_to, options)
    what = f"{options.test}, without {seen.sum()} images that generators know," if seen.any() else options.test
    check_filled(test.counts, test.groups, what, *names)
    smallest = min(test.images.shape[:2])
    if "lenet" in (*options.receivers, options.judge) and smallest < LEAST_SIDE:
        raise InputError(f"images of {smallest} pixels a side are too small for lenet: name another --receiver.")
    return _balanced(Sides(generators, clean, test, int(seen.sum()), aux), options)


def _balanced(sides: Sides, options: Fairness) -> Sides:
    """Draws as many test images of every cell, if that is asked for."""
    if not options.balance_test:
        return sides
    return sides._replace(test=dealt(sides.test, (options.seed, 2), int(sides.test.counts.min()))[1])


def _check_aux(aux: Cells, test: Cells, options: Fairness) -> None:
    if aux.images.shape != test.images.shape or aux.groups != test.groups:
        raise InputError(
            f"{options.aux} has images of {aux.images.shape} and groups {', '.join(aux.groups)}, {options.test} "
            f"{test.images.shape} and {', '.join(test.groups)}: give images of one kind."
        )
    if both := int(np.isin(test.pool.hashes(), aux.pool.hashes()).sum()):
        raise InputError(
            f"{both} images are in --test {options.test} and in --aux {options.aux}: take them out of one of the two."
        )


def _unseen(aux: Cells, known_to: list[str], options: Fairness) -> Cells:
    """Returns the labelled images, each once, that no generator knows: of others, errors would be counted too low."""
    hashes = aux.pool.hashes()
    first = np.zeros(len(hashes), bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    aux = aux.take(first & ~np.isin(hashes, known_to))
    left = f"{options.aux}, without {len(hashes) - len(aux.s)} images that are there twice or that generators know,"
    source = left if len(aux.s) < len(hashes) else str(options.aux)
    check_filled(aux.counts, aux.groups, source, options.labels, options.sensitive, least=2)
    return aux
