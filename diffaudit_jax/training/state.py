"""The recipe, the carried state and one training step, as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from diffaudit_jax.losses import hybrid_loss, simple_loss
from diffaudit_jax.process import Process
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Time, to_signed


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
      num_steps: Optimiser steps; 0 leaves the network untrained.
      batch_size: Examples per step, drawn without replacement within a step (with, if there are fewer members).
      learning_rate: AdamW's step size after warm-up.
      warmup_steps: Steps over which the learning rate rises from 0.
      weight_decay: AdamW's decoupled weight decay.
      clip_norm: Gradients are clipped to this global l2 norm; 0 for no clipping.
      ema_decay: Decay of the averaged weights, reached over the first steps as (1 + step)/(10 + step); 0 for none.
      label_dropout: Probability of the null class in place of a label (classifier-free guidance).
      flip: Mirror images left to right at random. Off: an audit then asks about images that were seen as they are.
      vlb_weight: Weight of the bound in the hybrid loss of models with a learned variance.
      anneal: Whether the learning rate, after its rise, falls to 0 linearly by the last step.
    """

    num_steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    label_dropout: float = 0.1
    flip: bool = False
    vlb_weight: float = 1.0
    anneal: bool = False

    def __post_init__(self):
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}.")
        for name in ("num_steps", "learning_rate", "warmup_steps", "weight_decay", "clip_norm", "vlb_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be 0 or more and finite, got {getattr(self, name)}.")
        for name in ("ema_decay", "label_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}.")


class TrainState(NamedTuple):
    """All that the next step needs; a checkpoint holds exactly this."""

    params: Params
    ema: Params
    opt_state: optax.OptState
    step: Int[Array, ""]
    key: Key


class TrainInfo(NamedTuple):
    """What is worth looking at after a step: mean loss of the batch, gradient norm before clipping."""

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]


class Data(NamedTuple):
    """The members, resident on the device: uint8 (or float) images and labels or None."""

    x: Array
    labels: Array | None


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW with linear warm-up, a linear fall if asked for, and clipping by global norm."""
    warm, rate = recipe.warmup_steps, recipe.learning_rate
    schedule = optax.linear_schedule(0.0, rate, warm) if warm else optax.constant_schedule(rate)
    if recipe.anneal:
        fall = optax.linear_schedule(rate, 0.0, max(recipe.num_steps - warm, 1))
        schedule = optax.join_schedules([schedule, fall], [warm])
    clip = optax.clip_by_global_norm(recipe.clip_norm) if recipe.clip_norm else optax.identity()
    return optax.chain(clip, optax.adamw(schedule, weight_decay=recipe.weight_decay))


class Initial(Protocol):
    """What has initial parameters: a `Network`, or a VAE."""

    @property
    def init(self) -> Callable[[Key], Params]:
        """Draws them."""
        ...


def init_state(key: Key, network: Initial, recipe: Recipe) -> TrainState:
    """Returns the state before the first step; EMA starts at the initial parameters."""
    key_init, key_train = jax.random.split(key)
    params = network.init(key_init)
    # Distinct buffers: parameters are donated at each step, and one buffer cannot be donated twice.
    ema = jax.tree.map(jnp.copy, params)
    return TrainState(params, ema, optimizer(recipe).init(params), jnp.zeros((), jnp.int32), key_train)


def example_loss(
    network: Network,
    process: Process,
    recipe: Recipe,
    *,
    null_label: int | None = None,
    learn_sigma: bool = False,
    weight: Callable[[Time], Time] | None = None,
) -> Callable[[Params, Key, Example, Array | None], Float[Array, ""]]:
    """Makes the training loss of one example: weighted eps-MSE at a random time, plus the bound if sigma is learned.

    Denoising score matching with weight sigma^2 on the score is eps-MSE of weight 1.

    Args:
      network: Network to train.
      process: Noising process; its `draw` gives the times.
      recipe: Flip, label dropout and weight of the bound.
      null_label: Index of the null class, None for a network without one.
      learn_sigma: Whether the network predicts a variance.
      weight: Weight of eps-MSE at a time, None for 1.
    """

    def loss(params: Params, key: Key, x: Example, label: Array | None) -> Float[Array, ""]:
        key_time, key_noise, key_flip, key_label, key_dropout = jax.random.split(key, 5)
        x0 = to_signed(x)
        if recipe.flip:
            x0 = jnp.where(jax.random.bernoulli(key_flip), x0[:, ::-1], x0)
        if null_label is not None:
            assert label is not None
            label = jnp.where(jax.random.bernoulli(key_label, recipe.label_dropout), null_label, label)
        t = process.draw(key_time)
        eps = jax.random.normal(key_noise, x0.shape)
        pred = network.apply(params, process.corrupt(x0, t, eps), t, label, key=key_dropout)
        if learn_sigma:
            return hybrid_loss(process, pred, x0, t, eps, weight=recipe.vlb_weight)
        return simple_loss(pred, eps) * (1 if weight is None else weight(t))

    return loss


def moved(state: TrainState, grads: Params, update: optax.TransformUpdateFn, recipe: Recipe) -> TrainState:
    """Returns the state after one step along a gradient, with weights and their average moved.

    Args:
      state: The state before.
      grads: The gradient.
      update: The optimiser's.
      recipe: Decay of the average.
    """
    updates, opt_state = update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, averaged(state, params, recipe), opt_state, state.step + 1, state.key)


def averaged(state: TrainState, params: Params, recipe: Recipe) -> Params:
    """Returns the averaged weights after a step that leads to `params`."""
    decay = jnp.minimum(recipe.ema_decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)


def batch_of(key: Key, data: Data, size: int) -> Data:
    """Draws a batch without replacement; with, if there are fewer examples than it takes."""
    n = data.x.shape[0]
    index = jax.random.choice(key, n, (size,), replace=size > n)
    return jax.tree.map(lambda leaf: leaf[index], data)


def make_step(
    loss: Callable[..., Float[Array, ""]], recipe: Recipe, draw: Callable[[Key, Any, int], Data] = batch_of
) -> Callable[[TrainState, Any], tuple[TrainState, TrainInfo]]:
    """Makes one optimiser step; pure, all randomness from fold_in(state.key, state.step).

    Args:
      loss: Loss of one example, ``loss(params, key, x, label)``.
      recipe: Batch size, optimiser and EMA.
      draw: ``draw(key, data, size) -> Data`` of a batch; `data` is what the step is given.
    """
    update = optimizer(recipe).update

    def step(state: TrainState, data: Any) -> tuple[TrainState, TrainInfo]:
        key_batch, key_examples = jax.random.split(jax.random.fold_in(state.key, state.step))
        keys = jax.random.split(key_examples, recipe.batch_size)
        x, labels = draw(key_batch, data, recipe.batch_size)

        def batch_loss(params: Params) -> Float[Array, ""]:
            return jax.vmap(loss, (None, 0, 0, 0))(params, keys, x, labels).mean()

        value, grads = jax.value_and_grad(batch_loss)(state.params)
        return moved(state, grads, update, recipe), TrainInfo(value, optax.tree.norm(grads))

    return step
