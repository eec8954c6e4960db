"""What the numbers of a report do not prove: sentences that stand on every page, and those that fit this one."""

from typing import Any


def _accusations(counted: dict[str, Any], unit: str) -> str:
    """Shows with counts why an accusation is weaker than it sounds where members are rare."""
    found, accused = counted["found"], round(9900 * counted["target_fpr"])
    return (
        f"How often an accusation is right depends on how rare members are. If 100 of 10,000 {unit} tested were in the "
        f"training data, about {found} of them would be found and about {accused:,} others wrongly accused, so some "
        f"{accused:,} of {found + accused:,} accusations would be false."
    )


def _unresolved(points: list[dict[str, Any]]) -> list[str]:
    """Names the rates of false accusation at which the sample says nothing, or little."""
    named = {
        kind: [f"{100 * point['target_fpr']:.6g} %" for point in points if point["resolvable"] == kind]
        for kind in ("no", "weak")
    }
    says = {
        "no": "cannot be measured at all with this many non-members; an attacker with more of them may do well there",
        "weak": "rests on fewer than ten non-members and is indicative only",
    }
    return [
        f"What happens at {' and '.join(named[kind])} wrongly accused {says[kind]}." for kind in says if named[kind]
    ]


def limits(
    attacks: list[dict[str, Any]],
    verdict: dict[str, Any],
    blind: dict[str, Any] | None,
    trajectory: bool,
    people: bool = False,
    strata: bool = False,
) -> list[str]:
    """Returns what these numbers do not prove, most general first.

    Args:
      attacks: The document's attacks.
      verdict: The document's verdict.
      blind: The document's blind check, or None.
      trajectory: Whether the report shows losses against time.
      people: Whether people had several records, of which one each was taken.
      strata: Whether the report shows exposure by group.
    """
    unit = "people" if people else "records"
    sentences = [
        "They show what these attacks achieved, which is a lower bound on the leak: other attacks may do better.",
        "They hold for this one trained model and these draws of noise. Training again, even on the same data, gives "
        "another model; the intervals do not cover that.",
        f"AUC is an average over all {unit}. A few can be fully exposed while it stays near 0.5, so read the "
        "members found at few false accusations too.",
        "They are measurements, not a legal conclusion. Whether the model is personal data, and what follows, also "
        "depends on who could attack it, with what means, and what membership would reveal.",
    ]
    if people:
        sentences.append(
            "Each person counts once, by one record drawn at random, so the intervals hold for people. An attacker who "
            "has several records of a person may do better."
        )
    if strata:
        sentences.append(
            "Exposure by group is that of one attack. Another may find another group more exposed, and groups that "
            "differ in how hard their records are to learn differ in exposure for that reason too."
        )
    sentences += _unresolved(attacks[0]["operating_points"])
    if verdict["frequencies"]:
        sentences.append(_accusations(verdict["frequencies"], unit))
    if blind is None:
        sentences.append(
            "Without the records themselves nobody checked whether the two groups differ by themselves; if they do, "
            "some or all of what was found is not the model's doing."
        )
    elif not blind["leaks"]:
        sentences.append(
            "The blind check can miss a difference between the groups that its simple classifier does not see."
        )
    if trajectory:
        sentences.append(
            "The best time in the figures was found with the answers in view; an attacker must choose it blindly."
        )
    return sentences
