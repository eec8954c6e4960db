"""What a sweep comes to in sentences: from which mu on reconstructions show their targets.

At a mu targets are seen if both hold, each by the whole of its interval: the squared error of the reconstructions is
below that between unrelated images, and they are nearer to their own target than to the others more often than chance.
The first alone would not do, as an image that shows the average of all is near to each. Values of mu are gone through
from the largest down to the first at which a condition fails, an order that was fixed before: so all that is passed
holds together at the level of a single interval, and nothing is said of what lies below.
"""

from typing import Any

from diffaudit_jax.report.numbers import estimate, percent, shares

LEAD = "diffusion"
LABELS = {
    "seen": "Targets are seen",
    "unseen": "No target is seen",
    "memory": "Measures the prior's memory, not the privacy of the release",
}


def seen(row: dict[str, Any], chance: float) -> bool:
    """Returns whether reconstructions at a mu show their targets."""
    error = row["relative"][LEAD]
    return (
        error is not None and error["high"] is not None and error["high"] < 1 and row["retrieval"][LEAD]["low"] > chance
    )


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Concludes from the document's other parts.

    Args:
      document: A report's document without its verdict.

    Returns:
      `level`, one of `LABELS`, its `label`, a `headline` and `sentences`; `from_mu`, the least mu from which on targets
      are seen, or None; `unseen_mu`, the next below, or None.
    """
    rows, known = document["rows"], document["counts"]["known"]
    num = next((i for i, row in enumerate(rows[::-1]) if not seen(row, 1 / document["among"])), len(rows))
    first = rows[len(rows) - num] if num else None
    below = rows[len(rows) - num - 1] if num < len(rows) else None
    level = "memory" if known else "seen" if first else "unseen"
    return {
        "level": level,
        "label": LABELS[level],
        "headline": _headline(document, first, below),
        "sentences": [
            *([_memory(known, document["counts"]["targets"])] if known else []),
            *[_at(row, document) for row in (first, below) if row],
            _transition(document),
            _prior(first or rows[-1]),
        ],
        "from_mu": first and first["mu"],
        "unseen_mu": below and below["mu"],
    }


def _headline(document: dict[str, Any], first: dict[str, Any] | None, below: dict[str, Any] | None) -> str:
    rows = document["rows"]
    if first is None:
        return (
            f"Up to a release of {privacy(rows[-1], document)}, reconstructions are not seen to be nearer to their "
            f"targets than unrelated images are."
        )
    ends = f"; at mu = {below['mu']:g} that is not seen" if below else ", the least that was tried"
    return (
        f"From a release of {privacy(first, document)} on, reconstructions are nearer to their targets than unrelated "
        f"images are{ends}."
    )


def privacy(row: dict[str, Any], document: dict[str, Any]) -> str:
    """Writes a mu with what it means, ``mu = 20 (epsilon = 284 at delta = 1e-5)``."""
    times = f", {document['releases']} times" if document["releases"] > 1 else ""
    return f"mu = {row['mu']:g}{times} (epsilon = {short(row['epsilon'])} at delta = {short(document['delta'])})"


def _memory(known: int, total: int) -> str:
    return (
        f"{known} of the {total} targets are images that the prior was trained on. It may simply remember them, so "
        f"these numbers do not say what the release shows: take targets that it has never seen."
    )


def _at(row: dict[str, Any], document: dict[str, Any]) -> str:
    error, found = row["relative"][LEAD], row["retrieval"][LEAD]
    return (
        f"At mu = {row['mu']:g} their squared error is {bounded(error)} of that between unrelated images, and "
        f"{shares(found)} of them are nearer to their own target than to any of the {document['among'] - 1} others "
        f"(by chance {percent(round(1 / document['among'], 3))})."
    )


def _transition(document: dict[str, Any]) -> str:
    found = document["transition"][LEAD]["ssim"]
    if found["mu"] is None:
        return (
            f"Where similarity (SSIM) is half way from unrelated images to the target cannot be told: {found['reason']}"
        )
    return f"Similarity (SSIM) is half way from unrelated images to the target at mu = {bounded(found['mu'])}."


def _prior(row: dict[str, Any]) -> str:
    """Sets the prior beside the release itself, and beside what does without it."""
    errors = {name: scores["mse"] for name, scores in row["scores"].items()}
    others = {name: error for name, error in errors.items() if name not in (LEAD, "posterior mean")}
    best = min(others, key=lambda name: others[name]["value"])
    label = "the release as it is" if best == "release" else f"the best without a prior ({best})"
    return (
        f"At mu = {row['mu']:g} the mean squared error is {estimate(errors[LEAD], 3)} by DDIM and "
        f"{estimate(errors['posterior mean'], 3)} by the posterior mean; {label} has {estimate(others[best], 3)}."
    )


def short(value: float, digits: int = 3) -> str:
    """Writes a number with three digits: 5430.2 -> ``5,430``, 0.00001 -> ``1e-5``."""
    return f"{float(f'{value:.{digits}g}'):,g}".replace("e-0", "e-").replace("e+0", "e")


def bounded(value: dict[str, Any] | None) -> str:
    """Writes an estimate with three digits, an end that lies beyond all that was tried in words."""
    if value is None:
        return "\N{EN DASH}"
    low = "below the grid" if not value["low"] else f"{value['low']:.3g}"
    high = "above the grid" if value["high"] is None else f"{value['high']:.3g}"
    return f"{value['value']:.3g} [{low}, {high}]"
