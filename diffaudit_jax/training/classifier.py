"""fit_classifier: from labelled images to a classifier, of whatever network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from diffaudit_jax.data import Pool
from diffaudit_jax.models.classifier import ImageClassifier
from diffaudit_jax.stream import Features, Stream
from diffaudit_jax.training.state import Data, TrainInfo
from diffaudit_jax.types import InputError, Key, Params, Query, to_signed


class ClassifierState(NamedTuple):
    """All that the next step needs."""

    params: Params
    opt_state: optax.OptState
    step: Array
    key: Key
    key_dropout: Key


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    Attributes:
      params: Its parameters.
      run: Its network over any number of images, on all devices: (features, logits).
      shape: Shape of one image.
    """

    params: Params
    run: Stream
    shape: tuple[int, ...]

    def features(self, images: UInt8[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n d"]:
        """Returns the penultimate layer, float64 [n, d]; an image's features do not depend on the others asked about.

        Raises:
          InputError: if there are no images or they are not uint8 of the classifier's shape.
        """
        return self._asked(images)[0]

    def logits(self, images: UInt8[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n classes"]:
        """Returns the logits, float64 [n, classes]; raises as `features`."""
        return self._asked(images)[1]

    def accuracy(self, pool: Pool) -> float:
        """Returns the share of images whose label has the greatest logit.

        Raises:
          InputError: if the pool has no labels, or as `features`.
        """
        return float((self.logits(pool.x).argmax(axis=1) == _labels(pool)).mean())

    def _asked(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        if images.dtype != np.uint8 or images.shape[1:] != self.shape or not len(images):
            raise InputError(
                f"images are {images.dtype} {images.shape}: this classifier takes uint8 [n, *{self.shape}]."
            )
        asked = Query(images, None, np.arange(len(images)))
        blocks = [features for _, _, features in self.run(self.params, jax.random.key(0), asked)]
        return tuple(np.concatenate(parts).astype(np.float64) for parts in zip(*blocks, strict=True))


def fit_classifier(
    key: Key,
    pool: Pool,
    *,
    num_steps: int = 1000,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    warmup_steps: int = 50,
    weight_decay: float = 1e-2,
    network: Callable[[int], Any] = ImageClassifier,
    progress: Callable[[int, int, TrainInfo], None] | None = None,
) -> Classifier:
    """Trains a classifier by AdamW, its rate falling to 0 as a cosine.

    Args:
      key: Typed key: initial weights, batches and dropout.
      pool: Images and labels.
      num_steps: Steps.
      batch_size: Images per step, drawn with replacement.
      learning_rate: Greatest step size.
      warmup_steps: Steps over which it rises from 0; at most half of all.
      weight_decay: AdamW's decoupled weight decay.
      network: Number of classes -> a Linen module of one image in [-1, 1] that answers (features, logits); what it
        drops out it drops only where a key named "dropout" is passed. By default the small convolutional one whose
        features generated images are judged by; `models.receivers` has others.
      progress: Called with (step, num_steps, info) after every 20 steps.

    Returns:
      The classifier; the same for the same arguments.

    Raises:
      InputError: if the pool is empty or has no labels, a number is not positive, or the loss is no longer finite.
    """
    if not len(pool):
        raise InputError("there are no images to train a classifier on: the pool is empty.")
    for name, value in (("num_steps", num_steps), ("batch_size", batch_size), ("learning_rate", learning_rate)):
        if not 0 < value < float("inf"):
            raise InputError(f"{name} must be above 0 and finite, got {value}.")
    labels, num_classes = _labels(pool), pool.num_classes
    assert num_classes is not None
    module = network(num_classes)
    key_init, key_train, key_dropout = jax.random.split(key, 3)
    # Run once: four times faster to compile without optimisation, equal to rounding.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    params = jax.jit(module.init, compiler_options=quick)(key_init, jnp.zeros(pool.shape))["params"]
    warm = min(warmup_steps, num_steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warm, num_steps) if warm else learning_rate
    tx = optax.adamw(rate, weight_decay=weight_decay)
    state = ClassifierState(params, tx.init(params), jnp.zeros((), jnp.int32), key_train, key_dropout)
    # One program per step: on CPU a convolution's weight gradient inside a loop is about 100 times slower.
    step = jax.jit(_make_step(module, tx, batch_size), donate_argnums=0)
    data = Data(jnp.asarray(pool.x), jnp.asarray(labels))
    for i in range(1, num_steps + 1):
        state, info = step(state, data)
        if i % _CHUNK == 0 or i == num_steps:
            # The gradient too: a loss is taken before its update and may be the last finite one.
            if not np.isfinite(info).all():
                raise InputError(f"training diverged: the loss is {info.loss} at step {i}; lower {learning_rate=}.")
            if progress is not None:
                progress(i, num_steps, info)
    return Classifier(state.params, _outputs(module), pool.shape)


_CHUNK = 20


def _outputs(module: Any) -> Stream:
    def outputs(params: Params, key: Key, query: Query) -> Features:
        del key
        # A float32 product is TF32 on a GPU unless asked for, and features would depend on the device.
        with jax.default_matmul_precision("highest"):
            return _applied(module, params, query.x)

    return Stream(outputs, block=256)


def _make_step(module: Any, tx: optax.GradientTransformation, batch_size: int) -> Callable:
    def loss(params: Params, key: Key, x: Array, label: Array) -> Float[Array, ""]:
        return optax.softmax_cross_entropy_with_integer_labels(_applied(module, params, x, key)[1], label)

    def step(state: ClassifierState, data: Data) -> tuple[ClassifierState, TrainInfo]:
        key = jax.random.fold_in(state.key, state.step)
        # With replacement: without, every step would sort the whole pool.
        index = jax.random.randint(key, (batch_size,), 0, len(data.x))
        x, labels = jax.tree.map(lambda leaf: leaf[index], data)
        keys = jax.random.split(jax.random.fold_in(state.key_dropout, state.step), batch_size)
        batch_loss = lambda params: jax.vmap(loss, (None, 0, 0, 0))(params, keys, x, labels).mean()  # noqa: E731
        value, grads = jax.value_and_grad(batch_loss)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        info = TrainInfo(value, optax.tree.norm(grads))
        return ClassifierState(params, opt_state, state.step + 1, *state[3:]), info

    return step


def _applied(module: Any, params: Params, x: Array, key: Key | None = None) -> tuple[Array, Array]:
    rngs = None if key is None else {"dropout": key}
    features, logits = module.apply({"params": params}, to_signed(x), rngs=rngs)
    assert isinstance(features, jax.Array)
    assert isinstance(logits, jax.Array)
    return features, logits


def _labels(pool: Pool) -> np.ndarray:
    if pool.labels is None:
        raise InputError(f"{pool.name} has no labels, which a classifier learns: load it with labels=...")
    return pool.labels
