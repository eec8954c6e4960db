"""A paragraph for a model card, in Markdown: what was audited, what was found, and what the gate made of it.

Every text of a report is untrusted, and escaped: whatever a model or an attack is called, it stays text.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffaudit_jax.report.document import SCHEMA as MEMBERSHIP
from diffaudit_jax.report.extraction_schema import SCHEMA as EXTRACTION
from diffaudit_jax.report.extraction_verdict import decisive
from diffaudit_jax.report.gate import Outcome, said
from diffaudit_jax.report.numbers import at_most, estimate, percent, shares
from diffaudit_jax.report.tables_schema import SCHEMA as TABLES
from diffaudit_jax.types import InputError

Document = Mapping[str, Any]
# All that means something to Markdown within a line, links of GitHub's among it; no line begins with such text.
_MARKS = re.compile(r"([\\`*_\[\]&|~$#]|[<:](?=[^\s=\d])|(?<=www)\.)", re.IGNORECASE)
# Addresses and mentions are looked for after escapes are gone: all but the @ before a number is parted from its name.
_NAMED = re.compile(r"@(?!\d[\d.]*(?:e-?\d+)?(?![\w.-]))(?=\S)")
_JOINER = "\N{WORD JOINER}"
_LIMITS = (
    "The figures are what these attacks achieved on this one model: other attacks may do better, another training "
    "gives another model, and they are measurements, not a legal conclusion."
)


def card(document: Document, outcomes: Sequence[Outcome], sha256: str) -> str:
    """Writes what a report found as a section of a model card.

    Args:
      document: A report of membership, of extraction, of a synthetic table or of fairness.
      outcomes: How the conditions of a gate came out on it.
      sha256: Hash of the report's file, for whoever wants to see that the card is about it.

    Returns:
      Markdown: a heading, paragraphs, and a list of the conditions.
    """
    kinds = {
        MEMBERSHIP: ("Membership audit", _membership),
        EXTRACTION: ("Audit of what samples give away", _extraction),
        TABLES: ("Audit of a synthetic table", _tables),
    }
    called, told = kinds.get(document["schema"], ("Audit of fairness", _fairness))
    verdict = document["verdict"]
    concluded = f"**Verdict.** {escaped(verdict['label'])}: {escaped(verdict['headline'])}"
    passed = all(outcome.passes for outcome in outcomes)
    gate = [
        f"**Release gate {'passed' if passed else 'failed'}**, by the upper ends of {_level(document)} intervals:",
        "",
        *(f"- {escaped(' '.join(said(outcome).split()))}" for outcome in outcomes),
        "",
    ]
    versions = document["provenance"].get("versions") or {}
    made = ", ".join(f"{name} {versions[name]}" for name in ("diffaudit_jax", "jax") if name in versions)
    return "\n".join([
        f"### {called}: {escaped(document['title'])}",
        "",
        f"{concluded} {' '.join(told(document))}",
        "",
        *gate,
        _LIMITS,
        "",
        f"Report of {escaped(document['created'][:10])}{made and f', {escaped(made)}'}, sha256 `{sha256}`.",
        "",
    ])  # fmt: skip


def hash_of(path: Path) -> str:
    """Returns the SHA-256 of a file, as `sha256sum` prints it."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror}): name a report.") from None


def escaped(text: str) -> str:
    """Returns text that Markdown shows as it is, on one line, and that links to nothing and calls nobody."""
    apart = _NAMED.sub(f"@{_JOINER}", " ".join(str(text).split()))
    return _MARKS.sub(r"\\\1", apart)


def _membership(document: Document) -> list[str]:
    counts, people = document["counts"], document["records"] is not None
    unit, attacks = "people" if people else "records", document["attacks"]
    name = document["verdict"]["attack"]
    lead = next(attack for attack in attacks if attack["name"] == name)
    which = "The attack" if len(attacks) == 1 else f"Of {len(attacks)} attacks the strongest,"
    found = [
        f"{_share(point['tpr'])} of members where {percent(point['target_fpr'])} of non-members are wrongly accused"
        for point in lead["operating_points"]
        if point["tpr"]
    ]
    found = f", and found {_listed(found)}" if found else ""
    comma = "" if len(attacks) == 1 else ","
    sentences = [
        f"{_model(document)} was asked about {counts['members']:,} {unit} that it was trained on and "
        f"{counts['nonmembers']:,} that it was not.",
        f"{which} {escaped(name)}{_access(lead)}{comma} reached an AUC of {escaped(estimate(lead['auc']))}, where 0.5 "
        f"is guessing and 1 is perfect{found}; {_level(document)} intervals.",
    ]
    return [*sentences, *_registered(document), _promise(document)]


def _share(value: dict[str, float]) -> str:
    return escaped(shares(value))


def _model(document: Document) -> str:
    provenance = document["provenance"]
    model = provenance.get("model") or {}
    family = model.get("family") or model.get("name") or model.get("model")
    source = provenance.get("source") or provenance.get("scores")
    told = ", ".join(escaped(text) for text in (family, source and f"from {source}") if text)
    return f"The model ({told})" if told else "The model"


def _access(attack: Document) -> str:
    access = attack["spec"].get("access")
    return f" ({escaped(access)} access)" if access else ""


def _registered(document: Document) -> list[str]:
    told = document.get("registered")
    if not told:
        return []
    return [
        f"By a plan (sha256 `{escaped(told['sha256'])}`), fixed before members were asked about if this hash was "
        f"published before, {escaped(told['attack'])} found {_share(told['tpr'])} of members and wrongly accused "
        f"{_share(told['fpr'])} of non-members."
    ]


def _promise(document: Document) -> str:
    told = document["provenance"].get("guarantee")
    if told is None:
        return "No guarantee of differential privacy is known of it."
    if told["epsilon"] is None:
        return "It was trained with noise, and no epsilon holds for it."
    return (
        f"It was trained with differential privacy: epsilon = {at_most(told['epsilon'])} at delta = "
        f"{told['ledger']['delta']:g} ({escaped(told['neighbouring'])})."
    )


def _extraction(document: Document) -> list[str]:
    rule, samples = decisive(dict(document)), document["counts"]["samples"]
    return [
        f"{samples:,} samples give away {_share(rule['members']['share'])} of what was trained on, by the rule "
        f"{escaped(rule['name'])}; {_level(document)} interval. More samples may give away more."
    ]


def _tables(document: Document) -> list[str]:
    counts, share = document["counts"], document["copies"]["share"]
    told = [f"{counts['synthetic']:,} synthetic records were held against {counts['members']:,} that were learned from"]
    if share:
        told[0] += f" and {counts['holdout']:,} others"
        told.append(f"{_share(share)} of them are nearer to one learned from, where half would be if nothing is copied")
    if document["risks"]:
        worst = max(document["risks"], key=lambda risk: risk["risk"]["high"])
        told.append(f"the greatest risk is that of {escaped(worst['attack'])}, {_share(worst['risk'])}")
    return [f"{_listed(told)}; {_level(document)} intervals."]


def _fairness(document: Document) -> list[str]:
    receivers, generators = document["receivers"], document["generators"]
    return [
        f"Classifiers ({escaped(', '.join(receivers))}) that learned from {len(generators)} generators were judged on "
        f"{document['test']['images']:,} real records; their gaps are between groups of "
        f"{escaped(document['sensitive'])}."
    ]


def _level(document: Document) -> str:
    return percent(document["level"])


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
