"""What a generator's samples show by themselves: a discriminator of the group, and whether labels go with it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diffaudit_jax.cli.cells import Cells
from diffaudit_jax.data import Pool
from diffaudit_jax.metrics.corrected import conditional
from diffaudit_jax.metrics.implied import implied_gap
from diffaudit_jax.report.fairness import Checked, Sheet
from diffaudit_jax.report.membership import LEVEL
from diffaudit_jax.training.discriminator import Discriminator, rates_of, train_discriminator
from diffaudit_jax.types import Key

NUM_SHOWN = 12
"""Samples in the picture of a cell."""


def discriminator_of(key: Key, aux: Cells, name: str, settings: Mapping[str, Any]) -> Discriminator:
    """Trains a discriminator of the group, whose errors are counted by label too.

    Args:
      key: Typed key.
      aux: Labelled images, two or more in every cell.
      name: As in `train_receiver`.
      settings: As there.
    """
    pool = replace(aux.images, labels=aux.s.astype(np.int32), label_names=aux.groups)
    return train_discriminator(key, pool, name=name, by=aux.y, **settings)


def together(num_groups: int) -> float:
    """Returns the level of each of the intervals of a generator, so that they hold together at that of a report.

    Of two groups one share a label tells both.
    """
    return 1 - (1 - LEVEL) / (2 * (1 if num_groups == 2 else num_groups))


def check_of(judge: Discriminator, called: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> Checked:
    """Estimates the shares of groups among samples of each label, and the parity gap that these imply.

    Args:
      judge: The discriminator.
      called: What it calls every sample, [n].
      labels: Their labels, [n].
      groups: What the groups are called.
    """
    shares = {}
    for value in [1] if len(groups) == 2 else range(len(groups)):
        rates = {y: rates_of(judge.by[y], value) for y in (0, 1)}
        found = conditional(called == value, labels, rates, together(len(groups)))
        shares |= {(groups[value], y): each for y, each in found.items()}
    if len(groups) > 2:
        return Checked(shares, None)
    one, zero = (shares[groups[1], y].estimate for y in (1, 0))
    return Checked(shares, implied_gap(one, zero, float(labels.mean())))


def sheets_of(pool: Pool, called: np.ndarray | None, groups: Sequence[str], *, shown: bool) -> list[Sheet]:
    """Returns the first samples of every cell; of every label, if nobody tells groups.

    Args:
      pool: Samples and their labels.
      called: What group each is taken for, or None.
      groups: What the groups are called.
      shown: Whether pictures are kept, and not counts alone.
    """
    assert pool.labels is not None
    sheets = []
    for label in (0, 1):
        for g, group in enumerate([None] if called is None else groups):
            cell = pool.labels == label if called is None else (pool.labels == label) & (called == g)
            rows = np.flatnonzero(cell)
            sheets.append(Sheet(group, label, len(rows), pool.x[rows[:NUM_SHOWN]] if shown else None))
    return sheets
