"""What a report concludes, in words a data-protection officer can use.

Four levels, each a statement about evidence and never about safety:

    detected       an attack beats guessing, on average (its AUC is above 1/2) or at the top (members crowd among the
                   records it is surest about), with the error of both tests of all attacks shared (Bonferroni)
    split-leaks    a classifier that never saw the model tells the two groups apart (p <= .01; up to .05 the page asks
                   for a look): scores overstate the model's part, which may still be shown to be more than nothing
    too-small      nothing was detected, but only a gross leak would have been
    not-detected   nothing was detected with this evidence
"""

import math
from typing import Any

from scipy import stats

LABELS = {
    "detected": "Membership detected",
    "split-leaks": "The comparison is not clean",
    "too-small": "Too few records to tell",
    "not-detected": "Not detected with this evidence",
}
HEADLINES = {
    "detected": "Training records can be recognised from this model.",
    "split-leaks": "The two groups differ by themselves, so the attacks overstate what the model reveals.",
    "too-small": "This audit is too small to say whether the model reveals its training records.",
    "not-detected": "These attacks did not recognise training records better than guessing would.",
}
BEYOND_SPLIT = "The two groups differ by themselves, but an attack finds more than that difference explains."
WORTH_A_LOOK = 0.05  # p-value of the blind check up to which a clean split is said to deserve a look
TOO_SMALL = 0.75  # if a leak of this AUC could go unnoticed, silence says nothing
POWER = 0.8
TESTS_PER_ATTACK = 2


def shared_level(level: float, num_tests: int) -> float:
    """Returns the level of each test at which all of them together keep `level` (Bonferroni)."""
    return 1 - (1 - level) / num_tests


def noticeable_auc(num_members: int, num_nonmembers: int, alpha: float) -> float:
    """Returns the AUC that a two-sided test at `alpha` notices four times in five.

    AUC = 1/2 + (z_{1 - alpha/2} + z_{0.8}) sqrt((m + n + 1) / (12 m n)), the normal approximation to the
    Mann-Whitney statistic, with its spread under the null.

    Args:
      num_members: m.
      num_nonmembers: n.
      alpha: Error of one test, i.e. already shared among all of them.
    """
    spread = math.sqrt((num_members + num_nonmembers + 1) / (12 * num_members * num_nonmembers))
    return float(min(1.0, 0.5 + (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)) * spread))


def frequencies(attack: dict[str, Any]) -> dict[str, Any] | None:
    """Restates one operating point as counts of people, None if the sample resolves none.

    The point is the strictest that the sample resolves well, but not below 1 %: fewer than one in a hundred cannot
    be drawn as a crowd of a hundred.
    """
    points = [point for point in attack["operating_points"] if point["resolvable"] == "yes" and point["tpr"]]
    points = [point for point in points if point["target_fpr"] >= 0.01] or points
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


def _auc(auc: dict[str, float]) -> str:
    return f"{auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def split_sentences(blind: dict[str, Any] | None, lead: str) -> list[str]:
    """Says whether the two groups can be told apart without the model, or that nobody could check.

    Args:
      blind: The document's blind baseline, None if there were no images.
      lead: The strongest attack.
    """
    if blind is None:
        return [
            "Whether members and non-members differ by themselves, e.g. in source or date, could not be checked: the "
            "report was made without the records. If they do, the numbers overstate what the model reveals."
        ]
    seen = (
        f"A classifier that saw the records but never the model reached an AUC of {_auc(blind['auc'])} "
        f"(p = {blind['p_value']:.2g})"
    )
    advantage = blind["advantage"][lead]
    beyond = f"Against it the strongest attack, {lead}, gains {_auc(advantage)} in AUC"
    if not blind["leaks"]:
        if blind["p_value"] <= WORTH_A_LOOK:
            return [
                f"{seen}: worth a look at how the two groups were drawn, but chance alone does as well on one fair "
                f"split in {1 / blind['p_value']:.0f}. {beyond}."
            ]
        return [f"{seen}, no better than guessing as far as this sample shows. {beyond}."]
    rest = (
        "which is more than nothing: as far as that classifier sees the difference, part of what was found does come "
        "from the model."
        if advantage["low"] > 0
        else "which may be nothing: what was found is not shown to come from the model."
    )
    return [
        f"{seen}: the two groups differ by themselves.",
        f"{beyond}, {rest}",
        "Ask for members and non-members drawn at random from one pool, and audit again.",
    ]


def _crowd_sentence(counted: dict[str, Any], level: float) -> str:
    return (
        f"At a strict threshold, of 1,000 people not in the training data about {counted['accused_of_1000']:.3g} "
        f"would be wrongly accused; of 100 people in it, about {counted['found']} would be identified "
        f"({counted['found_low']} to {counted['found_high']} with {100 * level:g} % confidence)."
    )


