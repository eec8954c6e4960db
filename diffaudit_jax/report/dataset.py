"""From what a model did with suspect and unpublished records to a report: is this set in the training data, and who?"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from diffaudit_jax import metrics
from diffaudit_jax.metrics.dataset import shared
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.report.attack import estimate_json
from diffaudit_jax.report.dataset_limits import limits
from diffaudit_jax.report.dataset_page import render_dataset
from diffaudit_jax.report.dataset_schema import FILE, SCHEMA, SCHEMA_VERSION, read_dataset
from diffaudit_jax.report.dataset_verdict import judged, level_of, verdict
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.nouns import IMAGE
from diffaudit_jax.report.saved import Kind, SavedReport
from diffaudit_jax.types import InputError

FDR = 0.1


class DatasetReport(SavedReport):
    """A report of suspect sets; schema ``diffaudit.dataset``, version 1."""

    kind = Kind(FILE, SCHEMA, read_dataset, render_dataset)


class Evidence(NamedTuple):
    """One set, record by record.

    Attributes:
      features: What the model did with each, real numbers [n, d]: the same of every set.
      scores: Scores of each by the attacks, [n, attacks], higher = member.
      groups: Person of each, int or str [n], named alike in every set; None if every record is a person's own.
      records: The records [n, ...], for the blind check; None if nobody has them.
    """

    features: NDArray
    scores: NDArray
    groups: NDArray | None = None
    records: NDArray | None = None


def dataset_report(
    suspects: Mapping[str, Evidence],
    unpublished: Evidence,
    *,
    attacks: Sequence[str],
    people: str | None = None,
    listed: str | None = None,
    fdr: float = FDR,
    trained: Sequence[int | None] | None = None,
    own: bool = False,
    noun: str = IMAGE,
    level: float = LEVEL,
    seed: int = 0,
    num_permutations: int = 1999,
    repeats: int = 40,
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Concludes for each suspect set, and for each person, whether it was trained on.

    Args:
      suspects: Name of a set -> what the model did with it.
      unpublished: The same of records that the model cannot have seen.
      attacks: Names of the attacks, in the order of `scores`.
      people: What says which person a record is of: then people are judged too; None for sets only.
      listed: File beside the page that says who its numbers of people are, if there is one.
      fdr: False-discovery rate of verdicts on people.
      trained: Records of each set that trained the model, by its own record; None where that is not known.
      own: Whether the sets are a run's own members and non-members.
      noun: What a record is called, "image" or "record".
      level: Confidence level; a set is found if its p-value, adjusted for the number of sets, is 1 - level at most.
      seed: Seed of folds and shuffles.
      num_permutations: Shuffles of each test.
      repeats: Random parts of each size in the power curve.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.
      progress: Called with (sets done, sets).

    Returns:
      The report.

    Raises:
      InputError: as `metrics.dataset_verdict`, or if no set is given, or so few shuffles that no set is ever found.
    """
    if not suspects:
        raise InputError("there is no suspect set: give one at least.")
    shared(level, len(suspects), num_permutations)
    rows = []
    for name, suspect in suspects.items():
        if progress is not None:
            progress(len(rows), len(suspects))
        rows.append(_set(name, suspect, unpublished, len(suspects), level, seed, num_permutations, repeats))
    if progress is not None:
        progress(len(rows), len(suspects))
    adjusted = metrics.holm([row["p_value"] for row in rows])
    known = [None] * len(rows) if trained is None else trained
    for row, p, count in zip(rows, adjusted, known, strict=True):
        row |= {"adjusted": float(p), "trained": count}
        row["level"] = level_of(row, 1 - level)
    told: dict[str, Any] = {"judged": False, "ranked": 0, "flagged": 0, "rows": []}
    if people is not None and judged(rows):
        told = _people(suspects, unpublished, fdr, seed) | {"listed": listed}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or f"Is this set of {noun}s in the training data?",
        "noun": noun,
        "own": own,
        "level": float(level),
        "counts": {
            "unpublished": len(unpublished.features),
            "people": len(np.unique(_codes(unpublished))),
            "features": int(unpublished.features.shape[1]),
            "permutations": num_permutations,
            "repeats": repeats,
        },
        "attacks": list(attacks),
        "sets": rows,
        "people": None if people is None else {"named": people, "fdr": float(fdr), "listed": None} | told,
        "provenance": {**(provenance or {}), "versions": versions()},
    }
    return DatasetReport(document | {"verdict": verdict(document), "limits": limits(document)})


