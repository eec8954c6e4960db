"""Networks and arms of benchmarks/utility.py, and one training of each kind.

An arm is where private training starts (at random weights, or at weights trained on the public images) and what
denoises its gradients. Arms that are compared at one seed have the same images, batches and noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax import training
from diffaudit_jax.reconstruction import gradients
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import Target
from diffaudit_jax.training.batches import step_keys
from diffaudit_jax.training.dpsgd import Denoise, Loss, make_private_step
from diffaudit_jax.training.mechanism import standard_normal
from diffaudit_jax.training.state import Data, init_state, make_step
from diffaudit_jax.types import Key, Params

LAYER, CLIP, EMA, PUBLIC_BATCH = "w", 1.0, 0.9, 32
MICROBATCH = 256
NUM_CASES = 2
RANDOM, PUBLIC, CENTRED = "random", "public", "centred"
ARMS: Mapping[str, tuple[str, str]] = {
    "DP-SGD": (RANDOM, "none"),
    "James-Stein": (RANDOM, "james-stein"),
    "Wiener": (RANDOM, "wiener"),
    "diffusion": (RANDOM, "diffusion"),
    "diffusion, centred": (RANDOM, CENTRED),
    "public start": (PUBLIC, "none"),
    "public start, Wiener": (PUBLIC, "wiener"),
    "public start, diffusion, centred": (PUBLIC, CENTRED),
}
"""Arm -> start and denoiser."""


class Case(NamedTuple):
    """A network: its name, weights and logits. `LAYER` is its first, [units, pixels]."""

    name: str
    init: Callable[[Key], Params]
    logits: Callable[[Params, Float[Array, " pixels"]], Float[Array, " classes"]]

    def loss(self, params: Params, key: Key, x: Float[Array, " pixels"], label: Array) -> Float[Array, ""]:
        """Cross-entropy of one image."""
        del key
        return -jax.nn.log_softmax(self.logits(params, x))[label]


class Plan(NamedTuple):
    """What is chosen for an arm: steps, and AdamW's rate."""

    steps: int
    rate: float


class Errors(NamedTuple):
    """Squared errors of a run's gradients, over those of answering 0, which are the squares of the true ones.

    Attributes:
      noisy: Of the noisy ones: sum over steps of ||error||^2, over that of ||gradient||^2.
      denoised: Of the denoised ones.
      noisy_sum: The same of the sum of all steps: ||sum of errors||^2 over ||sum of gradients||^2. Noise averages out
        in it, and bias does not.
      denoised_sum: Of the denoised ones.
    """

    noisy: float
    denoised: float
    noisy_sum: float
    denoised_sum: float


def cases(pixels: int, classes: int, hidden: int) -> tuple[Case, Case]:
    """Returns softmax regression from zero, and a perceptron of one hidden layer."""

    def regression(key: Key) -> Params:
        return {LAYER: jnp.zeros((classes, pixels)), "b": jnp.zeros(classes)}

    def perceptron(key: Key) -> Params:
        first, last = jax.random.split(key)
        w = jax.random.normal(first, (hidden, pixels)) / pixels**0.5
        v = jax.random.normal(last, (classes, hidden)) / hidden**0.5
        return {LAYER: w, "b": jnp.zeros(hidden), "v": v, "c": jnp.zeros(classes)}

    return (
        Case("softmax regression", regression, lambda params, x: params[LAYER] @ x + params["b"]),
        Case(
            f"perceptron of {hidden}",
            perceptron,
            lambda params, x: params["v"] @ jnp.tanh(params[LAYER] @ x + params["b"]) + params["c"],
        ),
    )


def denoisers(
    case: Case, public: Data, priors: Mapping[str, Target], batch_size: int, num_examples: int
) -> dict[str, Denoise]:
    """Returns every denoiser by its name in `ARMS`, with what it knows from these public images."""
    examples = gradients.public_gradients(case.loss, public, CLIP)
    known = (examples, batch_size, num_examples)
    found: dict[str, Denoise] = {"none": lambda params, grads, stddev: grads}
    found["james-stein"] = gradients.by_james_stein(LAYER)
    found["wiener"] = gradients.by_wiener(*known)
    for name, prior in priors.items():
        found[name] = gradients.by_diffusion(prior, LAYER, *known, centred=name == CENTRED)
    return found


