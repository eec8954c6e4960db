"""diffaudit sample: images from a trained model, as an array and as a picture."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.models import guided
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Sample:
    """Draw images from a model: samples.npz (images, and labels if any) and grid.png.

    Sampling that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of `diffaudit train`, or a checkpoint: a diffusers folder, a .pt or .safetensors."""
    out: Path
    """Directory for the samples; made if it does not exist."""
    num: int = 64
    """Images to draw."""
    sampler: str | None = None
    """One of ddim, ancestral, langevin, euler-maruyama, predictor-corrector, heun; the model family's own if not given,
    ddim of checkpoints from elsewhere.
    """
    steps: int | None = None
    """Steps of the sampler; if not given 50 of ddim, 18 of heun, 1000 or more of langevin (over all its noise levels),
    else as many as the process has."""
    label: int | None = None
    """Class of every image (class-conditional models); if not given, all classes in turn."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 for none. It takes two network calls for one."""
    block: int = 64
    """Images per dispatch, over all devices."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    seed: int = 0
    """Seed of the samples."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


def run_sample(options: Sample) -> Path:
    """Runs the command; returns the path of the picture."""
    target = _target(load_subject(options.run, options.weights), options)
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
    write_atomic(options.out / "samples.npz", buffer.getvalue())
    described = {"target": target.config, "num": options.num, "seed": options.seed, "guidance": options.guidance}
    write_atomic(options.out / "samples.json", json.dumps(described, indent=1).encode())
    picture = options.out / "grid.png"
    write_atomic(picture, grid_png(images[:100]))
    return picture


def _target(subject: Subject, options: Sample) -> Target:
    target, network = subject.target, subject.target.network
    if network is None and "images" not in target.config:
        if (options.sampler, options.steps, options.guidance) != (None, None, 1):
            raise InputError(f"{options.run} draws in one step: leave --sampler, --steps and --guidance out.")
        return target
    if network is None:
        raise InputError(f"{options.run} holds samples only: give the model they are of.")
    if options.guidance != 1:
        if target.num_classes is None or not network.config.get("null_class", True):
            raise InputError(f"--guidance needs a model of classes and of none, got {options.guidance} without.")
        network = guided(network, options.guidance, target.num_classes)
    return redrawn(target, sampler=options.sampler, sample_steps=options.steps, network=network)


def _labels(options: Sample, num_classes: int | None) -> np.ndarray | None:
    if num_classes is None:
        if options.label is not None:
            raise InputError(f"--label {options.label} was asked for, and the model has no classes: leave it out.")
        return None
    if options.label is None:
        return np.arange(options.num) % num_classes
    if not 0 <= options.label < num_classes:
        raise InputError(f"--label must be from 0 to {num_classes - 1}, got {options.label}.")
    return np.full(options.num, options.label)
