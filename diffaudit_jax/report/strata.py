"""Who is exposed more: the leading attack by label or group, the gaps between groups, and what is said of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffaudit_jax.metrics.exposure import Exposure, Gap, Group, exposure, strata_codes
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.metrics.multiple import holm
from diffaudit_jax.report.attack import estimate_json, finite
from diffaudit_jax.report.numbers import estimate, p_value, percent
from diffaudit_jax.types import InputError

FPRS = (0.1, 0.01)
NAMED = 20  # groups too small to measure that the page names one by one


def checked_strata(strata: Mapping[str, ArrayLike] | None, n: int) -> dict[str, NDArray]:
    """Returns every stratification as an array [n].

    Args:
      strata: Name of the stratification -> group of each record.
      n: Number of records.

    Raises:
      InputError: if two have one name, a length is wrong, or a record has no group.
    """
    strata = {} if strata is None else strata
    if not isinstance(strata, Mapping):
        raise InputError("strata is not a mapping: give each stratification a name, for example {'label': labels}.")
    found = {}
    for name, values in strata.items():
        if str(name) in found:
            raise InputError(f"strata names {str(name)!r} twice: give every stratification a name of its own.")
        try:
            strata_codes(values, n)
        except InputError as error:
            raise InputError(f"stratification {name!r}: {error}") from None
        found[str(name)] = np.asarray(values)
    return found


def exposure_sections(
    strata: Mapping[str, NDArray], attack: str, scores: NDArray, member: NDArray, level: float, seed: int
) -> list[dict[str, Any]]:
    """Returns the document's sections of exposure by group, with the p-values of all gaps adjusted together (Holm).

    Args:
      strata: Name -> group of each record [n], of one record of each person.
      attack: Name of the leading attack.
      scores: Its scores, float [n].
      member: Truth, bool [n].
      level: Confidence level of each interval.
      seed: Seed of the shuffles.
    """
    shuffles = 1000 * len(strata) - 1  # enough for the smallest p-value to survive its adjustment
    sections: list[dict[str, Any]] = [
        {"name": name, "attack": attack}
        | _section(exposure(scores, member, x, fprs=FPRS, level=level, seed=seed, num_permutations=shuffles))
        for name, x in strata.items()
    ]
    gaps = [gap for section in sections for gap in (section["auc_gap"], *section["tpr_gaps"]) if gap]
    for gap, adjusted in zip(gaps, holm([gap["p_value"] for gap in gaps]).tolist(), strict=True):
        gap["adjusted"] = adjusted
    return [section | {"sentences": _sentences(section, level)} for section in sections]


def _section(found: Exposure) -> dict[str, Any]:
    return {
        "groups": [_group(group) for group in found.groups],
        "thresholds": [t._asdict() | {"score": finite(t.score)} for t in found.thresholds],
        "auc_gap": _gap(found.auc_gap),
        "tpr_gaps": [_gap(gap) for gap in found.tpr_gaps],
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "members": group.num_members,
        "nonmembers": group.num_nonmembers,
        "auc": estimate_json(group.auc),
        "tprs": [estimate_json(rate) for rate in group.tprs],
        "fprs": [estimate_json(rate) for rate in group.fprs],
    }


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    return gap and gap._asdict() | {"size": estimate_json(gap.size)}


def _sentences(section: dict[str, Any], level: float) -> list[str]:
    """Says who is found more often than whom, whether chance explains it, and who could not be measured."""
    said = [sentence for sentence in (_found(section, level), _ranked(section, level)) if sentence]
    small = [group for group in section["groups"] if group["auc"] is None]
    if len(section["groups"]) - len(small) < 2:
        said.append("Fewer than two groups are large enough to be compared.")
    if small:
        named = ", ".join(f"{g['name']} ({g['members']:,} and {g['nonmembers']:,})" for g in small[:NAMED])
        rest = f", and {len(small) - NAMED:,} more" if len(small) > NAMED else ""
        said.append(
            f"Not measurable, with fewer than {FEWEST} members or fewer than {FEWEST} non-members: {named}{rest}."
        )
    return said


def _found(section: dict[str, Any], level: float) -> str | None:
    """Restates the gap at the strictest threshold that the sample resolves as counts out of a hundred."""
    rated = [
        (t["resolvable"] == "yes", -t["target_fpr"], i)
        for i, t in enumerate(section["thresholds"])
        if section["tpr_gaps"][i]
    ]
    if not rated:
        return None
    i = max(rated)[2]
    gap, groups = section["tpr_gaps"][i], {group["name"]: group["tprs"][i] for group in section["groups"]}
    most, least = (round(100 * groups[gap[end]]["value"]) for end in ("most", "least"))
    low, size, high = (f"{100 * gap['size'][part]:.0f}" for part in ("low", "value", "high"))
    accused = percent(section["thresholds"][i]["target_fpr"])
    threshold = f"At one threshold for all, which wrongly accuses {accused} of all non-members, members"
    if gap["most"] == gap["least"]:  # all groups tie
        return f"{threshold} of every group are found in {most} of 100 cases."
    return (
        f"{threshold} in group {gap['most']} are found in {most} of 100 cases, and in group {gap['least']} in "
        f"{least}: a gap of {size} points [{low}, {high}], {_explained(gap, level)}."
    )


def _ranked(section: dict[str, Any], level: float) -> str | None:
    gap = section["auc_gap"]
    if not gap:
        return None
    areas = {group["name"]: group["auc"]["value"] for group in section["groups"] if group["auc"]}
    most, least = (round(100 * areas[gap[end]]) for end in ("most", "least"))
    if gap["most"] == gap["least"]:
        return f"Within every group the attack ranks a member above a non-member in {most} of 100 pairs."
    return (
        f"Within group {gap['most']} the attack ranks a member above a non-member in {most} of 100 pairs, within group "
        f"{gap['least']} in {least}: a gap in AUC of {estimate(gap['size'])}, {_explained(gap, level)}."
    )


def _explained(gap: dict[str, Any], level: float) -> str:
    how = "more than chance explains" if gap["adjusted"] <= 1 - level else "which chance alone may give"
    return f"{how} ({p_value(gap['adjusted'])}, Holm)"
