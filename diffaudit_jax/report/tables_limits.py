"""What the numbers on a page of a synthetic table do not prove."""

from typing import Any


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    counts = document["counts"]
    sentences = [
        "What is not seen here is not proved absent: another attack may find what these do not. Only training with "
        "differential privacy bounds them all.",
        "The distance to the closest record is a heuristic. It averages over records, and says nothing of the few that "
        "may be copied while the rest is not.",
        "It is one synthetic table of one generator. Another table, drawn from the same generator, can show more.",
    ]
    if counts["holdout"] is None:
        sentences.append(
            "Without held-out records every rate of success is also what anybody knows of the source, and no distance "
            "has a floor to be compared with."
        )
        return [*sentences, *_of_membership(document)]
    sentences.append(
        "Held-out records stand for what a generator knows that has seen none of the training records. If they are of "
        "another time or place, or the same persons are on both sides, differences are of that."
    )
    sentences.append(
        "Classifiers were trained once on each table. Their intervals are over test records, which are the held-out "
        "ones, and do not cover another synthetic table."
    )
    sentences.append(
        "Risks and their intervals are the published ones: approximate, cut at 0, and each for itself, so that of many "
        "some exclude 0 by chance. The verdict takes them all together."
    )
    if counts["holdout"] != counts["synthetic"]:
        sentences.append(
            f"Distances of columns and pairs fall with the number of records: {counts['synthetic']:,} synthetic and "
            f"{counts['holdout']:,} held-out ones are not on the same footing."
        )
    return [*sentences, *_of_membership(document)]


def _of_membership(document: dict[str, Any]) -> list[str]:
    if document["membership"] is None:
        return ["No membership attack was made; one asks of each record whether it trained the generator."]
    return []