def private_training(
    loss: Loss, noise: float, delta: float, batch_size: int, plan: Plan
) -> Callable[[Key, Params, Data, Denoise], tuple[Params, Errors]]:
    """Makes ``train(key, start, data, denoise) -> (averaged weights, errors)``, in private steps.

    One step serves all denoisers, as the host calls them.
    """
    recipe = _recipe(plan, batch_size)
    privacy = training.Privacy(noise, CLIP, microbatch=MICROBATCH, delta=delta, preprocessing="public")
    asked: list[Denoise] = []
    seen: list[Params] = []

    def watched(params: Params, grads: Params, stddev: Array) -> Params:
        seen[:] = [grads, asked[0](params, grads, stddev)]
        return seen[1]

    step = make_private_step(loss, recipe, privacy, mesh=local_mesh(1), looped=False, denoise=watched)
    stddev = privacy.stddev / batch_size

    def train(key: Key, start: Params, data: Data, denoise: Denoise) -> tuple[Params, Errors]:
        asked[:] = [denoise]
        state = init_state(key, Start(start), recipe)
        own, zeros = jnp.copy(state.key), jax.tree.map(jnp.zeros_like, start)
        totals = (jnp.zeros(3), (zeros, zeros, zeros))
        for i in range(plan.steps):
            state, _ = step(state, data)
            totals = _added(totals, own, i, stddev, *seen)
        squares, sums = totals
        true, *each = (float(square) for square in squares)
        true_sum, *each_sum = (float(_square(tree)) for tree in sums)
        errors = [*(value / true for value in each), *(value / true_sum for value in each_sum)]
        return state.ema, Errors(*errors)

    return train


def public_training(loss: Loss, plan: Plan, data: Data) -> Callable[[Key, Params], Params]:
    """Makes ``train(key, start) -> averaged weights``, in plain steps on these images."""
    recipe = _recipe(plan, min(PUBLIC_BATCH, len(data.x)))
    step = _plain_step(loss, recipe)

    def train(key: Key, start: Params) -> Params:
        state = init_state(key, Start(start), recipe)
        for _ in range(plan.steps):
            state, _ = step(state, data)
        return state.ema

    return train


@dataclass(frozen=True)
class Start:
    """What training starts from: a copy of these weights, whatever the key."""

    params: Params

    def init(self, key: Key) -> Params:
        """Returns the copy."""
        del key
        return jax.tree.map(jnp.copy, self.params)


def accuracy(case: Case, params: Params, data: Data) -> float:
    """Returns the share of images whose label has the greatest logit."""
    logits = jax.vmap(case.logits, (None, 0))(params, data.x)
    return float(np.mean(np.asarray(logits).argmax(1) == np.asarray(data.labels)))


@cache
def _plain_step(loss: Loss, recipe: training.Recipe) -> Callable[..., Any]:
    return jax.jit(make_step(loss, recipe), donate_argnums=0)


def _recipe(plan: Plan, batch_size: int) -> training.Recipe:
    return training.Recipe(plan.steps, batch_size, plan.rate, warmup_steps=0, clip_norm=0.0, ema_decay=EMA)


@jax.jit
def _added(totals: Any, key: Key, step: Array, stddev: Array, noisy: Params, denoised: Params) -> Any:
    """Adds one step's gradient and errors. The noise is drawn again, which whoever has the key can do."""
    noise = jax.tree.map(lambda z: stddev * z, standard_normal(step_keys(key, step)[2], noisy))
    true = jax.tree.map(jnp.subtract, noisy, noise)
    new = (true, noise, jax.tree.map(jnp.subtract, denoised, true))
    return jax.tree.map(jnp.add, totals, (jnp.stack([_square(each) for each in new]), new))


def _square(tree: Params) -> Array:
    return jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)]).sum()
