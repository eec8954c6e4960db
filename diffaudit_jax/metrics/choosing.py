"""The best of many, chosen and judged on different records: what an attacker who must choose blindly would get.

The best of k candidates looks better than it is on the records that chose it. So each half of the records chooses, and
the other half judges:

    honest = (AUC_B(best on A) + AUC_A(best on B))/2

Each term is unbiased for the candidate that was chosen. Their errors may go together, as what each half says of the
candidates both chooses and judges: not at all with one candidate, nearly fully with very many unlike ones (as of a
classifier judged out of fold). The interval supposes the worst: it is the mean of both halves' intervals, as wide as
that of one half.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.metrics.roc import auc
from diffaudit_jax.metrics.samples import checked, truth
from diffaudit_jax.metrics.transfer import halves
from diffaudit_jax.types import InputError


class Choice(NamedTuple):
    """The best of several candidates, as it looks and as it is.

    Attributes:
      name: The candidate of largest AUC on all records: the one to use from now on.
      optimistic: Its AUC there. It was picked by that number, so it is biased upwards, and its interval misses the
        truth more often than it says.
      honest: Mean AUC of what each half chose, on the other half; unbiased, and its interval allows for the choice.
      chosen: What half A and what half B chose.
      areas: AUC of every candidate on all records.
    """

    name: Hashable
    optimistic: Estimate
    honest: Estimate
    chosen: tuple[Hashable, Hashable]
    areas: dict[Hashable, float]


def areas(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """AUC of every column by its rank sum, [n, k] -> [k]; without intervals, so that hundreds cost one sort each."""
    m, n = np.count_nonzero(member), np.count_nonzero(~member)
    return (rankdata(scores, axis=0)[member].sum(axis=0) - m * (m + 1) / 2) / (m * n)


def _table(
    candidates: Mapping[Hashable, ArrayLike] | ArrayLike, member: np.ndarray
) -> tuple[list[Hashable], np.ndarray]:
    """Returns the candidates' names and their scores as columns, float64 [n, k]."""
    if not isinstance(candidates, Mapping):
        scores = checked(candidates, member, ndim=2)[0]
        names: list[Hashable] = list(range(scores.shape[1]))
    else:
        names, columns = list(candidates), []
        for name, values in candidates.items():
            try:
                columns.append(checked(values, member)[0])
            except InputError as error:
                raise InputError(f"candidate {name!r}: {error}") from None
        scores = np.stack(columns, axis=1) if columns else np.empty((len(member), 0))
    if not names:
        raise InputError("there are no candidates to choose from: give the scores of at least one.")
    return names, scores


def choose(
    candidates: Mapping[Hashable, ArrayLike] | ArrayLike,
    member: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Choice:
    """Chooses the candidate of largest AUC on one half of the records and judges it on the other, both ways round.

    Args:
      candidates: Name -> scores [n], higher = member; or a matrix [n, k], whose columns are then named by number.
      member: Truth, bool [n].
      groups: Person of each record, int or string [n], if some have several: one record of each counts, so nobody is on
        both halves.
      level: Confidence level of the intervals.
      seed: Seed of the halves, and of the record of each person.

    Raises:
      InputError: if there are no candidates, lengths differ, a score is not finite, or a class has fewer than 10 rows
        (people).
    """
    member = truth(member)
    names, scores = _table(candidates, member)
    rows = one_each(people(groups, member), seed)
    member, scores = member[rows], scores[rows]
    if (fewest := min(np.count_nonzero(member), np.count_nonzero(~member))) < FEWEST:
        raise InputError(
            f"{fewest} of a class are too few to choose on one half and judge on the other: query at least {FEWEST}."
        )
    first = halves(member, seed)
    picks, found = [], []
    for half in (first, ~first):
        pick = int(areas(scores[half], member[half]).argmax())
        picks.append(pick)
        found.append(auc(scores[~half, pick], member[~half], level=level))
    everywhere = areas(scores, member)
    best = int(everywhere.argmax())
    return Choice(
        names[best],
        auc(scores[:, best], member, level=level),
        Estimate(*np.mean(found, axis=0).tolist()),
        (names[picks[0]], names[picks[1]]),
        dict(zip(names, everywhere.tolist(), strict=True)),
    )
