"""What poisoning is compared with: a subset at random, and one whose labels are overwritten by the group."""

import numpy as np

from diffaudit_jax.poisoning.cells import counted
from diffaudit_jax.poisoning.selection import Selection, checked_pool
from diffaudit_jax.types import InputError


def random_subset(seed: int, s: np.ndarray, y: np.ndarray, num: int) -> Selection:
    """Draws N records at random: a sharer who does not poison.

    Args:
      seed: Seed of the draw.
      s: Sensitive group of every record of the pool, whole numbers from 0, [n].
      y: Label of every record, whole numbers from 0, [n].
      num: N.

    Raises:
      InputError: as `select`.
    """
    return label_flipping(seed, s, y, num, 0.0)


def label_flipping(seed: int, s: np.ndarray, y: np.ndarray, num: int, alpha: float) -> Selection:
    """Draws N records at random, and labels the last alpha N of them by their group: y := s.

    Unlike a selection it lies: who looks at an image and its label can see it.

    Args:
      seed: Seed of the draw; the records are those of `random_subset`.
      s: Sensitive group of every record of the pool, whole numbers from 0, [n].
      y: Label of every record, whole numbers from 0, [n].
      num: N.
      alpha: Share of labels that are overwritten, in [0, 1].

    Raises:
      InputError: as `select`, and if a group is no label.

    References:
      Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
    """
    table = checked_pool(s, y, num, alpha)
    if alpha and table.shape[0] > table.shape[1]:
        raise InputError(f"there are {table.shape[0]} groups and {table.shape[1]} labels: a group must be a label too.")
    index = np.random.default_rng(seed).choice(len(y), num, replace=False)
    base = np.arange(num) < round(num * (1 - alpha))
    labels = np.where(base, y[index], s[index])
    counts = np.zeros(table.shape, int)
    found = counted(s[index], labels)
    counts[: found.shape[0], : found.shape[1]] = found
    return Selection(index, labels, base, counts, np.zeros((0, 2), int), None, 0, 1.0, 0)
