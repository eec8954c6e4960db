"""The parity gap of labels, from shares of the group within each label.

With p the share of Y = 1, and a, b the shares of S = 1 where Y is 1 and 0, by Bayes

    P(Y = 1 | S = 1) = a p/(a p + b (1 - p))        and the same of S = 0 with 1 - a and 1 - b

so their difference rises with a and falls with b: limits of a and b that hold together give limits of the gap.
"""

from diffaudit_jax.metrics.intervals import Estimate
from diffaudit_jax.types import InputError


def implied_gap(one: Estimate, zero: Estimate, share: float) -> Estimate:
    """Returns P(Y = 1 | S = 1) - P(Y = 1 | S = 0).

    Args:
      one: P(S = 1 | Y = 1).
      zero: P(S = 1 | Y = 0).
      share: P(Y = 1), known.

    Returns:
      The gap, above 0 if Y = 1 goes with S = 1. The interval covers it where both of the given ones cover theirs:
      it excludes 0 if and only if they are apart. A group that may not be there at all may have any rate.

    Raises:
      InputError: if the share is not inside (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(f"the share of label 1 is {share}: there must be samples of both labels.")
    return Estimate(
        _gap(one.value, zero.value, share, ends=(share, share)),
        _gap(one.low, zero.high, share, ends=(0.0, 1.0)),
        _gap(one.high, zero.low, share, ends=(1.0, 0.0)),
    )


def _gap(a: float, b: float, share: float, ends: tuple[float, float]) -> float:
    first = _rate(a * share, b * (1 - share), ends[0])
    return first - _rate((1 - a) * share, (1 - b) * (1 - share), ends[1])


def _rate(one: float, zero: float, without: float) -> float:
    """Returns the share of label 1 in a group; `without`, if nobody is in it."""
    return one / (one + zero) if one + zero > 0 else without
