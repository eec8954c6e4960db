"""What a report of extraction concludes, in words its receiver can use.

unjudged   there are no held-out records: what is near a training record may be near anything of the source
extracted  the decisive rule finds more training records than chance explains
undecided  it finds some, but no more than chance may
unseen     it finds none
"""

from typing import Any

from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import p_value, percent, shares

LABELS = {
    "unjudged": "Cannot be judged",
    "extracted": "Training data given away",
    "undecided": "Copies, or chance",
    "unseen": "No copies seen",
}


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Concludes from a document that lacks its verdict.

    Args:
      document: A report's document without verdict and limits.

    Returns:
      `level`, `label`, `headline` and `sentences`.
    """
    level, rule = _level(document), decisive(document)
    sentences = [*_floor(document, rule), *_repeated(document), *_often(document, rule), *_suspected(document)]
    return {"level": level, "label": LABELS[level], "headline": _headline(document, rule), "sentences": sentences}


def decisive(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the rule that the verdict rests on."""
    return next(rule for rule in document["rules"] if rule["name"] == document["decisive"])


def unit(document: dict[str, Any]) -> str:
    """Returns what is counted: records, or people where whole ones were dealt to the sides."""
    return "people" if document["people"] else nouns(document)


def trained(document: dict[str, Any]) -> str:
    """Returns what those are called that trained the model."""
    return "people trained on" if document["people"] else f"training {nouns(document)}"


def by_chance(document: dict[str, Any]) -> float:
    """Returns how many of the training side the decisive rule would find at most if the generator had seen none."""
    rule = decisive(document)
    held = rule["heldout"]
    # Held-out records leave of + 1 gaps, into each of which members fall alike; found + 1 are below the limit.
    return rule["members"]["of"] * (held["found"] + 1) / (held["of"] + 1)


def _level(document: dict[str, Any]) -> str:
    p = decisive(document)["p_value"]
    if p is None:
        return "unjudged"
    if p <= 1 - document["level"]:
        return "extracted"
    return "undecided" if decisive(document)["members"]["found"] else "unseen"


def _headline(document: dict[str, Any], rule: dict[str, Any]) -> str:
    found, samples = rule["members"], document["counts"]["samples"]
    said = f"{found['found']:,} of {found['of']:,} {trained(document)}"
    whose = ("", "")
    if document["people"]:
        said, whose = f"{nouns(document)} of {said}", ("those of ", " people")
    if rule["heldout"] is None:
        return f"{samples:,} samples come near {said}; there are no held-out ones to say how many would be by chance."
    few = rule["heldout"]["found"]
    of = f"{f'all but {few:,}' if few else 'any'} of {rule['heldout']['of']:,}"
    others = f"{whose[0]}{of}{whose[1]} that the model has not seen"
    return f"{samples:,} samples come closer to {said} than to {others}."


def _floor(document: dict[str, Any], rule: dict[str, Any]) -> list[str]:
    if rule["heldout"] is None:
        return []
    sentences = [
        f"If the model knew nothing of its {trained(document)}, at most about {by_chance(document):.1f} would be so "
        f"close by chance ({p_value(rule['p_value'])})."
    ]
    if _level(document) == "undecided":
        sentences.append(f"More held-out {unit(document)} would tell these from chance, or more samples.")
    return sentences


def _repeated(document: dict[str, Any]) -> list[str]:
    rows = document["recall"]
    if len(rows) < 2:
        return []
    those, they = ("people with some", f"their {nouns(document)}") if document["people"] else ("", "they")
    of = [f"{row['extracted']:,} of {row['records']:,} {those}".rstrip() for row in rows]
    parts = [f"{each} that are there {_often_there(row['times'])}" for each, row in zip(of, rows, strict=True)]
    return [f"By how often {they} are in the training data: {'; '.join(parts)}."]


def _often_there(times: int) -> str:
    return "once" if times == 1 else f"{times:,} times"


def _often(document: dict[str, Any], rule: dict[str, Any]) -> list[str]:
    copies = rule["copies"]
    if copies["found"]:
        return [f"{copies['found']:,} of {copies['of']:,} samples are such copies, {shares(copies['share'])}."]
    most = 1 - (1 - document["level"]) ** (1 / copies["of"])
    return [
        f"None of {copies['of']:,} samples is such a copy: with {percent(document['level'])} confidence fewer than "
        f"{100 * most:.2g} % of all samples are, which is no bound on what many more samples show."
    ]


def _suspected(document: dict[str, Any]) -> list[str]:
    clusters = document["clusters"]
    if not clusters["found"]:
        return ["No sample comes again and again, which is how somebody without the training data finds copies."]
    kinds = "kind of sample that comes" if clusters["found"] == 1 else "kinds of samples that come"
    return [
        f"Somebody who has only the samples sees {clusters['found']:,} {kinds} again and again; copies of training "
        f"{nouns(document)} are among {clusters['right']:,} of these."
    ]
