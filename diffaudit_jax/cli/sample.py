"""diffaudit sample: images from a trained model, as an array and as a picture."""

import io
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.drawing import SAMPLES, Drawing, drawn_as
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.cli.tables import labels_like
from diffaudit_jax.data import Encoder, write_csv
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Sample:
    """Draw images from a model: samples.npz (images, and labels if any) and grid.png.

    Sampling that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of `diffaudit train`, or a checkpoint: a diffusers folder, a .pt or .safetensors."""
    out: Path
    """Directory for the samples; made if it does not exist. Of a table the CSV file itself, with its own columns."""
    num: Annotated[int, tyro.conf.arg(aliases=["--n"])] = 64
    """Images, or records, to draw."""
    label: str | None = None
    """Class of every image, by its number or of a table by its name (class-conditional models); if not given, all
    classes in turn, of a table as often as among its members."""
    block: int = 64
    """Images per dispatch, over all devices."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    seed: int = 0
    """Seed of the samples."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(default_factory=Drawing)
    """How images are drawn."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


def run_sample(options: Sample) -> Path:
    """Runs the command; returns the path of the picture, of a table of the file."""
    subject = load_subject(options.run, options.weights)
    if subject.encoder is not None:
        return _sample_table(options, subject, subject.encoder)
    target = drawn_as(subject, options.drawing, options.run)
    labels = _labels(options, target.num_classes)
    key = jax.random.fold_in(jax.random.key(options.seed), 4)
    with stage("sampling") as show:
        images = draw_bank(
            key,
            target,
            options.num,
            labels=labels,
            block=options.block,
            mesh=local_mesh(options.devices),
            out=options.out / "blocks",
            progress=show,
        )
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"images": images, **({} if labels is None else {"labels": labels})}
    np.savez_compressed(buffer, **arrays)
    write_atomic(options.out / SAMPLES, buffer.getvalue())
    described = {
        "target": target.config,
        "num": options.num,
        "seed": options.seed,
        "guidance": options.drawing.guidance,
    }
    write_atomic(options.out / "samples.json", json.dumps(described, indent=1).encode())
    picture = options.out / "grid.png"
    write_atomic(picture, grid_png(images[:100]))
    return picture


def _sample_table(options: Sample, subject: Subject, encoder: Encoder) -> Path:
    """Draws records, classes in the proportions of the training data, and writes them in the table's own columns."""
    if options.out.suffix != ".csv":
        raise InputError(f"records are written to a CSV file, and --out is {options.out}: give one that ends in .csv.")
    if options.drawing != Drawing():
        raise InputError(f"{options.run} draws over all its steps: leave --sampler, --steps and --guidance out.")
    labels = labels_like(subject.record, options.num, options.seed) if options.label is None else None
    names = encoder.label_names or ()
    labels = _labels(options, subject.target.num_classes, names) if labels is None else labels
    kept = options.out.with_name(f"{options.out.name}.blocks")
    with stage("sampling") as show:
        x = draw_bank(
            jax.random.fold_in(jax.random.key(options.seed), 4),
            subject.target,
            options.num,
            labels=labels,
            block=max(options.block, 1024),
            mesh=local_mesh(options.devices),
            out=kept,
            progress=show,
        )
    write_csv(encoder.decode(x, labels), options.out)
    shutil.rmtree(kept)
    return options.out


def _labels(options: Sample, num_classes: int | None, names: tuple[str, ...] = ()) -> np.ndarray | None:
    if num_classes is None:
        if options.label is not None:
            raise InputError(f"--label {options.label} was asked for, and the model has no classes: leave it out.")
        return None
    if options.label is None:
        return np.arange(options.num) % num_classes
    if options.label in names:
        return np.full(options.num, names.index(options.label), np.int32)
    if not options.label.isdecimal() or int(options.label) >= num_classes:
        other = f", or be one of {', '.join(names)}" if names else ""
        raise InputError(f"--label must be from 0 to {num_classes - 1}{other}, got {options.label}.")
    return np.full(options.num, int(options.label))
