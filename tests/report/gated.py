"""Documents of every kind that a release gate reads and a card is written of."""

import copy

import numpy as np

from diffaudit_jax.report import extraction_report


def ends(high):
    return {"value": high - 0.02, "low": high - 0.04, "high": high}


def attack(name, auc, tpr, accuracy):
    points = [
        {"target_fpr": 0.01, "resolvable": "yes", "fpr": 0.01, "tpr": ends(tpr), "reason": ""},
        {"target_fpr": 0.001, "resolvable": "no", "fpr": None, "tpr": None, "reason": "400 cannot resolve 0.001."},
    ]
    return {
        "name": name,
        "spec": {"access": "white"},
        "auc": ends(auc),
        "operating_points": points,
        "decision": {"balanced_accuracy": ends(accuracy)},
    }


TESTS = {"auc": {"p_value": 0.5, "adjusted": 1.0}, "surest": {"p_value": 0.5, "adjusted": 1.0}}
PROMISED = {"epsilon": 3.5, "refusals": [], "neighbouring": "add or remove one", "ledger": {"delta": 1e-5}}
MEMBERSHIP = {
    "schema": "diffaudit.membership",
    "created": "2026-01-02T03:04:05+00:00",
    "title": "Faces",
    "verdict": {"label": "Not detected", "headline": "No attack did.", "attack": "b"},
    "counts": {"members": 1000, "nonmembers": 2000},
    "records": None,
    "level": 0.95,
    "attacks": [attack("a", 0.55, 0.06, 0.56), attack("b", 0.58, 0.04, 0.54)],
    "tests": {"a": TESTS, "b": TESTS},
    "blind": {"auc": ends(0.52), "leaks": False, "p_value": 0.4},
    "provenance": {
        "source": "diffaudit train",
        "model": {"family": "ddpm"},
        "guarantee": PROMISED,
        "versions": {"diffaudit_jax": "1.2.3", "jax": "0.9", "numpy": "2"},
    },
    "registered": {"attack": "a", "tpr": ends(0.07), "fpr": ends(0.03), "sha256": "ab12"},
}
TABLES = {
    "schema": "diffaudit.tables",
    "created": "2026-01-02T03:04:05+00:00",
    "title": "Adults",
    "level": 0.95,
    "verdict": {"label": "Nothing seen", "headline": "No copies."},
    "counts": {"members": 300, "holdout": 200, "synthetic": 400},
    "copies": {"share": ends(0.53)},
    "risks": [{"attack": "linkability", "risk": ends(0.1)}, {"attack": "inference", "risk": ends(0.2)}],
    "membership": {"attacks": [{"name": "c", "auc": ends(0.6), "points": [{"target_fpr": 0.01, "tpr": ends(0.05)}]}]},
    "provenance": {},
}
GAPS = {"parity": ends(0.3), "opportunity": ends(0.2), "odds": ends(0.25)}
FAIRNESS = {
    "schema": "diffaudit.fairness",
    "created": "2026-01-02T03:04:05+00:00",
    "title": "Smiles",
    "level": 0.95,
    "verdict": {"label": "Less fair", "headline": "It is."},
    "receivers": ["lenet", "tree"],
    "sensitive": "hair",
    "test": {"images": 1200},
    "generators": [
        {"name": "clean", "receivers": {"lenet": GAPS, "tree": GAPS}},
        {"name": "half", "receivers": {"lenet": GAPS | {"parity": ends(0.4)}, "tree": GAPS | {"odds": ends(0.5)}}},
    ],
    "provenance": {},
}
PIXELS = np.random.default_rng(0).integers(0, 256, (260, 4, 4, 1), dtype=np.uint8)
GIVEN_AWAY = np.concatenate([PIXELS[:3], PIXELS[200:]])  # copies of 3 of 100 members, and 60 of none
EXTRACTION, UNJUDGED = (extraction_report(GIVEN_AWAY, PIXELS[:100], held).document for held in (PIXELS[100:200], None))
EXTRACTED = next(rule["members"] for rule in EXTRACTION["rules"] if rule["name"] == "calibrated")


def changed(document, **parts):
    """The document with parts replaced, each named by its path with __ for a dot."""
    document = copy.deepcopy(document)
    for path, value in parts.items():
        *way, last = path.split("__")
        place = document
        for key in way:
            place = place[key]
        place[last] = value
    return document
