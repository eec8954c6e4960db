"""Tables from a command to a run and back: who is a member, what the model sees, and what it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from diffaudit_jax import data, models, training
from diffaudit_jax.cli.columns import Columns, read_table
from diffaudit_jax.cli.private import privacy_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import absolute
from diffaudit_jax.cli.telling import say
from diffaudit_jax.models.tabular import SIZES
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.asked import Asked
    from diffaudit_jax.cli.train import Train

TABDDPM = "tabddpm"
_OF_IMAGES = (
    "channels",
    "mults",
    "blocks",
    "attention",
    "middle_attention",
    "head_channels",
    "patch",
    "scale_shift",
    "resblock_updown",
    "learn_sigma",
    "class_conditional",
    "predicts",
    "bfloat16",
    "vlb_weight",
    "label_dropout",
    "flip",
    "critic_steps",
)


def train_table(options: Train) -> tuple[training.Run, data.Split]:
    """Trains a TabDDPM on members of a table; returns the run, and the split as the model sees it.

    Raises:
      InputError: if a flag says nothing to tables, or the table cannot be dealt or encoded.
    """
    _check_flags(options)
    table = read_table(options.data, options.columns, options.groups)
    for column in data.described(table):
        say(str(column))
    nonmembers = min(options.nonmembers, max(len(table) - options.members, min(options.nonmembers, 1)))
    split = data.split(
        jax.random.key(options.seed),
        table,
        members=options.members,
        nonmembers=nonmembers,
        duplicates=options.duplicates,
        by="group" if options.groups else "record",
    )
    encoder = data.fit_encoder(split.members, label=options.columns.label)
    for sentence in encoder.policy():
        say(sentence)
    sides = encoded(encoder, split)
    record = {
        "family": TABDDPM,
        "data": absolute(options.data),
        "label": options.columns.label,
        "sensitive": options.columns.sensitive,
        "types": list(options.columns.types),
        "drop": list(options.columns.drop),
        "groups": options.groups,
        "seed": options.seed,
        "split": data.to_record(split),
        "encoder": encoder.config,
        "label_counts": None if sides.members.labels is None else np.bincount(sides.members.labels).tolist(),
    }
    return _fit(options, sides.members, encoder, record), sides


def _fit(options: Train, members: data.Pool, encoder: data.Encoder, record: Mapping[str, Any]) -> training.Run:
    layout, given = encoder.layout, options.columns.widths
    changes: dict[str, Any] = {**SIZES[options.size]} | ({} if given is None else {"widths": given})
    flags = {"dropout": options.dropout, "num_steps": options.diffusion_steps, "schedule": options.schedule}
    changes |= {name: value for name, value in flags.items() if value is not None}
    model = models.tabddpm(layout.num_numeric, layout.sizes, num_classes=members.num_classes, **changes)
    batch = min(1024, len(members)) if options.batch is None else options.batch
    recipe = training.Recipe(
        num_steps=options.steps,
        batch_size=batch,
        learning_rate=2e-3 if options.lr is None else options.lr,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        clip_norm=1.0 if options.clip_norm is None else options.clip_norm,
        ema_decay=options.ema,
        anneal=True,
    )
    # The encoder has looked at the members, which epsilon does not cover.
    looked = options.private.dp and options.private.preprocessing == "fixed"
    private = replace(options.private, preprocessing="declared") if looked else options.private
    privacy = privacy_of(private, len(members), batch, options.steps)
    key = jax.random.fold_in(jax.random.key(options.seed), 1) if privacy is None else None
    with stage("training") as show:
        return training.fit_table(
            key,
            model,
            members,
            recipe,
            privacy=privacy,
            out=options.out,
            record=record,
            checkpoint_every=options.checkpoint_every,
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )


def encoded(encoder: data.Encoder, split: data.Split[data.Table], *, drop: bool = False) -> data.Split[data.Pool]:
    """Returns the sides of a split as a model sees them.

    Args:
      encoder: Fitted on the members.
      split: Tables.
      drop: Whether to leave out records that hold what no member does, instead of refusing them.
    """
    unseen = "drop" if drop else "refuse"
    sides = [encoder.encode(side, unseen=unseen) if len(side) else None for side in (split.members, split.nonmembers)]
    members, nonmembers = sides
    assert members is not None
    empty = members.take(np.zeros(len(members), bool))
    return data.Split(members, empty if nonmembers is None else nonmembers, by=split.by)


def split_of_run(options: Asked, record: Mapping[str, Any], path: Path) -> data.Split[data.Pool]:
    """Returns who is asked about of a run of a table: its own split, or the tables given, as the model sees them."""
    encoder = data.Encoder.from_config(record["encoder"])
    columns = Columns(label=record["label"], types=tuple(record["types"]), drop=tuple(record["drop"]))
    drop = options.duplicates == "drop"
    if options.members is not None and options.nonmembers is not None:
        given = [read_table(source, columns) for source in (options.members, options.nonmembers)]
        return encoded(encoder, paired(*given, duplicates=options.duplicates), drop=drop)
    try:
        split = data.from_record(record["split"], read_table(record["data"], columns, record["groups"]))
    except InputError as error:
        raise InputError(f"the table that {path} was split from is not as it was: {error}") from error
    return encoded(encoder, split, drop=drop)


def paired(members: data.Table, nonmembers: data.Table, *, duplicates: data.Duplicates) -> data.Split[data.Table]:
    """Makes a split of tables that come separately; rows count through both.

    Raises:
      InputError: if records are on both sides and are to be refused.
    """
    masks = data.kept({"members": members, "nonmembers": nonmembers}, duplicates)
    sides, start = [], 0
    for side, mask in zip((members, nonmembers), masks, strict=True):
        sides.append(replace(side, rows=np.arange(start, start + len(side))).take(mask))
        start += len(side)
    return data.Split(*sides)


def labels_like(record: Mapping[str, Any], num: int, seed: int) -> np.ndarray | None:
    """Returns classes of `num` samples in the proportions of what trained a run, in random order; None without."""
    counts = record.get("label_counts")
    if counts is None:
        return None
    shares = np.cumsum(counts) / np.sum(counts)
    labels = np.searchsorted(shares, (np.arange(num) + 0.5) / num)
    return np.random.default_rng(seed).permutation(labels).astype(np.int32)


def _check_flags(options: Train) -> None:
    for name in _OF_IMAGES:
        if getattr(options, name) != getattr(type(options), name):
            raise InputError(f"--{name.replace('_', '-')} says nothing to --model {TABDDPM}: leave it out.")
    if options.size not in SIZES:
        raise InputError(f"--size is small or published, got {options.size}.")
