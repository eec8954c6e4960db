"""diffaudit table: of what use a synthetic table is, and what it shows of who trained its generator."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import tyro

from diffaudit_jax import data
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.columns import Columns, is_table, like, read_table
from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Weights, load_subject
from diffaudit_jax.cli.table_split import columns_of
from diffaudit_jax.cli.tables import labels_like
from diffaudit_jax.report import Report, TablesReport, tables_report
from diffaudit_jax.types import InputError, known, write_atomic


@dataclass(frozen=True)
class TableAudit:
    """Report on a synthetic table: its use, and what it shows of real people.

    What classifiers learn from it, how near its columns are to the real ones, whether it copies, and whether people can
    be singled out, linked or inferred by it.
    """

    generator: tyro.conf.Positional[Path]
    """A CSV or Parquet file of synthetic records, or a run of `diffaudit train --model tabddpm`, to draw of."""
    out: Path
    """Directory for the report; made if it does not exist."""
    members: str | None = None
    """Real records that trained the generator; a run's own if not given."""
    holdout: str | None = None
    """Real records of the same source that did not: the floor of every distance, and what classifiers are tested on; a
    run's own non-members if not given."""
    label: str | None = None
    """Column that classifiers learn to tell; a run's own if not given."""
    types: tuple[str, ...] = ()
    """Kinds of columns of files, where inferred wrongly: NAME=numeric or NAME=categorical."""
    drop: tuple[str, ...] = ()
    """Columns of files to leave out."""
    secrets: tuple[str, ...] | None = None
    """Columns that an attacker infers from all others; every one if not given."""
    guesses: int = 500
    """Guesses of each attack."""
    audit: Path | None = None
    """Directory of a `diffaudit audit` of the same generator, whose membership attacks the page then shows."""
    num: int | None = None
    """Records to draw of a run; as many as its members if not given."""
    seed: int = 0
    """Seed of everything that is drawn."""


class Sides(NamedTuple):
    """What is compared.

    Attributes:
      members: What trained the generator.
      holdout: What did not.
      synthetic: What it made.
      label: Column that classifiers tell.
      source: What kind of thing the generator is.
    """

    members: data.Table
    holdout: data.Table
    synthetic: data.Table
    label: str
    source: str


def run_table(options: TableAudit) -> TablesReport:
    """Runs the command; returns the report it saved."""
    check_out(options.out, TablesReport)
    if options.guesses < 1 or (options.num is not None and options.num < 1):
        raise InputError(f"--guesses and --num are 1 or more, got {options.guesses} and {options.num}.")
    membership = None if options.audit is None else Report.load(options.audit).document
    sides = _given(options) if is_table(options.generator) else _drawn(options)
    for name in options.secrets or ():
        known("column", name, sides.members.columns)
    with stage("comparing") as show:
        show(0, 1)
        report = tables_report(
            sides.members,
            sides.holdout,
            sides.synthetic,
            label=sides.label,
            membership=membership,
            secrets=options.secrets,
            guesses=options.guesses,
            seed=options.seed,
            provenance={"generator": str(options.generator), "source": sides.source, "seed": options.seed},
        )
        show(1, 1)
    report.save(options.out)
    _write_risks(options.out / "risks.csv", report.document["risks"])
    return report


def _write_risks(path: Path, risks: Sequence[Mapping[str, Any]]) -> None:
    """Writes a row for each attack, to set beside what other tools found: guesses that came true, and the risk."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    counts, rates = ("attack", "of", "guesses", "main", "baseline", "control"), ("main", "baseline", "control")
    writer.writerow([*counts, *(f"{name}_rate" for name in rates), "risk", "risk_low", "risk_high"])
    for row in risks:
        found = [row[f"{name}_rate"] for name in rates]
        ends = (row["risk"][end] for end in ("value", "low", "high"))
        writer.writerow([*(row[name] for name in counts), *(rate and rate["value"] for rate in found), *ends])
    write_atomic(path, buffer.getvalue().encode())


def _given(options: TableAudit) -> Sides:
    """Returns the tables that were named."""
    if options.members is None or options.holdout is None or options.label is None:
        raise InputError(f"{options.generator} holds records only: give --members, --holdout and --label.")
    if options.num is not None:
        raise InputError(f"{options.generator} holds records, which are not drawn: leave --num out.")
    columns = Columns(types=options.types, drop=options.drop)
    made = read_table(str(options.generator), columns)
    known("column", options.label, made.columns)
    members, holdout = (like(read_table(source, columns), made) for source in (options.members, options.holdout))
    return Sides(members, holdout, made, options.label, "a synthetic table")


def _drawn(options: TableAudit) -> Sides:
    """Returns the run's own records, or those named, and as many of its samples as are asked for."""
    subject = load_subject(options.generator, Weights())
    if subject.encoder is None:
        raise InputError(f"{options.generator} is a model of images: give a synthetic table or a run of tabddpm.")
    if (options.members is None) != (options.holdout is None):
        raise InputError("give --members and --holdout together: the report compares the two.")
    record, columns = subject.record, columns_of(subject.record)
    label = options.label or columns.label
    if label is None:
        raise InputError(f"{options.generator} has no label: give --label, a column that classifiers learn to tell.")
    if options.members is not None and options.holdout is not None:
        split = data.Split(*(read_table(source, columns) for source in (options.members, options.holdout)))
    else:
        split = data.from_record(record["split"], read_table(record["data"], columns, record["groups"]))
    known("column", label, split.members.columns)
    num = options.num or len(split.members)
    labels = labels_like(record, num, options.seed)
    with stage("sampling") as show:
        key = jax.random.fold_in(jax.random.key(options.seed), 4)
        x = draw_bank(key, subject.target, num, labels=labels, block=1024, progress=show)
    made = replace(subject.encoder.decode(x, labels), name=options.generator.name)
    return Sides(like(split.members, made), like(split.nonmembers, made), made, label, subject.source)
