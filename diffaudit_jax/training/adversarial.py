"""A step of adversarial training: the critic learns to tell, a few times, and the generator once to mislead it.

With D the critic, its matrices of spectral norm 1, and G the generator:

    critic      mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))
    generator   -mean D(G(z))

References:
  Miyato et al. 2018, https://arxiv.org/abs/1802.05957
  Lim and Ye 2017, https://arxiv.org/abs/1705.02894 (hinge loss)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffaudit_jax.models.gan import Gan, Singular, singular, spectrally_normalised
from diffaudit_jax.training.state import Data, Recipe, TrainInfo, TrainState, averaged
from diffaudit_jax.types import InputError, Key, Params, to_signed


@dataclass(frozen=True)
class GanRecipe(Recipe):
    """How a GAN is trained: `Recipe` with SNGAN's numbers. Label dropout and the bound's weight are not used.

    Attributes:
      num_critic: Steps of the critic for one of the generator, which is what `num_steps` counts.
      beta1: Adam's decay of the mean gradient.
      beta2: Adam's decay of the mean square.
    """

    learning_rate: float = 2e-4
    warmup_steps: int = 0
    clip_norm: float = 0.0
    num_critic: int = 5
    beta1: float = 0.0
    beta2: float = 0.9

    def __post_init__(self):
        super().__post_init__()
        if self.num_critic < 1:
            raise InputError(f"num_critic must be at least 1, got {self.num_critic}.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}.")


class GanMoments(NamedTuple):
    """Adam's state for each network."""

    generator: Any
    critic: Any


class GanParams(NamedTuple):
    """All weights: a run keeps them, and what is audited is the generator alone.

    Attributes:
      generator: The generator's.
      critic: The critic's, as they are before they are normalised.
      singular: Where the power iteration of its matrices stands.
    """

    generator: Params
    critic: Params
    singular: Singular


