"""Intervals for what has no formula: targets are drawn anew, with replacement, and the statistic is taken again."""

import numpy as np
from scipy.special import ndtr
from scipy.stats import t

from diffaudit_jax.metrics.intervals import tail
from diffaudit_jax.types import InputError


def weights(rng: np.random.Generator, n: int, num_resamples: int) -> np.ndarray:
    """Draws how often each of n targets is in each resample, float64 [num_resamples, n].

    Raises:
      InputError: if there are fewer than 2 targets, or fewer than 100 resamples.
    """
    if n < 2:
        raise InputError(f"there is {n} target: an interval asks for 2 or more.")
    if num_resamples < 100:
        raise InputError(f"num_resamples is {num_resamples}: give 100 or more.")
    return rng.multinomial(n, np.full(n, 1.0 / n), num_resamples).astype(np.float64)


def limits(resampled: np.ndarray, n: int, level: float) -> tuple[float, float]:
    """Returns percentile limits, widened for small n as Student's interval of a mean is.

    A resample of n has a variance that is short by (n - 1)/n, and a normal quantile where Student's belongs: the error
    of each side becomes Phi(-sqrt(n/(n - 1)) t_(n - 1)). Of two resamples that a limit lies between, it is the outer.

    Args:
      resampled: The statistic of each resample; may be infinite.
      n: Targets.
      level: Confidence level.

    References:
      Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69:371
    """
    error = float(ndtr(-np.sqrt(n / (n - 1)) * t.isf(tail(level), n - 1)))
    low = np.quantile(resampled, error, method="lower")
    return float(low), float(np.quantile(resampled, 1.0 - error, method="higher"))
