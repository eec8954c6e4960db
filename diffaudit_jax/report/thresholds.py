"""What few non-members do to a threshold: rates that they cannot show, and how far chance moves one.

A threshold set for a false positive rate phi on n_A non-members lies between the k-th and the (k + 1)-th largest of
them, k = floor(phi n_A). Where both halves are drawn from one group at random, the number of the other n_B non-members
above the r-th largest of n_A is negative hypergeometric, whatever the scores:

    P[x] = C(x + r - 1, x) C(n_A - r + n_B - x, n_B - x) / C(n_A + n_B, n_B)
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from diffaudit_jax.report.numbers import percent, shares


def why(point: dict[str, Any], num_nonmembers: int) -> str:
    """Says why a rate is not resolvable or indicative only, and what it would take; empty if it is neither.

    Args:
      point: An operating point, or a transfer, of the document.
      num_nonmembers: Non-members that its threshold was set on.
    """
    rate = f"{percent(point['target_fpr'])} wrongly accused"

    def needed(count: int) -> str:
        return f"more non-members would be needed ({math.ceil(count / point['target_fpr'] * (1 - 1e-12)):,})."

    if point["resolvable"] == "no":
        return f"{rate} is not resolvable: one of {num_nonmembers:,} non-members is more than that; {needed(1)}"
    if point["resolvable"] == "weak":
        rests = f"{point['target_fpr'] * num_nonmembers:.3g} of {num_nonmembers:,} non-members"
        return f"{rate} is indicative only: it rests on {rests}; {needed(10)}"
    return ""


def above(r: int, n_a: int, n_b: int) -> NDArray[np.float64]:
    """Returns P[at most x of n_b exceed the r-th largest of n_a] for x = 0..n_b, as the module says."""
    x = np.arange(n_b + 1)

    def log_choose(n: Any, k: Any) -> Any:
        return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)

    log_p = log_choose(x + r - 1, x) + log_choose(n_a - r + n_b - x, n_b - x) - log_choose(n_a + n_b, n_b)
    return np.cumsum(np.exp(log_p))


def _halves(transfer: dict[str, Any], num_nonmembers: int) -> tuple[int, int, int]:
    """Returns the non-members of both halves, and how many of the first a threshold rests on."""
    n_b = transfer["num_nonmembers"]
    n_a = num_nonmembers - n_b
    return n_a, n_b, math.floor(transfer["target_fpr"] * n_a * (1 + 1e-12))


def by_chance(transfer: dict[str, Any], num_nonmembers: int, level: float) -> tuple[float, float]:
    """Returns the range of the rate on fresh records that chance gives with probability `level` at least.

    Args:
      transfer: A transfer of the document that is resolvable.
      num_nonmembers: Non-members of both halves.
      level: Probability of the range.
    """
    (n_a, n_b, k), tail = _halves(transfer, num_nonmembers), (1 - level) / 2
    low = np.searchsorted(above(k, n_a, n_b), tail)
    high = np.searchsorted(above(k + 1, n_a, n_b), 1 - tail) if k < n_a else n_b
    return float(low) / n_b, float(min(high, n_b)) / n_b


def broken_promises(attack: dict[str, Any], num_nonmembers: int, level: float) -> list[str]:
    """Comments on every threshold whose rate on fresh records excludes what it was set for.

    Args:
      attack: One of the document's attacks.
      num_nonmembers: Non-members of both halves.
      level: The document's confidence level.
    """
    sentences = []
    for transfer in attack["transfers"]:
        rate, target = transfer["fpr"], transfer["target_fpr"]
        if rate is None or rate["low"] <= target <= rate["high"]:
            continue
        _, _, k = _halves(transfer, num_nonmembers)
        low, high = by_chance(transfer, num_nonmembers, level)
        moves = "this much by chance" if low <= rate["value"] <= high else "by chance, if seldom this far"
        sentences.append(
            f"{percent(target)} was promised and {shares(rate)} came. A threshold that rests on {k:,} non-members "
            f"moves {moves}: between {percent(round(low, 4))} and {percent(round(high, 4))} in {100 * level:g} of 100 "
            "such halves."
        )
    return sentences
