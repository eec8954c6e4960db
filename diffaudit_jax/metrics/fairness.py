"""Group fairness of a classifier's labels, with intervals; and what it lost against a clean classifier.

With the true label Y, the label predicted Yhat and the sensitive group S, each gap the widest between groups:

    demographic parity    P(Yhat = 1 | S)
    equal opportunity     P(Yhat = 1 | S, Y = 1)
    equalised odds        the wider of the gaps in P(Yhat = 1 | S, Y = 1) and in P(Yhat = 1 | S, Y = 0)

Records are resampled inside the cells of (S, Y), so that no resample lacks a group (`metrics.cells`). Intervals hold
for test sets with as many records in each cell as this one has: the shares of the cells are given, not estimated.

References:
  Hardt, Price and Srebro 2016, https://arxiv.org/abs/1610.02413
  Luo et al. 2024, https://arxiv.org/abs/2402.18607 (l_fair, l_acc)
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.cells import Draws, change_of_widest, draws, two_sided, widest
from diffaudit_jax.metrics.exposure import strata_codes
from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.types import InputError


class GroupRates(NamedTuple):
    """How one group is treated.

    Attributes:
      name: The group's.
      confusion: Its records by true label (rows) and predicted label: ((TN, FP), (FN, TP)).
      positive: P(Yhat = 1), at the group's own share of Y = 1.
      tpr: P(Yhat = 1 | Y = 1).
      fpr: P(Yhat = 1 | Y = 0).
      accuracy: P(Yhat = Y).
    """

    name: str
    confusion: tuple[tuple[int, int], tuple[int, int]]
    positive: Estimate
    tpr: Estimate
    fpr: Estimate
    accuracy: Estimate


class Loss(NamedTuple):
    """What a classifier lost against a clean one that was asked about the same records; above 0 is worse.

    Attributes:
      parity: Demographic parity gap less that of the clean classifier: l_fair above what is there without poison.
      opportunity: The same of equal opportunity.
      odds: The same of equalised odds.
      accuracy: Accuracy of the clean classifier less this one's: l_acc.
    """

    parity: Estimate
    opportunity: Estimate
    odds: Estimate
    accuracy: Estimate


class FairnessStats(NamedTuple):
    """How fair a classifier is.

    Attributes:
      groups: Every group, sorted by name.
      parity: Demographic parity gap: l_fair, as published.
      signed_parity: Of two groups, P(Yhat = 1 | second) - P(Yhat = 1 | first); None of more.
      opportunity: Equal opportunity difference.
      odds: Equalised odds difference.
      accuracy: Share of all records told rightly.
      loss: Against the clean classifier; None without one.
    """

    groups: tuple[GroupRates, ...]
    parity: Estimate
    signed_parity: Estimate | None
    opportunity: Estimate
    odds: Estimate
    accuracy: Estimate
    loss: Loss | None


_TOLD = np.arange(2)  # the label of each outcome, where there is one classifier


class _Rates(NamedTuple):
    """What a positive in each cell adds to each rate, float64 [groups, cells]; cells are (group, Y), Y fastest."""

    positive: np.ndarray
    tpr: np.ndarray
    fpr: np.ndarray

    def gaps(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """The differences between any two groups, either way, whose widest is parity, opportunity and odds."""
        parity, true, false = (
            [rate[g] - rate[h] for g, h in permutations(range(len(rate)), 2)]
            for rate in (self.positive, self.tpr, self.fpr)
        )
        return parity, true, true + false


def _rates(sizes: np.ndarray) -> _Rates:
    each = np.eye(len(sizes))
    inside = (each[::2] + each[1::2]) * sizes
    return _Rates(inside / inside.sum(axis=1, keepdims=True), each[1::2], each[::2])


def _positives(rate: np.ndarray, told: np.ndarray) -> np.ndarray:
    """What an outcome adds in each cell if it is a positive; `told` is each outcome's label. Float64 [cells, o]."""
    return np.multiply.outer(rate, told)


