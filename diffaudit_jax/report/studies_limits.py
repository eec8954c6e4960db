"""What the numbers on a page of a study do not prove."""

from typing import Any

from diffaudit_jax.report.reconstruction_limits import of_targets

_OF_STUDY = {
    "noise": "Who is told the noise attacks the same releases as who is not, so differences are of knowledge alone. An "
    "attacker with a better estimate than these loses less.",
    "rounds": "Releases of one image have noise of their own each, and nothing else differs between them. In training, "
    "the model changes from step to step, and gradients of real networks with it.",
    "seen": "The two sides hold different images. Where they are not of the same kind, a difference of errors tells of "
    "the images and not of memory; and none that is seen is no proof that nothing is remembered.",
    "priors": "A rank correlation over so few priors says whether they are in order, not how error depends on "
    "distance. Distances are estimates from each prior's error on public images, and take the matched one for perfect.",
    "sizes": "Each size has a prior of its own: how well each was trained differs with the size, and is part of "
    "what is compared.",
}


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    counts = document["counts"]
    sentences = [
        "They are the worst case by design: a batch of one, and a model made to leak (a linear unit, whose gradient is "
        "the image itself). Larger batches and several steps of honest training show less.",
        _OF_STUDY[document["study"]],
        "Intervals are over targets drawn like these. They do not cover another training of a prior or other data.",
    ]
    if document["study"] != "seen":
        sentences.insert(2, f"Targets have to be images that no prior was trained on. {of_targets(counts)}")
    if document["attacker"]["classes"] != "none":
        sentences.append("A prior that knows classes was not told those of targets, and may do better if it is.")
    return sentences
