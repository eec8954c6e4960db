"""The attack record: what it asks (observe, on the device, stored) and what it concludes (score, on the host).

`observe` and `score` are apart so that one expensive pass serves many scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import jax
import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import Target
from diffaudit_jax.stream import Features
from diffaudit_jax.types import Key, Query

Access = TypeVar("Access")
Score = Callable[[Features], Float[np.ndarray, " n"]]


@dataclass(frozen=True)
class Spec:
    """What an attack is, as JSON: listed, fingerprinted and reported.

    Attributes:
      name: The method's name.
      access: Threat model.
      paper: URL of the source.
      calls: Network calls per query, exactly.
      config: Settings of `observe`; a change makes stored observations another attack's.
      scoring: Settings of `score`; free to change on stored observations.
    """

    name: str
    access: Literal["white", "gray", "black"]
    paper: str
    calls: int
    config: Mapping[str, Any]
    scoring: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Attack(Generic[Access]):
    """An attack on one query at a time.

    Attributes:
      spec: What it is.
      grant: ``Target -> access``, the threat model; called inside the traced function, so weights stay arguments.
      evidence: Arrays the attack brings along (a bank of samples, a shared key): traced, hashed.
      observe: ``(access, evidence, key, query) -> features``; pure, one query, no truth.
      score: ``features of n queries -> float64 [n]`` on the host; higher = member.
    """

    spec: Spec
    grant: Callable[[Target], Access]
    evidence: Any
    observe: Callable[[Access, Any, Key, Query], Features]
    score: Score


def with_score(attack: Attack[Access], score: Score, **scoring: Any) -> Attack[Access]:
    """The same attack with another score; its observations are unchanged and stay valid.

    Args:
      attack: Attack to rescore.
      score: ``features -> float64 [n]``, higher = member.
      **scoring: What to record of the new score.
    """
    return replace(attack, score=score, spec=replace(attack.spec, scoring=scoring))


def concatenate(first: Attack[Access], second: Attack[Access], score: Score) -> Attack[Access]:
    """Two attacks of the same access as one pass; features become the pair of both, calls add up.

    Args:
      first: One attack.
      second: Another, with the same grant.
      score: Scores the pair ``(features of first, features of second)``.

    Raises:
      ValueError: if the two need different access.
    """
    if first.spec.access != second.spec.access:
        raise ValueError(f"cannot join a {first.spec.access}-box and a {second.spec.access}-box attack in one pass.")

    def observe(access: Access, evidence: Any, key: Key, query: Query) -> Features:
        keys = jax.random.split(key, 2)
        return (
            first.observe(access, evidence[0], keys[0], query),
            second.observe(access, evidence[1], keys[1], query),
        )

    spec = Spec(
        name=f"{first.spec.name}+{second.spec.name}",
        access=first.spec.access,
        paper=first.spec.paper,
        calls=first.spec.calls + second.spec.calls,
        config={"first": dict(first.spec.config), "second": dict(second.spec.config)},
    )
    return Attack(spec, first.grant, (first.evidence, second.evidence), observe, score)
