"""Where records are among others, by the rows that name them."""

import numpy as np
from jaxtyping import Bool, Int


def located(rows: np.ndarray, among: np.ndarray) -> tuple[Int[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Finds rows among others.

    Args:
      rows: Integers to be found [m], in any order.
      among: Where, integers [n], n at least 1; of equal ones the first is found.

    Returns:
      The position of each, and whether it is there at all; the position of one that is not says nothing.
    """
    order = np.argsort(among, kind="stable")
    at = order[np.minimum(np.searchsorted(among, rows, sorter=order), len(among) - 1)]
    return at, np.asarray(among)[at] == rows
