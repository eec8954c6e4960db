"""What private training promises, beside what attacks found: sentences for the page.

A guarantee (epsilon, delta) bounds every attack on every record. An event that happens with probability f without the
record happens with at most

    G(f) = min(e^epsilon f + delta, 1 - e^(-epsilon) (1 - f - delta))

with it, and the other way round. Where members are a fixed number, a record that is none of them leaves its place to
another, which is one removed and one added: if a share f of non-members is wrongly accused, at most G(G(f)) of members
are found, on average over trainings. Where each record had a coin of its own, in or out changes nobody else, and at
most G(f) are found. An attack that clearly finds more says that something was not as accounted for.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from diffaudit_jax.report.numbers import at_most, percent


class Promise(NamedTuple):
    """Sentences on a guarantee: what it says, and what it rests on."""

    sentences: list[str]
    assumptions: list[str]


def most_found(epsilon: float, delta: float, fpr: float) -> float:
    """Returns G(f): the largest power against one record more or less, at a false positive rate."""
    rising = math.exp(min(epsilon, 700.0)) * fpr + delta
    falling = 1 - math.exp(-epsilon) * (1 - fpr - delta)
    return min(1.0, rising, falling)


def promise(document: Mapping[str, Any]) -> Promise | None:
    """Returns what the page says of the guarantee that a report's provenance holds; None if it holds none.

    Args:
      document: The report's document.
    """
    told = document["provenance"].get("guarantee")
    if not told:
        return None
    ledger = told["ledger"]
    how = (
        f"{ledger['num_steps']:,} steps of {ledger['batch_size']:,} out of {ledger['num_examples']:,} records on "
        f"average, noise multiplier {ledger['noise_multiplier']:.4g}, gradients clipped to {ledger['l2_clip_norm']:g}"
    )
    if told["epsilon"] is None:
        sentences = [f"The model was trained with noise ({how}), and no epsilon holds for it:", *told["refusals"]]
        return Promise(sentences, [])
    sentences = [
        f"The model was trained with differential privacy: epsilon = {at_most(told['epsilon'])} at delta = "
        f"{ledger['delta']:g} ({told['neighbouring']}; {told['accountant']}; {how}).",
        *_bounds(told["epsilon"], ledger["delta"], document["attacks"], coins="lower_bound" in document),
        *told["notes"],
    ]
    return Promise(sentences, list(told["assumptions"]))


def _bounds(epsilon: float, delta: float, attacks: list[dict[str, Any]], *, coins: bool) -> list[str]:
    """Says what the guarantee allows at each rate of false accusation, and which attack went beyond."""
    said, over = [], "coins and trainings" if coins else "trainings with as many of them"
    for i, point in enumerate(attacks[0]["operating_points"]):
        fpr = point["target_fpr"]
        allowed = most_found(epsilon, delta, fpr)
        if not coins:
            allowed = most_found(epsilon, delta, allowed)  # one removed, one added
        points = {attack["name"]: attack["operating_points"][i]["tpr"] for attack in attacks}
        beyond = [name for name, tpr in points.items() if tpr and tpr["low"] > allowed]
        said.append(
            f"Where {percent(fpr)} of non-members are wrongly accused it lets no attack find more than "
            f"{percent(math.ceil(1e4 * allowed) / 1e4)} of members, on average over {over}."
        )
        if beyond:
            said.append(
                f"{beyond[0]} found more than that, beyond its interval: check how the guarantee was computed, and "
                f"whether all who were called members count as one record each."
            )
    return said
