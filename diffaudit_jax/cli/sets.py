"""A sharer's training sets as a whole: what is written of them, and printed."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from diffaudit_jax import data, poisoning
from diffaudit_jax.cli.cells import Cells
from diffaudit_jax.cli.manifest import (
    IMAGES,
    RECORDS,
    SETS,
    SETS_SCHEMA,
    VERSION,
    folder_of,
    write_images,
    write_json,
    write_set,
)
from diffaudit_jax.poisoning import Selection
from diffaudit_jax.report.nouns import IMAGE

TEST, TEST_RECORDS = "test.npz", "test.csv"
DASH = "\N{EN DASH}"


class Sets(NamedTuple):
    """Training sets and what they were chosen from.

    Attributes:
      asked: What was asked, as JSON.
      pool: What records were chosen from.
      test: What was held out; None if nothing was.
      selections: By alpha.
    """

    asked: dict[str, Any]
    pool: Cells
    test: Cells | None
    selections: dict[float, Selection]


def write_sets(out: Path, sets: Sets) -> list[dict[str, Any]]:
    """Writes the sets; returns their manifests."""
    out.mkdir(parents=True, exist_ok=True)
    # First what the directory is: stopped here, the same command is let in again.
    told = {"schema": SETS_SCHEMA, "schema_version": VERSION, "asked": sets.asked}
    write_json(out / SETS, told | {"sets": {f"{alpha:g}": folder_of(alpha) for alpha in sets.selections}})
    if sets.test is not None:
        write_images(out / (TEST if sets.test.noun == IMAGE else TEST_RECORDS), sets.test.pool)
    manifests = []
    for alpha, found in sets.selections.items():
        manifests.append(manifest_of(alpha, found, sets))
        write_set(out / folder_of(alpha), taken_of(found, sets), manifests[-1])
    return manifests


def taken_of(found: Selection, sets: Sets) -> data.Pool | data.Table:
    """Returns what was chosen, labelled as a generator is told."""
    taken, name = sets.pool.pool.take(found.index), sets.asked["labels"]
    if isinstance(taken, data.Pool):
        # The attribute of the same name stays what it was.
        return replace(taken, labels=found.labels)
    column = sets.pool.records.columns[name]
    values = np.array([column[sets.pool.y == y][0] for y in (0, 1)])
    return replace(taken, columns={**taken.columns, name: values[found.labels]})


def manifest_of(alpha: float, found: Selection, sets: Sets) -> dict[str, Any]:
    """Returns what is told of a set, as JSON: gap, information in bits of S and Y, in nats of features and label."""
    told, groups = found.information, sets.pool.groups
    gap = float(poisoning.gap(found.counts))
    return {
        **sets.asked,
        "alpha": alpha,
        **({"images": IMAGES} if sets.pool.noun == IMAGE else {"records": RECORDS, "values": list(sets.pool.values)}),
        "groups": list(groups),
        "counts": {group: found.counts[g].tolist() for g, group in enumerate(groups)},
        "gap": None if np.isnan(gap) else gap,
        "information": float(poisoning.information(found.counts)),
        "features_information": None if told is None else dict(zip(("pool", "base", "set"), told, strict=True)),
        "accepted": float(found.accepted),
        "fallbacks": int(found.fallbacks),
        "dry": int(found.dry),
        "redraws": int(found.redraws),
    }


def print_sets(manifests: Sequence[dict[str, Any]]) -> None:
    """Prints a line of each set."""
    head = ("alpha", "counts by cell", "gap", "I(S;Y), bits", "I(X;Y), nats", "accepted", "fall-backs", "added nothing")
    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for each in manifests:
        counts = " ".join(str(row) for row in each["counts"].values())
        tells, gap = each["features_information"], each["gap"]
        table.add_row(
            f"{each['alpha']:g}", counts, DASH if gap is None else f"{gap:.3f}", f"{each['information']:.4f}",
            DASH if tells is None else f"{tells['set']:.3f} ({tells['pool']:.3f} in the pool)",
            f"{100 * each['accepted']:.0f} %", str(each["fallbacks"]), str(each["dry"]),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False).print(table)
