"""DP-SGD: steps that reveal little of any one example, whatever it is.

Step s, with B the expected batch size and everything random drawn from fold_in(key, s):

    S     each example with probability q = B/n                                                   (`Poisson`)
    g_i   gradient of the mean of `num_noises` losses on example i, each at a time and noise of its own
    g     (sum over S of min(1, C/||g_i||) g_i  +  C noise_multiplier N(0, I)) / B

and AdamW and the averaged weights see g alone. One example more or less moves the sum by C at most, however many losses
were averaged before clipping, so that noise multiplicity is free of charge.

The guarantee holds against whoever does not know the key: with it, the noise can be drawn again and taken away. It
covers the weights of every step. It does not cover `PrivateInfo`, nor which examples were drawn.

References:
  Abadi et al. 2016, Deep Learning with Differential Privacy, https://arxiv.org/abs/1607.00133
  Dockhorn et al. 2022, Differentially Private Diffusion Models (noise multiplicity), https://arxiv.org/abs/2210.09929
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from diffaudit_jax.stream import local_mesh
from diffaudit_jax.training.batches import Batch, Poisson, step_keys
from diffaudit_jax.training.ledger import Preprocessing
from diffaudit_jax.training.mechanism import clipped_sum, standard_normal
from diffaudit_jax.training.state import Data, Recipe, TrainState, moved, optimizer
from diffaudit_jax.types import Example, InputError, Key, Params

Loss = Callable[..., Float[Array, ""]]
Denoise = Callable[[Params, Params, Float[Array, ""]], Params]
"""``denoise(params, grads, stddev) -> grads``; see `make_private_step`."""
LEAST_CLIP, MOST_CLIP = 1e-12, 1e12
"""Between which an l2 norm is a number that float32 can square."""


@dataclass(frozen=True)
class Privacy:
    """How training is made private.

    Attributes:
      noise_multiplier: Standard deviation of the noise on the sum of gradients, in units of `l2_clip_norm`; 0 for none.
      l2_clip_norm: Greatest l2 norm C of one example's gradient; may be infinite where there is no noise.
      num_noises: Losses averaged per example before clipping, each of its own time and noise (noise multiplicity).
      per_layer: Whether each of the L tensors of the weights is clipped on its own, to C/sqrt(L), rather than all of
        them together. The sum moves by no more than C either way.
      truncated_batch_size: Greatest number of examples in a batch, see `Poisson`; None for no truncation.
      microbatch: Examples worked on at once, with `num_noises` draws each; memory grows with it and not with the
        batch. Rounded up to a multiple of the device count.
      delta: Probability with which the epsilon that is stated may fail; below 1/n.
      tuned_on_members: Whether hyper-parameters were chosen by looking at members: told beside epsilon, which leaves it
        out.
      preprocessing: What was fitted on members before they came here: nothing ("fixed"), something ("declared": told
        beside epsilon), or it was fitted on "public" data, or on all who had a coin ("tossed": told, too).

    Raises:
      InputError: if a number is out of range.
    """

    noise_multiplier: float
    l2_clip_norm: float = 1.0
    num_noises: int = 1
    per_layer: bool = False
    truncated_batch_size: int | None = None
    microbatch: int = 16
    delta: float = 1e-5
    tuned_on_members: bool = False
    preprocessing: Preprocessing = "fixed"

    def __post_init__(self):
        if not 0 <= self.noise_multiplier < float("inf"):
            raise InputError(f"noise_multiplier must be 0 or more and finite, got {self.noise_multiplier}.")
        # Squares of what is smaller vanish in float32, and nothing would be clipped.
        if not self.l2_clip_norm >= LEAST_CLIP:
            raise InputError(f"l2_clip_norm must be positive, and {LEAST_CLIP} or more, got {self.l2_clip_norm}.")
        if self.noise_multiplier and not self.l2_clip_norm * max(self.noise_multiplier, 1) <= MOST_CLIP:
            raise InputError(
                f"l2_clip_norm, and the noise on it, must be at most {MOST_CLIP:g} where there is noise, got "
                f"{self.l2_clip_norm} and {self.noise_multiplier} times as much."
            )
        for name in ("num_noises", "microbatch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def stddev(self) -> float:
        """Standard deviation of the noise on the sum of gradients."""
        return self.noise_multiplier * self.l2_clip_norm if self.noise_multiplier else 0.0


class PrivateInfo(NamedTuple):
    """What is worth looking at after a step. It is NOT private: no noise has been added to any of it.

    Of the batch, before clipping: the mean loss, the mean norm of an example's gradient, and the share of examples that
    were clipped; the examples in the batch, and those that truncation cut off. An empty batch has means of 0.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    clipped: Float[Array, ""]
    batch_size: Int[Array, ""]
    overflow: Int[Array, ""]


