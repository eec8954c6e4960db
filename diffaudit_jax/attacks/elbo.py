"""The terms of a VAE's bound: how well a query is encoded and decoded, at many draws of its code.

Draw k of the code z of x gives reconstruction r_k = -ln p(x | z), k_k = ln q(z | x) - ln p(z) and the KL whose mean
k_k is. A diffusion model's loss varies with the time and can be truncated there; a VAE's varies with the draw alone, so
truncation is by value.

References:
  Zhu et al. 2023, Data Forensics in Diffusion Models, https://arxiv.org/abs/2302.07801 (truncation)
  Burda et al. 2016, https://arxiv.org/abs/1509.00519 (the importance-weighted bound)
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from diffaudit_jax.access import Bound, bound_box
from diffaudit_jax.attack import Attack, Score, Spec
from diffaudit_jax.attacks.statistics import STATISTICS
from diffaudit_jax.attacks.statistics import Statistic as Average
from diffaudit_jax.target import BoundTerms
from diffaudit_jax.types import InputError, Key, Query, known

Term = Literal["elbo", "reconstruction", "kl", "weight"]
TERMS: tuple[Term, ...] = ("elbo", "reconstruction", "kl", "weight")
Statistic = Average | Literal["iwae"]
Side = Literal["largest", "smallest"]


def elbo(
    num_draws: int = 50,
    *,
    term: Term = "elbo",
    statistic: Statistic = "mean",
    truncate: float | None = None,
    drop: Side = "largest",
    noise_key: Key | None = None,
    common_noise: bool = True,
) -> Attack[Bound]:
    """Scores by the terms of a VAE's bound on the query, over draws of its code.

    score(x) = -statistic over kept k of l_k(x),   l_k = r_k + KL ("elbo"),  r_k,  KL,  or r_k + k_k ("weight")

    Args:
      num_draws: Draws of the code.
      term: What of the bound. "weight" is -ln p(x, z)/q(z | x), whose mean the bound is too.
      statistic: How the kept draws are joined; "iwae" is -ln mean exp(-l), which of weights tends to -ln p(x).
      truncate: Share of each query's draws that is dropped; None keeps all.
      drop: Which are dropped: the largest or the smallest.
      noise_key: Key of the common noise, default key 0.
      common_noise: Whether all queries share the noise of their codes (common random numbers: the luck of a draw
        cancels in the comparison); otherwise each query's own key draws it.

    Returns:
      A white-box attack on a VAE whose features are `BoundTerms` of [draws]. Costs num_draws calls of encoder and
      decoder a query.

    Raises:
      InputError: if no code is drawn, a truncation keeps nothing, or a name is unknown; in an audit, if the target is
        no VAE.

    References:
      Zhu et al. 2023, https://arxiv.org/abs/2302.07801
    """
    scoring = {"term": term, "statistic": statistic, "truncate": truncate, "drop": drop}
    rule = score(num_draws, **scoring)

    def observe(access: Bound, evidence: Key, key: Key, query: Query) -> BoundTerms:
        noise_key = evidence if common_noise else key
        # A draw depends on its number, not on how many there are. One at a time: memory is that of one.
        keys = jax.vmap(lambda i: jax.random.fold_in(noise_key, i))(jnp.arange(num_draws))
        return jax.lax.map(lambda key: access.terms(key, query.x, query.cond), keys)

    asked = {"num_draws": num_draws, "common_noise": common_noise}
    spec = Spec("elbo", "white", "https://arxiv.org/abs/2302.07801", num_draws, asked, scoring)
    evidence = jax.random.key(0) if noise_key is None else noise_key
    return Attack(spec, bound_box, evidence, observe, rule)


def score(
    num_draws: int,
    *,
    term: Term = "elbo",
    statistic: Statistic = "mean",
    truncate: float | None = None,
    drop: Side = "largest",
) -> Score:
    """Makes the score of stored terms; arguments as in `elbo`, no network calls.

    Returns:
      ``BoundTerms of [n, draws] -> float64 [n]``, higher = member.

    Raises:
      InputError: if no code is drawn, the truncation keeps nothing, or a name is unknown.
    """
    known("term", term, TERMS)
    known("statistic", statistic, (*STATISTICS, "iwae"))
    known("side", drop, ("largest", "smallest"))
    if num_draws < 1:
        raise InputError(f"at least 1 draw of the code is needed, got {num_draws=}.")
    if truncate is not None and not 0 <= truncate < 1:
        raise InputError(f"truncate is the share of draws that is dropped, from 0 to below 1, got {truncate}.")
    # 0.29 x 100 is 28.999999999999996: a share of whole draws is not to lose one to that.
    dropped = 0 if truncate is None else int(truncate * num_draws + 1e-9)
    kept = slice(dropped, None) if drop == "smallest" else slice(0, num_draws - dropped)

    def rule(features: BoundTerms) -> Float[np.ndarray, " n"]:
        values = np.sort(negative(features, term), axis=1)[:, kept]
        if statistic == "iwae":
            return logsumexp(-values, axis=1) - np.log(values.shape[1])
        return -STATISTICS[statistic](values, axis=1)

    return rule


def negative(features: BoundTerms, term: Term) -> Float[np.ndarray, "n draws"]:
    """Returns one term of the negative bound at every draw, in float64 nats."""
    reconstruction, kl, ratio = (np.asarray(leaf, np.float64) for leaf in features)
    terms = {
        "elbo": reconstruction + kl,
        "reconstruction": reconstruction,
        "kl": kl,
        "weight": reconstruction + ratio,
    }
    return terms[known("term", term, TERMS)]
