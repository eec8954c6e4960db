"""What an API does in its own defence, between its answer and the attacker who sees it.

    answer' = p_k(... p_2(p_1(answer)))      an x0 estimate of gray-box access, an image of image-to-image access

A protection acts on answers alone: weights that an attacker holds are not protected by it. Which protections an audit
was run behind is part of its fingerprint, so observations of the bare API never pass for those of a protected one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.access import GrayBox, Variation
from diffaudit_jax.attack import Access, Attack
from diffaudit_jax.attacks.noise import noise_at
from diffaudit_jax.stream import Features
from diffaudit_jax.types import Example, InputError, Key, Query, Time


@dataclass(frozen=True, eq=False)
class Protection:
    """One step of a defence.

    Attributes:
      config: What it is, as JSON; audits fingerprint it.
      shield: ``shield(key, t, answer) -> answer``; the key is of this question and this protection alone.
    """

    config: Mapping[str, Any]
    shield: Callable[[Key, Time, Example], Example]


def rounded(levels: int = 256) -> Protection:
    """Answers as an image of `levels` values a channel: clipped to [-1, 1] and rounded, off by 1/(levels - 1) at most.

    The rounding of an x0 estimate is about uniform, of standard deviation 1/(sqrt(3) (levels - 1)); in the noise
    estimate it is alpha/sigma times as large, so that attacks at small t feel it most.

    Raises:
      InputError: if there are fewer than 2 levels.
    """
    if levels < 2:
        raise InputError(f"an answer is rounded to 2 levels or more, got {levels=}.")

    def shield(key: Key, t: Time, answer: Example) -> Example:
        del key, t
        scale = (levels - 1) / 2
        return jnp.round((jnp.clip(answer, -1.0, 1.0) + 1) * scale) / scale - 1

    return Protection({"protection": "rounded", "levels": levels}, shield)


def noised(std: float) -> Protection:
    """Adds Gaussian noise to answers, drawn anew for every question.

    Raises:
      InputError: if `std` is negative or not finite.
    """
    std = _checked_std(std)

    def shield(key: Key, t: Time, answer: Example) -> Example:
        del t
        return answer + std * jax.random.normal(key, answer.shape)

    return Protection({"protection": "noised", "std": std}, shield)


def shared_noise(std: float, *, key: Key | None = None) -> Protection:
    """Adds one and the same Gaussian noise to all answers at one time: queries are a batch that shares a draw.

    Cheaper for an API than `noised`, and weaker: the noise of two queries cancels in their difference, and that of
    several draws at one time does not average out. Times have noise of their own.

    Args:
      std: Standard deviation of the noise.
      key: The API's own key, which no attacker knows; default key 0.

    Raises:
      InputError: if `std` is negative or not finite.
    """
    std = _checked_std(std)
    # An attack may draw from the same key: folded in, so that its noise is never the service's.
    own = jax.random.fold_in(jax.random.key(0) if key is None else key, 1)

    def shield(key: Key, t: Time, answer: Example) -> Example:
        del key
        return answer + std * noise_at(own, jnp.asarray(t, jnp.float32), 1, answer.shape)[0]

    drawn_from = np.asarray(jax.random.key_data(own)).tolist()
    return Protection({"protection": "shared_noise", "std": std, "key": drawn_from}, shield)


def protected(attack: Attack[Access], *protections: Protection) -> Attack[Access]:
    """The same attack against an API that defends itself; costs the same calls.

    Args:
      attack: Gray-box or image-to-image attack, also one of several (`attack.together`).
      *protections: Applied to every answer, first to last.

    Returns:
      An attack whose `Spec.config` lists the protections under ``"protections"``.

    Raises:
      InputError: if the attack asks something else than an API's answers.
    """
    if attack.spec.access not in ("gray", "variation"):
        raise InputError(
            f"protections stand between an API and who asks it, and {attack.spec.name!r} needs "
            f"{attack.spec.access}-box access: protect gray-box or image-to-image attacks."
        )

    def observe(access: Any, evidence: Any, key: Key, query: Query) -> Features:
        # Here rather than in the grant, which `together` takes from the first of its attacks for all of them.
        if attack.spec.access == "gray":
            access = GrayBox(access.process, _shielded(access.denoise, protections))
        else:
            access = Variation(_shielded(access.vary, protections))
        return attack.observe(access, evidence, key, query)

    earlier = attack.spec.config.get("protections", [])
    config = {**attack.spec.config, "protections": [*(dict(each.config) for each in protections), *earlier]}
    return replace(attack, spec=replace(attack.spec, config=config), observe=observe)


def check_budget(calls: int, num_queries: int, budget: int, *, bank: int = 0) -> None:
    """Refuses an audit that asks more than an API allows, before anything is asked.

    Args:
      calls: Network calls per query, `Spec.calls`.
      num_queries: Queries of the audit.
      budget: Network calls allowed in all.
      bank: Network calls that a bank of generated images takes first.

    Raises:
      InputError: if they do not suffice.
    """
    total, left = calls * num_queries, max(budget - bank, 0)
    if bank > max(budget, 0):
        raise InputError(
            f"the bank alone takes {bank} calls, over the budget of {budget}: draw fewer images, or raise it."
        )
    if total > left:
        taken = f" and the bank's {bank}" if bank else ""
        raise InputError(
            f"{calls} calls x {num_queries} queries are {total}{taken}, over the budget of {max(budget, 0)}: "
            f"it pays for {left // calls} queries, ask no more or raise it."
        )


def _shielded(ask: Callable[..., Example], protections: tuple[Protection, ...]) -> Callable[..., Example]:
    def answer(key: Key, x: Example, t: Time, cond: Any = None) -> Example:
        key_ask, *keys = jax.random.split(key, 1 + len(protections))
        out = ask(key_ask, x, t, cond)
        for protection, key_shield in zip(protections, keys, strict=True):
            out = protection.shield(key_shield, t, out)
        return out

    return answer


def _checked_std(std: float) -> float:
    if not 0 <= std < float("inf"):
        raise InputError(f"noise has a standard deviation of 0 or more, got {std=}.")
    return float(std)
