"""train_discriminator: who tells which value of a property an image has, and how often he errs on images he never saw.

Half of the labelled images train it, the other half measures its errors: no correction of a share is better than the
rates that it rests on.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from diffaudit_jax.data import Pool, distinct, renumbered
from diffaudit_jax.metrics.corrected import Rates
from diffaudit_jax.training.receivers import Predict, train_receiver
from diffaudit_jax.types import InputError, Key


class Discriminator(NamedTuple):
    """A trained discriminator and its errors.

    Attributes:
      predict: ``images uint8 [n, h, w, c] (records float32 [n, d]) -> value of each, 0, 1, ... [n]``.
      confusion: Held-out images by true value (rows) and by what they are called, [v, v].
      by: Label -> the same of the held-out images of this label; empty if no labels were given.
    """

    predict: Predict
    confusion: Int[np.ndarray, "v v"]
    by: Mapping[int, Int[np.ndarray, "v v"]]

    @property
    def accuracy(self) -> float:
        """Share of held-out images that are called what they are."""
        return float(np.trace(self.confusion) / self.confusion.sum())


def rates_of(confusion: Int[np.ndarray, "v v"], value: int = 1) -> Rates:
    """Returns how often images with a value, and those without, are called to have it.

    Args:
      confusion: Images by true value and by what they are called.
      value: The one that is asked for.
    """
    called, totals = confusion[:, value], confusion.sum(axis=1)
    others = np.arange(len(confusion)) != value
    return Rates(int(called[value]), int(totals[value]), int(called[others].sum()), int(totals[others].sum()))


def train_discriminator(
    key: Key,
    pool: Pool,
    *,
    name: str = "resnet",
    by: Int[np.ndarray, " n"] | None = None,
    held_out: float = 0.5,
    **settings: Any,
) -> Discriminator:
    """Trains a discriminator on some of the labelled images, and counts its errors on the others.

    Args:
      key: Typed key: who is held out, and all that training draws.
      pool: Labelled images; `labels` is the property. Repeated ones count once, so that none is on both sides; but
        encoded records of a table that are equal may be different people's, and count each.
      name: As in `train_receiver`.
      by: A label of another kind of each image, by which errors are counted too: they may go with it.
      held_out: Share of the images of each value, and of each label of `by`, that is held out.
      **settings: As in `train_receiver`.

    Returns:
      The discriminator; the same for the same arguments.

    Raises:
      InputError: if the pool has no labels, a value has fewer than 2 images (of a label of `by`), `held_out` is not
        inside (0, 1), or as `train_receiver`.
    """
    if pool.labels is None:
        raise InputError(f"{pool.name} has no labels to tell apart: load it with labels=..., the property's name.")
    if not 0 < held_out < 1:
        raise InputError(f"held_out is {held_out}: a share of the images strictly between 0 and 1, such as 0.5.")
    by = np.zeros(len(pool), int) if (single := by is None) else np.asarray(by)
    if by.shape != (len(pool),):
        raise InputError(f"by has shape {by.shape}: give one label for each of the {len(pool)} images.")
    pool = renumbered(pool) if pool.x.ndim == 2 else distinct(renumbered(pool))
    by = by[pool.rows]
    held = _held_out(key, pool, by, held_out)
    seen, judged = pool.take(~held), pool.take(held)
    assert judged.labels is not None
    truth = judged.labels
    predict = train_receiver(jax.random.fold_in(key, 1), name, seen, **settings)
    called, size = predict(judged.x), int(truth.max()) + 1

    def counted(where: np.ndarray) -> np.ndarray:
        table = np.zeros((size, size), int)
        np.add.at(table, (truth[where], called[where]), 1)
        return table

    every = np.ones(len(truth), bool)
    of_label = {} if single else {int(y): counted(by[held] == y) for y in np.unique(by)}
    return Discriminator(predict, counted(every), of_label)


def _held_out(key: Key, pool: Pool, by: np.ndarray, share: float) -> np.ndarray:
    """Draws whom to hold out, the same share of every value with every label: one at least, and not all."""
    assert pool.labels is not None
    held = np.zeros(len(pool), bool)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), len(pool)))
    values = np.arange(int(pool.labels.max()) + 1)
    if len(values) < 2:
        raise InputError(f"{pool.name} has one value of the property in all {len(pool)} images: give two or more.")
    for value in values:
        for y in np.unique(by):
            rows = order[(pool.labels[order] == value) & (by[order] == y)]
            if len(rows) < 2:
                where = f" and label {y}" if len(np.unique(by)) > 1 else ""
                raise InputError(
                    f"{pool.name} has {len(rows)} images of value {value}{where}: give 2 or more, to learn from one "
                    f"and be judged by the other."
                )
            held[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return held
