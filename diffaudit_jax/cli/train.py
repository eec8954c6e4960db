"""diffaudit train: from images to a run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from diffaudit_jax import data, models, process, training
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Train:
    """Train a diffusion model on members drawn from a set, into a run directory that `diffaudit audit` reads.

    A run that was stopped goes on when the same command is given again.
    """

    data: str
    """Where images come from: an embedded name (fashion-mnist-2k, pixel-faces-2k), a path, or tfds:NAME[:SPLIT].
    A path leads to an .npz, a folder of images, or an IDX file."""
    out: Path
    """Run directory, made if it does not exist."""
    members: int = 64
    """Images to train on, drawn at random."""
    nonmembers: int = 1000
    """Images held out for the audit, drawn at random; fewer if the set has fewer."""
    steps: int = 2000
    """Optimiser steps in all; 0 leaves the network untrained."""
    groups: str | None = None
    """Attribute that numbers people: no person is then on both sides."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about equal images on two sides: refuse them, or drop all but the first."""
    seed: int = 0
    """Seed of split, weights and training."""

    model: Literal["unet"] = "unet"
    """Architecture."""
    channels: int = 64
    """Width of the first level, in channels."""
    mults: tuple[int, ...] = (1,)
    """Width multiplier of each level."""
    blocks: int = 1
    """Residual blocks per level."""
    attention: tuple[int, ...] = ()
    """Sides of the grids that attend, in cells after the stem, e.g. 14 for 14x14."""
    middle_attention: bool = False
    """Let the middle of the network attend."""
    head_channels: int | None = None
    """Channels of an attention head (one head if not given)."""
    patch: int = 4
    """Side of the space-to-depth stem's blocks, in pixels; 1 for none."""
    dropout: float = 0.0
    """Dropout rate, from 0 to below 1."""
    scale_shift: bool = False
    """Scale-shift norm."""
    resblock_updown: bool = False
    """Resample inside residual blocks."""
    learn_sigma: bool = False
    """Learn the reverse variance (hybrid loss)."""
    class_conditional: bool = False
    """Condition on the set's labels."""
    predicts: Literal["eps", "x0", "v"] = "eps"
    """What the network's output is."""
    bfloat16: bool | None = None
    """Compute in bfloat16 with float32 weights; if not given, on accelerators only. Audits compute in float32."""

    schedule: Literal["ddpm-linear", "ddpm-cosine"] = "ddpm-linear"
    """Noise schedule."""
    diffusion_steps: int = 1000
    """Steps of the noise schedule."""

    batch: int = 64
    """Images per step."""
    lr: float = 2e-3
    """Learning rate after warm-up."""
    warmup: int = 50
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip_norm: float = 1.0
    """Gradients are clipped to this l2 norm; 0 for no clipping."""
    ema: float = 0.99
    """Decay of the averaged weights, which are what is audited, from 0 (none) to below 1."""
    label_dropout: float = 0.1
    """Probability of training without the label (class-conditional models)."""
    flip: bool = False
    """Mirror images at random."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""


def split_of(options: Train) -> data.Split:
    """Draws the split that a training command describes."""
    pool = data.load(options.data, groups=options.groups)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{options.data} is a table: `diffaudit train` takes images.")
    pool = data.distinct(pool) if options.duplicates == "drop" else pool
    nonmembers = min(options.nonmembers, max(len(pool) - options.members, 1))
    return data.split(
        jax.random.key(options.seed),
        pool,
        members=options.members,
        nonmembers=nonmembers,
        duplicates=options.duplicates,
        by="group" if options.groups else "record",
    )


def train(options: Train, split: data.Split | None = None) -> tuple[training.Run, data.Split]:
    """Runs the command; returns the run and the split it was trained on."""
    split = split_of(options) if split is None else split
    members = split.training
    model = models.MODELS[options.model](
        members.shape,
        channels=options.channels,
        mults=options.mults,
        num_blocks=options.blocks,
        attention=options.attention,
        middle_attention=options.middle_attention,
        head_channels=options.head_channels,
        dropout=options.dropout,
        num_classes=_num_classes(options, members),
        scale_shift=options.scale_shift,
        resblock_updown=options.resblock_updown,
        learn_sigma=options.learn_sigma,
        patch=options.patch,
        predicts=options.predicts,
        bfloat16=jax.default_backend() != "cpu" if options.bfloat16 is None else options.bfloat16,
    )
    recipe = training.Recipe(
        num_steps=options.steps,
        batch_size=options.batch,
        learning_rate=options.lr,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        ema_decay=options.ema,
        label_dropout=options.label_dropout,
        flip=options.flip,
    )
    schedule = process.SCHEDULES[options.schedule](options.diffusion_steps)
    record = {
        "data": _absolute(options.data),
        "groups": options.groups,
        "seed": options.seed,
        "split": data.to_record(split),
    }
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    with stage("training") as show:
        run = training.fit(
            key,
            model,
            schedule,
            members,
            recipe,
            out=options.out,
            record=record,
            checkpoint_every=options.checkpoint_every,
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )
    return run, split


def _absolute(source: str) -> str:
    """Returns a path that an audit started elsewhere finds too; names stay names."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _num_classes(options: Train, members: data.Pool) -> int | None:
    if not options.class_conditional:
        return None
    if members.num_classes is None:
        raise InputError(f"--class-conditional needs labels, and {options.data} has none: leave the flag out.")
    return members.num_classes
