"""How many records, or people, a rule gives away, by how often they are in the training set, and beside chance."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy.stats import hypergeom

from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.rules import Found


class Recall(NamedTuple):
    """Of the records, or people with one, that are `times` times in a training set, how many are extracted."""

    times: int
    records: int
    extracted: int
    share: Estimate


def counted(extracted: Bool[np.ndarray, " m"], people: Int[np.ndarray, " m"] | None) -> Bool[np.ndarray, " k"]:
    """Returns who is given away: every record by itself, or every person of whom some record is.

    Args:
      extracted: Whether each record is.
      people: Person of each; None if every record is a person's own.
    """
    return extracted if people is None else least(~extracted, people) < 1


def recall(
    found: Found,
    times: Int[np.ndarray, " m"],
    *,
    people: Int[np.ndarray, " m"] | None = None,
    level: float = 0.95,
) -> list[Recall]:
    """Returns how much of each multiplicity a rule finds, the rarest records first.

    Args:
      found: What it finds of distinct members.
      times: How often each is in the training set.
      people: Person of each, who counts once at each multiplicity; None if every record is a person's own.
      level: Confidence level of Clopper and Pearson's intervals.
    """
    rows = []
    for value in np.unique(times):
        here = times == value
        of = counted(found.extracted[here], None if people is None else people[here])
        rows.append(Recall(int(value), len(of), int(of.sum()), clopper_pearson(int(of.sum()), len(of), level)))
    return rows


def beyond_chance(
    members: Found, heldout: Found, people: tuple[Int[np.ndarray, " m"], Int[np.ndarray, " h"]] | None = None
) -> float:
    """Returns how likely a rule finds as many members or more, if the generator knew nothing of who was a member.

    All that it finds on either side is dealt anew to the records, or people, of both: Fisher's exact test. Of the
    calibrated rule, which stops at a held-out one, it is the chance that as many members come before that one, which is
    no smaller.

    Args:
      members: What it finds of members.
      heldout: What it finds of held-out records.
      people: As in `Extraction`.
    """
    ours, others = (None, None) if people is None else people
    one, other = counted(members.extracted, ours), counted(heldout.extracted, others)
    a, b, m, h = int(one.sum()), int(other.sum()), len(one), len(other)
    return float(hypergeom.sf(a - 1, m + h, a + b, m))


def least(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Returns the least value of each person, in the order of their numbers."""
    found, codes = np.unique(people, return_inverse=True)
    best = np.full(len(found), np.inf)
    np.minimum.at(best, codes, values)
    return best