def _right(weight: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The same if its label is the true one."""
    return weight[:, None] * (told == (np.arange(len(weight)) % 2)[:, None])


def fairness_of(
    predictions: ArrayLike,
    y: ArrayLike,
    s: ArrayLike,
    clean: ArrayLike | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> FairnessStats:
    """Measures how fair a classifier of two classes is, on records that did not train it.

    Each interval holds on its own, and is conservative in small cells (coverage is simulated, from 4 records a cell
    on). A gap in a sample is above 0 even if there is none: look at its lower limit, which is then 0. Give no more than
    a handful of groups and `clean`: time grows as the fourth power of their number.

    Args:
      predictions: Predicted labels, 0 or 1 [n].
      y: True labels, 0 or 1 [n].
      s: Sensitive group of each record, integers or strings [n]; two groups or more.
      clean: What a classifier trained on clean data predicts for the same records [n]. The two are compared record by
        record: what they have in common does not widen the intervals of the loss.
      level: Confidence level of each interval.
      seed: Seed of the resamples.

    Raises:
      InputError: if lengths differ, labels are not 0 and 1, there is one group, a cell (S, Y) is empty, or `level` is
        not inside (0, 1).
    """
    n = np.size(y)
    truth, told = _binary("y", y, n), _binary("predictions", predictions, n)
    names, codes = strata_codes(s, n)
    cell = 2 * codes + truth
    sizes = np.bincount(cell, minlength=2 * len(names))
    _check_filled(names, sizes)
    rates, overall = _rates(sizes), sizes / n
    parity, opportunity, odds = rates.gaps()
    share = 2.0 * tail(level) / len(odds)  # the least error that a limit is asked for
    drawn = draws(_table(cell, told, 2), share, seed)

    def gap(differences: list[np.ndarray]) -> Estimate:
        return widest(drawn, [_positives(rate, _TOLD) for rate in differences], level)

    loss = None
    if clean is not None:
        joint = 2 * _binary("clean", clean, n) + told
        loss = _loss(draws(_table(cell, joint, 4), share / 2.0, seed), rates, overall, level)
    return FairnessStats(
        _groups(names, drawn, rates, level),
        gap(parity),
        two_sided(drawn, _positives(parity[1], _TOLD), level) if len(names) == 2 else None,
        gap(opportunity),
        gap(odds),
        two_sided(drawn, _right(overall, _TOLD), level),
        loss,
    )


def _groups(names: list[str], drawn: Draws, rates: _Rates, level: float) -> tuple[GroupRates, ...]:
    def group(g: int) -> GroupRates:
        (tn, fp), (fn, tp) = drawn.counts[2 * g : 2 * g + 2].tolist()
        positive, tpr, fpr = (two_sided(drawn, _positives(rate[g], _TOLD), level) for rate in rates)
        accuracy = two_sided(drawn, _right(rates.positive[g], _TOLD), level)
        return GroupRates(names[g], ((tn, fp), (fn, tp)), positive, tpr, fpr, accuracy)

    return tuple(map(group, range(len(names))))


def _loss(drawn: Draws, rates: _Rates, overall: np.ndarray, level: float) -> Loss:
    clean, told = np.divmod(np.arange(4), 2)  # the two labels of each outcome, as `fairness_of` joins them

    def wider(differences: list[np.ndarray]) -> Estimate:
        before, after = ([_positives(rate, label) for rate in differences] for label in (clean, told))
        return change_of_widest(drawn, before, after, level)

    parity, opportunity, odds = map(wider, rates.gaps())
    lost = _right(overall, clean) - _right(overall, told)
    return Loss(parity, opportunity, odds, two_sided(drawn, lost, level))


def _table(cell: np.ndarray, outcome: np.ndarray, num_outcomes: int) -> np.ndarray:
    """Counts records by cell and outcome; no cell is empty."""
    size = (int(cell.max()) + 1) * num_outcomes
    return np.bincount(cell * num_outcomes + outcome, minlength=size).reshape(-1, num_outcomes)


def _binary(name: str, labels: ArrayLike, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,) or not n:
        raise InputError(f"{name} has shape {list(labels.shape)}: give one label for each of the {n} records.")
    other = labels[~np.isin(labels, (0, 1))]
    if len(other):
        raise InputError(f"{name} holds {other[0]}: these metrics take labels 0 and 1, as of {name} == a class.")
    return labels.astype(np.int64)


def _check_filled(names: list[str], sizes: np.ndarray) -> None:
    if len(names) < 2:
        raise InputError(f"s is {names[0]!r} in every record: fairness is between two groups or more.")
    if (sizes == 0).any():
        cells = [f"(s = {name}, y = {label})" for name in names for label in (0, 1)]
        empty = ", ".join(cell for cell, size in zip(cells, sizes, strict=True) if not size)
        held = ", ".join(f"{cell} {size}" for cell, size in zip(cells, sizes, strict=True))
        raise InputError(f"no record is in {empty}: fairness asks for some in every cell, and there are {held}.")
