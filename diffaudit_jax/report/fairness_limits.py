"""What the numbers on a page of fairness do not prove."""

from typing import Any

from diffaudit_jax.report.nouns import worded


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    shown = any(sheet["png_base64"] for each in document["generators"] for sheet in each["sheets"])
    sentences = [
        "Every generator and every classifier was trained once. Intervals are over test images like these, and do not "
        "cover another training, other samples or other test images.",
        "A gap in test images is above zero even where there is none: only its lower limit says whether there is one.",
    ]
    if document["clean"] is not None:
        sentences.append(
            "A difference from the clean generator is that of two generators, whatever made it. Poison is one reason, "
            "worse samples of one group another."
        )
    else:
        sentences.append("Without a clean generator to set beside it, nobody can say where a gap comes from.")
    if any(each["alpha"] is not None for each in document["generators"]):
        sentences.append("The ratio alpha is what a manifest or the command line said; nobody checked it here.")
    if not document["test"]["balanced"]:
        sentences.append(
            "Cells of the test images are not equally large, so the parity gap mixes how classifiers err with how "
            "labels and groups go together in these images: equal opportunity and equalised odds do not."
        )
    sentences.append(
        "No gap that is seen is no proof that there is none, and parity is not the whole of fairness: a classifier may "
        "have equal rates and err on one group only."
    )
    if document["discriminator"] is not None and not document["discriminator"].get("read"):
        sentences.append(
            "The discriminator's errors were counted on real images. If it errs otherwise on generated ones, shares of "
            "groups are off, and the sheets of cells hold what it takes for each group."
        )
    if shown:
        sentences.append(
            "Pictures are samples of a generator. It can repeat images that trained it, which may be personal data."
        )
    return [worded(document, sentence) for sentence in sentences]
