"""What poisoning is compared with: a subset at random, and one whose labels are overwritten by the group."""

import numpy as np

from diffaudit_jax.poisoning.cells import tallied
from diffaudit_jax.poisoning.pool import OBJECTIVES, Objective, checked_pool
from diffaudit_jax.poisoning.selection import Selection
from diffaudit_jax.types import InputError, known


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


def label_flipping(
    seed: int, s: np.ndarray, y: np.ndarray, num: int, alpha: float, *, objective: Objective = "parity"
) -> Selection:
    """Draws N records at random, and labels the last alpha N of them by their group: y := s.

    With opportunity only records of label 1 are overwritten: the last alpha N of these, or all of them if they are
    fewer. Who learns two labels Y' of two groups perfectly then errs, with p = P(Y = 1) of the draw, by

        parity, odds    P(Y' = 1 | S = s, Y = y) = (1 - alpha) y + alpha s          all gaps are alpha
        opportunity     P(Y' = 1 | S = 0, Y = 1) = 1 - min(1, alpha/p)              else Y' = Y, also for Y = 0

    Unlike a selection it lies: who looks at an image and its label can see it.

    Args:
      seed: Seed of the draw; the records are those of `random_subset`.
      s: Sensitive group of every record of the pool, whole numbers from 0, [n].
      y: Label of every record, whole numbers from 0, [n].
      num: N.
      alpha: Share of labels that are overwritten, in [0, 1].
      objective: Whose labels are overwritten: anybody's (parity, odds), or those of label 1 (opportunity).

    Raises:
      InputError: as `select`, and if a group is no label.

    References:
      Luo et al. 2024, Exploring Privacy and Fairness Risks in Sharing Diffusion Models, https://arxiv.org/abs/2402.18607
    """
    known("objective", objective, OBJECTIVES)
    table = checked_pool(s, y, num, alpha)
    if alpha and table.shape[0] > table.shape[1]:
        raise InputError(f"there are {table.shape[0]} groups and {table.shape[1]} labels: a group must be a label too.")
    index = np.random.default_rng(seed).choice(len(y), num, replace=False)
    theirs = np.flatnonzero(y[index] == 1) if objective == "opportunity" else np.arange(num)
    base = np.ones(num, bool)
    base[theirs[::-1][: num - round(num * (1 - alpha))]] = False
    order = np.argsort(~base, kind="stable")  # the base first
    index, base = index[order], base[order]
    labels = np.where(base, y[index], s[index])
    counts = tallied((s[index], labels), table.shape)
    return Selection(index, labels, base, counts, np.zeros((0, 2), int), None, 0, 1.0, 0, 0)
