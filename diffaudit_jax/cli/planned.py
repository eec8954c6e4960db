"""An audit by a plan: what the plan fixed is what is asked, or the audit is refused."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax import data
from diffaudit_jax._version import __version__
from diffaudit_jax.auditing import content_hash, fingerprints
from diffaudit_jax.cli.passes import Pass
from diffaudit_jax.metrics.groups import one_each, people
from diffaudit_jax.report.document import parsed
from diffaudit_jax.report.schema import COUNT, NUMBER, OBJECT, TEXT, WHOLE, faults
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Query

SCHEMA = "diffaudit.plan"
SCHEMA_VERSION = 1
SET = {"records": COUNT, "sha256": TEXT}
DOCUMENT = {
    "created": TEXT,
    "version": TEXT,
    "attack": TEXT,
    "spec": OBJECT,
    "target_fpr": NUMBER,
    "threshold": NUMBER,
    "seed": WHOLE,
    "asked": OBJECT,
    "asking": OBJECT,
    "weights": OBJECT,
    "fingerprints": dict.fromkeys(("version", "target", "attack", "scoring", "key"), TEXT),
    "sets": {"calibration": SET, "members": SET, "nonmembers": SET},
    "sha256": TEXT,
}
CALLED = {
    "target": "the model is not the one that the plan was made for",
    "attack": "the attack asks otherwise than the plan fixed",
    "scoring": "the attack scores otherwise than the plan fixed",
    "key": "the noise is not that of the plan",
}


def digest(plan: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a plan without its own: of JSON with sorted keys and no spaces, in UTF-8."""
    rest = {name: part for name, part in plan.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(plan: Mapping[str, Any]) -> str:
    """Returns a plan as it is written, an entry a line."""
    lines = (f" {json.dumps(name)}: {json.dumps(plan[name], sort_keys=True, allow_nan=False)}" for name in plan)
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_plan(path: Path) -> dict[str, Any]:
    """Reads a plan and holds it against its own hash.

    Raises:
      InputError: if it is missing, no plan, of another version, or was changed after it was made.
    """
    plan = parsed(path, SCHEMA, SCHEMA_VERSION, "a plan of `diffaudit plan`")
    if fault := next(faults(plan, DOCUMENT), None):
        raise InputError(f"the plan {str(path)!r} {fault}: make another plan.")
    if plan["sha256"] != digest(plan):
        raise InputError(f"the plan {str(path)!r} was changed after it was made: its sha256 is not that of the rest.")
    if plan["asking"].get("attack") != [plan["attack"]]:
        raise InputError(f"the plan {str(path)!r} does not ask the one attack that it names: make another plan.")
    if plan["version"] != __version__:
        raise InputError(
            f"the plan {str(path)!r} was made by diffaudit_jax {plan['version']}, and this is {__version__}: "
            "audit with that version, or make another plan."
        )
    return plan


def dealt(split: data.Split[data.Pool], seed: int) -> tuple[data.Pool, data.Split[data.Pool]]:
    """Deals a random half of the non-members to the threshold, and the rest to the test; a person has one record.

    Coins no longer stand in what is left: of those that fell on "out", half are gone.

    Args:
      split: Who may be asked about.
      seed: Seed of the half, and of the record of each person who has several.

    Returns:
      Those that set the threshold; members and the other non-members.
    """
    if split.groups is not None:
        rows, num = one_each(people(split.groups, split.member), seed), len(split.members)
        inside, outside = rows[rows < num], rows[rows >= num] - num
        split = replace(split, members=split.members.take(inside), nonmembers=split.nonmembers.take(outside))
    order = np.random.default_rng((seed, 4)).permutation(len(split.nonmembers))
    half = len(order) // 2
    calibration, rest = (split.nonmembers.take(np.sort(part)) for part in (order[:half], order[half:]))
    return calibration, replace(split, nonmembers=rest, coin=None)


def fixed_set(pool: data.Pool) -> dict[str, Any]:
    """Returns what a plan holds of some records: how many they are, and one hash of all their contents.

    The rows, or a hash of each, would let whoever reads the plan look up who is a member.
    """
    return {"records": len(pool), "sha256": pool.fingerprint()}


def planned(split: data.Split[data.Pool], plan: Mapping[str, Any]) -> data.Split[data.Pool]:
    """Returns members and non-members that a plan fixed, of those that may be asked about.

    Raises:
      InputError: if they are not those of the plan.
    """
    calibration, rest = dealt(split, plan["seed"])
    found = {"calibration": calibration, "members": rest.members, "nonmembers": rest.nonmembers}
    called = {"calibration": "non-members that set its threshold", "nonmembers": "non-members"}
    for name, pool in found.items():
        fixed, what = plan["sets"][name], called.get(name, name)
        if len(pool) != fixed["records"]:
            raise InputError(f"the plan fixed {fixed['records']} {what}, and there are {len(pool)}: ask about those.")
        if fixed_set(pool) != fixed:
            raise InputError(f"the {what} are not those that the plan fixed: ask about the very same records.")
    return rest


def prints_of(made: Mapping[str, Pass], target: Target, queries: Query, key: Key) -> dict[str, str]:
    """Returns fingerprints of what asks whom, of the one pass of a plan; the queries have theirs by set."""
    (each,) = made.values()
    found = fingerprints(each.attack, target, queries, key)
    scoring = {name: attack.spec.scoring for name, (_, attack) in each.scored.items()}
    told = content_hash(json.dumps(scoring, sort_keys=True, default=str))
    return {**{name: found[name] for name in ("version", "target", "attack", "key")}, "scoring": told}


def check_kept(plan: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """Refuses an audit of another model, or that asks otherwise, before anything is asked.

    Raises:
      InputError: if a fingerprint is not the plan's.
    """
    for name, says in CALLED.items():
        if plan["fingerprints"][name] != found[name]:
            raise InputError(f"{says}: audit as it was planned, or make another plan.")
