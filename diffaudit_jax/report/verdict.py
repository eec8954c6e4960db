"""What a report concludes, in words a data-protection officer can use.

Five levels, each a statement about evidence and never about safety:

    detected       an attack beats guessing, on average (its AUC is above 1/2) or at the top (members crowd among the
                   records it is surest about), with the error of both tests of all attacks shared (Holm)
    split-leaks    a classifier that never saw the model tells the two groups apart (p <= .01; up to .05 the page asks
                   for a look): scores overstate the model's part, which may still be shown to be more than nothing
    wrong-way      nothing was detected, and an attack's AUC is below 1/2 beyond chance: its sign is to be checked first
    too-small      nothing was detected, but only a gross leak would have been
    not-detected   nothing was detected with this evidence
"""

from collections.abc import Sequence
from typing import Any

from diffaudit_jax.report.blind import at_length, in_short
from diffaudit_jax.report.numbers import estimate
from diffaudit_jax.report.significance import TESTS_PER_ATTACK, detects, noticeable_auc, on_average, wrong_way
from diffaudit_jax.report.study import ATTACKS

LABELS = {
    "detected": "Membership detected",
    "split-leaks": "The comparison is not clean",
    "wrong-way": "Scores rank the wrong way round",
    "too-small": "Too few records to tell",
    "not-detected": "Not detected with this evidence",
}
HEADLINES = {
    "detected": "Training records can be recognised from this model.",
    "split-leaks": "The two groups differ by themselves, so the attacks overstate what the model reveals.",
    "wrong-way": "A higher score must mean member, and here members score lower. Check the sign of the scores.",
    "too-small": "This audit is too small to say whether the model reveals its training records.",
    "not-detected": "These attacks did not recognise training records better than guessing would.",
}
BEYOND_SPLIT = "The two groups differ by themselves, but an attack finds more than that difference explains."
TOO_SMALL = 0.75  # if a leak of this AUC could go unnoticed, silence says nothing
STRICT = 0.01  # share of wrong accusations up to which a threshold is called strict


def frequencies(attack: dict[str, Any]) -> dict[str, Any] | None:
    """Restates one operating point as counts out of a hundred, None if the sample resolves none.

    The point is the strictest that the sample resolves well, but not below 1 %: fewer than one in a hundred cannot
    be drawn as a crowd of a hundred.
    """
    points = [point for point in attack["operating_points"] if point["resolvable"] == "yes" and point["tpr"]]
    points = [point for point in points if point["target_fpr"] >= STRICT] or points
    if not points:
        return None
    point = min(points, key=lambda point: point["target_fpr"])
    fpr, tpr = point["target_fpr"], point["tpr"]
    return {
        "target_fpr": fpr,
        "found": round(100 * tpr["value"]),
        "found_low": round(100 * tpr["low"]),
        "found_high": round(100 * tpr["high"]),
        "accused_of_100": round(100 * fpr),
        "accused_of_1000": 1000 * fpr,
    }


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _picked(num_attacks: int, picked: Sequence[dict[str, Any]]) -> list[str]:
    """The caveat of having tried several attacks, to stand beside what the strongest one did."""
    if num_attacks == 1:
        return []
    honest = [estimate(choice["honest"]) for choice in picked if choice["of"] == ATTACKS]
    fresh = (
        f": the attack of largest AUC on one half of the records has one of {honest[0]} on the other" if honest else ""
    )
    return [
        f"It was picked as the strongest of {num_attacks} with the answers in view. The verdict allows for that; its "
        f"numbers do not, and may flatter it{fresh}."
    ]


def _crowd_sentence(counted: dict[str, Any], lead: dict[str, Any], unit: str, level: float) -> str:
    kinds = {point["target_fpr"]: point["resolvable"] for point in lead["operating_points"]}
    well = " well" if kinds.get(STRICT) == "weak" else ""
    threshold = (
        "a strict threshold"
        if counted["target_fpr"] <= STRICT
        else f"a loose threshold (too few non-members to measure {100 * STRICT:g} %{well})"
    )
    return (
        f"At {threshold}, of 1,000 {unit} not in the training data about {counted['accused_of_1000']:.3g} would be "
        f"wrongly accused of being in it; of 100 {unit} in it, about {counted['found']} would be identified "
        f"({counted['found_low']} to {counted['found_high']} with {100 * level:g} % confidence)."
    )


