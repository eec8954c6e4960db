"""What a report of a synthetic table concludes, in words its receiver can use.

unjudged   there are no held-out records: what is near a member may be near anything of the source
leaks      synthetic records keep to members more than to held-out records, or an attack finds more of members
useless    neither is seen, and the label cannot be learned from the table, though it can from real records
unseen     neither is seen

Three kinds of tests decide: that of copies, one of each membership attack, and one of each risk. Each kind spends a
third of 1 - level, in equal parts.
"""

from typing import Any

from diffaudit_jax.metrics.risks import risk_of
from diffaudit_jax.report.numbers import estimate, p_value, percent, shares

LABELS = {
    "unjudged": "Cannot be judged",
    "leaks": "Members show through",
    "useless": "Members not seen, and of no use",
    "unseen": "Members not seen",
}


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Concludes from a document that lacks its verdict.

    Args:
      document: A report's document without verdict and limits.

    Returns:
      `level`, `label`, `headline` and `sentences`.
    """
    level = _level(document)
    sentences = [*_copied(document), *_told(document), *_risky(document), *_far(document), *_learned(document)]
    return {"level": level, "label": LABELS[level], "headline": _headline(document, level), "sentences": sentences}


def error(document: dict[str, Any], tests: int = 1) -> float:
    """Returns the error that each test of a kind may spend, so that all that decide together spend 1 - level."""
    return (1 - document["level"]) / (3 * tests)


def copied(document: dict[str, Any]) -> bool:
    """Whether synthetic records keep to members more than chance explains."""
    p = document["copies"]["p_value"]
    return p is not None and p <= error(document)


def telling(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the membership attacks whose AUC is above 0.5 more than chance explains, the best first."""
    attacks = (document["membership"] or {"attacks": []})["attacks"]
    found = [attack for attack in attacks if attack["p_value"] <= error(document, len(attacks))]
    return sorted(found, key=lambda attack: -attack["auc"]["value"])


def risky(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the attacks that find more of members than of held-out records, beyond chance; the greatest risk first.

    A risk's interval is taken again at the level that all of them share.
    """
    risks = [risk for risk in document["risks"] if risk["control"] is not None]
    counts = ("attack", "of", "guesses", "main", "baseline", "control")
    level = 1 - 2 * error(document, max(1, len(risks)))
    found = [risk for risk in risks if risk_of(*(risk[name] for name in counts), level=level).risk.low > 0]
    return sorted(found, key=lambda risk: -risk["risk"]["value"])


def taught(document: dict[str, Any]) -> bool | None:
    """Whether the first classifier learned from the synthetic table; None if it did not from members either."""
    first = document["efficacy"][0] if document["efficacy"] else None
    if first is None or first["members"]["auc"]["low"] <= 0.5:
        return None
    return first["synthetic"]["auc"]["low"] > 0.5


def _level(document: dict[str, Any]) -> str:
    if copied(document) or telling(document) or risky(document):
        return "leaks"
    if document["copies"]["share"] is None:
        return "unjudged"
    return "useless" if taught(document) is False else "unseen"


def _headline(document: dict[str, Any], level: str) -> str:
    if level == "unjudged":
        return "There are no held-out records to set beside the synthetic ones, so neither use nor copying can be told."
    share, first = document["copies"]["share"], document["efficacy"][:1]
    if copied(document):
        seen = f"{shares(share)} of synthetic records are nearer to a training record than to a held-out one"
    elif found := telling(document):
        seen = f"An attack on the synthetic table tells training records from others, AUC {estimate(found[0]['auc'])}"
    elif found := risky(document):
        seen = f"{_named(found[0]).capitalize()} finds more of training records than of others: risk {_size(found[0])}"
    else:
        seen = "Synthetic records are as near to held-out records as to training records"
    if not first:
        return f"{seen}."
    drawn, real = (first[0][side]["auc"]["value"] for side in ("synthetic", "members"))
    return f"{seen}; a classifier learns from them to tell the label with AUC {drawn:.2f}, from real ones {real:.2f}."


def _copied(document: dict[str, Any]) -> list[str]:
    copies = document["copies"]
    drawn, fresh = copies["synthetic"], copies["holdout"]
    exact = f"{drawn['exact']:,} of {drawn['records']:,} synthetic records are equal to a training record"
    if fresh is None:
        return [f"{exact}; without held-out records nobody knows how many would be by chance."]
    return [
        f"{shares(copies['share'])} of synthetic records are nearer to a training record than to any of as many "
        f"held-out ones ({p_value(copies['p_value'])}); it would be about 50 % if nothing were copied.",
        f"{exact}; so are {fresh['exact']:,} of {fresh['records']:,} held-out records.",
    ]


def _told(document: dict[str, Any]) -> list[str]:
    if document["membership"] is None:
        return []
    best = max(document["membership"]["attacks"], key=lambda attack: attack["auc"]["value"])
    of = len(document["membership"]["attacks"])
    which = "The membership attack has" if of == 1 else f"The best of {of} membership attacks has"
    return [f"{which} an AUC of {estimate(best['auc'])}; 0.5 is guessing."]


def _risky(document: dict[str, Any]) -> list[str]:
    num, found = len(document["risks"]), risky(document)
    if not num or document["counts"]["holdout"] is None:
        return []
    said = (
        f"Of {num} attacks after regulators' three risks, {len(found)} {'finds' if len(found) == 1 else 'find'} more "
    )
    said += f"of training records than of others (all together at {percent(document['level'])})"
    if not found:
        return [f"{said}."]
    return [f"{said}; the greatest risk is that of {_named(found[0])}, {_size(found[0])}."]


def _named(risk: dict[str, Any]) -> str:
    of = risk["of"] if risk["attack"] == "singling out" else quoted(risk["of"])
    return "linking two halves of a record" if risk["attack"] == "linkability" else f"{risk['attack']} ({of})"


def _size(risk: dict[str, Any]) -> str:
    return estimate(risk["risk"])


def _far(document: dict[str, Any]) -> list[str]:
    beyond = {column["name"]: column["distance"] - (column["floor"] or 0.0) for column in document["columns"]}
    worst = max(document["columns"], key=lambda column: beyond[column["name"]])
    if beyond[worst["name"]] <= 0:
        return ["No column is further from that of training records than that of held-out records is."]
    said = f"The column that is furthest off is {quoted(worst['name'])}, at a distance of {worst['distance']:.2f}"
    return [f"{said}." if worst["floor"] is None else f"{said}, where held-out records are at {worst['floor']:.2f}."]


def _learned(document: dict[str, Any]) -> list[str]:
    if taught(document) is None and document["efficacy"]:
        return [
            f"From training records themselves the first classifier does not learn {quoted(document['label'])} better "
            "than chance, so that the use of the table is not told."
        ]
    return []


def quoted(name: str) -> str:
    """Writes a name that a user chose."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"
