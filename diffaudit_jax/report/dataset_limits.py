"""What the numbers on a page of suspect sets do not prove."""

from typing import Any

from diffaudit_jax.report.nouns import nouns
from diffaudit_jax.report.numbers import percent


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    called, least = nouns(document), 1 / (document["counts"]["permutations"] + 1)
    sentences = [
        f"A p-value says how often as great a difference comes about by chance if suspect and unpublished {called} are "
        "alike. It cannot say why they differ: another time, camera, editor or selection looks like training.",
        f"The blind check sees such differences in the {called} as far as a simple classifier does. That it finds none "
        "is no proof that there is none.",
        "A set that is not found is not proved absent: other attacks, or more of it, may show it. Only training with "
        "differential privacy bounds them all.",
        "A set that is found need not be in the training data as a whole: a part of it is enough, and so are copies or "
        "near copies of it from elsewhere.",
        f"No p-value here can be below {least:.1g}, whatever the evidence: that is 1 in all shuffles that were made.",
        f"The curve of power draws parts of these {called}. Parts of the larger sizes share most of theirs, and it "
        "tells nothing of other sets or models.",
    ]
    if document["people"] is not None and document["people"]["judged"]:
        sentences.append(
            f"Of the people flagged, at most {percent(document['people']['fdr'])} are expected to be wrong, on average "
            "over audits and not in this one. It presumes that people whom the model never saw are like the "
            f"unpublished ones, also in how many {called} they have."
        )
    if document["own"]:
        sentences.append(
            "The sets are the model's own members and held-out ones: that checks the test, and accuses nobody."
        )
    return sentences
