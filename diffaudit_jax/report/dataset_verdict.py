"""What a report of suspect sets concludes, in words for whoever makes or hears a claim.

differ    the blind check tells the two sets apart without the model: nothing can be said
found     the model treats the set otherwise than unpublished records, and attacks say: as what it knows better
odd       it treats the set otherwise, but as what it knows less: that is no sign of training
otherwise it treats the set otherwise, and attacks do not say which way
unseen    neither is seen

Of several sets the page says the first of found, differ, odd, otherwise and unseen that any of them is. People are
judged only where every set is found or unseen: what makes a set differ otherwise makes people differ, too.
"""

from collections.abc import Iterable
from typing import Any

from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import estimate, p_value, percent

LABELS = {
    "found": "In the training data",
    "differ": "Cannot be judged",
    "odd": "Different, but not like training data",
    "otherwise": "Treated otherwise",
    "unseen": "Not found in the training data",
}
ORDER = tuple(LABELS)
BLIND = "a classifier that saw the {} but never the model"

Row = dict[str, Any]


def level_of(row: Row, error: float) -> str:
    """Returns what is concluded of one set.

    Args:
      row: The set, with its p-value adjusted for the number of sets.
      error: What the tests of all sets together may spend.
    """
    if row["blind"] is not None and row["blind"]["leaks"]:
        return "differ"
    if row["adjusted"] > error + 1e-12:
        return "unseen"
    if row["towards"]["low"] > 0.5:
        return "found"
    return "odd" if row["towards"]["high"] < 0.5 else "otherwise"


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Concludes from a document that lacks its verdict.

    Args:
      document: A report's document without verdict and limits.

    Returns:
      `level`, `label`, `headline` and `sentences`.
    """
    levels = [row["level"] for row in document["sets"]]
    level = next(each for each in ORDER if each in levels)
    rows = [row for row in document["sets"] if row["level"] == level]
    sentences = [*_checked(document), *_power(document, rows), *_people(document), *_truth(document)]
    return {
        "level": level,
        "label": LABELS[level],
        "headline": _headline(document, level, rows),
        "sentences": sentences,
    }


def judged(rows: Iterable[Row]) -> bool:
    """Whether people may be judged: no set differs from the unpublished one but as training data does."""
    return all(row["level"] in ("found", "unseen") for row in rows)


def unit(document: dict[str, Any]) -> str:
    """Returns what is counted: people, or records, of which equal ones count once."""
    if document["people"] is not None:
        return "people"
    alike = all(row["people"] == row["records"] for row in document["sets"])
    return nouns(document) if alike else f"different {nouns(document)}"


def quoted(name: str) -> str:
    """Writes a name that a user chose."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def _headline(document: dict[str, Any], level: str, rows: list[Row]) -> str:
    row, called = min(rows, key=lambda row: row["adjusted"]), nouns(document)
    many, told = len(document["sets"]) > 1, p_value(row["adjusted"])
    of = f"{len(rows)} of {len(document['sets'])} sets, first of all {quoted(row['name'])}," if many else ""
    subject = of or f"{quoted(row['name'])}, a set of {row['records']:,} {called},"
    adjusted = f"{told}, allowing for the number of sets" if many else told
    said = {
        "found": f"{subject} stood out to the model from {called} it cannot have seen ({adjusted}).",
        "differ": f"{subject} and the unpublished {called} differ by themselves, so that the model is not needed to "
        "tell them apart and nothing can be said of its training.",
        "odd": f"{subject} stood out to the model, but as what it knows less than unpublished {called} ({adjusted}).",
        "otherwise": f"{subject} stood out to the model ({adjusted}), but attacks do not say whether as what it knows "
        "better or worse.",
        "unseen": f"{subject} did not stand out to the model from {called} it cannot have seen ({adjusted}).",
    }[level]
    return said.replace("sets, first of all", "sets, least of all") if level == "unseen" and many else said


def _checked(document: dict[str, Any]) -> list[str]:
    rows, called = document["sets"], nouns(document)
    if any(row["blind"] is None for row in rows):
        return [
            f"Whether the sets differ by themselves could not be checked: the report was made without the {called}. "
            "If they do, the p-values say nothing of training."
        ]
    blind = BLIND.format(called)
    if apart := [row for row in rows if row["level"] == "differ"]:
        worst = max(apart, key=lambda row: row["blind"]["auc"]["value"])
        return [
            f"{blind.capitalize()} tells {quoted(worst['name'])} from the unpublished {called}, AUC "
            f"{estimate(worst['blind']['auc'])} ({p_value(worst['blind']['p_value'])}). Compare with unpublished "
            f"{called} of the same source, time and handling."
        ]
    worst = min(rows, key=lambda row: row["blind"]["p_value"])
    seen = f"AUC {estimate(worst['blind']['auc'])}, {p_value(worst['blind']['p_value'])}"
    return [
        f"{blind.capitalize()} could not tell suspect from unpublished {called} ({seen}). Differences that it does not "
        "see would look like training."
    ]


def _power(document: dict[str, Any], rows: list[Row]) -> list[str]:
    row = min(rows, key=lambda row: row["adjusted"])
    if row["level"] != "found":
        return []
    called, needed, most = unit(document), row["power"]["needed"], row["power"]["sizes"][-1]
    if needed is None:
        return [f"Parts of {most:,} {called} of each side, or fewer, are told in less than four cases of five."]
    fewer = ", or fewer," if needed == row["power"]["sizes"][0] else ""
    return [f"{needed:,} {called} of each side{fewer} would have been enough to tell, in four cases of five."]


def _people(document: dict[str, Any]) -> list[str]:
    people = document["people"]
    if people is None:
        return []
    if not people["judged"]:
        return ["People are not judged: where sets differ otherwise than by training, so do the people in them."]
    return [
        f"Of {len(people['rows']):,} suspect people {people['flagged']:,} are flagged as trained on, of whom "
        f"at most {percent(people['fdr'])} are expected to be wrong."
    ]


def _truth(document: dict[str, Any]) -> list[str]:
    if document["own"]:
        return ["These are the model's own training and held-out data, so the answer is known: they were trained on."]
    sentences = []
    for row in document["sets"]:
        if row["trained"] is not None:
            contrary = {("found", False): ", against this verdict"}
            unseen = {(level, True): ", which the test does not show" for level in LABELS if level != "found"}
            end = (contrary | unseen).get((row["level"], row["trained"] > 0), "")
            sentences.append(
                f"The run's own record says that {row['trained']:,} of the {row['records']:,} {nouns(document)} of "
                f"{quoted(row['name'])} trained it, byte for byte{end}."
            )
    return sentences
