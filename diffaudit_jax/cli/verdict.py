"""diffaudit verdict: is this set in the training data, and which people are?"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from diffaudit_jax import data
from diffaudit_jax.auditing import check_queries
from diffaudit_jax.cli.asked import queries_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES, check_answered, kind_of, named
from diffaudit_jax.cli.claimed import Claimed, Side, claimed, plain, units
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.passes import Seen, check_service, passes, run_passes
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import provenance
from diffaudit_jax.cli.setting import audit_key, setting_of
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.report.dataset import DatasetReport, Evidence, dataset_report
from diffaudit_jax.report.nouns import IMAGE, RECORD
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, write_atomic

# What is cheap to ask and sees different things; of a service, what asks for tens of answers and not hundreds.
USUAL = {
    ("images", "white"): ("eps-loss", "x0-loss", "vlb-loss", "gsa1", "secmi", "pia", "sima"),
    ("images", "gray"): ("x0-api", "secmi", "pia", "sima"),
    ("table", "white"): ("eps-loss", "x0-loss", "vlb-loss", "numeric-loss", "categorical-loss", "gsa1"),
    ("vae", "white"): ("elbo",),
}


PEOPLE = "people.csv"
AXES = 3  # records, times, and noises: what has more is an image for each record


@dataclass(frozen=True)
class Verdict:
    """Tell whether a set of records is in a model's training data, by what it does with many of them at once.

    Writes report.html and dataset.json. A verdict that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """What to ask: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved- or
    guided-diffusion."""
    out: Path
    """Directory for the report and what it was computed from; made if it does not exist."""
    claimed: Annotated[Claimed, tyro.conf.arg(name="")] = field(default_factory=Claimed)
    """Who is asked about."""
    asking: Annotated[Asking, tyro.conf.arg(name="")] = field(default_factory=Asking)
    """What is asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""
    fdr: float = 0.1
    """With --people: share of false verdicts among those flagged, on average."""
    block: int = 64
    """Images per dispatch, over all devices; more is faster and takes more memory."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    seed: int = 0
    """Seed of the noise, of --queries, and of the tests' shuffles."""


def run_verdict(options: Verdict) -> DatasetReport:
    """Runs the command; returns the report it saved."""
    _check(options)
    subject = load_subject(options.run, options.weights)
    names = _attacks(options.asking, subject)
    suspects, unpublished = claimed(options.claimed, subject, options.run, options.seed)
    sides, seen = [*suspects, unpublished], _seen(options, subject, names, [*suspects, unpublished])
    features = features_of(seen)
    ends = np.cumsum([len(side.pool) for side in sides])[:-1]
    scores = np.stack([seen.scores[name] for name in names], axis=1)
    parts = zip(sides, np.split(features, ends), np.split(scores, ends), units(sides), strict=True)
    found = [Evidence(each, score, whose, side.pool.x) for side, each, score, whose in parts]
    with stage("judging") as show:
        report = dataset_report(
            {side.name: each for side, each in zip(suspects, found[:-1], strict=True)},
            found[-1],
            attacks=names,
            people=options.claimed.people,
            listed=PEOPLE,
            fdr=options.fdr,
            trained=[None if side.trained is None else int(side.trained.sum()) for side in suspects],
            own=options.claimed.unpublished is None,
            noun=IMAGE if subject.encoder is None else RECORD,
            seed=options.seed,
            provenance=provenance(
                subject, seen, {}, {**vars(options.claimed), "run": str(options.run)}, options.seed, options.devices
            ),
            progress=show,
        )
    report.save(options.out)
    told = report.document["people"]
    if told is not None and told["judged"]:
        _write_people(options.out / PEOPLE, told["rows"], suspects)
    else:
        (options.out / PEOPLE).unlink(missing_ok=True)  # of an older verdict, which this one takes back
    return report


def features_of(seen: Seen) -> np.ndarray:
    """Returns what was observed of each record, float64 [n, d].

    Errors and norms are positive and spread over orders of magnitude: their logarithms are taken, of others nothing.
    Of attacks that keep whole images their scores are taken.
    """
    columns = []
    for name in sorted(seen.features):
        leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(seen.features[name])]
        if any(leaf.ndim > AXES for leaf in leaves):
            leaves = [scores for attack, scores in seen.scores.items() if ENTRIES[attack].observed == name]
        for values in leaves:
            flat = values.reshape(len(values), -1)
            columns.append(np.log(flat) if (flat > 0).all() else flat)
    return np.concatenate(columns, axis=1)


def _check(options: Verdict) -> None:
    """Refuses what can be seen to be wrong before a model is loaded."""
    if not 0.0 < options.fdr < 1.0:
        raise InputError(f"--fdr lies between 0 and 1, for example 0.1, got {options.fdr}.")
    if options.asking.times < 1:
        raise InputError(f"--times must be at least 1, got {options.asking.times}.")
    if is_table(options.run):
        raise InputError(f"{options.run} holds records and no model: a verdict on sets asks a model.")
    if (options.out / "report.json").exists() or not (options.out / "observations").is_dir():
        check_out(options.out, DatasetReport)


def _attacks(asking: Asking, subject: Subject) -> tuple[str, ...]:
    """Returns the attacks whose answers are features: those named, or the usual ones of this kind of model."""
    kind = kind_of(subject.target)
    if asking.attack is None and (usual := USUAL.get((kind, asking.access))):
        asking = replace(asking, attack=usual)
    names = named(asking, subject.target)
    check_answered(names, subject.target)
    if black := [name for name in names if ENTRIES[name].access == "black"]:
        raise InputError(
            f"{black[0]} asks about generated samples, and a verdict on sets asks the model: name others with --attack."
        )
    return names


def _seen(options: Verdict, subject: Subject, names: tuple[str, ...], sides: Sequence[Side]) -> Seen:
    """Asks the model about all sides at once."""
    target = subject.target
    pools = [plain(side.pool, target.num_classes is not None) for side in sides]
    union = data.renumbered(data.concatenate(*pools))
    first = sum(len(pool) for pool in pools[:-1])
    rows = np.arange(len(union))
    queries = queries_of(data.Split(union.take(rows[:first]), union.take(rows[first:])), target.num_classes)
    made = passes(names, setting_of(options.asking, target, subject.encoder, options.seed))
    check_queries(queries, target)
    check_service(made, len(union), options.asking, 0)
    key, mesh = audit_key(options.seed), local_mesh(options.devices)
    return run_passes(made, target, queries, key=key, block=options.block, mesh=mesh, out=options.out / "observations")


def _write_people(path: Path, rows: Sequence[dict[str, Any]], suspects: Sequence[Side]) -> None:
    """Writes who the page's numbers are: for whoever holds the suspect records, and beside the page only."""
    called: dict[int, str] = {}
    for side, codes in zip(suspects, units(suspects), strict=True):
        assert side.people is not None
        called |= dict(zip(codes.tolist(), side.people.tolist(), strict=True))
    # Numbers on the page follow the order in which people first appear, as the report's do.
    order = list(dict.fromkeys(np.concatenate([codes for codes in units(suspects)]).tolist()))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "person", "records", "p_value", "adjusted", "flagged"])
    for row in rows:
        numbers = (row[name] for name in ("records", "p_value", "adjusted"))
        writer.writerow([row["number"], called[order[row["number"] - 1]], *numbers, int(row["flagged"])])
    write_atomic(path, buffer.getvalue().encode())
