"""What the numbers on a page of a property do not prove."""

from typing import Any

from diffaudit_jax.report.nouns import worded
from diffaudit_jax.report.numbers import percent


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    sentences = [
        *_of_coverage(document),
        *_of_errors(document),
        *_of_stopping(document),
        *_of_classes(document),
        "It is the share of a property among images, and says of no image whether it trained the generator.",
    ]
    return [worded(document, sentence) for sentence in sentences]


def _of_coverage(document: dict[str, Any]) -> list[str]:
    first = (
        "Samples tell the generator's own share. How far that is from the share among its training images, its "
        "coverage, no number of samples tells"
    )
    if document["shares"][0]["coverage"] is None:
        return [f"{first}, and it is not known here: no interval on this page has it."]
    sentences = [
        f"{first}. It is known here because the generator's training images are; an outsider has the estimate alone, "
        "and another generator may be further off."
    ]
    if document["in_turn"] and not document["shares"][0]["coverage"]["weighted"]:
        sentences.append(
            "A model was asked for its classes in turn, and some have no training image: the share is not of the same "
            "mixture of classes as the training images are."
        )
    return sentences


def _of_errors(document: dict[str, Any]) -> list[str]:
    if document.get("read"):
        return []
    if document["discriminator"]["judged"] is None:
        return [
            "How often the discriminator errs was not measured. What it says is not the share of the property: its "
            "errors are in no interval here, and may be larger than all of them. Labelled images (--aux) mend that."
        ]
    sentences = [
        "Errors of the discriminator are measured on labelled images. It may err otherwise on generated ones, which "
        "can be blurred or broken, or of another kind than the labelled ones; no interval has that."
    ]
    if document["counts"]["left_out"]:
        sentences.append(
            f"{document['counts']['left_out']:,} labelled images were left out because they trained the generator, "
            "byte for byte; near copies were not looked for."
        )
    if document["property"]["called"] is None:
        sentences.append(
            "Intervals of several values come from resampling samples and labelled images, of each value for itself; "
            "they hold approximately."
        )
    return sentences


def _of_stopping(document: dict[str, Any]) -> list[str]:
    if document["error"] is None:
        return []
    return [
        "Samples were looked at after each block, to stop as soon as they were enough: the intervals hold however "
        "often one looks. Those that are marked so hold for a number that was fixed beforehand, which this one was not."
    ]


def _of_classes(document: dict[str, Any]) -> list[str]:
    sentences = []
    if document["in_turn"]:
        sentences.append(
            "The model was asked for its classes in turn, so all classes weigh the same in the share of all samples, "
            "whatever their part in the training images."
        )
    if not document["classes"]:
        return sentences
    sentences.append(
        f"Intervals of classes hold all together at {percent(document['level'])}, as far as errors are the measured "
        "ones; that of all samples is for itself."
    )
    judged = [row["judged"] is not None for row in document["classes"]]
    if document["discriminator"]["judged"] is not None and not all(judged):
        sentences.append(
            "Errors were counted on labelled images of all classes together. Where they go with the class, the share "
            "in a class can be off by more than its interval says; --aux-label counts them by class."
        )
    return sentences
