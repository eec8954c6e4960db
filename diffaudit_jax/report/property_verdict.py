"""What a report of a property concludes, in words a receiver of a generator can use.

unmeasured   nobody counted the discriminator's errors: there is what it says, and no estimate
blind        on labelled images it is no better than chance, of all classes together too
differs      an interval excludes what was declared
agrees       every interval holds what was declared, and is narrow enough to mean something
undecided    every interval that tells anything holds it, and one is too wide to
inferred     nothing was declared, and the share is known usefully well
rough        nothing was declared, and it is not
"""

from typing import Any

from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import percent, shares

USEFUL = 0.1
"""Half the width of an interval up to which it decides: 0.1 to either side of the declared share."""
LABELS = {
    "unmeasured": "Errors are not known",
    "blind": "The discriminator tells nothing",
    "differs": "Not what was declared",
    "agrees": "Agrees with what was declared",
    "undecided": "Too uncertain to judge",
    "inferred": "Share inferred",
    "rough": "Share known only roughly",
}
MINUS, MOST_NAMED = "\N{MINUS SIGN}", 4

Row = dict[str, Any]


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Concludes from a document that lacks its verdict.

    Args:
      document: A report's document without verdict and limits.

    Returns:
      `level`, `label`, `headline` and `sentences`.
    """
    level = _level(document)
    one = document["property"]["called"] is not None
    headline = _of_one(document, level) if one else _of_each(document, level)
    sentences = [*_called(document), *_judged(document, level), *_of_classes(document), *_covered(document)]
    return {"level": level, "label": LABELS[level], "headline": headline, "sentences": sentences}


def quoted(name: str) -> str:
    """Writes a name that a user chose."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def differing(document: dict[str, Any]) -> list[Row]:
    """Returns the shares that are judged, and whose intervals exclude what was declared."""
    declared = document["declared"]
    return [
        row
        for row in asked(document)
        if row["informative"] and not row["estimate"]["low"] <= declared <= row["estimate"]["high"]
    ]


def asked(document: dict[str, Any]) -> list[Row]:
    """Returns the shares that are asked for: those of classes if there are any."""
    return document["classes"] or document["shares"]


def known_well(row: Row) -> bool:
    """Whether an estimate's interval is narrow enough to decide anything."""
    return bool(row["informative"]) and row["estimate"]["high"] - row["estimate"]["low"] <= 2 * USEFUL


def points(value: float, digits: int = 1) -> str:
    """Writes a difference of shares in points of percent, with its sign."""
    text = f"{100 * value:+.{digits}f}".replace("-", MINUS)
    return text if float(text.replace(MINUS, "-")) else text[1:]


def _level(document: dict[str, Any]) -> str:
    rows = asked(document)
    if all(row["informative"] is None for row in rows):
        return "unmeasured"
    if not any(row["informative"] for row in (*rows, *document["shares"])):
        return "blind"
    decided = all(map(known_well, rows))
    if document["declared"] is None:
        return "inferred" if all(map(known_well, document["shares"])) else "rough"
    if differing(document):
        return "differs"
    return "agrees" if decided else "undecided"


def _of_one(document: dict[str, Any], level: str) -> str:
    row, counts, name = document["shares"][0], document["counts"], quoted(document["property"]["called"])
    declared = None if document["declared"] is None else percent(document["declared"])
    if level == "unmeasured":
        said = shares(row["raw"]["anytime" if document["error"] else "exact"])
        return f"{said} of {counts['samples']:,} samples are called {name}; how often that is wrong is not known."
    if level == "blind":
        return (
            f"On labelled {nouns(document)} the discriminator tells {name} no better than chance, so samples tell no "
            "share."
        )
    if document["classes"] and declared is not None:
        return _of_declared_classes(document, level, name, declared)
    found = f"The share of {name} is {shares(row['estimate'])}"
    if not row["informative"]:
        return f"The share of {name} among all classes together is not told; the table has what is known of each."
    if declared is None:
        return f"{found}, by {counts['samples']:,} samples."
    ends = {
        "differs": f"and not the {declared} that was declared.",
        "agrees": f"which agrees with the {declared} that was declared.",
        "undecided": f"too wide to judge the {declared} that was declared.",
    }
    return f"{found}, {ends[level]}"


def _of_declared_classes(document: dict[str, Any], level: str, name: str, declared: str) -> str:
    num = len(document["classes"])
    if level == "differs":
        rows = differing(document)
        named = "; ".join(f"{quoted(row['name'])} {shares(row['estimate'])}" for row in rows[:MOST_NAMED])
        more = f"; and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
        found = f"The share of {name} is not the {declared} that was declared in {len(rows)} of {num} classes"
        return f"{found}: {named}{more}."
    if level == "agrees":
        return f"The share of {name} agrees in all {num} classes with the {declared} that was declared."
    wide = sum(not known_well(row) for row in document["classes"])
    return f"The share of {name} is too uncertain in {wide} of {num} classes to judge the {declared} that was declared."


