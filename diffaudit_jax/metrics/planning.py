"""How many samples buy which error of a proportion, before any is drawn.

With p^ the share of n independent samples that have a property, p its expectation, e the error and d = 1 - confidence:

    hoeffding   P(|p^ - p| >= e) <= 2 exp(-2 n e^2)              n >= ln(2/d)/(2 e^2), whatever p
    exact       sup over p of the binomial P(|p^ - p| >= e)      the least n that makes it d or less, or next to it
    bernstein   sqrt(2 v ln(4/d)/n) + 7 ln(4/d)/(3 (n - 1))      half the interval that samples of variance v give:
                                                                 fewer than Hoeffding's where the property is rare

References:
  Hoeffding 1963, Journal of the American Statistical Association 58:13
  Maurer and Pontil 2009, Empirical Bernstein Bounds, https://arxiv.org/abs/0907.3740
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.stats import binom

from diffaudit_jax.metrics.intervals import Estimate, checked_counts, tail
from diffaudit_jax.types import InputError, known

Rule = Literal["hoeffding", "exact", "bernstein"]
RULES: tuple[Rule, ...] = ("hoeffding", "exact", "bernstein")


def plan_samples(
    error: float, confidence: float = 0.95, *, rule: Rule = "hoeffding", between: tuple[float, float] = (0.0, 1.0)
) -> int:
    """Plans how many samples to draw for an estimate within `error` of the truth with probability `confidence`.

    Args:
      error: e, in (0, 1).
      confidence: 1 - d, in (0, 1).
      rule: See above.
      between: Where p is known to lie; "exact" and "bernstein" take the worst p in it, "hoeffding" does not use it.

    Returns:
      n. By "exact" it is found by bisection, and holds at this n: a few samples more or less may, or may not.

    Raises:
      InputError: if a number is out of range.
    """
    known("rule", rule, RULES)
    if not 0 < error < 1:
        raise InputError(f"error is {error}: of a proportion it lies between 0 and 1, such as 0.05.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}: it lies between 0 and 1, such as 0.95.")
    low, high = between
    if not 0 <= low <= high <= 1:
        raise InputError(f"between is {between}: give the ends of a range in [0, 1], the lower first.")
    d = 1 - confidence
    enough = math.ceil(math.log(2 / d) / (2 * error**2))
    if rule == "hoeffding":
        return enough
    if rule == "exact":
        return _least(lambda n: failure(n, error, between=between) <= d, enough)
    # The worst p is the one nearest to a half.
    p = min(max(0.5, low), high)
    return _least(lambda n: bernstein_half(n, p * (1 - p), d) <= error, 100 * enough)


def failure(n: int, error: float, *, between: tuple[float, float] = (0.0, 1.0)) -> float:
    """Returns the greatest probability, over p, that the share of n samples is `error` or more away from p.

    Between neighbouring p = k/n +- e the shares that are too far away do not change, and the probability of the others
    rises to one peak and falls: the greatest failure is at an end, where the two closed sets count.

    Args:
      n: Samples.
      error: e.
      between: Where p is known to lie.
    """
    low, high = between
    k = np.arange(n + 1) / n
    p = np.concatenate([k - error, k + error, [low, high]])
    p = p[(p >= low) & (p <= high)]
    # What is exactly e away may be a rounding off it.
    below, above = np.floor(n * (p - error) + 1e-9), np.ceil(n * (p + error) - 1e-9)
    return float((binom.cdf(below, n, p) + binom.sf(above - 1, n, p)).max())


def bernstein_half(n: int, variance: float, d: float) -> float:
    """Returns half the empirical Bernstein interval of the mean of n samples in [0, 1], infinite for one sample.

    Args:
      n: Samples.
      variance: Their variance, with n - 1 in the denominator.
      d: Probability with which the interval may fail, both sides together.
    """
    if n < 2:
        return math.inf
    return math.sqrt(2 * variance * math.log(4 / d) / n) + 7 * math.log(4 / d) / (3 * (n - 1))


def empirical_bernstein(k: int, n: int, level: float = 0.95) -> Estimate:
    """Estimates a proportion from k of n, with the empirical Bernstein interval, cut to [0, 1].

    Raises:
      InputError: if not 0 <= k <= n with n >= 1, or `level` is not inside (0, 1).
    """
    checked_counts(k, n)
    p, d = k / n, 2 * tail(level)
    half = bernstein_half(n, p * (1 - p) * n / max(n - 1, 1), d)
    return Estimate(p, max(0.0, p - half), min(1.0, p + half))


def hoeffding_interval(k: int, n: int, level: float = 0.95) -> Estimate:
    """Estimates a proportion from k of n, with Hoeffding's interval, cut to [0, 1].

    Raises:
      InputError: if not 0 <= k <= n with n >= 1, or `level` is not inside (0, 1).
    """
    checked_counts(k, n)
    p, half = k / n, math.sqrt(-math.log(tail(level)) / (2 * n))
    return Estimate(p, max(0.0, p - half), min(1.0, p + half))


def _least(holds: Callable[[int], bool], enough: int) -> int:
    """Returns an n at which `holds`, by bisection: as a function of n it may flicker next to where it begins to."""
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