class Sums(NamedTuple):
    """Sums over the examples so far, with a leading axis of devices on every leaf."""

    grads: Params
    loss: Float[Array, " devices"]
    norm: Float[Array, " devices"]
    clipped: Float[Array, " devices"]


def make_private_step(
    loss: Loss,
    recipe: Recipe,
    privacy: Privacy,
    *,
    mesh: Mesh | None = None,
    looped: bool | None = None,
    denoise: Denoise | None = None,
) -> Callable[[TrainState, Data], tuple[TrainState, PrivateInfo]]:
    """Makes one private optimiser step; all randomness from fold_in(state.key, state.step).

    The noise is added once, to the sum over microbatches and devices: their numbers change the step by rounding alone.
    Costs `num_noises` network calls, each with a backward pass, per example of a batch, and as much for each row that
    pads the last microbatch.

    What `denoise` makes of a noisy gradient costs no privacy: it is a function of what was released, post-processing,
    and the guarantee covers it as it covers the weights. That holds on one condition: all else the function knows (a
    prior, its weights, images) is public, or was computed from releases of this run alone. A prior that has seen
    members tells of them what no ledger here counts.

    Args:
      loss: Loss of one example, ``loss(params, key, x, label)``.
      recipe: Expected batch size, optimiser and EMA. Its `clip_norm` is not used: clipping the noisy gradient again
        would only shrink it by the norm of its noise.
      privacy: Clipping, noise and sampling.
      mesh: One-axis mesh; default all local devices.
      looped: Whether microbatches run in a loop within one program, so that the step may be traced. Else the host
        dispatches one after another, and the step is not to be traced. Default: looped except on CPU, where a
        convolution's weight gradient in a loop takes a hundred times as long.
      denoise: Pure function of the weights, the noisy mean gradient and the standard deviation of the noise on each of
        its numbers, to the gradient that the optimiser sees; None for the noisy one. Called by the host between two
        programs, unless `looped`: jitted, it is compiled once for all steps and for any noise.

    Returns:
      ``step(state, data) -> (state, info)``, compiled, which uses up the state it is given. It raises InputError if the
      expected batch is larger than the data.
    """
    mesh = local_mesh() if mesh is None else mesh
    looped = jax.default_backend() != "cpu" if looped is None else looped
    microbatch = -(-privacy.microbatch // mesh.size) * mesh.size
    everywhere, per_device = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec(*mesh.axis_names)))
    add, update = _add(loss, privacy, mesh, microbatch), _update(recipe, privacy, everywhere, denoise)

    @partial(jax.jit, static_argnums=1)
    def begin(state: TrainState, poisson: Poisson) -> tuple[Batch, Int[Array, ""], Key, Key, Sums]:
        key_batch, key_examples, key_noise = step_keys(state.key, state.step)
        batch = poisson.draw(key_batch)
        zeros = jax.tree.map(lambda leaf: jnp.zeros((mesh.size, *leaf.shape), leaf.dtype), state.params)
        sums = Sums(zeros, *(jnp.zeros(mesh.size) for _ in range(3)))
        # Microbatches of nothing but padding are left out.
        count = -(-batch.mask.sum(dtype=jnp.int32) // microbatch)
        return batch, count, key_examples, key_noise, jax.lax.with_sharding_constraint(sums, per_device)

    def step(state: TrainState, data: Data) -> tuple[TrainState, PrivateInfo]:
        poisson = Poisson(len(data.x), recipe.batch_size, privacy.truncated_batch_size, microbatch)
        # Once: what the step returns lies there already. From elsewhere, every program would be compiled twice.
        state, data = jax.device_put((state, data), everywhere)
        batch, count, key_examples, key_noise, sums = begin(state, poisson)

        def body(i: int | Array, sums: Sums) -> Sums:
            return add(sums, state.params, key_examples, data, batch, i)

        if looped:
            sums = jax.lax.fori_loop(0, count, body, sums)
        else:
            for i in range(int(count)):
                sums = body(i, sums)
        return update(state, sums, batch, key_noise)

    return jax.jit(step, donate_argnums=0) if looped else step


def _add(loss: Loss, privacy: Privacy, mesh: Mesh, microbatch: int) -> Callable[..., Sums]:
    """Makes the program that adds microbatch i to the sums of each device."""

    def example(params: Params, key: Key, row: Array, x: Example, label: Array | None) -> Float[Array, ""]:
        # By row: an example's draws do not depend on who else is in the batch.
        key = jax.random.fold_in(key, row)
        if privacy.num_noises == 1:  # an axis of 1 inside vmap slows the backward pass of a group norm down
            return loss(params, key, x, label)
        keys = jax.random.split(key, privacy.num_noises)
        return jax.vmap(loss, (None, 0, None, None))(params, keys, x, label).mean()

    def shard(sums: Sums, params: Params, key: Key, rows: Array, mask: Array, examples: Data) -> Sums:
        # Cast to varying: the gradient of a replicated array would be summed over devices before it is clipped.
        params, key = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, mesh.axis_names, to="varying"), (params, key))
        one = jax.vmap(jax.value_and_grad(example), (None, None, 0, 0, 0))
        losses, grads = one(params, key, rows, *examples)
        total, norms, clipped = clipped_sum(grads, mask, privacy.l2_clip_norm, per_layer=privacy.per_layer)
        new = Sums(total, *(jnp.where(mask, value, 0.0).sum() for value in (losses, norms, clipped)))
        return jax.tree.map(lambda old, new: old + new[None], sums, new)

    same, split = PartitionSpec(), PartitionSpec(*mesh.axis_names)
    sharded = jax.shard_map(shard, mesh=mesh, in_specs=(split, same, same, split, split, split), out_specs=split)

    @partial(jax.jit, donate_argnums=0)
    def add(sums: Sums, params: Params, key: Key, data: Data, batch: Batch, i: int | Array) -> Sums:
        slices = (jax.lax.dynamic_slice_in_dim(leaf, i * microbatch, microbatch) for leaf in (batch.index, batch.mask))
        rows, mask = slices
        return sharded(sums, params, key, rows, mask, jax.tree.map(lambda leaf: leaf[rows], data))

    return add


