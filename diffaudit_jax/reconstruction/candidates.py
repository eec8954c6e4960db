"""The attack that the bounds are about: it knows that the target is one of M candidates, and picks the likeliest.

With c_j the clipped gradient of candidate j, g = c_j + sigma n has the log-likelihood, up to what all candidates share,

    log p(g | j) = (<g, c_j> - ||c_j||^2/2)/sigma^2

so the likeliest candidate does not depend on sigma. Where every gradient is clipped the norms are equal, and it is the
one with the largest product: the published rule. Then, and if the candidates are orthogonal, the chance of success is
`metrics.candidate_success`, which stays just below `metrics.rero` at kappa = 1/M. Gradients shorter than the clipping
norm are nearer to each other, ||c_i - c_j|| < sqrt(2) C: that formula is too high for them, and the bound holds. The
product alone would do worse, as it favours long gradients.

References:
  Hayes, Mahloujifar and Balle 2023, https://arxiv.org/abs/2302.07225
"""

import jax
import jax.numpy as jnp
from jax.tree_util import keystr
from jaxtyping import Array, Float, Int

from diffaudit_jax.training.mechanism import clipped_sum
from diffaudit_jax.types import InputError, Params


def candidate_attack(g: Params, candidates: Params, l2_clip_norm: float) -> Int[Array, ""]:
    """Picks the candidate that most likely made a privatised gradient.

    argmax over j of <g, clip(g_j)> - ||clip(g_j)||^2/2

    Args:
      g: The privatised gradient of one example, clipped and noised; a tree of arrays. For T releases, their mean.
      candidates: The candidates' gradients before clipping, M on the leading axis of every leaf.
      l2_clip_norm: C, as the release was clipped.

    Returns:
      The index of the likeliest, the first of several. No network calls; memory of one more copy of the candidates.

    Raises:
      InputError: if the trees differ, or C is not positive.

    References:
      Hayes, Mahloujifar and Balle 2023, https://arxiv.org/abs/2302.07225
    """
    return jnp.argmax(log_likelihoods(g, candidates, l2_clip_norm))


def log_likelihoods(g: Params, candidates: Params, l2_clip_norm: float) -> Float[Array, " m"]:
    """Returns sigma^2 log p(g | j) of each candidate, up to what they share; arguments and errors as the attack's."""
    if not l2_clip_norm > 0:
        raise InputError(f"l2_clip_norm is {l2_clip_norm}: gradients are clipped to a positive norm.")
    number = jax.tree.leaves(candidates)[0].shape[:1] or (1,)
    wanted, given = _shapes(g, number), _shapes(candidates)
    if wrong := [at for at in wanted | given if given.get(at) != wanted.get(at)]:
        at = wrong[0]
        raise InputError(f"gradient{at} of the candidates is {given.get(at)}: for this release it is {wanted.get(at)}.")

    def log_likelihood(candidate: Params) -> Float[Array, ""]:
        clipped = _clipped(candidate, l2_clip_norm)
        # <g, c> - ||c||^2/2 = <g - c/2, c>, with one rounding of large numbers less.
        return jax.tree.reduce(jnp.add, jax.tree.map(lambda a, c: jnp.sum((a - c / 2) * c), g, clipped))

    return jax.vmap(log_likelihood)(candidates)


def _shapes(tree: Params, lead: tuple[int, ...] = ()) -> dict[str, tuple[int, ...]]:
    return {keystr(at): (*lead, *leaf.shape) for at, leaf in jax.tree.leaves_with_path(tree)}


def _clipped(grad: Params, l2_clip_norm: float) -> Params:
    # By the code that clips in training, as a batch of one.
    total, _, _ = clipped_sum(jax.tree.map(lambda leaf: leaf[None], grad), jnp.ones(1, bool), l2_clip_norm)
    return total
