"""From classifiers that were trained on generators' samples to a report: statistics in, one JSON document out."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from diffaudit_jax.metrics.corrected import Corrected
from diffaudit_jax.metrics.fairness import FairnessStats, GroupRates
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.report.fairness_limits import limits
from diffaudit_jax.report.fairness_page import render_fairness
from diffaudit_jax.report.fairness_schema import FILE, SCHEMA, SCHEMA_VERSION, read_fairness
from diffaudit_jax.report.fairness_verdict import verdict
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.report.membership import LEVEL, versions
from diffaudit_jax.report.nouns import IMAGE
from diffaudit_jax.report.saved import Kind, SavedReport


class Checked(NamedTuple):
    """What a discriminator of the group says of a generator's samples.

    Attributes:
      shares: (Group, label) -> P(S = group | Y = label); the intervals hold together.
      gap: Parity gap of the labels that these imply; None of more than two groups.
    """

    shares: Mapping[tuple[str, int], Corrected]
    gap: Estimate | None


class Sheet(NamedTuple):
    """Samples of one cell: the group that they are taken for (None if nobody tells), their label, and how many.

    Attributes:
      group: Name of the group.
      label: 0 or 1.
      count: Samples in the cell.
      images: Some of them, uint8 [m, h, w, c]; None for no pictures.
    """

    group: str | None
    label: int
    count: int
    images: UInt8[np.ndarray, "m h w c"] | None


class Audited(NamedTuple):
    """A generator.

    Attributes:
      name: What it is called; no two are called the same.
      alpha: Poisoning ratio; None if nobody says.
      samples: Samples of label 0 and of label 1.
      told: What a manifest says of the set that trained it: `gap`, `information`, `method`; or None.
      receivers: What each receiver's classifier does.
      check: What its samples show; or None.
      sheets: Pictures of its samples.
    """

    name: str
    alpha: float | None
    samples: tuple[int, int]
    told: Mapping[str, Any] | None
    receivers: Mapping[str, FairnessStats]
    check: Checked | None = None
    sheets: Sequence[Sheet] = ()


class RealImages(NamedTuple):
    """Real images that classifiers were asked about.

    Attributes:
      cells: Group -> images of label 0 and of label 1.
      gap: Parity gap of their own labels.
      left_out: Images that were left out, as a generator knew them.
    """

    cells: Mapping[str, tuple[int, int]]
    gap: float
    left_out: int


class FairnessReport(SavedReport):
    """A report of fairness; schema ``diffaudit.fairness``, version 1."""

    kind = Kind(FILE, SCHEMA, read_fairness, render_fairness)


def fairness_report(
    generators: Sequence[Audited],
    test: RealImages,
    *,
    labels: str,
    sensitive: str,
    clean: str | None = None,
    discriminator: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    noun: str = IMAGE,
    told_group: bool = False,
) -> FairnessReport:
    """Concludes how fair classifiers are that were trained on generators' samples.

    Args:
      generators: All with the same receivers, the first of which the verdict is by.
      test: What they were asked about.
      labels: What the label is called.
      sensitive: What the group is called.
      clean: Name of the generator without poison, against which losses are; None for none.
      discriminator: Of the group: its `name`, held-out `accuracy`, `images` that it was made of, and the `level` of one
        of the intervals that hold together; `read` if samples say their group themselves. None for none.
      provenance: Where the numbers come from, as JSON.
      title: Title of the page.
      noun: What a sample is called.
      told_group: Whether classifiers see the group, as a column of a record.

    Returns:
      The report.
    """
    sizes = {tuple(counts) for counts in test.cells.values()}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "noun": noun,
        "told_group": told_group,
        "title": title or f"Fairness of classifiers of {labels} trained on generated {noun}s",
        "level": LEVEL,
        "labels": labels,
        "sensitive": sensitive,
        "receivers": list(generators[0].receivers),
        "clean": clean,
        "test": {
            "images": int(sum(map(sum, test.cells.values()))),
            "left_out": test.left_out,
            "balanced": len(sizes) == 1 and len(set(*sizes)) == 1,
            "gap": float(test.gap),
            "cells": {group: list(map(int, counts)) for group, counts in test.cells.items()},
        },
        "discriminator": discriminator and dict(discriminator),
        "generators": [_generator(each) for each in generators],
        "provenance": {**(provenance or {}), "versions": versions()},
    }
    return FairnessReport(document | {"verdict": verdict(document), "limits": limits(document)})


def predictions_npz(
    predictions: Mapping[str, Mapping[str, np.ndarray]], y: np.ndarray, s: Sequence[str], hashes: Sequence[str]
) -> bytes:
    """Returns what every classifier said of every test image, as an npz.

    Args:
      predictions: Generator -> receiver -> predicted labels [n].
      y: True labels [n].
      s: Name of each one's group [n].
      hashes: Content hash of each [n].

    Returns:
      Arrays ``generator/receiver``, ``y``, ``s`` and ``hashes``, all [n].
    """
    arrays: dict[str, Any] = {"y": y, "s": np.asarray(s), "hashes": np.asarray(hashes)}
    arrays |= {f"{name}/{receiver}": each for name, by in predictions.items() for receiver, each in by.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _generator(each: Audited) -> dict[str, Any]:
    keep = ("gap", "information", "method")
    return {
        "name": each.name,
        "alpha": each.alpha,
        "samples": list(map(int, each.samples)),
        "set": None if each.told is None else {name: each.told[name] for name in keep},
        "receivers": {name: _result(found) for name, found in each.receivers.items()},
        "check": None if each.check is None else _check(each.check),
        "sheets": [_sheet(sheet) for sheet in each.sheets],
    }


def _result(found: FairnessStats) -> dict[str, Any]:
    gaps = ("parity", "opportunity", "odds", "accuracy")
    return {
        **{name: _estimate(getattr(found, name)) for name in gaps},
        "signed_parity": found.signed_parity and _estimate(found.signed_parity),
        "groups": [_group(group) for group in found.groups],
        "loss": found.loss and {name: _estimate(getattr(found.loss, name)) for name in gaps},
    }


def _group(group: GroupRates) -> dict[str, Any]:
    rates = {name: _estimate(getattr(group, name)) for name in ("positive", "tpr", "fpr", "accuracy")}
    return {"name": group.name, "confusion": [list(map(int, row)) for row in group.confusion], **rates}


def _check(check: Checked) -> dict[str, Any]:
    groups = dict.fromkeys(group for group, _ in check.shares)
    pairs = [(check.shares[group, 0].estimate, check.shares[group, 1].estimate) for group in groups]
    return {
        "shares": [
            {
                "group": group,
                "label": label,
                "estimate": _estimate(found.estimate),
                "raw": _estimate(found.raw),
                "informative": bool(found.informative),
            }
            for (group, label), found in check.shares.items()
        ],
        "gap": check.gap and _estimate(check.gap),
        "dependent": any(a.high < b.low or b.high < a.low for a, b in pairs),
    }


def _sheet(sheet: Sheet) -> dict[str, Any]:
    shown = sheet.images is not None and len(sheet.images) > 0
    picture = base64.b64encode(grid_png(sheet.images)).decode("ascii") if shown and sheet.images is not None else None
    return {"group": sheet.group, "label": sheet.label, "count": sheet.count, "png_base64": picture}


def _estimate(found: Estimate) -> dict[str, float]:
    return {name: float(end) for name, end in found._asdict().items()}
