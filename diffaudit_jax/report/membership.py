"""From attack scores to a membership report: statistics in, one JSON document out."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffaudit_jax import metrics
from diffaudit_jax._version import __version__
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.metrics.samples import truth
from diffaudit_jax.report.blind import blind_section
from diffaudit_jax.report.curves import histogram, surest, thinned
from diffaudit_jax.report.document import SCHEMA, SCHEMA_VERSION, to_json
from diffaudit_jax.report.evidence import Trajectory, checked_images, checked_scores, checked_trajectory
from diffaudit_jax.report.exposed import most_exposed
from diffaudit_jax.report.limits import limits
from diffaudit_jax.report.report import Report
from diffaudit_jax.report.schema import RATES
from diffaudit_jax.report.verdict import TESTS_PER_ATTACK, shared_level, verdict
from diffaudit_jax.types import InputError, known

LEVEL = 0.95
FPRS = (0.1, 0.01, 0.001)
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn")


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return estimate and {part: float(getattr(estimate, part)) for part in ("value", "low", "high")}


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: a threshold that no score reaches is None."""
    return None if value is None or not np.isfinite(value) else float(value)


def _attack(
    name: str, scores: NDArray, member: NDArray, spec: Mapping[str, Any], shared: float, seed: int
) -> dict[str, Any]:
    """Returns one attack's section of the document."""
    found = metrics.membership_stats(scores, member, fprs=FPRS, level=LEVEL, seed=seed)
    return {
        "name": name,
        "spec": dict(spec),
        "auc": _estimate(found.auc),
        "auc_shared": _estimate(metrics.auc(scores, member, level=shared)),
        "operating_points": [
            {
                "target_fpr": point.target_fpr,
                "resolvable": point.resolvable,
                "fpr": _finite(point.fpr),
                "tpr": _estimate(point.tpr),
                "reason": point.reason,
            }
            for point in found.points
        ],
        "transfers": [
            {
                "target_fpr": transfer.target_fpr,
                "resolvable": transfer.resolvable,
                "threshold": _finite(transfer.threshold),
                "fpr": _estimate(transfer.fpr),
                "tpr": _estimate(transfer.tpr),
                "num_members": transfer.num_members,
                "num_nonmembers": transfer.num_nonmembers,
                "reason": transfer.reason,
            }
            for transfer in found.transfers
        ],
        "decision": {
            "threshold": _finite(found.decision.threshold),
            "prevalence": found.decision.prevalence,
            **{rate: _estimate(getattr(found.decision, rate)) for rate in RATES},
        },
        "roc": thinned(*found.roc[:2]),
        "histogram": histogram(scores, member),
        "surest": surest(scores, member),
    }


def _counts(member: NDArray) -> dict[str, int]:
    return {"members": int(member.sum()), "nonmembers": int((~member).sum())}


def _quartiles(losses: NDArray) -> dict[str, list[float]]:
    q25, median, q75 = np.quantile(losses, [0.25, 0.5, 0.75], axis=0)
    return {"median": median.tolist(), "q25": q25.tolist(), "q75": q75.tolist()}


def _trajectory(trajectory: Trajectory, member: NDArray, rows: NDArray) -> dict[str, Any]:
    """Returns the trajectory's section of the document, over these rows."""
    losses, member = {}, member[rows]
    for name, values in trajectory.losses.items():
        values = np.asarray(values, np.float64)[rows]
        by_time = metrics.auc_by_column(-values, member, LEVEL)
        losses[name] = {
            "members": _quartiles(values[member]),
            "nonmembers": _quartiles(values[~member]),
            "auc": [estimate.value for estimate in by_time],
            "auc_low": [estimate.low for estimate in by_time],
            "auc_high": [estimate.high for estimate in by_time],
        }
    return {"times": np.asarray(trajectory.times, float).tolist(), "losses": losses}


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"diffaudit_jax": __version__, **versions, "python": platform.python_version()}


def membership_report(
    scores: ArrayLike | Mapping[str, ArrayLike],
    member: ArrayLike,
    *,
    images: NDArray[np.uint8] | None = None,
    trajectory: Trajectory | None = None,
    groups: ArrayLike | None = None,
    attacks: Mapping[str, Mapping[str, Any]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    show_images: int = 0,
    seed: int = 0,
    title: str | None = None,
) -> Report:
    """Concludes from attack scores what a model reveals about who was in its training data.

    Args:
      scores: Float [n], or name of the attack -> float [n]; higher means more likely a member.
      member: Bool [n], the truth.
      images: Uint8 [n, height, width, channels], the records asked about. With them a classifier that never sees
        the model checks whether the two groups differ by themselves; without them the report says it could not check.
      trajectory: Losses of the same queries against time.
      groups: Int [n], the person of each record, if some have several. Statistics are then of one record of each
        person, drawn at random, as records of one person are not independent; the document holds both counts.
      attacks: Name of the attack -> what it is (`access`, `paper`, `calls`, `config`), JSON.
      provenance: Where the numbers come from: seeds, hashes, data, target, training, device; JSON.
      show_images: How many of the most exposed records to show. They are personal data, so by default none.
      seed: Seed of the report's own randomness (the split in halves, the blind classifier, one record a person).
      title: Title of the page.

    Returns:
      The report, with `save`, `summary` and the JSON `document`.

    Raises:
      InputError: if scores, truth, images, groups or trajectory do not fit together, a value is not finite, there are
        fewer than ten members or non-members (of people: ten people), or attacks or provenance are not JSON.
    """
    member = truth(member)
    scores = checked_scores(scores, member)
    images = None if images is None else checked_images(images, len(member))
    trajectory = None if trajectory is None else checked_trajectory(trajectory, len(member))
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
    shared = shared_level(LEVEL, TESTS_PER_ATTACK * len(scores))
    sections = [
        _attack(name, values[rows], each, (attacks or {}).get(name, {}), shared, seed)
        for name, values in scores.items()
    ]
    levels = LEVEL, shared_level(LEVEL, len(scores))
    blind = None if images is None else blind_section(images, scores, member, codes, rows, levels, seed)
    concluded = verdict(sections, blind, counts, LEVEL, people=records is not None)
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
        "blind": blind,
        "trajectory": None if trajectory is None else _trajectory(trajectory, member, rows),
        "exposed": most_exposed(scores[concluded["attack"]], member, trajectory, images, show_images),
        "provenance": {
            **(provenance or {}),
            "report_seed": seed,
            "versions": _versions(),
            "platform": platform.platform(),
        },
        "limits": limits(sections, concluded, blind, trajectory is not None, records is not None),
    }
    # Through JSON, so that the document in hand is the one that will be read back.
    return Report(json.loads(to_json(document)))
