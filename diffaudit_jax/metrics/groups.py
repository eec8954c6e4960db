"""People with several records: whoever has many must count once, or intervals are too short and tests too sure.

Two pictures of one person are more alike than pictures of two, in what a model does with them as in how they look, so
n records of k people hold less than n records' worth of evidence. Statistics are therefore computed on one record of
each person, drawn at random: those are independent, whatever the records of one person have in common.
"""

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.types import InputError


def people(groups: ArrayLike | None, member: np.ndarray) -> np.ndarray:
    """Numbers the people behind the records.

    Args:
      groups: Person of each record, integers or strings [n]; None if every record is a person of its own.
      member: Truth, bool [n].

    Returns:
      Int [n], from 0 in the order in which people first appear: what they are called decides nothing.

    Raises:
      InputError: if it is not one integer or string per record, or some person is on both sides.
    """
    if groups is None:
        return np.arange(len(member))
    groups = np.asarray(groups)
    if groups.shape != member.shape or groups.dtype.kind not in "biuUS":
        raise InputError(
            f"groups is {groups.dtype} of shape {groups.shape}: give one integer or string for each of the "
            f"{len(member)} records."
        )
    names, first, codes = np.unique(groups, return_index=True, return_inverse=True)
    inside, records = np.bincount(codes, member), np.bincount(codes)
    if len(mixed := names[(inside > 0) & (inside < records)]):
        raise InputError(
            f"group {mixed[0]} has members and non-members ({len(mixed)} of {len(names)} groups do): a person is on "
            "one side; for a sensitive attribute leave groups out."
        )
    return np.argsort(np.argsort(first))[codes]


def one_each(codes: np.ndarray, seed: int) -> np.ndarray:
    """Returns the row of one random record of each person, int [k], ascending; all rows where nobody has two.

    Args:
      codes: People as `people` numbers them, int [n].
      seed: Seed of the draw.
    """
    order = np.random.default_rng((seed, 2)).permutation(len(codes))
    return np.sort(order[np.unique(codes[order], return_index=True)[1]])
