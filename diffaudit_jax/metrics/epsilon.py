"""How private a model cannot be: lower bounds of epsilon from attacks on canaries, records tossed in by coins.

One training is enough if m canaries have a fair coin each. Of the guesses at them, r in number and made from scores
alone, v are right. Were training (epsilon, delta)-private, that many would be right with probability p at most:

    q = e^epsilon / (1 + e^epsilon),    beta(v) = P[Bin(r, q) >= v],
    p = beta(v) + 2 m delta max over i = 1..v of (beta(v - i) - beta(v))/i

The bound is the largest epsilon with p at most 1 - level. Which canaries are guessed at is fixed beforehand: so many
of the highest scores are called in, so many of the lowest out. Several such numbers may be tried, if they share the
error; what may not be done is to report the best of them as if it were the only one.

References:
  Steinke, Nasr and Jagielski 2023, https://arxiv.org/abs/2305.08846
  Mahloujifar, Melis and Chaudhuri 2024, https://arxiv.org/abs/2410.22235
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import root_scalar
from scipy.special import expit
from scipy.stats import binom

from diffaudit_jax.metrics.intervals import tail
from diffaudit_jax.metrics.samples import checked
from diffaudit_jax.types import InputError

FAIR = 0.5
# Shares of the canaries called in and called out: many guesses show a small epsilon, the surest few a large one, and a
# model that remembers may show it in its highest scores alone. Of 128 to 2,000 canaries of Gaussian releases of mu 0.5
# to 4 these were within a fifth of the best of five such sets.
SHARES = ((1 / 4, 1 / 4), (1 / 16, 1 / 16), (1 / 8, 0))


class LowerBound(NamedTuple):
    """What attacks show epsilon to be at least.

    Attributes:
      epsilon: The bound; 0 where nothing is shown.
      level: Probability with which it holds, at least.
      delta: At which delta.
      canaries: m, records tossed for (or models trained, each with a coin).
      guesses: r, how many were guessed at; where nothing is shown, in the way that guesses at the fewest.
      correct: v, how many rightly.
      method: "one-run", "f-DP" (assumes a Gaussian trade-off) or "many-runs".
    """

    epsilon: float
    level: float
    delta: float
    canaries: int
    guesses: int
    correct: int
    method: str


def default_guesses(canaries: int) -> tuple[tuple[int, int], ...]:
    """Returns the pairs (called in, called out) that are tried where none is given, by the number of canaries alone."""
    return tuple(dict.fromkeys((math.ceil(plus * canaries), int(minus * canaries)) for plus, minus in SHARES))


def one_run(
    scores: ArrayLike,
    inside: ArrayLike,
    delta: float,
    *,
    coin: float | None = FAIR,
    guesses: tuple[int, int] | None = None,
    level: float = 0.95,
) -> LowerBound:
    """Bounds epsilon from below by one training on canaries that had a coin each; it holds for any mechanism.

    In and out is one record added or removed. Scores that tie where guessing ends are not guessed at: to break ties by
    the order of the rows would be to use the truth, where members come first.

    Args:
      scores: Of every canary, real numbers [m]; higher = inside.
      inside: How its coin fell, bool [m].
      delta: In [0, 1); 0 bounds pure epsilon.
      coin: P[inside] of every coin (`Split.coin`); None says that there were none.
      guesses: How many of the highest scores are called in and how many of the lowest out, fixed before scores were
        seen. None tries `default_guesses`, which share the error.
      level: Confidence level.

    Returns:
      The bound, and the guesses that gave it.

    Raises:
      InputError: if the canaries had no fair coins of their own, scores and truth do not fit together, or a number is
        out of range.

    References:
      Steinke, Nasr and Jagielski 2023, https://arxiv.org/abs/2305.08846
    """
    return best_bound(scores, inside, delta, coin, guesses, level, "one-run", one_run_epsilon)


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Returns p, how likely so many correct guesses are at most, were training (epsilon, delta)-private."""
    beyond = binom.sf(correct - 1 - np.arange(correct + 1), guesses, expit(epsilon))  # beta(v - i), i = 0..v
    gain = np.max((beyond[1:] - beyond[0]) / np.arange(1, correct + 1), initial=0.0)
    return float(min(1.0, beyond[0] + 2 * canaries * delta * gain))


def one_run_epsilon(canaries: int, guesses: int, correct: int, delta: float, error: float) -> float:
    """Returns the largest epsilon that so many correct guesses refute with probability `error` of being wrong."""

    def excess(epsilon: float) -> float:
        return one_run_p_value(canaries, guesses, correct, epsilon, delta) - error

    if excess(0.0) > 0:
        return 0.0
    most = 1.0
    while excess(most) <= 0:
        most *= 2
    return float(root_scalar(excess, bracket=(0.0, most), xtol=1e-9).root)


def check_coin(coin: float | None) -> None:
    """Refuses canaries without fair coins of their own.

    Raises:
      InputError: with the reason.
    """
    if coin is None:
        raise InputError(
            "these records were not tossed in by independent coins: a fixed number of members makes their outcomes "
            "dependent, and guesses at them bound no epsilon; draw them with split_coin, or train with --canaries."
        )
    if coin != FAIR:
        raise InputError(f"the coins fell inside with probability {coin:g}: a bound asks for fair ones, 0.5.")


def checked_delta(delta: float) -> float:
    """Returns delta, or refuses it.

    Raises:
      InputError: if it is not in [0, 1).
    """
    if not 0.0 <= delta < 1.0:
        raise InputError(f"delta is {delta:g}: it lies between 0 and 1, such as 1e-5.")
    return delta


def best_bound(
    scores: ArrayLike,
    inside: ArrayLike,
    delta: float,
    coin: float | None,
    guesses: tuple[int, int] | None,
    level: float,
    method: str,
    bound: Callable[[int, int, int, float, float], float],
) -> LowerBound:
    """Returns the best of the bounds that pairs of guesses give, each with its share of the error.

    Args:
      scores: As in `one_run`.
      inside: As in `one_run`.
      delta: As in `one_run`.
      coin: As in `one_run`.
      guesses: As in `one_run`.
      level: Confidence level.
      method: What the bound is called.
      bound: From canaries, guesses, correct ones, delta and error to epsilon.

    Raises:
      InputError: as `one_run` does.
    """
    check_coin(coin)
    tail(level)
    values, truly = checked(scores, inside)
    pairs = default_guesses(len(values)) if guesses is None else (_checked_guesses(guesses, len(values)),)
    found = []
    for pair in pairs:
        r, v = _guessed(values, truly, *pair)
        found.append((bound(len(values), r, v, checked_delta(delta), (1 - level) / len(pairs)), -r, v))
    epsilon, fewest, v = max(found)
    return LowerBound(epsilon, level, delta, len(values), -fewest, v, method)


def _guessed(scores: np.ndarray, inside: np.ndarray, plus: int, minus: int) -> tuple[int, int]:
    """Returns how many are guessed at and how many rightly; whoever ties with one not guessed at is not either."""
    order = np.sort(scores)
    high = scores > order[len(order) - plus - 1] if plus < len(order) else np.ones(len(order), bool)
    low = scores < order[minus] if minus < len(order) else np.ones(len(order), bool)
    return int(high.sum() + low.sum()), int(inside[high].sum() + (~inside[low]).sum())


def _checked_guesses(guesses: tuple[int, int], canaries: int) -> tuple[int, int]:
    if min(guesses) < 0 or not 1 <= sum(guesses) <= canaries:
        raise InputError(
            f"guesses={guesses} of {canaries} canaries: give how many are called in and how many out, together from 1 "
            f"to {canaries}."
        )
    return guesses