def _detected(lead: dict[str, Any], on_average: bool, found: list[str], num_attacks: int, level: float) -> list[str]:
    """Says what was detected: on average over everyone, or only among the records the attack is surest about."""
    auc, top = lead["auc"], lead["surest"]
    among = f"attack, {lead['name']}," if num_attacks == 1 else f"strongest attack, {lead['name']},"
    if on_average:
        sentence = (
            f"The {among} ranks a training record above another record in {100 * auc['value']:.0f} of 100 pairs "
            f"({100 * auc['low']:.0f} to {100 * auc['high']:.0f} with {100 * level:g} % confidence); guessing gives 50."
        )
    else:
        sentence = (
            f"On average over everyone the {among} hardly beats guessing (AUC {_auc(auc)}), but a few people stand "
            f"out: of the {top['k']} records it is surest about, {top['members']} are training records, where "
            f"guessing would give {top['expected']:.1f}."
        )
    if num_attacks == 1:
        return [sentence]
    others = [name for name in found if name != lead["name"]]
    also = f" {_listed(others)} {'does' if len(others) == 1 else 'do'} too." if others else ""
    return [sentence, f"It beats guessing with the error shared among the {num_attacks} attacks (Bonferroni).{also}"]


def _undetected(lead: dict[str, Any], counts: dict[str, int], noticeable: float) -> list[str]:
    """Says what was seen, what would have been noticed, and that silence is not safety."""
    sentences = [f"The strongest attack, {lead['name']}, reached an AUC of {_auc(lead['auc'])}; 0.50 is guessing."]
    if lead["auc"]["low"] > 0.5:
        sentences.append("By itself that would be above guessing; with the error shared among all tests it is not.")
    if lead["auc_shared"]["high"] < 0.5:
        sentences.append("It ranks members below non-members: check that a higher score means member.")
    return [
        *sentences,
        f"With {counts['members']:,} members and {counts['nonmembers']:,} non-members, an attack with an AUC of "
        f"{noticeable:.2f} would be noticed about four times in five; a weaker leak can easily be missed.",
        "This is not evidence that no one can be identified: a stronger attack, more records or another model trained "
        "the same way may show what this audit did not.",
    ]


def verdict(
    attacks: list[dict[str, Any]], blind: dict[str, Any] | None, counts: dict[str, int], level: float
) -> dict[str, Any]:
    """Concludes from the document's attacks and blind baseline.

    Args:
      attacks: The document's attacks; `auc_shared` is the interval at `shared_level(level, 2 K)`.
      blind: The document's blind baseline, or None.
      counts: The document's counts.
      level: Confidence level of the whole report: on a model that leaks nothing, and a fair split, "detected" comes
        up with probability at most 1 - level.

    Returns:
      `level` (one of the four), its `label`, a `headline`, `sentences`, the `split` sentences, the strongest
      `attack`, the names `detected`, `noticeable_auc`, and `frequencies` (None unless detected on a clean split).
    """
    alpha = (1 - level) / (TESTS_PER_ATTACK * len(attacks))
    on_average = {attack["name"] for attack in attacks if attack["auc_shared"]["low"] > 0.5}
    found = [a["name"] for a in attacks if a["name"] in on_average or a["surest"]["p_value"] <= alpha]
    # Whoever beats guessing leads; among them, or if there is none, whoever does best on average for certain.
    lead = max(attacks, key=lambda attack: (attack["name"] in found, attack["auc_shared"]["low"]))
    noticeable = noticeable_auc(counts["members"], counts["nonmembers"], alpha)
    split = split_sentences(blind, lead["name"])
    counted = None
    beyond = bool(blind and blind["leaks"] and found and blind["advantage"][lead["name"]]["low"] > 0)
    if blind and blind["leaks"]:
        name, sentences = "split-leaks", split
    elif found:
        name, counted = "detected", frequencies(lead)
        sentences = _detected(lead, lead["name"] in on_average, found, len(attacks), level)
        sentences += [_crowd_sentence(counted, level)] if counted else []
        sentences += split
    else:
        name = "too-small" if noticeable > TOO_SMALL else "not-detected"
        sentences = _undetected(lead, counts, noticeable)
    return {
        "level": name,
        "label": LABELS[name],
        "headline": BEYOND_SPLIT if beyond else HEADLINES[name],
        "sentences": sentences,
        "split": split,
        "attack": lead["name"],
        "detected": found,
        "noticeable_auc": noticeable,
        "frequencies": counted,
    }
