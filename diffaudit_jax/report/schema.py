"""What a report's JSON holds, part by part, and the first thing that is wrong with one that was changed by hand.

A shape is written as the JSON looks: a dict of what every object must hold, a list of what its entries are, and a
`Kind` where a plain value stands. What stands beside the named parts of an object is nobody's business here.
"""

import math
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A plain value: what it is called, and whether a value is one."""

    called: str
    holds: Callable[[Any], bool]


class Maybe(NamedTuple):
    """A shape, or null."""

    shape: Any


class Each(NamedTuple):
    """An object with keys of its own, every value of one shape."""

    shape: Any


class Some(NamedTuple):
    """A list that is not empty, every entry of one shape."""

    shape: Any


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


NUMBER = Kind("a number", _number)
WHOLE = Kind("a whole number from 0", lambda value: _whole(value, 0))
COUNT = Kind("a whole number from 1", lambda value: _whole(value, 1))
TEXT = Kind("text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
LIST = Kind("a list", lambda value: isinstance(value, list))
ENTRIES = Kind("a list with an entry", lambda value: isinstance(value, list) and len(value) > 0)

ESTIMATE = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
COUNTS = {"members": COUNT, "nonmembers": COUNT}
POINT = {"target_fpr": NUMBER, "resolvable": TEXT, "fpr": Maybe(NUMBER), "tpr": Maybe(ESTIMATE), "reason": TEXT}
TRANSFER = POINT | {"threshold": Maybe(NUMBER), "fpr": Maybe(ESTIMATE), "num_members": COUNT, "num_nonmembers": COUNT}
RATES = ("balanced_accuracy", "accuracy", "f1", "tpr", "fpr")
QUARTILES = {"median": Some(NUMBER), "q25": Some(NUMBER), "q75": Some(NUMBER)}
ATTACK = {
    "name": TEXT,
    "spec": OBJECT,
    "auc": ESTIMATE,
    "operating_points": Some(POINT),
    "transfers": Some(TRANSFER),
    "decision": {"threshold": Maybe(NUMBER), "prevalence": NUMBER, **dict.fromkeys(RATES, ESTIMATE)},
    "roc": {"fpr": Some(NUMBER), "tpr": Some(NUMBER)},
    "histogram": {"edges": Some(NUMBER), "members": Some(WHOLE), "nonmembers": Some(WHOLE)},
    "surest": {"k": COUNT, "members": WHOLE, "expected": NUMBER, "p_value": NUMBER},
}
LOSS = {
    "members": QUARTILES,
    "nonmembers": QUARTILES,
    "auc": Some(NUMBER),
    "auc_low": Some(NUMBER),
    "auc_high": Some(NUMBER),
}
TEST = {"p_value": NUMBER, "adjusted": NUMBER}
CHOICE = {"of": TEXT, "candidates": COUNT, "best": TEXT, "optimistic": ESTIMATE, "honest": ESTIMATE, "chosen": [TEXT]}
GAP = {"most": TEXT, "least": TEXT, "size": ESTIMATE, "p_value": NUMBER, "adjusted": NUMBER}
GROUP = {
    "name": TEXT,
    "members": WHOLE,
    "nonmembers": WHOLE,
    "auc": Maybe(ESTIMATE),
    "tprs": [Maybe(ESTIMATE)],
    "fprs": [Maybe(ESTIMATE)],
}
EXPOSURE = {
    "name": TEXT,
    "attack": TEXT,
    "groups": Some(GROUP),
    "thresholds": [{"target_fpr": NUMBER, "resolvable": TEXT, "score": Maybe(NUMBER)}],
    "auc_gap": Maybe(GAP),
    "tpr_gaps": [Maybe(GAP)],
    "sentences": [TEXT],
}
SINCE_2 = {
    "tests": Each({"auc": TEST, "surest": TEST}),
    "choices": [CHOICE],
    "study": Maybe({"columns": Some(TEXT), "rows": Some({"name": TEXT, "auc": Some(Maybe(NUMBER))})}),
    "exposure": [EXPOSURE],
}
VERSION_1 = {
    "created": TEXT,
    "title": TEXT,
    "verdict": {
        "level": TEXT,
        "label": TEXT,
        "headline": TEXT,
        "sentences": [TEXT],
        "split": [TEXT],
        "attack": TEXT,
        "detected": [TEXT],
        "noticeable_auc": NUMBER,
        "frequencies": Maybe({
            "target_fpr": NUMBER,
            "found": WHOLE,
            "found_low": WHOLE,
            "found_high": WHOLE,
            "accused_of_100": WHOLE,
            "accused_of_1000": NUMBER,
        }),
    },
    "counts": COUNTS,
    "records": Maybe(COUNTS),
    "level": NUMBER,
    "attacks": Some(ATTACK),
    "blind": Maybe({"auc": ESTIMATE, "leaks": FLAG, "p_value": NUMBER, "advantage": Each(ESTIMATE)}),
    "trajectory": Maybe({"times": Some(NUMBER), "losses": Each(LOSS)}),
    "exposed": [
        {
            "rank": COUNT,
            "row": WHOLE,
            "score": NUMBER,
            "nonmembers_above": WHOLE,
            "trajectory": Maybe(Each(Some(NUMBER))),
        }
    ],
    "provenance": OBJECT,
    "limits": [TEXT],
}  # fmt: skip
DOCUMENT = VERSION_1 | SINCE_2
GUESSED = {"epsilon": NUMBER, "guesses": WHOLE, "correct": WHOLE}
LOWER_BOUND = {
    "delta": NUMBER,
    "level": NUMBER,
    "canaries": COUNT,
    "upper": Maybe(NUMBER),
    "best": {"one_run": TEXT, "fdp": TEXT},
    "most": NUMBER,
    "attacks": Some({"name": TEXT, "one_run": GUESSED, "fdp": GUESSED}),
}
REGISTERED = {
    **dict.fromkeys(("sha256", "created", "attack"), TEXT),
    **dict.fromkeys(("target_fpr", "threshold", "level"), NUMBER),
    "calibration": COUNT,
    **dict.fromkeys(("tpr", "fpr"), ESTIMATE),
    **dict.fromkeys(("found", "accused"), WHOLE),
}
OPTIONAL: dict[str, Any] = {"lower_bound": LOWER_BOUND, "registered": REGISTERED}
"""Parts that a document holds only where there is something to say."""


def _kind(shape: Any) -> Kind:
    if isinstance(shape, Kind):
        return shape
    if isinstance(shape, dict | Each):
        return OBJECT
    return ENTRIES if isinstance(shape, Some) else LIST


def faults(value: Any, shape: Any, place: str = "") -> Iterator[str]:
    """Says what is wrong with a value, most general first: ``lacks a.b``, or ``has 'x' at level, not a number``.

    Args:
      value: JSON data.
      shape: What it should be, e.g. `DOCUMENT`.
      place: Path of the value, empty for the whole.
    """
    if isinstance(shape, Maybe):
        if value is None:
            return
        shape = shape.shape
    kind, dot = _kind(shape), place and f"{place}."
    if not kind.holds(value):
        yield f"has {reprlib.repr(value)} at {place}, not {kind.called}"
    elif isinstance(shape, dict):
        if lacking := [dot + key for key in shape if key not in value]:
            yield f"lacks {', '.join(lacking)}"
        for key in (key for key in shape if key in value):
            yield from faults(value[key], shape[key], dot + key)
    elif isinstance(shape, Each):
        for key, part in value.items():
            yield from faults(part, shape.shape, dot + key)
    elif isinstance(shape, list | Some):
        for i, part in enumerate(value):
            yield from faults(part, shape[0], f"{place}[{i}]")
