"""Tables from a command to a run and back: who is a member, what the model sees, and what it draws."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from rich.console import Console
from rich.text import Text

from diffaudit_jax import data, models, training
from diffaudit_jax.cli.canaries import dealt
from diffaudit_jax.cli.columns import read_table, shown
from diffaudit_jax.cli.planting import with_planted
from diffaudit_jax.cli.private import privacy_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import absolute
from diffaudit_jax.cli.table_split import encoded
from diffaudit_jax.models.tabular import SIZES
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
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
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(shown(table))
    split = with_planted(options.planting, options.private, dealt(options, table), options.seed)
    person = () if options.groups is None else (options.groups,)
    encoder = data.fit_encoder(_fitted_on(table, split), label=options.columns.label, drop=person)
    for sentence in (*encoder.policy(), *(f"column {name!r} says who is who, and is left out." for name in person)):
        console.print(Text(sentence))
    sides = encoded(encoder, split, options.columns.unseen)
    if left := len(split.nonmembers) - len(sides.nonmembers):
        console.print(f"{left} of {len(split.nonmembers)} non-members hold a category that no member has: left out.")
    record = {
        "family": TABDDPM,
        "data": absolute(options.data),
        "label": options.columns.label,
        "sensitive": options.columns.sensitive,
        "types": list(options.columns.types),
        "drop": list(options.columns.drop),
        "unseen": options.columns.unseen,
        "groups": options.groups,
        "seed": options.seed,
        "split": data.to_record(split),
        "encoder": encoder.config,
        "label_counts": None if sides.training.labels is None else np.bincount(sides.training.labels).tolist(),
    }
    return _fit(options, sides.training, encoder, record), sides


def _fitted_on(table: data.Table, split: data.Split[data.Table]) -> data.Table:
    """Returns what the encoder looks at: the members; with coins, whoever a coin was tossed for as well.

    An encoder of members alone leaves out a record with a category of its own unless its coin made it a member, and
    whoever is left then tells how coins fell.
    """
    if split.coin is None:
        return split.members
    sides = [side for side in (split.members, split.nonmembers, split.always) if side is not None]
    return data.at_rows(table, np.sort(np.concatenate([side.rows for side in sides])))


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
    privacy = privacy_of(options.private, len(members), batch, options.steps)
    if privacy is not None:
        # The encoder has looked at the members, or at all who had a coin, which epsilon does not cover.
        tossed = "coin" in record["split"] and privacy.preprocessing != "declared"
        privacy = replace(privacy, preprocessing="tossed" if tossed else "declared")
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
    if options.private.dp and options.clip_norm is not None:
        raise InputError("--clip-norm clips the gradient of a batch, and --dp that of each record: give --clip.")
    if options.private.dp and options.private.preprocessing == "public":
        raise InputError(
            "--preprocessing public cannot be: what encodes a table is fitted on its own records. Leave it out."
        )
    if options.size not in SIZES:
        raise InputError(f"--size is small or published, got {options.size}.")