def _codes(side: Evidence) -> NDArray:
    return np.arange(len(side.features)) if side.groups is None else np.asarray(side.groups)


def _set(
    name: str,
    suspect: Evidence,
    unpublished: Evidence,
    tests: int,
    level: float,
    seed: int,
    num_permutations: int,
    repeats: int,
) -> dict[str, Any]:
    # Twice as many shuffles as tell a part at all, or parts would be told by their best possible p-value alone.
    few = max(99, math.ceil(2 * tests / (1 - level)) - 1)
    sides = suspect, unpublished
    suspected = np.arange(len(suspect.features) + len(unpublished.features)) < len(suspect.features)
    named = None if suspect.groups is None else np.concatenate([_codes(side) for side in sides])
    both, given = (suspect.features, unpublished.features), {"groups": named, "level": level, "seed": seed}
    found = metrics.dataset_verdict(*both, num_permutations=num_permutations, **given)
    needed = metrics.power(*both, repeats=repeats, tests=tests, num_permutations=few, **given)
    codes = people(named, suspected)
    rows = one_each(codes, seed)
    towards = metrics.auc(_ranked(np.concatenate([side.scores for side in sides]))[rows], suspected[rows], level=level)
    blind = None
    if suspect.records is not None and unpublished.records is not None:
        records = np.concatenate([suspect.records, unpublished.records])
        with threadpool_limits(1, "blas"):
            # An accusation hangs on this: a difference is taken as seriously as the set's own.
            check = metrics.blind_baseline(
                records,
                suspected,
                groups=codes,
                level=level,
                alarm=1 - level,
                seed=seed,
                num_permutations=num_permutations,
            )
        blind = {"auc": estimate_json(check.auc), "leaks": bool(check.leaks), "p_value": check.p_value}
    return {
        "name": name,
        "records": len(suspect.features),
        "people": len(np.unique(codes[suspected])),
        "p_value": found.p_value,
        "auc": estimate_json(found.auc),
        "effect": found.effect,
        "towards": estimate_json(towards),
        "blind": blind,
        "power": {
            "sizes": list(needed.sizes),
            "rejected": [estimate_json(share) for share in needed.rejected],
            "median": list(needed.median),
            "needed": needed.needed,
        },
    }


def _ranked(scores: NDArray) -> NDArray:
    """Returns one score of each record: the mean of its ranks by every attack, whose scales differ."""
    return rankdata(scores, axis=0).mean(axis=1)


def _people(suspects: Mapping[str, Evidence], unpublished: Evidence, fdr: float, seed: int) -> dict[str, Any]:
    called = np.concatenate([_codes(each) for each in suspects.values()])
    features = np.concatenate([each.features for each in suspects.values()])
    attacks = _ranked(np.concatenate([each.scores for each in (*suspects.values(), unpublished)]))
    found = metrics.people_verdicts(
        features, unpublished.features, called, _codes(unpublished), attacks=attacks, fdr=fdr, seed=seed
    )
    rows = [
        {"number": i + 1, "records": int(records), "p_value": float(p), "adjusted": float(q), "flagged": bool(flag)}
        for i, (records, p, q, flag) in enumerate(
            zip(found.records, found.p_values, found.adjusted, found.flagged, strict=True)
        )
    ]
    return {
        "judged": True,
        "ranked": found.ranked,
        "flagged": int(found.flagged.sum()),
        "rows": sorted(rows, key=lambda row: (row["adjusted"], row["p_value"], row["number"])),
    }
