"""diffaudit train: from images to a run directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from diffaudit_jax import data, models, process, training
from diffaudit_jax.cli.canaries import Canaries, dealt
from diffaudit_jax.cli.columns import Columns, check_unsaid
from diffaudit_jax.cli.generator import check_flags, train_generator
from diffaudit_jax.cli.planting import Planting, with_planted
from diffaudit_jax.cli.private import Private, privacy_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import absolute
from diffaudit_jax.cli.tables import TABDDPM, train_table
from diffaudit_jax.models.generators import GENERATORS
from diffaudit_jax.types import InputError, known


@dataclass(frozen=True)
class Train:
    """Train a generative model on members drawn from a set, into a run directory that `diffaudit audit` reads.

    A run that was stopped goes on when the same command is given again.
    """

    data: str
    """Where images come from: an embedded name (fashion-mnist-2k, pixel-faces-2k), a path, or tfds:NAME[:SPLIT].
    A path leads to an .npz, a folder of images, or an IDX file; of a table (adult-3k) to CSV, Parquet or .data."""
    out: Path
    """Run directory, made if it does not exist."""
    members: int = 64
    """Images, or records, to train on, drawn at random."""
    nonmembers: int | None = None
    """Images, or records, held out for the audit, drawn at random; 1000 if not given, fewer if the set has fewer."""
    steps: int = 2000
    """Optimiser steps in all; 0 leaves the network untrained."""
    groups: str | None = None
    """Attribute, or column, that numbers people: no person is then on both sides."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about equal images on two sides: refuse them, or drop all but the first."""
    seed: int = 0
    """Seed of split, weights and training."""

    model: str = "ddpm"
    """Family, of ddpm, improved-diffusion, guided-diffusion, ncsn, ncsnv2, vp-sde, sub-vp-sde, ve-sde, edm.
    It sets the network, the noise schedule, what is predicted and how samples are drawn; flags below change parts.
    Or vae or gan, to compare these with: a VAE can be audited white-box by its bound, both by their samples.
    Of a table tabddpm, which is the only one."""
    size: Literal["small", "published"] = "small"
    """Width of the network: small for two CPU cores, or as published."""
    channels: int | None = None
    """Width of the first level, in channels; the family's if not given (64 when small)."""
    mults: tuple[int, ...] | None = None
    """Width multiplier of each level; the family's if not given (1 when small)."""
    blocks: int | None = None
    """Residual blocks per level; the family's if not given (1 when small)."""
    attention: tuple[int, ...] | None = None
    """Sides of the grids that attend, in cells after the stem, e.g. 14 for 14x14; the family's if not given."""
    middle_attention: bool = False
    """Let the middle of the network attend, whatever the family does."""
    head_channels: int | None = None
    """Channels of an attention head; the family's if not given."""
    patch: int | None = None
    """Side of the space-to-depth stem's blocks, in pixels; 1 for none; the family's if not given (4 when small)."""
    dropout: float | None = None
    """Dropout rate, from 0 to below 1; the family's if not given (0 when small)."""
    scale_shift: bool = False
    """Scale-shift norm, whatever the family does."""
    resblock_updown: bool = False
    """Resample inside residual blocks, whatever the family does."""
    learn_sigma: bool = False
    """Learn the reverse variance (hybrid loss), whatever the family does."""
    class_conditional: bool = False
    """Condition on the set's labels."""
    predicts: Literal["eps", "x0", "v"] | None = None
    """What the network's output is; the family's if not given."""
    bfloat16: bool | None = None
    """Compute in bfloat16 with float32 weights; if not given, on accelerators only. Audits compute in float32."""

    schedule: Literal["ddpm-linear", "ddpm-cosine"] | None = None
    """Noise schedule; the family's if not given."""
    diffusion_steps: int | None = None
    """Steps of the noise schedule; the family's if not given (1000 of ddpm)."""
    vlb_weight: float | None = None
    """Weight of the bound in the hybrid loss of a learned variance; the family's if not given."""

    batch: int | None = None
    """Images per step; 64 if not given, 1024 records of a table."""
    lr: float | None = None
    """Learning rate after warm-up; 2e-3 if not given, 2e-4 of a GAN."""
    warmup: int = 50
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    clip_norm: float | None = None
    """Gradients of a batch are clipped to this l2 norm, 0 for no clipping; 1 if not given, 0 of a GAN.
    With --dp each image's is clipped, to --clip."""
    ema: float = 0.99
    """Decay of the averaged weights, which are what is audited, from 0 (none) to below 1."""
    label_dropout: float = 0.1
    """Probability of training without the label (class-conditional models)."""
    flip: bool = False
    """Mirror images at random."""
    critic_steps: int | None = None
    """Steps of a GAN's critic for one of its generator, which --steps counts; 5 if not given."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""

    canaries: Annotated[Canaries, tyro.conf.arg(name="")] = field(default_factory=Canaries)
    """Coins that let an audit say what epsilon is at least."""
    columns: Annotated[Columns, tyro.conf.arg(name="")] = field(default_factory=Columns)
    """Columns of a table."""
    planting: Annotated[Planting, tyro.conf.arg(name="")] = field(default_factory=Planting)
    """Members that are trained on more than once."""
    private: Annotated[Private, tyro.conf.arg(name="")] = field(default_factory=Private)
    """Differential privacy."""


def split_of(options: Train) -> data.Split:
    """Draws the split that a training command describes, of images."""
    pool = data.load(options.data, groups=options.groups)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{options.data} is a table: give --model tabddpm.")
    check_unsaid(options.columns, options.model)
    pool = data.distinct(pool) if options.duplicates == "drop" else pool
    return with_planted(options.planting, options.private, dealt(options, pool), options.seed)


def train(options: Train, split: data.Split | None = None) -> tuple[training.Run, data.Split]:
    """Runs the command; returns the run and the split it was trained on."""
    if options.model == TABDDPM:
        return train_table(options)
    split = split_of(options) if split is None else split
    members = split.training
    record = {
        "family": options.model,
        "data": absolute(options.data),
        "groups": options.groups,
        "seed": options.seed,
        "split": data.to_record(split),
    }
    if known("model", options.model, (*models.FAMILIES, *GENERATORS, TABDDPM)) in GENERATORS:
        check_flags(options)
        key = jax.random.fold_in(jax.random.key(options.seed), 1)
        return train_generator(options, members, key, _num_classes(options, members), record), split
    if options.critic_steps is not None:
        raise InputError(f"--critic-steps says nothing to --model {options.model}: leave it out.")
    family = models.FAMILIES[options.model]
    schedule, batch = _schedule(options, family), _first(options.batch, 64)
    recipe = training.Recipe(
        num_steps=options.steps,
        batch_size=batch,
        learning_rate=_first(options.lr, 2e-3),
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        clip_norm=_first(options.clip_norm, 1.0),
        ema_decay=options.ema,
        label_dropout=options.label_dropout,
        flip=options.flip,
        vlb_weight=_first(options.vlb_weight, models.hybrid_weight(family, schedule)),
    )
    if options.private.dp and options.clip_norm is not None:
        raise InputError("--clip-norm clips the gradient of a batch, and --dp that of each image: give --clip.")
    privacy = privacy_of(options.private, len(members), batch, options.steps)
    # Whoever guesses a seed can subtract the noise: a private run draws a key of its own.
    key = jax.random.fold_in(jax.random.key(options.seed), 1) if privacy is None else None
    with stage("training") as show:
        run = training.fit(
            key,
            _network(options, members),
            schedule,
            members,
            recipe,
            privacy=privacy,
            out=options.out,
            record=record,
            checkpoint_every=options.checkpoint_every,
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )
    return run, split


def _schedule(options: Train, family: models.Family) -> process.Process:
    config: dict[str, Any] = dict(family.schedule) if options.schedule is None else {"name": options.schedule}
    if options.diffusion_steps is not None:
        if process.from_config(config).num_steps is None:
            raise InputError(f"{config['name']} is continuous and has no steps: leave --diffusion-steps out.")
        config["num_steps"] = options.diffusion_steps
    return process.from_config(config)


def _network(options: Train, members: data.Pool) -> models.Model:
    given = {
        "channels": options.channels,
        "mults": options.mults,
        "num_blocks": options.blocks,
        "attention": options.attention,
        "head_channels": options.head_channels,
        "patch": options.patch,
        "dropout": options.dropout,
        "predicts": options.predicts,
        "num_classes": _num_classes(options, members),
        "middle_attention": options.middle_attention or None,
        "scale_shift": options.scale_shift or None,
        "resblock_updown": options.resblock_updown or None,
        "learn_sigma": options.learn_sigma or None,
        "bfloat16": _first(options.bfloat16, jax.default_backend() != "cpu"),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return models.build(options.model, members.shape, size=options.size, **changes)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _num_classes(options: Train, members: data.Pool) -> int | None:
    if not options.class_conditional:
        return None
    if members.num_classes is None:
        raise InputError(f"--class-conditional needs labels, and {options.data} has none: leave the flag out.")
    return members.num_classes