def _detected(
    lead: dict[str, Any], average: bool, found: list[str], caveat: list[str], unit: str, level: float
) -> list[str]:
    """Says what was detected: on average over all, or only among the records the attack is surest about."""
    auc, top = lead["auc"], lead["surest"]
    among = f"strongest attack, {lead['name']}," if caveat else f"attack, {lead['name']},"
    if average:
        sentence = (
            f"The {among} ranks a training record above another record in {100 * auc['value']:.0f} of 100 pairs "
            f"({100 * auc['low']:.0f} to {100 * auc['high']:.0f} with {100 * level:g} % confidence); guessing gives 50."
        )
    else:
        sentence = (
            f"On average over all {unit} the {among} does not clearly beat guessing (AUC {estimate(auc)}), but a few "
            f"{unit} stand out: of the {top['k']} records it is surest about, {top['members']} are training records, "
            f"where guessing would give {top['expected']:.1f}."
        )
    others = [name for name in found if name != lead["name"]]
    also = [f"{_listed(others)} {'beats' if len(others) == 1 else 'beat'} guessing too."] if others else []
    return [sentence, *caveat, *also]


def _undetected(lead: dict[str, Any], counts: dict[str, int], caveat: list[str], noticeable: float) -> list[str]:
    """Says what was seen, what would have been noticed, and that silence is not safety."""
    sentences = [f"The strongest attack, {lead['name']}, reached an AUC of {estimate(lead['auc'])}; 0.50 is guessing."]
    if lead["auc"]["low"] > 0.5:
        sentences.append("By itself that would be above guessing; allowing for everything that was tried it is not.")
    return [
        *sentences,
        *caveat,
        f"With {counts['members']:,} members and {counts['nonmembers']:,} non-members, an attack with an AUC of "
        f"{noticeable:.2f} would be noticed about four times in five; a weaker leak can easily be missed.",
        "This is not evidence that no one can be identified: a stronger attack, more records or another model trained "
        "the same way may show what this audit did not.",
    ]


def _reversed(attacks: list[dict[str, Any]]) -> list[str]:
    """Names the attacks that rank members below non-members more than chance explains."""
    if not attacks:
        return []
    named = _listed([f"{attack['name']} (AUC {estimate(attack['auc'])})" for attack in attacks])
    return [
        f"{named} {'ranks' if len(attacks) == 1 else 'rank'} members below non-members, further than chance explains: "
        "check that a higher score means member. Losses and distances go the other way, and want a minus sign."
    ]


def verdict(
    attacks: list[dict[str, Any]],
    tests: dict[str, Any],
    blind: dict[str, Any] | None,
    counts: dict[str, int],
    level: float,
    people: bool = False,
    picked: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Concludes from the document's attacks and blind check.

    Args:
      attacks: The document's attacks.
      tests: The document's tests, adjusted for their number.
      blind: The document's blind check, or None.
      counts: The document's counts.
      level: Confidence level of the whole report: on a model that leaks nothing, and a fair split, "detected" or
        "wrong-way" comes up with probability at most 1 - level.
      people: Whether people are counted, of whom some had several records; else records are.
      picked: The document's choices.

    Returns:
      `level` (one of the five), its `label`, a `headline`, `sentences`, the `split` sentences, the strongest
      `attack`, the names `detected`, `noticeable_auc`, and `frequencies` (None unless detected on a clean split).
    """
    alpha = 1 - level
    found = [attack["name"] for attack in attacks if detects(attack, tests, alpha)]
    reversed_ = [attack for attack in attacks if wrong_way(attack, tests, alpha)]
    # Whoever beats guessing leads; among them, or if there is none, whoever does best on average for certain.
    lead = max(attacks, key=lambda attack: (attack["name"] in found, attack["auc"]["low"]))
    caveat = _picked(len(attacks), picked)
    noticeable = noticeable_auc(counts["members"], counts["nonmembers"], alpha / (TESTS_PER_ATTACK * len(attacks)))
    split, unit = in_short(blind, lead["name"], counts), "people" if people else "records"
    counted = None
    beyond = bool(blind and blind["leaks"] and found and blind["advantage"][lead["name"]]["low"] > 0)
    if blind and blind["leaks"]:
        name, sentences = "split-leaks", split + _reversed(reversed_)
    elif found:
        name, counted = "detected", frequencies(lead)
        sentences = _detected(lead, on_average(lead, tests, alpha), found, caveat, unit, level)
        sentences += [_crowd_sentence(counted, lead, unit, level)] if counted else []
        sentences += _reversed(reversed_) + split
    elif reversed_:
        name = "wrong-way"
        sentences = [*_reversed(reversed_), "Until that is settled this report says nothing about the model.", *split]
    else:
        name = "too-small" if noticeable > TOO_SMALL else "not-detected"
        sentences = _undetected(lead, counts, caveat, noticeable)
    return {
        "level": name,
        "label": LABELS[name],
        "headline": BEYOND_SPLIT if beyond else HEADLINES[name],
        "sentences": sentences,
        "split": at_length(blind, lead["name"], counts),
        "attack": lead["name"],
        "detected": found,
        "noticeable_auc": noticeable,
        "frequencies": counted,
    }
