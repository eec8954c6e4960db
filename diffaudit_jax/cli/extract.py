"""diffaudit extract: which training records a model's samples give away."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.drawing import Drawing
from diffaudit_jax.cli.extracted import BANK, sides_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.report.extraction import ExtractionReport, extraction_report
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Extract:
    """Draw samples, and match them to the records that trained the model and to others: which does it give away?

    Drawing that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of `diffaudit train`, of images or of a table, or a checkpoint from elsewhere."""
    out: Path
    """Directory for the report and the samples; made if it does not exist."""
    num: int = 5000
    """Samples to draw, or to take of --samples at most."""
    samples: Path | None = None
    """Samples of the model that were drawn before, in place of drawing: what `diffaudit sample` wrote, a folder of
    images or an .npz; of a table a CSV or Parquet file."""
    members: str | None = None
    """What the model was trained on, each record as often as it was: a path or name as in `diffaudit train`; a run's
    own if not given."""
    nonmembers: str | None = None
    """Records of the same kind that it was not trained on; given together with --members."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about records of --members that are in --nonmembers, too: refuse them, or drop them from the latter;
    of tables from both."""
    delta: float | None = None
    """Distance up to which a sample is near a record, and samples are near each other; 0.1 for images (root mean
    square on pixels from 0 to 1), 0.02 for tables (mean over columns) if not given."""
    show_images: int = 0
    """Show this many pairs of a training image and its copy. They are personal data."""
    block: int = 64
    """Samples per dispatch, over all devices."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    seed: int = 0
    """Seed of everything that is drawn."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(default_factory=Drawing)
    """How samples are drawn."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


def run_extract(options: Extract) -> ExtractionReport:
    """Runs the command; returns the report it saved."""
    if not _resumed(options):
        check_out(options.out, ExtractionReport)
    for flag, value, least in (
        ("num", options.num, 1),
        ("block", options.block, 1),
        ("show-images", options.show_images, 0),
    ):
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if options.delta is not None and not 0 <= options.delta < 1:
        raise InputError(f"--delta is a distance from 0 to below 1, got {options.delta:g}.")
    if (options.members is None) != (options.nonmembers is None):
        raise InputError("give --members and --nonmembers together: held-out records say what is found by chance.")
    sides = sides_of(options)
    with stage("matching") as show:
        show(0, 1)
        report = extraction_report(
            sides.generated,
            sides.members,
            sides.heldout,
            rows=sides.rows,
            groups=sides.groups,
            delta=options.delta,
            show_images=options.show_images,
            provenance=sides.told,
        )
        show(1, 1)
    report.save(options.out)
    return report


def _resumed(options: Extract) -> bool:
    """Whether the directory holds samples that this command began to draw, and nothing else."""
    if options.samples is not None or not (options.out / BANK).is_dir():
        return False
    return [path.name for path in options.out.iterdir()] == [BANK]
