"""What attacks show epsilon to be at least, beside what the accountant lets it be at most: numbers, then sentences."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.epsilon import LowerBound, default_guesses, one_run, one_run_epsilon
from diffaudit_jax.metrics.fdp import one_run_fdp
from diffaudit_jax.report.numbers import at_least, at_most, percent

METHODS = {"one_run": one_run, "fdp": one_run_fdp}
DELTA = 1e-5  # where no guarantee names another


class Bounds(NamedTuple):
    """What the page says of a lower bound: sentences, a warning or None, and the right end of its axis."""

    sentences: list[str]
    warning: str | None
    axis: float


def lower_bound_section(
    scores: Mapping[str, ArrayLike],
    inside: ArrayLike,
    *,
    coin: float | None,
    delta: float = DELTA,
    upper: float | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Bounds epsilon from below by every attack on one training; the attacks share the error.

    Each of the two columns holds for all attacks together with probability `level`, so the highest of a column may be
    read off: "one_run" of any mechanism, "fdp" of one that trades errors off as a Gaussian does.

    Args:
      scores: Name of the attack -> float [n]; higher = inside.
      inside: How the coin of each record fell, bool [n].
      coin: P[inside] of every coin, `Split.coin`.
      delta: At which epsilon is bounded, in (0, 1).
      upper: The accountant's epsilon at this delta, if there is one.
      level: Confidence level of a column.

    Returns:
      The document's part: of each attack both bounds and the guesses behind them, the best attack of each column, and
      the most that a perfect attack would have shown.

    Raises:
      InputError: if the records had no fair coins of their own, or scores and truth do not fit together.
    """
    shared, canaries = 1 - (1 - level) / len(scores), int(np.size(inside))
    bounds = {
        kind: {name: bound(values, inside, delta, coin=coin, level=shared) for name, values in scores.items()}
        for kind, bound in METHODS.items()
    }
    best = {kind: max(found, key=lambda name: found[name].epsilon) for kind, found in bounds.items()}
    pairs = default_guesses(canaries)
    perfect = (one_run_epsilon(canaries, sum(pair), sum(pair), delta, (1 - shared) / len(pairs)) for pair in pairs)
    return {
        "delta": delta,
        "level": level,
        "canaries": canaries,
        "upper": upper,
        "best": best,
        "most": max(perfect),
        "attacks": [{"name": name, **{kind: _told(found[name]) for kind, found in bounds.items()}} for name in scores],
    }


def bounded(
    scores: Mapping[str, ArrayLike], inside: ArrayLike, coin: float | None, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the optional part of a document, empty for records without coins.

    Delta and the upper bound are those of the guarantee that the provenance holds, if any.
    """
    if coin is None:
        return {}
    told = provenance.get("guarantee") or {"ledger": {"delta": DELTA}, "epsilon": None}
    delta, upper = told["ledger"]["delta"], told["epsilon"]
    return {"lower_bound": lower_bound_section(scores, inside, coin=coin, delta=delta, upper=upper)}


def unbounded(coin: float | None, provenance: Mapping[str, Any]) -> list[str]:
    """Says why a private model has no lower bound of epsilon, if it has none."""
    if coin is not None or not provenance.get("guarantee"):
        return []
    return [
        "They say nothing of what epsilon is at least. Members were drawn in a fixed number, so that one in is another "
        "out, and guesses at them are not independent; or a plan kept non-members apart, so that coins are no longer "
        "even: train with --canaries to toss a coin for each record, and audit without a plan."
    ]


def explained(document: Mapping[str, Any]) -> Bounds | None:
    """Returns what the page says of a document's lower bound; None if it has none."""
    part = document.get("lower_bound")
    if part is None:
        return None
    first, second = (next(a for a in part["attacks"] if a["name"] == part["best"][kind])[kind] for kind in METHODS)
    least, gaussian, upper = first["epsilon"], second["epsilon"], part["upper"]
    sure = f"at delta = {part['delta']:g}, with {percent(part['level'])} confidence"
    count = len(part["attacks"])
    sharing = f" All {count} attacks share the chance of error, so that the best of them may be read off." * (count > 1)
    sentences = [
        f"A coin of its own said of each of the {part['canaries']:,} records whether the model was trained on it, so "
        "how often attacks guess rightly shows how large epsilon is at least.",
        f"{part['best']['one_run']} shows that epsilon is {at_least(least)} or more ({sure}).{sharing}"
        if least
        else f"No attack shows that epsilon is above 0 ({sure}), which does not make it small.",
    ]
    if gaussian > least:
        sentences.append(
            "If training trades errors off as one Gaussian release does, as long training with noise on every gradient "
            f"nearly does, {part['best']['fdp']} shows {at_least(gaussian)} or more."
        )
    attacks = "one attack" if count == 1 else f"{count} attacks"
    sentences.append(
        f"With so many coins, guessed at in these ways by {attacks}, one that is never wrong would have shown "
        f"{at_least(part['most'])} or more of any training: a small number here may say that there were few."
    )
    axis, warning = 1.05 * max(least, gaussian, upper or 0.0, 0.5), None
    if upper is None:
        sentences.append("No accountant bounds this model's epsilon from above.")
    elif max(least, gaussian) <= upper:
        sentences.append(
            f"The accountant lets it be {at_most(upper)} at most. If what it rests on holds, the truth lies between, "
            f"with {percent(part['level'])} confidence."
        )
    else:
        warning = _beyond(least, gaussian, upper)
    return Bounds(sentences, warning, axis)


def in_short(document: Mapping[str, Any]) -> list[str]:
    """Returns lines for a terminal: the bound of the best attack, and a warning; none without coins."""
    told = explained(document)
    return [] if told is None else [told.sentences[1], *filter(None, [told.warning])]


def _beyond(least: float, gaussian: float, upper: float) -> str:
    """Says what is wrong where attacks show more than the accountant allows, of any training or of a Gaussian one."""
    promised = f"the accountant promises {at_most(upper)} at most."
    check = (
        "heck how noise, clipping, sampling and the number of steps were counted, and whether a record was there twice."
    )
    if least > upper:
        return (
            f"Attacks show an epsilon of {at_least(least)} or more; {promised} Both cannot be: this training is not "
            f"as it was accounted for. C{check}"
        )
    return (
        f"Attacks show an epsilon of {at_least(gaussian)} or more if this training trades errors off as a Gaussian "
        f"release does, and {at_least(least) + ' or more' if least else 'nothing'} without that assumption; {promised} "
        "Either the assumption fails, as it may with few steps or with batches that seldom draw a record, or the "
        f"accounting does: c{check}"
    )


def _told(bound: LowerBound) -> dict[str, Any]:
    return {"epsilon": bound.epsilon, "guesses": bound.guesses, "correct": bound.correct}
