"""Scores that something else has taught: how hard an example is, or what a shadow's members look like.

Everything here runs on the host, in float64, on stored observations; it asks no network.

    calibrated     subtracts what reference models, which never saw the queries, score
    fit_scorer     learns a score from a shadow, a model whose members the attacker knows because he trained it

A scorer that is judged on what it was fitted to has learned these queries by heart: on features of pure noise gradient
boosting then reaches an AUC near 1, and 0.5 on others. Fit it on another model, about other queries.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from diffaudit_jax.attack import Attack, Score, with_score
from diffaudit_jax.auditing import Observations, content_hash
from diffaudit_jax.data import located
from diffaudit_jax.stream import Features
from diffaudit_jax.types import InputError, known

Access = TypeVar("Access")
Kind = Literal["logistic", "mlp", "boosting"]
Rows = Float[np.ndarray, "n d"]
FEWEST = 10
"""Members, and non-members, that a scorer is fitted on at the least."""


def calibrated(seen: Observations, *references: Observations) -> Float[np.ndarray, " n"]:
    """Subtracts an example's difficulty: what models that never saw it score.

    s(x) = score_target(x) - mean over references of score_reference(x)

    Args:
      seen: Observations of the target.
      references: Observations by the same attack of the same queries, in any order, of models trained on other data of
        the same distribution. More of them tell the difficulty better.

    Returns:
      Scores float64 [n], in the order of `seen`.

    Raises:
      InputError: if there is no reference, or one is not about the queries of `seen`.

    References:
      Chen et al. 2020, GAN-Leaks, https://arxiv.org/abs/1909.03935 (one reference)
      Watson et al. 2022, https://arxiv.org/abs/2111.08440 (the mean of several)
    """
    if not references:
        raise InputError("calibration needs the observations of at least one reference model, got none.")
    return np.asarray(seen.scores, np.float64) - np.mean([aligned(seen, other) for other in references], axis=0)


def aligned(seen: Observations, other: Observations, whose: str = "reference") -> Float[np.ndarray, " n"]:
    """Returns another model's scores in the order of `seen`, float64 [n].

    Args:
      seen: Observations of the target.
      other: Observations of the same queries, in any order.
      whose: What the other model is, for the message.

    Raises:
      InputError: if the two are not about the same queries.
    """
    differing = np.setxor1d(seen.rows, other.rows)
    if len(differing):
        has, lacks = ("target", whose) if differing[0] in seen.rows else (whose, "target")
        raise InputError(
            f"row {differing[0]} (of {len(differing)} such) was asked of the {has} and not of the {lacks}: ask both "
            f"the same queries."
        )
    return np.asarray(other.scores, np.float64)[located(seen.rows, other.rows)[0]]


def fit_scorer(seen: Observations, member: ArrayLike, *, kind: Kind = "logistic", seed: int = 0) -> Score:
    """Fits a score to the features of a shadow's members and non-members.

    score(x) = log-odds of membership given the features of x

    Features are flattened to one row a query and standardised by the mean and spread of the fitting set alone. They are
    not transformed otherwise: a loss that ranges over powers of ten is better handed over as its logarithm.

    Args:
      seen: Observations of a shadow by the attack whose features are to be scored.
      member: Truth about the shadow, bool [n].
      kind: "logistic" regression (scikit-learn's default penalty); "mlp", 64 hidden units, stopped early on a tenth of
        the rows; "boosting", histogram gradient boosting.
      seed: Seed of the network's weights and of whatever rows are held out.

    Returns:
      ``features of n queries -> float64 [n]``, higher = member; it refuses features of another structure, and NaN.

    Raises:
      InputError: if members or non-members are fewer than FEWEST, there is not one truth a query, or a feature is NaN.

    References:
      Pang et al. 2023, https://arxiv.org/abs/2308.06405 (boosting on gradient norms; their code standardises the
      evaluated set by itself, which lets the other queries into a query's score)
    """
    known("scorer", kind, _FITS)
    member = np.asarray(member, bool)
    rows = _rows(seen.features)
    if member.shape != (len(rows),):
        raise InputError(f"{len(rows)} queries need as many truths (member or not), got shape {member.shape}.")
    fewest = min(member.sum(), (~member).sum())
    if fewest < FEWEST:
        raise InputError(
            f"a scorer learns from at least {FEWEST} members and {FEWEST} non-members of its shadow, got "
            f"{member.sum()} and {(~member).sum()}: ask about more."
        )
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    # A feature that never varied, but for what rounding its mean left, says nothing.
    varies = spread > np.finfo(np.float64).eps * len(rows) * np.abs(mean)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
    like = _structure(seen.features)
    log_odds = _FITS[kind]((rows - mean) * scale, member, seed)

    def rule(features: Features) -> Float[np.ndarray, " n"]:
        if _structure(features) != like:
            raise InputError(f"a scorer of features {like} cannot score {_structure(features)}: fit one to these.")
        return log_odds((_rows(features) - mean) * scale)

    return rule


def learned(
    attack: Attack[Access], shadow: Observations, member: ArrayLike, *, kind: Kind = "logistic", seed: int = 0
) -> Attack[Access]:
    """The same attack with a score learned from a shadow's observations, recorded; arguments as in `fit_scorer`.

    Raises:
      InputError: as `fit_scorer` does.
    """
    fitted_on = content_hash((shadow.features, np.asarray(member, bool)))
    return with_score(
        attack, fit_scorer(shadow, member, kind=kind, seed=seed), scorer=kind, seed=seed, shadow=fitted_on
    )


def check_disjoint(shadow: Observations, seen: Observations) -> None:
    """Refuses to judge a scorer on queries, of one and the same pool, that it was fitted to.

    Raises:
      InputError: if some query is in both.
    """
    both = np.intersect1d(shadow.rows, seen.rows)
    if len(both):
        raise InputError(
            f"row {both[0]} (of {len(both)} such) taught the scorer and cannot judge it: split the pool between what "
            f"teaches and what is asked."
        )


def _rows(features: Features) -> Rows:
    """Returns the features of each query as one row, float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(features)]
    rows = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(f"the features of query {bad[0]} hold NaN or infinity (of {len(bad)} such): leave it out.")
    return rows