def _of_each(document: dict[str, Any], level: str) -> str:
    rows, name = document["shares"], quoted(document["property"]["name"])
    if level == "blind":
        return f"On labelled {nouns(document)} the discriminator tells the values of {name} no better than chance."
    unmeasured = level == "unmeasured"
    best = max(rows, key=lambda row: row["called"] if unmeasured else row["estimate"]["value"])
    if unmeasured:
        found = f"{quoted(best['name'])}: {shares(best['raw']['exact'])} of {document['counts']['samples']:,} samples"
        return f"The value of {name} that most samples are called is {found}; how often that is wrong is not known."
    others = [row["estimate"]["high"] for row in rows if row is not best]
    if best["estimate"]["low"] > max(others):
        return f"The commonest value of {name} is {quoted(best['name'])}, with {shares(best['estimate'])}."
    within = max(row["estimate"]["high"] - row["estimate"]["low"] for row in rows) / 2
    known = f"The shares of the {len(rows)} values of {name} are known within {points(within)[1:]} points up and down"
    return f"{known}, and none is clearly the commonest."


def _called(document: dict[str, Any]) -> list[str]:
    counts, error = document["counts"], document["error"]
    if document["property"]["called"] is None:
        return []
    row = document["shares"][0]
    has = "have it" if document.get("read") else "are called so"
    said = f"Of {row['samples']:,} samples {row['called']:,} ({100 * row['called'] / row['samples']:.1f} %) {has}"
    if error is None:
        return [f"{said}."]
    wide = f"{points(2 * error)[1:]} points"
    if document["stopped"]:
        return [
            f"{said}; then the interval of that share was {wide} wide, and no more of {counts['most']:,} were drawn."
        ]
    return [f"{said}, which is not enough for an interval of that share of {wide}."]


def _judged(document: dict[str, Any], level: str) -> list[str]:
    judged, counts = document["discriminator"]["judged"], document["counts"]
    if document.get("read"):
        return ["The samples say it themselves, in a column, so that no discriminator was needed and none errs."]
    if judged is None:
        return [
            f"No labelled {nouns(document)} were given, so the discriminator's errors are neither corrected nor in any "
            "interval."
        ]
    if document["property"]["called"] is None:
        blind = [quoted(row["name"]) for row in document["shares"] if not row["informative"]]
        return (
            [f"The discriminator tells {', '.join(blind)} no better than chance."] if blind and level != "blind" else []
        )
    wrong = {"value": 1 - judged["right"][0]["value"]}
    wrong |= {"low": 1 - judged["right"][0]["high"], "high": 1 - judged["right"][0]["low"]}
    sentences = [
        f"On {counts['judged']:,} labelled {nouns(document)} that taught it nothing, the discriminator says so of "
        f"{shares(judged['right'][1])} of those that have it, and of {shares(wrong)} of those that do not."
    ]
    beyond = document["shares"][0]["unclipped"]
    if document["shares"][0]["informative"] and beyond is not None and not 0 <= beyond <= 1:
        sentences.append(
            f"Corrected for these errors the share would be {points(beyond).lstrip('+')} %, which cannot be: by luck, "
            f"or because the discriminator errs otherwise on generated {nouns(document)}."
        )
    return sentences


def _of_classes(document: dict[str, Any]) -> list[str]:
    told = [row for row in document["classes"] if row["informative"]]
    if len(told) < 2 or (document["declared"] is not None and differing(document)):
        return []
    low, high = (pick(told, key=lambda row: row["estimate"]["value"]) for pick in (min, max))
    return [
        f"Among classes it is least in {quoted(low['name'])}, {shares(low['estimate'])}, and greatest in "
        f"{quoted(high['name'])}, {shares(high['estimate'])}."
    ]


def _covered(document: dict[str, Any]) -> list[str]:
    row = document["shares"][0]
    coverage = row["coverage"]
    if document["property"]["called"] is None or coverage is None:
        return []
    known = f"Of the {coverage['images']:,} {nouns(document)} that trained it {coverage['has']:,} have it"
    known += f" ({100 * coverage['has'] / coverage['images']:.1f} %)"
    known += f", which is {100 * coverage['share']:.1f} % for classes as in the samples" if coverage["weighted"] else ""
    if coverage["off"] is None:
        return [f"{known}."]
    low, value, high = (points(coverage["off"][end]) for end in ("low", "value", "high"))
    return [f"{known}: the estimate is {value} points off [{low}, {high}]."]
