"""What the numbers on a page of reconstructions do not prove."""

from typing import Any

OFF = 0.2
"""Error in the noise, relative to it, with which reconstructions were published to be clearly worse."""


def limits(document: dict[str, Any]) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      document: A report's document without its verdict and limits.
    """
    counts, attacker, curve = document["counts"], document["attacker"], document["rows"][0]["prior_curve"]
    sentences = [
        "They are the worst case by design: a batch of one, and a model made to leak (a linear unit, whose gradient is "
        "the image itself). Larger batches and several steps of honest training show less; how much less is not "
        "measured here.",
        "No limit of what any attacker can do is claimed. Each bound is for the attacker that it names; another prior, "
        "or more knowledge, may come nearer.",
        "The bound without a prior is the expected error of the noisy image, unclipped, and no guard against a prior.",
        *_of_curve(curve),
        "The bounds gamma hold for every attacker, but of each the chance kappa of a guess that is near enough without "
        "the release has to be known. Of picking one of the targets it is; of coming near it is an estimate.",
        f"Targets have to be images that the prior was not trained on, else its memory counts. {of_targets(counts)}",
        "Intervals are over targets drawn like these, and of the share that is picked over further releases of these. "
        "They do not cover another training of the prior or other data.",
    ]
    if attacker["clip"] != "known" or attacker["noise"] != "known":
        sentences.append("The attacker had to guess what it was not told, and one who knows may do better.")
        sentences += _of_noise(document)
    if attacker.get("classes") == "known":
        sentences.append("The attacker is told the class of each target; one who is not may do worse.")
    if "lpips" in document["unrelated"]:
        sentences.append(_of_lpips(document["upsampled"]))
    return sentences


def _of_curve(curve: dict[str, Any] | None) -> list[str]:
    if curve is None:
        return [
            "Without public images there is no error of the prior by itself to compare with, and no other denoiser."
        ]
    return [
        "The prior's own error is measured on public images. No attacker who knows just the images' distribution has a "
        "smaller mean squared error than a perfect prior; of this one it is an estimate from above, which assumes that "
        "targets are images of the same kind. A better prior gets below it."
    ]


def _of_noise(document: dict[str, Any]) -> list[str]:
    rows = [row for row in document["rows"] if row["believed"] is not None]
    # Where the factor of clipping is guessed too, what is believed has that error as well.
    if document["attacker"]["noise"] == "known" or document["attacker"]["clip"] != "known" or not rows:
        return []
    worst = max(rows, key=lambda row: abs(row["believed"] - 1))
    if abs(worst["believed"] - 1) < OFF:
        return []
    return [
        f"Noise is told from the finest structure of the release, and where there is little noise that is structure of "
        f"the image: at mu = {worst['mu']:g} the attacker believes {worst['believed']:.2g} times the noise there is."
    ]


def of_targets(counts: dict[str, Any]) -> str:
    """Says whether targets trained the prior, as far as anybody knows."""
    if counts["known"] is None:
        return "A prior comes from elsewhere, so nobody could check that here."
    if counts["known"]:
        return f"Here {counts['known']} of {counts['targets']} are."
    return "Byte for byte, none of them is; near copies were not looked for."


def _of_lpips(upsampled: list[int] | None) -> str:
    sentence = "LPIPS was made for colour photographs; for other images its size has no reading."
    if upsampled is None:
        return sentence
    return f"{sentence} These images were enlarged to {upsampled[0]} x {upsampled[1]} pixels for it."
