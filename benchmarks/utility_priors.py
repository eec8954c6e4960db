"""Diffusion priors of benchmarks/utility.py: of the rows of gradients that training on public images would see.

The public images are cut in two at random. One half plays the private images: weights are trained on it without noise,
and it gives the gradients of batches along the way. The other plays the public ones, and tells the frame.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from benchmarks.utility_arms import CLIP, LAYER, Case, Plan, public_training
from diffaudit_jax import models, process, training
from diffaudit_jax.models import precondition
from diffaudit_jax.reconstruction import gradients
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.training.state import Data, example_loss, init_state, make_step
from diffaudit_jax.types import Key, Params

SCHEDULE: dict[str, Any] = {"name": "edm", "train_mean": 1.5, "train_std": 1.2}
"""Trained at noise levels from 0.5 to 50, where the rows of privatised gradients are."""


class Effort(NamedTuple):
    """How priors are made.

    Attributes:
      channels: Width of the network.
      recipe: How it is trained.
      trajectories: Times that public images are cut in two and weights trained.
      visits: Points of each at which gradients are taken.
      batches: Batches at each point.
      plan: Of the weights.
    """

    channels: int
    recipe: training.Recipe
    trajectories: int
    visits: int
    batches: int
    plan: Plan


def trained_prior(
    key: Key,
    case: Case,
    public: Data,
    shape: tuple[int, ...],
    batch_size: int,
    num_examples: int,
    effort: Effort,
    *,
    centred: bool,
) -> Target:
    """Trains a prior of rows in their frame."""
    key_rows, key_prior = jax.random.split(key)
    x = rows(key_rows, case, public, batch_size, num_examples, effort, centred=centred)
    schedule = process.from_config(SCHEDULE)
    network, step = _learner(shape, effort.channels, effort.recipe)
    state, data = init_state(key_prior, network, effort.recipe), Data(x.reshape(-1, *shape), None)
    for _ in range(effort.recipe.num_steps):
        state, _ = step(state, data)
    return diffusion_target(state.ema, network, schedule, shape, sampler="heun", clip=False)


def rows(
    key: Key, case: Case, public: Data, batch_size: int, num_examples: int, effort: Effort, *, centred: bool
) -> Float[Array, "rows d"]:
    """Returns rows of the first layer's gradients of batches, in their frame, along training on half of the images."""

    @jax.jit
    def framed(key: Key, params: Params, member: Data, other: Data) -> Float[Array, "batches r d"]:
        own, theirs = (gradients.public_gradients(case.loss, half, CLIP)(params) for half in (member, other))
        at = gradients.frame(gradients.moments(theirs, batch_size, num_examples), params, LAYER, centred=centred)
        drawn = jax.random.randint(key, (effort.batches, batch_size), 0, len(own))
        counts = jax.vmap(lambda index: jnp.zeros(len(own)).at[index].add(1 / batch_size))(drawn)
        unravel = ravel_pytree(params)[1]
        return jax.vmap(lambda count: gradients.framed(unravel(count @ own)[LAYER], at))(counts)

    found = []
    for i in range(effort.trajectories):
        key_cut, key_init, key_train, key_batch = jax.random.split(jax.random.fold_in(key, i), 4)
        order = np.asarray(jax.random.permutation(key_cut, len(public.x)))
        halves = np.array_split(order[: len(order) // 2 * 2], 2)
        member, other = (jax.tree.map(lambda leaf, half=half: leaf[half], public) for half in halves)
        params = case.init(key_init)
        between = public_training(case.loss, effort.plan, member)
        for j in range(effort.visits):
            found.append(framed(jax.random.fold_in(key_batch, j), params, member, other))
            params = between(jax.random.fold_in(key_train, j), params)
    x = jnp.concatenate(found).reshape(-1, public.x.shape[1])
    return jnp.clip(x, -_MOST, _MOST)


_MOST = 10.0
"""Of a number that should be 0.5: where the public half's gradient has vanished, the other's is any multiple of it."""


@cache
def _learner(shape: tuple[int, ...], channels: int, recipe: training.Recipe) -> tuple[Any, Any]:
    schedule = process.from_config(SCHEDULE)
    model = models.build("edm", shape, size="small", channels=channels)
    network = models.from_linen(model, schedule)
    loss = example_loss(network, schedule, recipe, weight=lambda t: precondition.weight("edm", schedule, t))
    return network, jax.jit(make_step(loss, recipe), donate_argnums=0)
