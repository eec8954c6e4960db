"""The blind check: can the two groups be told apart without the model? Its numbers, and what is said of them.

An attack is credited with what it gains over the check, or over guessing where the check did worse than that:

    gain = AUC - max(blind, 1/2) = min(AUC - blind, AUC - 1/2)
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from diffaudit_jax import metrics
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.metrics.traces import NUM_COMPONENTS
from diffaudit_jax.report.numbers import estimate

WORTH_A_LOOK = 0.05  # p-value of the check up to which a clean split is said to deserve a look
WIDE = 0.1  # width of the check's interval from which it is said to say little: below some 250 members
FOLDS = 5
NAME = "The blind check, a classifier that saw the records but never the model,"


def gain(scores: NDArray, blind: NDArray, member: NDArray, level: float) -> Estimate:
    """What an attack finds beyond the blind check and beyond guessing.

    Each end is the smaller of the two differences' ends. The low end fails only with that of the difference which is
    the gain, so with (1 - level)/2 at most; the high end with twice that at most. Simulated, both together hold the
    gain at least as often as `level` says.

    Args:
      scores: The attack's, float [n].
      blind: The check's, out of fold, float [n].
      member: Truth, bool [n].
      level: Confidence level.
    """
    over_blind = metrics.advantage_over_blind(scores, blind, member, level=level)
    over_guessing = metrics.auc(scores, member, level=level)
    return Estimate(*(min(a, b - 0.5) for a, b in zip(over_blind, over_guessing, strict=True)))


def blind_section(
    images: NDArray,
    scores: Mapping[str, NDArray],
    member: NDArray,
    codes: NDArray,
    rows: NDArray,
    levels: tuple[float, float],
    seed: int,
) -> dict[str, Any]:
    """Returns the document's section of the blind check.

    Args:
      images: Uint8 [n, height, width, channels], or float32 [n, d] of a table.
      scores: Name of the attack -> float [n].
      member: Truth, bool [n].
      codes: Person of each record, int [n].
      rows: One record of each person, int [k]: what the attacks are judged on.
      levels: Confidence level of the check's AUC, and of each attack's gain.
      seed: Seed of the folds, the features and the shuffles.
    """
    check = metrics.blind_baseline(images, member, groups=codes, level=levels[0], seed=seed, folds=FOLDS)
    gains = {name: gain(x[rows], check.scores[rows], member[rows], levels[1]) for name, x in scores.items()}
    return {
        "auc": check.auc._asdict(),
        "leaks": bool(check.leaks),
        "p_value": check.p_value,
        "num_permutations": check.num_permutations,
        "advantage_level": levels[1],
        "advantage": {name: {part: float(x) for part, x in found._asdict().items()} for name, found in gains.items()},
    }


def in_short(blind: dict[str, Any] | None, lead: str, counts: dict[str, int]) -> list[str]:
    """Says for the verdict whether the two groups differ by themselves, or that nobody could check.

    Args:
      blind: The document's blind check, None if there were no images.
      lead: The strongest attack.
      counts: The document's counts.
    """
    if blind is None:
        return [
            "Whether members and non-members differ by themselves, e.g. in source or date, could not be checked: the "
            "report was made without the records. If they do, the numbers overstate what the model reveals."
        ]
    seen = f"(AUC {estimate(blind['auc'])})"
    if blind["leaks"]:
        return [
            f"{NAME} tells members from non-members {seen}: the two groups differ by themselves.",
            f"{_gained(blind, lead)}, {_rest(blind['advantage'][lead]['low'])}",
            "Ask for members and non-members drawn at random from one pool, and audit again.",
        ]
    if blind["p_value"] <= WORTH_A_LOOK:
        return [f"{NAME} did a little better than guessing {seen}: worth a look at how the two groups were drawn."]
    little = f", which with {counts['members']:,} members says little" if _wide(blind) else ""
    return [f"{NAME} did no better than guessing {seen}{little}."]


def at_length(blind: dict[str, Any] | None, lead: str, counts: dict[str, int]) -> list[str]:
    """Says for the page's own section how that was checked, what came out, and what it leaves to the model.

    Args:
      blind: The document's blind check, None if there were no images.
      lead: The strongest attack.
      counts: The document's counts.
    """
    if blind is None:
        return in_short(blind, lead, counts)
    method = (
        f"The blind check is a ridge classifier that sees the records and never the model: up to {NUM_COMPONENTS} "
        "principal components of their pixels, and summaries of brightness and of steps between neighbouring pixels. "
        f"Of {FOLDS} parts of the records it ranks each after learning from the others. The same on "
        f"{blind['num_permutations']} shuffles of who is a member shows what chance gives."
    )
    seen = f"It reached an AUC of {estimate(blind['auc'])} (p = {blind['p_value']:.2g})"
    if blind["leaks"]:
        return [
            method,
            f"{seen}: the two groups differ by themselves.",
            f"{_gained(blind, lead)}, {_rest(blind['advantage'][lead]['low'])}",
        ]
    fits = (
        f"With {counts['members']:,} members its interval is {'wide' if _wide(blind) else 'narrow'}: groups that "
        f"differ enough for an AUC of {blind['auc']['high']:.2f} would fit it too."
    )
    found = (
        f"{seen}: worth a look at how the two groups were drawn, but chance alone does as well on one fair split in "
        f"{1 / blind['p_value']:.0f}."
        if blind["p_value"] <= WORTH_A_LOOK
        else f"{seen}, no better than guessing as far as this sample shows."
    )
    gained = [f"{_gained(blind, lead)}."] if blind["advantage"][lead]["high"] > 0 else []
    return [method, f"{found} {fits}", *gained]


def _wide(blind: dict[str, Any]) -> bool:
    return blind["auc"]["high"] - blind["auc"]["low"] > WIDE


def _gained(blind: dict[str, Any], lead: str) -> str:
    over = "the blind check" if blind["auc"]["value"] >= 0.5 else "guessing, which did better than the blind check,"
    return f"Over {over} the strongest attack, {lead}, gains {estimate(blind['advantage'][lead])} in AUC"


def _rest(low: float) -> str:
    if low > 0:
        return (
            "which is more than nothing: as far as that classifier sees the difference, part of what was found does "
            "come from the model."
        )
    return "which may be nothing: what was found is not shown to come from the model."
