"""An interval of a proportion that holds at every number of samples at once, so that one may stop when it is narrow.

With k of n, and a Beta(a, b) mixture over what the proportion might be,

    M_n(p) = B(k + a, n - k + b)/B(a, b) / (p^k (1 - p)^(n - k))

is a martingale of mean 1 if p is the truth. By Ville's inequality it exceeds 1/d at any n ever with probability d at
most, so {p : M_n(p) < 1/d} holds the truth at all n together. An interval for one n, looked at again and again until
it is narrow, does not.

References:
  Robbins 1970, Annals of Mathematical Statistics 41:1397
  Howard et al. 2021, Time-uniform, nonparametric, nonasymptotic confidence sequences,
  https://arxiv.org/abs/1810.08240
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import betaln, xlog1py, xlogy

from diffaudit_jax.metrics.intervals import tail
from diffaudit_jax.types import InputError

_HALVINGS = 60
PRIOR = 0.5
"""a and b: Jeffreys' mixture, narrow at rare and at common properties alike."""


def anytime(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> Float[np.ndarray, "2 *shape"]:
    """Returns lower and upper limits that hold for all n together.

    Args:
      k: Samples with the property, any shape.
      n: Samples, broadcast against `k`; 0 gives [0, 1].
      level: Confidence level, over the whole sequence.

    Returns:
      Limits, float64.

    Raises:
      InputError: if not 0 <= k <= n, or `level` is not inside (0, 1).
    """
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    if not ((k >= 0) & (k <= n)).all():
        raise InputError("of n samples, 0 to n have a property: give 0 <= k <= n.")
    threshold = -np.log(2 * tail(level))
    mixture = betaln(k + PRIOR, n - k + PRIOR) - betaln(PRIOR, PRIOR)
    top = k / np.maximum(n, 1)

    def outside(p: np.ndarray) -> np.ndarray:
        return mixture - xlogy(k, p) - xlog1py(n - k, -p) >= threshold

    def limit(end: float) -> np.ndarray:
        # The likelihood has one peak, at k/n: from there out, M only grows.
        inside, out = top.copy(), np.full(top.shape, end)
        for _ in range(_HALVINGS):
            middle = (inside + out) / 2
            beyond = outside(middle)
            inside, out = np.where(beyond, inside, middle), np.where(beyond, middle, out)
        # The end itself, unless it is excluded.
        return np.where(outside(np.full(top.shape, end)), out, end)

    with np.errstate(divide="ignore"):
        return np.stack([limit(0.0), limit(1.0)])


def narrow_from(has: ArrayLike, error: float, level: float = 0.95) -> int | None:
    """Returns after how many samples the interval is no wider than 2 `error`, None if it never is.

    Args:
      has: Whether each sample has the property, in the order in which they were drawn, [n].
      error: Half the width.
      level: Confidence level, over the whole sequence.

    Raises:
      InputError: if `error` is not positive, or `level` is not inside (0, 1).
    """
    if not error > 0:
        raise InputError(f"error is {error}: half the width of an interval is positive, such as 0.05.")
    outcomes = np.asarray(has, bool)
    low, high = anytime(np.cumsum(outcomes), np.arange(1, len(outcomes) + 1), level)
    narrow = high - low <= 2 * error
    return int(narrow.argmax()) + 1 if narrow.any() else None
