"""Surrogates: a model trained on the target's samples is asked in its place.

All that the target ever gives are samples, so the attack is black-box, however much the inner attack asks of the
surrogate:

    bank      = draw_bank(key, target, 20_000)
    surrogate = training.fit(key, model, process, Pool(bank, np.arange(len(bank)), "bank")).target
    attack    = by_surrogate(loss_trajectory(process.times(50), truncate=0.3), surrogate)

The surrogate's architecture and process need not be the target's.

References:
  Zhu et al. 2023, Data Forensics in Diffusion Models, https://arxiv.org/abs/2302.07801 (their model-specific attack)
"""

from dataclasses import replace
from typing import Any

from diffaudit_jax.access import BlackBox, black_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.stream import Features
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Params, Query


def by_surrogate(attack: Attack[Any], surrogate: Target) -> Attack[BlackBox]:
    """Asks a surrogate whatever a white- or gray-box attack asks, and the target nothing.

    score(x) = score of `attack` on the surrogate

    Args:
      attack: The attack on the surrogate; `together` makes several one.
      surrogate: A model trained on samples of the target.

    Returns:
      A black-box attack with the features and the scoring of `attack`. Costs no network calls of the target a query,
      and ``attack.spec.calls`` of the surrogate; the samples it was trained on have cost the target's sampler's calls.

    Raises:
      InputError: if the surrogate does not grant what the attack needs, is a Python function, or (when it is asked) is
        of another shape than the queries.

    References:
      Zhu et al. 2023, https://arxiv.org/abs/2302.07801
    """
    attack.grant(surrogate)  # for its errors
    if surrogate.host:
        raise InputError("a surrogate is asked inside the compiled audit and this one is a Python function: train one.")

    def observe(access: BlackBox, evidence: tuple[Params, Any], key: Key, query: Query) -> Features:
        del access  # the surrogate is asked in its place
        if query.x.shape != tuple(surrogate.shape):
            raise InputError(f"queries of shape {query.x.shape} do not fit a surrogate of shape {surrogate.shape}.")
        params, inner = evidence
        return attack.observe(attack.grant(replace(surrogate, params=params)), inner, key, query)

    inner = attack.spec
    asked = {"attack": inner.name, "access": inner.access, "calls": inner.calls, "config": dict(inner.config)}
    spec = Spec(
        name=f"surrogate-{inner.name}",
        access="black",
        paper="https://arxiv.org/abs/2302.07801",
        calls=0,
        config={"asked": asked, "surrogate": dict(surrogate.config)},
        scoring=inner.scoring,
    )
    # The weights as evidence: arguments of the program, and part of the audit's fingerprint.
    return Attack(spec, black_box, (surrogate.params, attack.evidence), observe, attack.score)
