"""ROC curve and the area under it, with an interval that covers also where the curve is perfect.

With members' scores x_1..x_m and non-members' scores y_1..y_n,

    AUC = mean over pairs of [x_i > y_j] + [x_i = y_j]/2,        placements  V10_i = mean_j, V01_j = mean_i,
    var(AUC) = var(V10)/m + var(V01)/n                            (DeLong)

are the Mann-Whitney statistic and its variance.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from diffaudit_jax.metrics.intervals import Estimate, binomial_high, binomial_low, tail
from diffaudit_jax.metrics.samples import separate


class Roc(NamedTuple):
    """Vertices of the ROC curve, float64 [v]: the rule "score >= threshold" has these rates. Starts at +inf, (0, 0)."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def roc(scores: ArrayLike, member: ArrayLike) -> Roc:
    """ROC curve with one vertex per distinct score.

    Tied scores move together: no point between two vertices is claimed, as no threshold attains it.

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class is missing.
    """
    x, y = separate(scores, member)
    distinct = np.unique(np.concatenate([x, y]))[::-1]

    def rate(sample: np.ndarray) -> np.ndarray:
        reached = len(sample) - np.searchsorted(np.sort(sample), distinct, side="left")
        return np.concatenate([[0.0], reached / len(sample)])

    return Roc(rate(y), rate(x), np.concatenate([[np.inf], distinct]))


def placements(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each member's share of non-members below it, and each non-member's share of members above; ties count half.

    Args:
      x: Members' scores [m, ...].
      y: Non-members' scores [n, ...].

    Returns:
      V10 [m, ...] and V01 [n, ...]; the mean of either over axis 0 is the AUC.
    """
    m, n = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]), axis=0)
    return (ranks[:m] - rankdata(x, axis=0)) / n, 1.0 - (ranks[m:] - rankdata(y, axis=0)) / m


def _model_variance(a: np.ndarray, m: int, n: int) -> np.ndarray:
    """Variance of an AUC of a under exponential scores, symmetrised in m and n (Newcombe 2006, method 5)."""
    s = (m + n) / 2.0 - 1.0
    return a * (1.0 - a) * (1.0 + s * (1.0 - a) / (2.0 - a) + s * a / (1.0 + a)) / (m * n)


def _areas(x: np.ndarray, y: np.ndarray, level: float, design_effect: float = 1.0) -> tuple[Estimate, ...]:
    """AUC of each column of x [m, k] against y [n, k]; `auc` has the method."""
    m, n, error = len(x), len(y), tail(level)
    v10, v01 = placements(x, y)
    a = v10.mean(axis=0)
    bernoulli = a * (1.0 - a)
    variance = _model_variance(a, m, n)
    if min(m, n) > 1:
        variance = np.maximum(variance, v10.var(axis=0, ddof=1) / m + v01.var(axis=0, ddof=1) / n)
    fewest = float(min(m, n))
    trials = np.divide(bernoulli, variance, out=np.full_like(a, fewest), where=bernoulli > 0)
    trials = np.maximum(trials, fewest) / design_effect
    low, high = binomial_low(a * trials, trials, error), binomial_high(a * trials, trials, error)
    return tuple(Estimate(*row) for row in np.stack([a, low, high], axis=1).tolist())


def auc(scores: ArrayLike, member: ArrayLike, *, level: float = 0.95, design_effect: float = 1.0) -> Estimate:
    """Area under the ROC curve: the probability that a member outscores a non-member, ties counting half.

    The interval is Clopper-Pearson's for a proportion AUC in n_eff = AUC (1 - AUC)/var trials. The variance is the
    larger of DeLong's, which adapts to a memorised minority, and of a model's, which steadies it near 0 and 1; n_eff is
    never below min(m, n), as var <= AUC (1 - AUC)/min(m, n) for any two distributions. At AUC = 1 the interval is
    therefore that of min(m, n) successes in as many trials, which no distribution-free interval can shorten. It speaks
    of the model that was audited and of new queries, not of models trained anew.

    Args:
      scores: Real numbers [n], higher = member.
      member: Truth, bool [n].
      level: Confidence level.
      design_effect: By how much the AUC's variance exceeds that of scores independent between rows.

    Raises:
      InputError: if the lengths differ, a score is not finite, or a class is missing.

    References:
      DeLong et al. 1988, Biometrics 44:837; Newcombe 2006, Statistics in Medicine 25:559, method 5; Korn and Graubard
      1998, Survey Methodology 24:193, for Clopper-Pearson at an effective sample size and its design effect.
    """
    x, y = separate(scores, member)
    return _areas(x[:, None], y[:, None], level, design_effect)[0]


def auc_by_column(features: ArrayLike, member: ArrayLike, level: float = 0.95) -> tuple[Estimate, ...]:
    """AUC of every column, for example of every time of a loss trajectory, in one pass.

    The interval of each is that of `auc`, one column at a time: the best of k columns, picked on the same data, is
    biased upwards and its interval does not allow for the picking.

    Args:
      features: Real numbers [n, k], higher = member.
      member: Truth, bool [n].
      level: Confidence level.

    Returns:
      k estimates.

    Raises:
      InputError: if the shapes disagree, a feature is not finite, or a class is missing.
    """
    return _areas(*separate(features, member, ndim=2), level)