def critic_hinge(real: Float[Array, " n"], fake: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns mean max(0, 1 - real) + mean max(0, 1 + fake): 2 where the critic says 0 to all, 0 at a margin of 1."""
    return jnp.maximum(0.0, 1 - real).mean() + jnp.maximum(0.0, 1 + fake).mean()


def generator_hinge(fake: Float[Array, " n"]) -> Float[Array, ""]:
    """Returns -mean fake."""
    return -fake.mean()


def init_gan_state(key: Key, gan: Gan, recipe: GanRecipe) -> TrainState:
    """Returns the state before the first step; the average is of the generator alone."""
    key_init, key_singular, key_train = jax.random.split(key, 3)
    generator, critic = gan.init(key_init)
    estimates = singular(key_singular, critic)
    for _ in range(_SETTLE):
        estimates = spectrally_normalised(critic, estimates)[1]
    tx = _adam(recipe)
    moments: Any = GanMoments(tx.init(generator), tx.init(critic))
    # Distinct buffers: a state may be donated, and one buffer cannot be donated twice.
    ema = jax.tree.map(jnp.copy, generator)
    return TrainState(GanParams(generator, critic, estimates), ema, moments, jnp.zeros((), jnp.int32), key_train)


_SETTLE = 10  # steps of power iteration at the start; one a step follows the weights from there


def make_gan_step(gan: Gan, recipe: GanRecipe) -> Callable[[TrainState, Data], tuple[TrainState, TrainInfo]]:
    """Makes one step; pure, all randomness from fold_in(state.key, state.step).

    Its two parts are programs of their own: on CPU, a gradient of convolutions in a loop is a hundred times slower, and
    unrolled the critic would be compiled `num_critic` times.

    Args:
      gan: Networks.
      recipe: Batch size, optimiser, critic's steps and average.

    Returns:
      The step. Its info has the critic's last loss, and the norm of both gradients together.
    """
    tx = _adam(recipe)
    critic = jax.jit(partial(_critic_step, gan, recipe, tx))
    generator = jax.jit(partial(_generator_step, gan, recipe, tx))

    def step(state: TrainState, data: Data) -> tuple[TrainState, TrainInfo]:
        key = jax.random.fold_in(state.key, state.step)
        infos = []
        for i in range(recipe.num_critic):
            state, info = critic(state, data, jax.random.fold_in(key, i))
            infos.append(info)
        state, pull = generator(state, data, jax.random.fold_in(key, recipe.num_critic))
        return state, TrainInfo(infos[-1].loss, jnp.hypot(infos[-1].grad_norm, pull))

    return step


def _critic_step(
    gan: Gan, recipe: GanRecipe, tx: optax.GradientTransformation, state: TrainState, data: Data, key: Key
) -> tuple[TrainState, TrainInfo]:
    key_real, key_fake = jax.random.split(key)
    x, labels = _real(key_real, data, recipe)
    fakes = jax.lax.stop_gradient(_fakes(gan, state.params.generator, key_fake, labels, recipe))

    def loss(params: Params) -> tuple[Float[Array, ""], Singular]:
        normalised, estimates = spectrally_normalised(params, state.params.singular)
        judge = jax.vmap(gan.judge, (None, 0, None if labels is None else 0))
        return critic_hinge(judge(normalised, x, labels), judge(normalised, fakes, labels)), estimates

    (value, estimates), grads = jax.value_and_grad(loss, has_aux=True)(state.params.critic)
    moments: Any = state.opt_state
    updates, moved = tx.update(grads, moments.critic, state.params.critic)
    params = optax.apply_updates(state.params.critic, updates)
    state = state._replace(
        params=state.params._replace(critic=params, singular=estimates),
        opt_state=moments._replace(critic=moved),
    )
    return state, TrainInfo(value, optax.tree.norm(grads))


def _generator_step(
    gan: Gan, recipe: GanRecipe, tx: optax.GradientTransformation, state: TrainState, data: Data, key: Key
) -> tuple[TrainState, Float[Array, ""]]:
    key_real, key_fake = jax.random.split(key)
    labels = _real(key_real, data, recipe)[1]
    normalised = spectrally_normalised(state.params.critic, state.params.singular)[0]

    def loss(params: Params) -> Float[Array, ""]:
        fakes = _fakes(gan, params, key_fake, labels, recipe)
        return generator_hinge(jax.vmap(gan.judge, (None, 0, None if labels is None else 0))(normalised, fakes, labels))

    grads = jax.grad(loss)(state.params.generator)
    moments: Any = state.opt_state
    updates, moved = tx.update(grads, moments.generator, state.params.generator)
    params = optax.apply_updates(state.params.generator, updates)
    state = TrainState(
        state.params._replace(generator=params),
        averaged(state, params, recipe),
        moments._replace(generator=moved),
        state.step + 1,
        state.key,
    )
    return state, optax.tree.norm(grads)


def _real(key: Key, data: Data, recipe: GanRecipe) -> tuple[Float[Array, "n *shape"], Array | None]:
    key_index, key_flip = jax.random.split(key)
    index = jax.random.randint(key_index, (recipe.batch_size,), 0, len(data.x))
    x = to_signed(data.x[index])
    if recipe.flip:
        mirrored = jax.random.bernoulli(key_flip, shape=(recipe.batch_size, 1, 1, 1))
        x = jnp.where(mirrored, x[:, :, ::-1], x)
    return x, None if data.labels is None else data.labels[index]


def _fakes(gan: Gan, params: Params, key: Key, labels: Any, recipe: GanRecipe) -> Float[Array, "n *shape"]:
    keys = jax.random.split(key, recipe.batch_size)
    return jax.vmap(gan.sample, (None, 0, None if labels is None else 0))(params, keys, labels)


def _adam(recipe: GanRecipe) -> optax.GradientTransformation:
    warm, rate = recipe.warmup_steps, recipe.learning_rate
    schedule = optax.linear_schedule(0.0, rate, warm) if warm else optax.constant_schedule(rate)
    clip = optax.clip_by_global_norm(recipe.clip_norm) if recipe.clip_norm else optax.identity()
    return optax.chain(clip, optax.adamw(schedule, recipe.beta1, recipe.beta2, weight_decay=recipe.weight_decay))
