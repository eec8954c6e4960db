"""What the numbers on a page of extraction do not prove."""

from typing import Any

from diffaudit_jax.report.extraction_verdict import unit
from diffaudit_jax.report.nouns import nouns, worded


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    counts, noun = document["counts"], nouns(document)
    sentences = [
        f"What {counts['samples']:,} samples do not show, more samples may. Nothing found in n samples bounds the rate "
        "of copies at about 3/n, and says nothing of an attacker who draws more, steers the model, or has its weights. "
        "Only training with differential privacy bounds them all.",
        worded(
            document,
            "That a sample is close to a training image does not say that anybody would take it for that image: look "
            "at pairs before you call them copies.",
        ),
        f"It is one model, trained once. Intervals are over {unit(document)} and over samples; another training run "
        "may give away others.",
    ]
    if not document["people"]:
        sentences.append(
            f"Every {document['noun']} counts as one of its own. If people have several, or some of the {noun} are "
            "nearly the same, p-values are too small and intervals too short: such a run is to be split by person."
        )
    if counts["heldout"] is None:
        return [*sentences, f"Without held-out {noun} nobody knows what the rules find by chance."]
    sentences.append(
        f"Held-out {noun} stand for what a model comes close to that has not seen them. If they are of another time or "
        "place, or some are nearly the same as training ones, the comparison is off."
    )
    return sentences
