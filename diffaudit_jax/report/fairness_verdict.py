"""What an audit of fairness comes to in sentences.

One comparison was fixed before anything was measured: the first receiver's classifier, trained on samples of the
generator with the most poison, beside the same receiver's on samples of the clean one. The verdict is its interval.
"""

from typing import Any

from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import estimate

LABELS = {
    "unfairer": "Classifiers become less fair than those of the clean generator",
    "as-fair": "No loss of fairness against the clean generator is seen",
    "gap": "Groups are given label 1 at different rates",
    "no-gap": "No gap between groups is seen",
}
NONE = "\N{EN DASH}"

Document = dict[str, Any]


def verdict(document: Document) -> dict[str, Any]:
    """Concludes from the document's other parts.

    Args:
      document: A report's document without its verdict.

    Returns:
      `level`, one of `LABELS`, its `label`, a `headline` and `sentences`, and the generator it is `of`.
    """
    generator, lead = audited(document), document["receivers"][0]
    found = generator["receivers"][lead]
    if found["loss"] is not None:
        level = "unfairer" if found["loss"]["parity"]["low"] > 0 else "as-fair"
    else:
        level = "gap" if found["parity"]["low"] > 0 else "no-gap"
    others = [_beside(document, generator, name) for name in document["receivers"][1:]]
    sentences = [*others, *_ratios(document, lead), *_checked(document), *_test(document), *_upside(document)]
    headline = _beside(document, generator, lead)
    return {
        "level": level,
        "label": LABELS[level],
        "headline": headline,
        "sentences": sentences,
        "of": generator["name"],
    }


def audited(document: Document) -> dict[str, Any]:
    """Returns the generator that the verdict is of: that of the greatest ratio, and never the clean one if alone."""
    others = [each for each in document["generators"] if each["name"] != document["clean"]]
    return max(others or document["generators"], key=lambda each: -1.0 if each["alpha"] is None else each["alpha"])


def clean_of(document: Document) -> dict[str, Any] | None:
    """Returns the generator without poison, None if there is none."""
    return next((each for each in document["generators"] if each["name"] == document["clean"]), None)


def sure(document: Document, receiver: str) -> list[dict[str, Any]]:
    """Returns the generators by whose samples a receiver's gap is above the clean one's, each by its own interval."""
    losses = [(each, each["receivers"][receiver]["loss"]) for each in document["generators"]]
    return [each for each, loss in losses if loss is not None and loss["parity"]["low"] > 0]


def listed(names: list[str]) -> str:
    """Writes names as text: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _beside(document: Document, generator: dict[str, Any], receiver: str) -> str:
    """Says what a receiver's classifier does, beside that of the clean generator."""
    found, clean = generator["receivers"][receiver], clean_of(document)
    by = f"By {receiver}, the parity gap is {estimate(found['parity'])} {_where(generator)}"
    if clean is None or found["loss"] is None:
        return f"{by}, and {estimate(found['accuracy'])} of the test {nouns(document)} are told rightly."
    loss = found["loss"]
    return (
        f"{by} and {estimate(clean['receivers'][receiver]['parity'])} with the clean generator: a difference of "
        f"{estimate(loss['parity'])}. The loss of accuracy is {estimate(loss['accuracy'])}."
    )


def _where(generator: dict[str, Any]) -> str:
    return f"by {generator['name']}" if generator["alpha"] is None else f"at alpha = {generator['alpha']:g}"


def _ratios(document: Document, lead: str) -> list[str]:
    """Says at which ratios the gap is above that of the clean generator."""
    compared = [each for each in document["generators"] if each["receivers"][lead]["loss"] is not None]
    if len(compared) < 2:
        return []
    above = [f"{each['alpha']:g}" for each in sure(document, lead)]
    said = f"at alpha = {listed(above)}" if above else "at none"
    return [
        f"Of {len(compared)} ratios, the gap by {lead} is above that of the clean generator {said}, each by an "
        f"interval of its own."
    ]


def _checked(document: Document) -> list[str]:
    """Says what the samples show by themselves."""
    found = [(each, each["check"]) for each in document["generators"] if each["check"] is not None]
    if not found:
        return []
    shown = [
        each["name"] + ("" if check["gap"] is None else f" (a gap of {estimate(check['gap'])} in the labels)")
        for each, check in found
        if check["dependent"]
    ]
    what = f"their labels go with {document['sensitive']}"
    if not shown:
        return [f"Of the samples themselves, it is not seen that {what}."]
    return [f"The samples themselves show that {what}: those of {listed(shown)}."]


def _test(document: Document) -> list[str]:
    test, said = document["test"], []
    if test["gap"] >= 0.005:
        said.append(
            f"The test {nouns(document)}' own labels have a parity gap of {test['gap']:.2f}: so has a classifier that "
            "never errs."
        )
    if test["left_out"]:
        said.append(
            f"{test['left_out']} test {nouns(document)} were left out: a generator was trained on them, or is made of "
            "them."
        )
    return said


def _upside(document: Document) -> list[str]:
    """Warns of labels that may be the wrong way round."""
    wrong = [
        f"{receiver} {_where(each)}"
        for each in document["generators"]
        for receiver, found in each["receivers"].items()
        if found["accuracy"]["high"] < 0.5
    ]
    if not wrong:
        return []
    return [
        f"Less than half of the test {nouns(document)} are told rightly by {listed(wrong)}: labels 0 and 1 may be the "
        f"wrong way round, in the samples or the test {nouns(document)}."
    ]
