"""The table of benchmarks/models.py: results/models-TIER.json -> results/models-TIER.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import ABSENT, TITLES, measured_on, table, write_pages
from diffaudit_jax.models import FAMILIES

COLUMNS = (
    "model",
    "parameters",
    "Fréchet distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "nearer to training",
    "p",
    "sampler, steps",
    "sampling, images/s",
    "training, images/s",
)


def write_tables(out: Path) -> None:
    """Writes the table of each tier; a family that was not measured says so."""
    write_pages(out, "models", document)


def document(tier: str, result: Mapping[str, Any] | None) -> str:
    """Returns the Markdown of one tier.

    Args:
      tier: One of `TITLES`.
      result: What was measured, None for nothing.
    """
    rows = {} if result is None else result["families"]
    floor = [] if result is None else [["training images (floor)", "", *_quality(result["floor"]), "", "", ""]]
    lines = [
        f"# {TITLES[tier]}: how good they are",
        "",
        f"Written by `python -m benchmarks.models --tier {tier}`; do not edit.",
        *([] if result is None else ["", *_said(result)]),
        "",
        *table(COLUMNS, [*floor, *(_cells(tier, name, rows.get(name)) for name in FAMILIES)]),
    ]
    return "\n".join(lines) + "\n"


def _said(result: Mapping[str, Any]) -> list[str]:
    setting, judge = result["setting"], result["classifier"]
    return [
        f"{setting['data']}: {setting['members']} images trained on for {setting['training']['num_steps']} steps of "
        f"{setting['training']['batch_size']}; {setting['samples']} samples of each model against as many held-out "
        f"images. Features of a classifier trained on {setting['classifier']} other images, right on "
        f"{100 * judge['accuracy']:.1f} % of the held-out ones.",
        "",
        "The floor is the same statistics of training images in place of samples: a perfect model reaches it, and so "
        "does one that copies. Nearer to training: share of samples whose nearest image, in pixels, is one that was "
        "trained on and not one of as many held out, with its 95 % interval; 0.5 is nothing copied, 1 is copies only, "
        "and p is the chance of so great a share from a model that knows no image.",
        "",
        measured_on(result["families"].values()),
    ]


def _cells(tier: str, name: str, row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return [name, ABSENT, *[""] * (len(COLUMNS) - 2)]
    return [
        f"[{name}](models-{tier}-{name}.png)",
        f"{row['parameters']:,}",
        *_quality(row),
        f"{row['sampler']}, {row['sample_steps']}",
        *(ABSENT if row[key] is None else f"{row[key]:g}" for key in ("sample_images_per_s", "train_images_per_s")),
    ]


def _quality(row: Mapping[str, Any]) -> list[str]:
    share = row["nearer_to_training"]
    return [
        f"{row['frechet']:.2f}",
        *(f"{row[name]:.2f}" for name in ("precision", "recall", "density", "coverage")),
        f"{share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]",
        f"{row['p_value']:.3f}",
    ]
