"""From attack scores to a membership report: statistics in, one JSON document out."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffaudit_jax._version import __version__
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.metrics.samples import truth
from diffaudit_jax.report.attack import attack_section
from diffaudit_jax.report.blind import blind_section
from diffaudit_jax.report.document import SCHEMA, SCHEMA_VERSION, to_json
from diffaudit_jax.report.evidence import Trajectory, checked_images, checked_scores, checked_trajectory
from diffaudit_jax.report.exposed import most_exposed
from diffaudit_jax.report.limits import limits
from diffaudit_jax.report.lower_bound import bounded, unbounded
from diffaudit_jax.report.report import Report
from diffaudit_jax.report.significance import adjusted_tests, shared_level
from diffaudit_jax.report.strata import checked_strata, exposure_sections
from diffaudit_jax.report.study import checked_study, choices, study_section
from diffaudit_jax.report.trajectory import trajectory_section
from diffaudit_jax.report.verdict import verdict
from diffaudit_jax.types import InputError, known

LEVEL = 0.95
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn")


def _counts(member: NDArray) -> dict[str, int]:
    return {"members": int(member.sum()), "nonmembers": int((~member).sum())}


def _at(rows: NDArray, named: Mapping[Any, ArrayLike]) -> dict[Any, NDArray]:
    return {name: np.asarray(values)[rows] for name, values in named.items()}


def versions() -> dict[str, str]:
    """Returns the versions of what a report's numbers were computed by."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"diffaudit_jax": __version__, **versions, "python": platform.python_version()}


def membership_report(
    scores: ArrayLike | Mapping[str, ArrayLike],
    member: ArrayLike,
    *,
    images: NDArray | None = None,
    trajectory: Trajectory | None = None,
    groups: ArrayLike | None = None,
    study: Mapping[Any, ArrayLike] | None = None,
    strata: Mapping[str, ArrayLike] | None = None,
    attacks: Mapping[str, Mapping[str, Any]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    coin: float | None = None,
    show_images: int = 0,
    seed: int = 0,
    title: str | None = None,
) -> Report:
    """Concludes from attack scores what a model reveals about who was in its training data.

    Args:
      scores: Float [n], or name of the attack -> float [n]; higher means more likely a member.
      member: Bool [n], the truth.
      images: Uint8 [n, height, width, channels], or float32 [n, d] of a table: the records asked
        about. With them a classifier that never sees
        the model checks whether the two groups differ by themselves; without them the report says it could not check.
      trajectory: Losses of the same queries against time.
      groups: Int [n], the person of each record, if some have several. Statistics are then of one record of each
        person, drawn at random, as records of one person are not independent; the document holds both counts.
      study: Variants among which the attack was chosen, name -> float [n]. They take no part in the verdict; the page
        shows the AUC of each, and what the choice is worth on records that had no say in it. A name that is a tuple is
        laid out as a table: its last part names the column (a float: the share of losses that is kept), as
        `trajectory_study` makes them.
      strata: Name of a stratification (a label, a sensitive attribute) -> group of each record, integers or strings
        [n]. The page shows how exposed each group is to the strongest attack, and the gap between groups.
      attacks: Name of the attack -> what it is (`access`, `paper`, `calls`, `config`), JSON.
      provenance: Where the numbers come from: seeds, hashes, data, target, training, device; JSON.
      coin: P[member] of the coin that each record had for itself, `Split.coin`. The page then shows what epsilon is at
        least, beside what the provenance's guarantee promises, at its delta (1e-5 without).
      show_images: How many of the most exposed records to show. They are personal data, so by default none.
      seed: Seed of the report's own randomness (the split in halves, the blind classifier, one record a person).
      title: Title of the page.

    Returns:
      The report, with `save`, `summary` and the JSON `document`.

    Raises:
      InputError: if scores, truth, images, groups, trajectory, study or strata do not fit together, a value is not
        finite, there are fewer than ten members or non-members (of people: ten people), coins are not fair, or attacks
        or provenance are not JSON.
    """
    member = truth(member)
    scores = checked_scores(scores, member)
    images = None if images is None else checked_images(images, len(member))
    trajectory = None if trajectory is None else checked_trajectory(trajectory, len(member))
    variants, grouped = checked_study(study, member), checked_strata(strata, len(member))
    for name in attacks or {}:
        known("attack", name, scores)
    if show_images < 0 or (show_images and images is None):
        raise InputError(f"show_images={show_images} needs images and a count of 0 or more: pass both, or neither.")
    codes = people(groups, member)
    rows = one_each(codes, seed)
    each, counts = member[rows], _counts(member[rows])
    records = None if len(rows) == len(member) else _counts(member)
    if records and min(counts.values()) < FEWEST:
        raise InputError(
            f"{counts['members']} and {counts['nonmembers']} people among members and non-members are too few for "
            f"statistics, however many records they have: at least {FEWEST} people of each are needed."
        )
    once, variants, grouped = _at(rows, scores), _at(rows, variants), _at(rows, grouped)
    seen = trajectory and Trajectory(trajectory.times, _at(rows, trajectory.losses))
    sections = [
        attack_section(name, values, each, (attacks or {}).get(name, {}), LEVEL, seed) for name, values in once.items()
    ]
    levels = LEVEL, shared_level(LEVEL, len(scores))
    blind = None if images is None else blind_section(images, scores, member, codes, rows, levels, seed)
    tests, picked = adjusted_tests(sections, LEVEL), choices(once, seen, variants, each, LEVEL, seed)
    concluded = verdict(sections, tests, blind, counts, LEVEL, people=records is not None, picked=picked)
    lead = concluded["attack"]
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": title or "What this model reveals about its training data",
        "verdict": concluded,
        "counts": counts,
        "records": records,
        "level": LEVEL,
        "attacks": sections,
        "tests": tests,
        "blind": blind,
        "trajectory": seen and trajectory_section(seen, each, LEVEL),
        "choices": picked,
        "study": study_section(variants, each),
        **bounded(once, each, coin, provenance or {}),
        "exposure": exposure_sections(grouped, lead, once[lead], each, LEVEL, seed),
        "exposed": most_exposed(scores[lead], member, trajectory, images, show_images),
        "provenance": {
            **(provenance or {}),
            "report_seed": seed,
            "versions": versions(),
            "platform": platform.platform(),
        },
        "limits": [
            *limits(sections, concluded, blind, trajectory is not None, records is not None, strata=bool(grouped)),
            *unbounded(coin, provenance or {}),
        ],
    }
    # Through JSON, so that the document in hand is the one that will be read back.
    return Report(json.loads(to_json(document)))
