"""Scores that know what a record's score would be with it, and without: of shadow models of one pool.

Everything here runs on the host, in float64, on stored observations by one attack; it asks no network.

    lira        how much likelier a score is among the shadows that hold the record than among those that do not
    rmia        how many other records it beats, each measured by its own shadows
    quantile    how far it is above what records that look like this one score; it needs no shadows

A shadow is trained as the target was, on a random half of the pool (`data.coin_flips`). The shadows and the coins that
were tossed for them are the attacker's; who was inside the target is not used.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp

from diffaudit_jax.auditing import Observations
from diffaudit_jax.calibration import aligned
from diffaudit_jax.data import Inclusion
from diffaudit_jax.quantile import quantile as quantile
from diffaudit_jax.types import InputError

Scores = Float[np.ndarray, " n"]
FEWEST_SHADOWS = 8
"""Shadows that `lira` needs at the least."""
FEWEST_RATIOS = 4
"""Shadows that `rmia` needs at the least: two with a record and two without tell how much scores vary by luck."""
OWN_SPREAD = 64
"""Shadows from which on a record's scores have a variance of their own."""


class _Compared(NamedTuple):
    """Scores of n queries, float64 [n], those of K shadows and who was inside them, [K, n], and the queries' rows."""

    scores: Scores
    by_shadow: Float[np.ndarray, "K n"]
    inside: Bool[np.ndarray, "K n"]
    rows: Int[np.ndarray, " n"]


def lira(
    seen: Observations, by_shadows: Sequence[Observations], inclusion: Inclusion, *, online: bool = True
) -> Scores:
    """The likelihood ratio attack: whose scores is this one like, those of the models with the record or without it?

    online:   ln N(s; m_in, v_in) - ln N(s; m_out, v_out)
    offline:  ln Pr[Z <= s] - ln Pr[Z > s],  Z ~ N(m_out, v_out)

    m and v are mean and variance of a query's scores by the shadows that hold it and by those that do not. Below
    OWN_SPREAD shadows a variance is pooled over the queries, each around its own mean, the two kinds apart; so is, at
    any number, that of a query whose scores never vary. Offline scores rank as z = (s - m_out)/sqrt(v_out) does: the
    log-odds of its probability does not saturate where that is 1.

    Args:
      seen: Observations of the target.
      by_shadows: Those of K shadows by the same attack of the same queries, each in any order; 8 or more.
      inclusion: Who was inside which of them, in the order of `by_shadows`; it may hold more records.
      online: Whether shadows that hold the queries are used. Offline, they were trained before the queries came.

    Returns:
      Scores float64 [n], higher = member, in the order of `seen`; no network calls.

    Raises:
      InputError: if there are too few shadows, `inclusion` is of another number of them or lacks a query, a shadow was
        asked other queries, a score is NaN or infinite, no shadow holds a query (online) or all do, or scores never
        vary.

    References:
      Carlini et al. 2022, Membership Inference Attacks From First Principles, https://arxiv.org/abs/2112.03570
      Carlini et al. 2023, of diffusion models, https://arxiv.org/abs/2301.13188
    """
    seen_by = _compared(seen, by_shadows, inclusion, "LiRA", FEWEST_SHADOWS, online)
    own = len(by_shadows) >= OWN_SPREAD
    z_out, ln_out = _standardised(seen_by, ~seen_by.inside, own)
    if not online:
        return log_ndtr(z_out) - log_ndtr(-z_out)
    z_in, ln_in = _standardised(seen_by, seen_by.inside, own)
    return (z_out**2 - z_in**2) / 2 + ln_out - ln_in


def rmia(
    seen: Observations,
    by_shadows: Sequence[Observations],
    inclusion: Inclusion,
    population: ArrayLike | None = None,
    *,
    gamma: float = 1.0,
    online: bool = True,
) -> Scores:
    """The robust attack: the share of other records z that a record x beats, each by its own likelihood ratio.

    score(x) = Pr_z[ r(x)/r(z) >= gamma ],  r(x) = p(x | target)/p(x),  p(x) = (E_in p(x | shadow) + E_out ...)/2

    A score of a diffusion model is no probability. Here ln p(x | model) = s/v, v the standard deviation of a record's
    scores between shadows, pooled. Had s the law N(m(x), v^2) without the record, r(x) would be exp((s - m)/v - 1/2):
    ratios are told in units of what luck does, and neither shift nor unit of the score matters. A constant factor in p
    cancels in r(x)/r(z); offline E_out alone stands for p, which differs by one if membership gains all records alike.

    The score never falls as r(x) rises where the population is all queries, or `gamma` is 1; `gamma` decides how many
    ties there are at 0 and 1. At any other, a record of a partial population, which has one record fewer to beat, may
    change places with one that is not of it. At 1 a population of all others ranks exactly as r(x) does; the published
    choice is 2.

    Args:
      seen: Observations of the target.
      by_shadows: Those of K shadows by the same attack of the same queries, each in any order; 4 or more.
      inclusion: Who was inside which of them, in the order of `by_shadows`.
      population: Rows of queries that the attacker knows the target was not trained on, int [m]; all queries if not
        given. A query is never compared with itself.
      gamma: Ratio that counts as beating, positive.
      online: Whether shadows that hold a record count in its p(x).

    Returns:
      Scores float64 [n] in [0, 1], higher = member, in the order of `seen`; no network calls.

    Raises:
      InputError: as `lira` does; if gamma is not positive, or no query is left to compare with.

    References:
      Zarifzadeh, Liu and Shokri 2024, Low-Cost High-Power Membership Inference Attacks,
      https://arxiv.org/abs/2312.03262
    """
    if not 0 < gamma < np.inf:
        raise InputError(f"gamma is a positive ratio, got {gamma}: 1 ranks all records, the paper takes 2.")
    seen_by = _compared(seen, by_shadows, inclusion, "RMIA", FEWEST_RATIOS, online)
    ratios = _log_ratios(seen_by, online)
    within = np.ones(len(ratios), bool) if population is None else np.isin(seen_by.rows, population)
    if population is not None and len(lacking := np.setdiff1d(population, seen_by.rows)):
        raise InputError(
            f"row {lacking[0]} (of {len(lacking)} such) of the population was not asked: ask about it too."
        )
    if within.sum() < 2:
        raise InputError(f"RMIA compares a record with others, and {within.sum()} queries are of the population.")
    others = np.sort(ratios[within])
    beaten = np.searchsorted(others, ratios - np.log(gamma), side="right")
    itself = within & (gamma <= 1)  # r(x)/r(x) = 1
    return (beaten - itself) / (len(others) - within)


