"""The attack record: what it asks (observe, on the device, stored) and what it concludes (score, on the host).

`observe` and `score` are apart so that one expensive pass serves many scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from diffaudit_jax.access import GrayBox, asked_once
from diffaudit_jax.stream import Features
from diffaudit_jax.target import Target
from diffaudit_jax.types import Key, Query

Access = TypeVar("Access")
Score = Callable[[Features], Float[np.ndarray, " n"]]
AccessName = Literal["white", "gray", "variation", "black"]


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
      clean: Times at which a gray-box attack shows the query itself as x_t; `together` asks each of them once.
    """

    name: str
    access: AccessName
    paper: str
    calls: int
    config: Mapping[str, Any]
    scoring: Mapping[str, Any] = field(default_factory=dict)
    clean: tuple[float, ...] = ()


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


def together(attacks: Mapping[str, Attack[Access]]) -> Attack[Access]:
    """Several attacks of one access as one pass, in which what several of them ask is asked once.

    Each sees what it would see alone: all have the query's own key. Features and evidence are dicts by name.

    Args:
      attacks: Name -> attack, all of the same access; of image-to-image attacks, all of the same service.

    Returns:
      An attack whose features are ``name -> features``; its scores are those of the first. Costs the calls of all, less
      those about the query itself (`Spec.clean`) that are the same.

    Raises:
      ValueError: if there are none, or they need different access or are granted it differently.
    """
    specs = {name: attack.spec for name, attack in attacks.items()}
    if len({spec.access for spec in specs.values()}) != 1:
        needed = {name: f"{spec.access}-box" for name, spec in specs.items()}
        raise ValueError(f"attacks of one pass need one and the same access, got {needed}.")
    if len({attack.grant for attack in attacks.values()}) != 1:
        named = ", ".join(attacks)
        raise ValueError(f"attacks of one pass ask one and the same service, {named} are granted different ones.")
    first_name, first = next(iter(attacks.items()))

    def observe(access: Access, evidence: Any, key: Key, query: Query) -> Features:
        shared: Any = asked_once(access) if isinstance(access, GrayBox) else access
        return {name: attack.observe(shared, evidence[name], key, query) for name, attack in attacks.items()}

    clean = [np.float32(t) for spec in specs.values() for t in spec.clean]
    spec = Spec(
        name="+".join(spec.name for spec in specs.values()),
        access=first.spec.access,
        paper=first.spec.paper,
        calls=sum(spec.calls for spec in specs.values()) - len(clean) + len(set(clean)),
        config={name: {"attack": spec.name, **spec.config} for name, spec in specs.items()},
        clean=tuple(float(t) for t in sorted(set(clean))),
    )
    evidence = {name: attack.evidence for name, attack in attacks.items()}
    return Attack(spec, first.grant, evidence, observe, lambda features: first.score(features[first_name]))
