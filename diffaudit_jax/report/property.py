"""From what samples are called to a report of a property's share: one JSON document out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Int

from diffaudit_jax.report.membership import versions
from diffaudit_jax.report.nouns import IMAGE
from diffaudit_jax.report.property_limits import limits
from diffaudit_jax.report.property_page import render_property
from diffaudit_jax.report.property_schema import FILE, SCHEMA, SCHEMA_VERSION, read_property
from diffaudit_jax.report.property_shares import Training, against_n, covered, judged, plan, points, several, share
from diffaudit_jax.report.property_verdict import verdict
from diffaudit_jax.report.saved import Kind, SavedReport
from diffaudit_jax.training.discriminator import rates_of

Confusion = Int[np.ndarray, "v v"]


class PropertyReport(SavedReport):
    """A report of a property's share; schema ``diffaudit.property``, version 1."""

    kind = Kind(FILE, SCHEMA, read_property, render_property)


def property_report(
    calls: Int[np.ndarray, " n"],
    values: Sequence[str],
    *,
    name: str,
    called: str | None,
    confusion: Confusion | None = None,
    by: Mapping[int, Confusion] | None = None,
    labels: Int[np.ndarray, " n"] | None = None,
    names: Sequence[str] = (),
    in_turn: bool = False,
    most: int | None = None,
    error: float | None = None,
    level: float = 0.95,
    declared: float | None = None,
    training: Training | None = None,
    discriminator: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    noun: str = IMAGE,
    read: bool = False,
) -> PropertyReport:
    """Concludes from what samples are called which share of a generator's training images has a property.

    Args:
      calls: Which of `values` each sample is called, in the order in which they were drawn.
      values: What is told apart; of two, the second may be asked for.
      name: The property's.
      called: What an image has that is called the second value; None if the share of each value is asked for.
      confusion: Labelled images that taught nobody, by value and by what they are called; None if there are none.
      by: Class -> the same of the images of this class.
      labels: Class of each sample; None without.
      names: Names of classes; none if shares by class are not asked for.
      in_turn: Whether a model was asked for its classes in turn, so that their shares are nobody's but the asker's.
      most: How many samples there might have been; as many as there are if None.
      error: Half the width of an interval at which samples were to be stopped at; None if they were not.
      level: Confidence level; of shares by class, of all together.
      declared: Share that the sharer declares, of every class if classes are asked for.
      training: What is known of the images that trained the generator.
      discriminator: Who called: its `name`, `prompts`, `taught` by how many images, and how many were `left_out`.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.
      noun: What a sample is called.
      read: Whether samples say themselves what they are, so that calls are never wrong.

    Returns:
      The report.
    """
    told = {"name": "", "prompts": [], "taught": 0, "left_out": 0, **(discriminator or {})}
    one, n = called is not None, len(calls)
    rates = rates_of(confusion) if one and confusion is not None else None
    shares = (
        [share(calls == 1, rates, error, level, read)] if one else several(calls, confusion, len(values), level, read)
    )
    shares = [
        {"name": label, **each, "coverage": covered(training, v, labels if in_turn else None, each)}
        for v, label, each in zip(
            (1,) if one else range(len(values)), (called,) if one else values, shares, strict=True
        )
    ]
    corrects, counts = rates is not None and shares[0]["informative"], points(n)
    together = 1 - (1 - level) / max(1, len(np.unique(labels)) if len(names) and labels is not None else 1)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "noun": noun,
        "read": read,
        "title": title or f"How common is {called or f'each value of {name}'} in the training {noun}s?",
        "level": float(level),
        "together": together,
        "property": {"name": name, "values": list(values), "called": called},
        "counts": {
            "samples": n,
            "most": n if most is None else most,
            "taught": told["taught"],
            "judged": 0 if confusion is None else int(confusion.sum()),
            "left_out": told["left_out"],
        },
        "error": error,
        "stopped": error is not None and one and _width(shares[0]["raw"]["anytime"]) <= 2 * error,
        "declared": declared,
        "in_turn": in_turn,
        "discriminator": {
            "name": told["name"],
            "prompts": list(told["prompts"]),
            "judged": None if confusion is None else judged(confusion, level),
        },
        "shares": shares,
        "classes": _classes(calls, labels, names, rates, by or {}, training, error, together, read) if one else [],
        "against_n": {
            "n": counts,
            "curves": [
                against_n(calls == v, rates if corrects else None, level, counts)
                for v in ((1,) if one else range(len(values)))
            ],
        },
        "plan": [{"error": each, **needed} for each, needed in plan(level)],
        "provenance": {**(provenance or {}), "versions": versions()},
    }
    return PropertyReport(document | {"verdict": verdict(document), "limits": limits(document)})


def _classes(
    calls: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    rates: Any,
    by: Mapping[int, Confusion],
    training: Training | None,
    error: float | None,
    level: float,
    read: bool,
) -> list[dict[str, Any]]:
    """Returns the share in each class of the samples: by errors of this class where they were counted, else of all."""
    if labels is None or not names:
        return []
    rows = []
    for y in np.unique(labels).tolist():
        own = by.get(y)
        found = share(calls[labels == y] == 1, rates if own is None else rates_of(own), error, level, read)
        known = None if training is None or y not in training.by else Training(training.by[y], {})
        rows.append(
            {"name": names[y], **found, "coverage": covered(known, 1, None, found)}
            | {"judged": None if own is None else judged(own, level)}
        )
    return rows


def _width(found: Mapping[str, float]) -> float:
    return found["high"] - found["low"]