def check_enough(num: int, method: str = "LiRA", least: int = FEWEST_SHADOWS) -> None:
    """Refuses shadows that are too few.

    Args:
      num: How many there are.
      method: For what.
      least: How many it needs.
    """
    if num < least:
        raise InputError(f"{method} needs at least {least} shadow models, got {num}: train more.")


def _log_ratios(seen_by: _Compared, online: bool) -> Scores:
    """Returns ln p(x | target)/p(x) of every query."""
    sides = (seen_by.inside, ~seen_by.inside) if online else (~seen_by.inside,)
    _, squares, free = zip(*(_moments(seen_by.by_shadow, side) for side in sides), strict=True)
    scale = np.sqrt(_pooled(np.concatenate(squares), np.concatenate(free)))
    means = [
        # Shadows of the other side are left out by a weight of 0.
        logsumexp(seen_by.by_shadow / scale, axis=0, b=side / side.sum(axis=0))
        for side in sides
    ]
    return seen_by.scores / scale - (logsumexp(means, axis=0) - np.log(len(sides)))


def _compared(
    seen: Observations,
    by_shadows: Sequence[Observations],
    inclusion: Inclusion,
    method: str,
    least: int,
    online: bool,
) -> _Compared:
    """Brings target, shadows and coins to one order of queries, and refuses what cannot be compared."""
    check_enough(len(by_shadows), method, least)
    if len(by_shadows) != len(inclusion.inside):
        raise InputError(
            f"{len(by_shadows)} shadows were observed and the inclusion matrix is of {len(inclusion.inside)}: give one "
            f"row for each shadow, in their order."
        )
    inside = inclusion.of(seen.rows)
    scores = np.asarray(seen.scores, np.float64)
    by_shadow = np.stack([aligned(seen, other, "shadow") for other in by_shadows])
    _check_finite(scores[None], seen.rows, "target's")
    _check_finite(by_shadow, seen.rows, "shadows'")
    sides = ((inside, "holds"), (~inside, "was trained without")) if online else ((~inside, "was trained without"),)
    for side, verb in sides:
        if len(bare := np.flatnonzero(~side.any(axis=0))):
            raise InputError(
                f"no shadow {verb} row {seen.rows[bare[0]]} (of {len(bare)} such): ask about records that some "
                f"shadows hold and others do not."
            )
    return _Compared(scores, by_shadow, inside, np.asarray(seen.rows))


def _check_finite(scores: Float[np.ndarray, "K n"], rows: Int[np.ndarray, " n"], whose: str) -> None:
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=0))
    if len(bad):
        raise InputError(f"the {whose} scores of row {rows[bad[0]]} hold NaN or infinity (of {len(bad)} such rows).")


def _standardised(seen_by: _Compared, side: Bool[np.ndarray, "K n"], own: bool) -> tuple[Scores, Scores]:
    """Returns (s - m)/sqrt(v) and ln sqrt(v), m and v by the shadows of one side."""
    mean, squares, free = _moments(seen_by.by_shadow, side)
    variance = np.full(len(squares), _pooled(squares, free))
    if own:
        np.divide(squares, free, out=variance, where=(free > 0) & (squares > 0))
    spread = np.sqrt(variance)
    return (seen_by.scores - mean) / spread, np.log(spread)


def _moments(
    by_shadow: Float[np.ndarray, "K n"], side: Bool[np.ndarray, "K n"]
) -> tuple[Scores, Scores, Int[np.ndarray, " n"]]:
    """Returns each query's mean by the shadows of one side, the sum of squares around it and its degrees of freedom."""
    # Seen from one of them: where all are equal the squares are 0, and not what the mean's rounding left.
    first = by_shadow[side.argmax(axis=0), np.arange(side.shape[1])]
    apart = by_shadow - first
    mean = apart.mean(axis=0, where=side)
    return first + mean, np.sum((apart - mean) ** 2, axis=0, where=side), side.sum(axis=0) - 1


def _pooled(squares: Scores, free: Int[np.ndarray, " n"]) -> float:
    """Returns the variance within, the same to the bit in whichever order the queries come."""
    total, degrees = math.fsum(squares), int(free.sum())
    if not (degrees > 0 and total > 0):
        raise InputError(
            "no record's scores vary between shadows that hold it, or between those that do not, so there is no luck "
            "to compare them with: train more shadows, on other coins and seeds."
        )
    return total / degrees
