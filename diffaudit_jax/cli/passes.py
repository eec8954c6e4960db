"""From names of attacks to as few passes as answer them, and from answers to scores.

Attacks that score the same answers are one attack. Those that show the query itself to the model (SecMI, PIA, SimA) are
one pass, in which each such question is asked once. Every other attack is a pass of its own, kept in a directory of its
own: one that is added later finds the answers to the others there.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from diffaudit_jax.attack import Attack, together
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import Setting
from diffaudit_jax.protection import Protection, check_budget, noised, protected, rounded, shared_noise
from diffaudit_jax.stream import Features
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Query

SHARED = "clean"
"""Name of the pass that shows the query itself."""
SERVED = ("gray", "variation")
"""Access through a service, which can count calls and defend itself."""


class Pass(NamedTuple):
    """One pass over the queries.

    Attributes:
      attack: What is asked; its features are a dict by what is observed.
      scored: Name of an attack -> what of the features it scores, and itself.
    """

    attack: Attack
    scored: Mapping[str, tuple[str, Attack]]


class Seen(NamedTuple):
    """What all passes saw.

    Attributes:
      scores: Name of an attack -> float64 [n].
      features: What is observed -> features of n queries.
      specs: Name of an attack -> what it is, JSON.
      hashes: Pass -> fingerprints of everything that its answers depend on.
      calls: Pass -> network calls of the target a query.
    """

    scores: dict[str, np.ndarray]
    features: dict[str, Features]
    specs: dict[str, dict[str, Any]]
    hashes: dict[str, dict[str, str]]
    calls: dict[str, int]


def passes(names: tuple[str, ...], setting: Setting) -> dict[str, Pass]:
    """Makes the attacks and joins those that share answers or questions.

    Args:
      names: Attacks, of `ENTRIES`.
      setting: What they are made from.
    """
    joined: dict[str, dict[str, Attack]] = {}
    scored: dict[str, dict[str, tuple[str, Attack]]] = {}
    for name in names:
        observed, attack = ENTRIES[name].observed, ENTRIES[name].make(setting)
        where = SHARED if attack.spec.clean else observed
        joined.setdefault(where, {}).setdefault(observed, attack)
        scored.setdefault(where, {})[name] = observed, attack
    return {where: Pass(_behind(together(some), setting.asking), scored[where]) for where, some in joined.items()}


def check_service(made: Mapping[str, Pass], num_queries: int, asking: Asking, bank: int) -> None:
    """Refuses an audit that asks a service for more than it allows, or defends one that nobody asks.

    Args:
      made: The passes. Weights in the attacker's hands are no service: what white-box attacks ask is not counted.
      num_queries: Queries.
      asking: Budget and protections.
      bank: Network calls that a bank takes.

    Raises:
      InputError: if the calls of all passes together are over the budget, or a protection protects nothing.
    """
    served = [each.attack.spec.calls for each in made.values() if each.attack.spec.access in SERVED]
    if asking.query_budget is not None:
        check_budget(sum(served), num_queries, asking.query_budget, bank=bank)
    if _defences(asking) and not served:
        raise InputError(
            "protections (--api-...) stand before gray-box and image-to-image attacks, and none is asked for."
        )


def run_passes(
    made: Mapping[str, Pass], target: Target, queries: Query, *, key: Key, block: int, mesh: Mesh, out: Path
) -> Seen:
    """Asks all queries in every pass; one that was stopped goes on.

    Args:
      made: The passes.
      target: Who is asked.
      queries: What is asked about.
      key: Key of the audit.
      block: Queries per dispatch.
      mesh: Devices.
      out: Directory with a directory for each pass.
    """
    seen = Seen({}, {}, {}, {}, {})
    for where, each in made.items():
        with stage(f"auditing: {where}" if len(made) > 1 else "auditing") as show:
            found = audit(
                each.attack, target, queries, key=key, block=block, mesh=mesh, out=out / where, progress=show
            ).features
        seen.calls[where] = each.attack.spec.calls
        seen.hashes[where] = fingerprints(each.attack, target, queries, key)
        for name, (observed, attack) in each.scored.items():
            seen.features[observed] = found[observed]
            seen.scores[name] = attack.score(found[observed])
            seen.specs[name] = _described(attack, each.attack.spec.config.get("protections", []))
    return seen


def _behind(attack: Attack, asking: Asking) -> Attack:
    """The attack behind what the service does in its defence."""
    chosen = _defences(asking)
    return protected(attack, *chosen) if chosen and attack.spec.access in SERVED else attack


def _defences(asking: Asking) -> list[Protection]:
    defences: list[tuple[Any, Any, Callable[[Any], Protection]]] = [
        (asking.api_noise, 0, noised),
        (asking.api_shared_noise, 0, shared_noise),
        (asking.api_levels, None, rounded),  # last: what is shown is an image
    ]
    return [make(value) for value, none, make in defences if value != none]


def _described(attack: Attack, protections: list[Any]) -> dict[str, Any]:
    spec = asdict(attack.spec)
    scoring, config = spec.pop("scoring"), spec.pop("config")
    spec.pop("clean")
    return {**spec, "config": {**config, **scoring, **({"protections": protections} if protections else {})}}