def _update(recipe: Recipe, privacy: Privacy, everywhere: NamedSharding, denoise: Denoise | None) -> Callable[..., Any]:
    """Makes what adds the noise, once, and moves the weights: one program, or two with the denoiser between them."""
    adamw = optimizer(replace(recipe, clip_norm=0.0)).update

    def noised(sums: Sums, batch: Batch, key_noise: Key) -> tuple[Params, PrivateInfo]:
        total = jax.tree.map(lambda leaf: leaf.sum(0), sums)
        noise = standard_normal(key_noise, total.grads)
        grads = jax.tree.map(lambda leaf, z: (leaf + privacy.stddev * z) / recipe.batch_size, total.grads, noise)
        size = batch.mask.sum(dtype=jnp.int32)
        loss, norm, clipped = (value / jnp.maximum(size, 1) for value in (total.loss, total.norm, total.clipped))
        return grads, PrivateInfo(loss, norm, clipped, size, batch.overflow)

    def along(state: TrainState, grads: Params) -> TrainState:
        return moved(state, grads, adamw, recipe)

    if denoise is None:

        @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
        def update(state: TrainState, sums: Sums, batch: Batch, key_noise: Key) -> tuple[TrainState, PrivateInfo]:
            grads, info = noised(sums, batch, key_noise)
            return along(state, grads), info

        return update

    release, move = (
        jax.jit(noised, out_shardings=everywhere),
        jax.jit(along, donate_argnums=0, out_shardings=everywhere),
    )
    stddev = jnp.float32(privacy.stddev / recipe.batch_size)

    def denoised(state: TrainState, sums: Sums, batch: Batch, key_noise: Key) -> tuple[TrainState, PrivateInfo]:
        grads, info = release(sums, batch, key_noise)
        return move(state, denoise(state.params, grads, stddev)), info

    return denoised
