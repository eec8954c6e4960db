"""A lower bound of epsilon from one training, for mechanisms that trade errors off as a Gaussian release does."""

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.epsilon import FAIR, LowerBound, best_bound
from diffaudit_jax.types import InputError


def one_run_fdp(
    scores: ArrayLike,
    inside: ArrayLike,
    delta: float,
    *,
    coin: float | None = FAIR,
    guesses: tuple[int, int] | None = None,
    level: float = 0.95,
) -> LowerBound:
    """Bounds epsilon from below as `one_run` does, higher, for mechanisms that trade errors off as a Gaussian does.

    What is refuted is a Gaussian release that is (epsilon, delta)-private and no more. Long training with noise on
    every gradient comes near one; of another mechanism a model may be more private than this bound says.

    Args:
      scores: As in `one_run`.
      inside: As in `one_run`.
      delta: In (0, 1).
      coin: As in `one_run`.
      guesses: As in `one_run`.
      level: Confidence level.

    Returns:
      The bound, by jax-privacy. Some 0.1 s for each pair of guesses at a thousand canaries.

    Raises:
      InputError: as `one_run` does.

    References:
      Mahloujifar, Melis and Chaudhuri 2024, https://arxiv.org/abs/2410.22235
    """
    if delta == 0:
        raise InputError("delta is 0: no Gaussian release is private then; it lies between 0 and 1, such as 1e-5.")
    return best_bound(scores, inside, delta, coin, guesses, level, "f-DP", _fdp_epsilon)


def _fdp_epsilon(canaries: int, guesses: int, correct: int, delta: float, error: float) -> float:
    if 2 * correct <= guesses:
        return 0.0
    # An import of its own, as it takes a second.
    from jax_privacy.auditing import CanaryScoreAuditor, Explicit

    # It knows guesses of one kind; all that counts is how many are right. It also wants one that is not: where there
    # is none, a guess is given up, as like as any other.
    right, rest = np.ones(min(correct, canaries - 1)), np.zeros(max(canaries - correct, 1))
    rest[: guesses - correct] = 1
    auditor = CanaryScoreAuditor(right, rest)
    return float(auditor.epsilon_one_run_fdp(error, delta, threshold_strategy=Explicit(0.5)))
