"""The figures of each kind of report that a gate can hold against a limit, and how each is read off.

A figure has one reading for each attack, or classifier, that it was measured by.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from diffaudit_jax.report.document import SCHEMA as MEMBERSHIP
from diffaudit_jax.report.extraction_schema import SCHEMA as EXTRACTION
from diffaudit_jax.report.extraction_verdict import decisive
from diffaudit_jax.report.fairness_schema import SCHEMA as FAIRNESS
from diffaudit_jax.report.numbers import estimate
from diffaudit_jax.report.significance import wrong_way
from diffaudit_jax.report.tables_schema import SCHEMA as TABLES


class Reading(NamedTuple):
    """One measurement of a figure: by what, its upper end, and why there is none where it is None."""

    by: str
    high: float | None
    reason: str = ""


Document = Mapping[str, Any]
Read: TypeAlias = Callable[[], list[Reading]]


def figures_of(document: Document) -> dict[str, Read]:
    """Returns the figures of a report by name, each with how it is read; epsilon is read by `epsilon_held`."""
    kinds = {MEMBERSHIP: _of_membership, EXTRACTION: _of_extraction, TABLES: _of_tables, FAIRNESS: _of_fairness}
    kind = kinds.get(document["schema"])
    return {} if kind is None else kind(document)


def _of_membership(document: Document) -> dict[str, Read]:
    attacks, doubt = document["attacks"], _doubts(document)

    def by(read: Callable[[Any], Reading], some: Iterable[Any] = attacks) -> Read:
        return lambda: [
            Reading(attack["name"], None, doubt[attack["name"]]) if doubt[attack["name"]] else read(attack)
            for attack in some
        ]

    figures = {"auc": by(lambda attack: Reading(attack["name"], attack["auc"]["high"]))}
    for i, point in enumerate(attacks[0]["operating_points"]):
        figures[f"tpr@{point['target_fpr']:g}"] = by(lambda attack, i=i: _at(attack, attack["operating_points"][i]))
    figures["balanced-accuracy"] = by(
        lambda attack: Reading(attack["name"], attack["decision"]["balanced_accuracy"]["high"])
    )
    figures["epsilon"] = list  # no reading: `epsilon_held` needs limit and delta
    if registered := document.get("registered"):
        asked = [attack for attack in attacks if attack["name"] == registered["attack"]]
        figures["registered-tpr"] = by(lambda attack: Reading(attack["name"], registered["tpr"]["high"]), asked)
    return figures


def _of_extraction(document: Document) -> dict[str, Read]:
    rule, unjudged = decisive(dict(document)), document["verdict"]["level"] == "unjudged"
    untold = "nothing says how many training records samples come near by chance"
    high = None if unjudged else rule["members"]["share"]["high"]
    return {"extracted": lambda: [Reading(rule["name"], high, untold if unjudged else "")]}


def _of_tables(document: Document) -> dict[str, Read]:
    share, risks, asked = document["copies"]["share"], document["risks"], document["membership"]
    untold = "no records were held out to compare with"
    figures = {"share": lambda: [Reading("", share and share["high"], "" if share else untold)]}
    if risks:
        figures["risk"] = lambda: [Reading(each["attack"], each["risk"]["high"]) for each in risks]
    if asked is not None:
        figures["auc"] = lambda: [Reading(attack["name"], attack["auc"]["high"]) for attack in asked["attacks"]]
        for i, point in enumerate(asked["attacks"][0]["points"]):
            figures[f"tpr@{point['target_fpr']:g}"] = lambda i=i: [
                _at(attack, attack["points"][i]) for attack in asked["attacks"]
            ]
    return figures


def _of_fairness(document: Document) -> dict[str, Read]:
    def worst(gap: str) -> list[Reading]:
        return [
            Reading(name, found[gap]["high"])
            for generator in document["generators"]
            for name, found in generator["receivers"].items()
        ]

    return {gap: lambda gap=gap: worst(gap) for gap in ("parity", "opportunity", "odds")}


def _at(attack: Document, point: Document) -> Reading:
    reason = point.get("reason") or f"too few non-members for a rate of {point['target_fpr']:g}"
    return Reading(attack["name"], None if point["tpr"] is None else point["tpr"]["high"], reason.rstrip("."))


def _doubts(document: Document) -> dict[str, str]:
    """Says of each attack why its figures, however low, do not speak for the model; empty if they do."""
    blind, alpha = document["blind"], 1 - document["level"]
    if blind and blind["leaks"]:
        why = f"the two groups differ by themselves (blind check: AUC {estimate(blind['auc'])})"
        return {attack["name"]: why for attack in document["attacks"]}
    return {
        attack["name"]: f"{attack['name']} ranks the wrong way round: check its sign"
        if wrong_way(attack, document["tests"], alpha)
        else ""
        for attack in document["attacks"]
    }
