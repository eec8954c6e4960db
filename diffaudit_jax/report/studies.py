"""From a study of reconstructions to a report: what varied and what it measured in, one JSON document out.

All studies have one form: variants of an attack, each with scores of targets by mu; differences between two of them;
and numbers with a name, by mu or one for all. `studies_found` brings what `reconstruction` returns into it.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffaudit_jax.metrics.gdp import gdp_epsilon
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.resampling import weights
from diffaudit_jax.reconstruction.attacker import gain
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.reconstruction import METRICS, NUM_RESAMPLES, mean_of, opened
from diffaudit_jax.report.saved import Kind, SavedReport
from diffaudit_jax.report.studies_limits import limits
from diffaudit_jax.report.studies_page import render_study
from diffaudit_jax.report.studies_schema import FILE, SCHEMA, SCHEMA_VERSION, read_study
from diffaudit_jax.report.studies_verdict import TITLES, verdict


class Difference(NamedTuple):
    """How one variant differs from another.

    Attributes:
      name: The variant.
      than: The other.
      scores: Metric -> its mean less the other's, one a mu.
      paired: Whether both attacked the same targets.
      mu_ratio: mu of one release of the other over that of the variant.
    """

    name: str
    than: str
    scores: Mapping[str, Sequence[Estimate]]
    paired: bool = True
    mu_ratio: float = 1.0


class Column(NamedTuple):
    """A number of a variant, or of all (None), at each mu."""

    of: str | None
    name: str
    values: Sequence[Estimate]


class Fact(NamedTuple):
    """A number of a variant: `value` is None where there is none, and `reason` says why."""

    of: str
    name: str
    value: Estimate | None
    reason: str = ""


class Study(NamedTuple):
    """What a study measured.

    Attributes:
      kind: One of `studies_schema.KINDS`.
      mus: mu of one release, float64 [k].
      variants: Name -> metric -> float64 [k, n].
      differences: Between variants.
      columns: Further numbers, one a mu.
      facts: Further numbers.
    """

    kind: str
    mus: np.ndarray
    variants: Mapping[str, Mapping[str, np.ndarray]]
    differences: tuple[Difference, ...] = ()
    columns: tuple[Column, ...] = ()
    facts: tuple[Fact, ...] = ()


class StudyReport(SavedReport):
    """A report of a study; schema ``diffaudit.study``, version 1."""

    kind = Kind(FILE, SCHEMA, read_study, render_study)


def study_report(
    study: Study,
    *,
    attacker: Mapping[str, Any],
    delta: float = 1e-5,
    known: int | None = None,
    num_public: int = 0,
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: int = 0,
) -> StudyReport:
    """Concludes from a study what the varied thing changes.

    Args:
      study: What was measured.
      attacker: What is the same for all: `method`, `steps`, and `classes`, "none" or "not told".
      delta: At which epsilon is told.
      known: How many targets a prior was trained on; None if nobody can tell. Not asked of "seen".
      num_public: Public images that the study had.
      notes: What a reader has to know of the targets, in sentences.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.
      seed: Seed of the resamples behind the intervals of means.

    Returns:
      The report.
    """
    sizes = [scores["mse"].shape[1] for scores in study.variants.values()]
    resamples = {n: weights(np.random.default_rng(seed), n, NUM_RESAMPLES) for n in set(sizes)}
    # What the verdict compares holds for all comparisons together (Bonferroni).
    together = 1 - (1 - LEVEL) / max(1, len(study.differences) * len(study.mus))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or TITLES[study.kind],
        "study": study.kind,
        "level": LEVEL,
        "together": together,
        "delta": float(delta),
        "counts": {"targets": max(sizes), "known": known, "public": num_public},
        "attacker": dict(attacker),
        "rows": [{"mu": float(mu), "epsilon": float(gdp_epsilon(mu, delta))} for mu in study.mus],
        "variants": [
            {"name": name, "targets": n, "scores": _means(scores, resamples[n])}
            for n, (name, scores) in zip(sizes, study.variants.items(), strict=True)
        ],
        "differences": [_difference(study, each, together) for each in study.differences],
        "columns": [each._asdict() | {"values": [opened(value) for value in each.values]} for each in study.columns],
        "facts": [each._asdict() | {"value": opened(each.value)} for each in study.facts],
        "notes": list(notes),
        "provenance": {**(provenance or {}), "report_seed": seed, "versions": versions()},
    }
    return StudyReport(document | {"verdict": verdict(document), "limits": limits(document)})


def study_npz(study: Study, hashes: Mapping[str, Sequence[str]]) -> bytes:
    """Returns what was measured of every target at every mu, as an npz.

    Args:
      study: What was measured.
      hashes: Variant -> content hash of every target.

    Returns:
      Arrays ``variant/metric`` [k, n], ``variant/hashes`` [n] and ``mu`` [k].
    """
    arrays: dict[str, Any] = {"mu": study.mus}
    for name, scores in study.variants.items():
        arrays |= {f"{name}/{metric}": values for metric, values in scores.items()}
        arrays[f"{name}/hashes"] = np.asarray(hashes[name])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def share(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"], *, paired: bool, level: float) -> Estimate | None:
    """Returns mean a/mean b - 1 with its interval over targets (delta method, Student's); None if mean b is 0.

    With r = mean a/mean b, the error of r is to first order that of mean(a - r b)/mean b.
    """
    base = float(np.mean(b))
    if base == 0:
        return None
    ratio = float(np.mean(a)) / base
    off = gain(a / base, b * (ratio / base), paired=paired, level=level)
    return Estimate(ratio - 1, ratio - 1 + off.low - off.value, ratio - 1 + off.high - off.value)


def _means(scores: Mapping[str, np.ndarray], resamples: Float[np.ndarray, "m n"]) -> dict[str, list[Any]]:
    return {metric: [mean_of(row, resamples) for row in scores[metric]] for metric in METRICS if metric in scores}


def _difference(study: Study, each: Difference, level: float) -> dict[str, Any]:
    a, b = (study.variants[name]["mse"] for name in (each.name, each.than))
    shares = [share(x, y, paired=each.paired, level=level) for x, y in zip(a, b, strict=True)]
    return {
        "name": each.name,
        "than": each.than,
        "mu_ratio": each.mu_ratio,
        "scores": {
            metric: [found._asdict() for found in each.scores[metric]] for metric in METRICS if metric in each.scores
        },
        "share": [found and found._asdict() for found in shares],
    }