def _structure(features: Features) -> str:
    """Says what the features of one query are."""
    return str(jax.tree.map(lambda leaf: np.shape(leaf)[1:], features))


def _logistic(rows: Rows, member: Bool[np.ndarray, " n"], seed: int) -> Callable[[Rows], Any]:
    del seed  # its solver draws nothing
    return LogisticRegression(max_iter=10_000).fit(rows, member).decision_function


def _boosting(rows: Rows, member: Bool[np.ndarray, " n"], seed: int) -> Callable[[Rows], Any]:
    # One thread: its threads wait busily for each other, on a machine that does something else forty times too long.
    alone = threadpool_limits.wrap(limits=1, user_api="openmp")
    return alone(alone(HistGradientBoostingClassifier(random_state=seed).fit)(rows, member).decision_function)


def _mlp(rows: Rows, member: Bool[np.ndarray, " n"], seed: int) -> Callable[[Rows], Any]:
    model = MLPClassifier((64,), early_stopping=True, max_iter=10_000, random_state=seed).fit(rows, member)

    def log_odds(rows: Rows) -> Any:
        # By hand: scikit-learn returns probabilities alone, which are all 1 from log-odds of 37 on.
        hidden = np.maximum(rows @ model.coefs_[0] + model.intercepts_[0], 0)
        return (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]

    return log_odds


_FITS: dict[str, Callable[[Rows, Bool[np.ndarray, " n"], int], Callable[[Rows], Any]]] = {
    "logistic": _logistic,
    "mlp": _mlp,
    "boosting": _boosting,
}
