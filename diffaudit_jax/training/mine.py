"""MINE: how much one half of a pair tells of the other, by a network that tells pairs from strangers.

    I(X; Z) >= E T(x, z) - log E exp T(x, z'),   z' drawn independently of x             (Donsker and Varadhan)

in nats, for every T; the greatest is I. Batches estimate the gradient of the logarithm with a bias, as the mean is in
the denominator: there it is replaced by a running mean m, with m <- (1 - a) m + a mean exp T.

A network that was trained on pairs praises itself on them. So it is cross-fitted: the records are halved, each half is
judged by the network that was trained on the other.

References:
  Belghazi et al. 2018, MINE, https://arxiv.org/abs/1801.04062
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.special import ndtri

from diffaudit_jax.metrics.intervals import Estimate, tail
from diffaudit_jax.models.mine import Statistic
from diffaudit_jax.types import InputError, Key, Params

_CHUNK = 100
NUM_SHIFTS = 16
"""Partners that are strangers, for each record, in the mean that is judged."""


class Mine(NamedTuple):
    """A cross-fitted estimate.

    Attributes:
      information: The bound, in nats, with an interval for the bound of these two networks: I itself is not below it,
        up to that error, and may lie above.
      statistic: T of every record with every label, float64 [n, labels], each by the network that has not seen it; None
        of halves that are no labels.
    """

    information: Estimate
    statistic: np.ndarray | None


def mine(
    key: Key,
    x: Float[np.ndarray, "n d"],
    z: np.ndarray,
    *,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    decay: float = 0.01,
    level: float = 0.95,
) -> Mine:
    """Estimates the mutual information of two halves of n records.

    Args:
      key: Typed key: halves, weights and batches.
      x: The one half [n, d]; standardised here.
      z: The other: whole numbers from 0 for labels [n], or [n, k].
      num_steps: Steps of Adam, for each of the two networks.
      batch_size: Pairs per step, drawn with replacement, and as many strangers.
      learning_rate: Adam's.
      decay: a of the running mean.
      level: Confidence level.

    Returns:
      The estimate; the same for the same arguments.

    Raises:
      InputError: if the halves do not go together, are not finite, or there are fewer than 8 records.
    """
    labels = np.asarray(z) if np.ndim(z) == 1 and np.issubdtype(np.asarray(z).dtype, np.integer) else None
    num = 0 if labels is None else int(labels.max()) + 1
    halves = _standard(x), _standard(z) if labels is None else np.eye(num)[labels]
    if len(halves[0]) != len(halves[1]) or len(halves[0]) < 8:
        raise InputError(f"there are {len(halves[0])} records of x and {len(halves[1])} of z: give 8 or more of both.")
    key_halves, *keys = jax.random.split(key, 3)
    order = np.asarray(jax.random.permutation(key_halves, len(halves[0])))
    folds = np.array_split(order, 2)
    table = np.zeros((len(order), num))
    own, strange = np.zeros(len(order)), np.zeros(len(order))
    for k, (seen, judged) in enumerate((folds, folds[::-1])):
        data = [jnp.asarray(half[seen], jnp.float32) for half in halves]
        params = _fitted(keys[k], data, num_steps, min(batch_size, len(seen)), learning_rate, decay)
        a, b = (jnp.asarray(half[judged], jnp.float32) for half in halves)
        own[judged] = _own(params, a, b)
        if labels is not None:
            table[judged] = np.asarray(_every(params, a, jnp.eye(num)), np.float64)
            # Labels have their independent mean exactly.
            strange[judged] = np.exp(table[judged]) @ np.bincount(labels[judged], minlength=num) / len(judged)
        else:
            shifts = range(1, min(NUM_SHIFTS, len(judged) - 1) + 1)
            strange[judged] = np.mean([np.exp(_own(params, a, jnp.roll(b, s, axis=0))) for s in shifts], axis=0)
    return Mine(_bound(own, strange, folds, level), table if num else None)


def _bound(own: np.ndarray, strange: np.ndarray, folds: list[np.ndarray], level: float) -> Estimate:
    """Averages the two bounds; the error is that of the two means, by the delta method."""
    values, variances = [], []
    for judged in folds:
        ratio = strange[judged] / strange[judged].mean()
        values.append(own[judged].mean() - np.log(strange[judged].mean()))
        variances.append((own[judged] - ratio).var(ddof=1) / len(judged))
    value, half = float(np.mean(values)), float(-ndtri(tail(level)) * np.sqrt(np.sum(variances)) / 2)
    return Estimate(value, value - half, value + half)


def _fitted(key: Key, data: list[Array], num_steps: int, batch_size: int, learning_rate: float, decay: float) -> Params:
    key_init, key_steps = jax.random.split(key)
    params = Statistic().init(key_init, *(half[0] for half in data))["params"]
    tx = optax.adam(learning_rate)

    def loss(params: Params, batch: tuple[Array, Array, Array], log_mean: Array) -> tuple[Array, Array]:
        a, b, strangers = batch
        log_now = jax.nn.logsumexp(_values(params, a, strangers)) - jnp.log(len(a))
        log_mean = jnp.logaddexp(jnp.log1p(-decay) + log_mean, jnp.log(decay) + jax.lax.stop_gradient(log_now))
        # The gradient of exp(log_now)/mean is that of the logarithm with the running mean below.
        return jnp.exp(log_now - log_mean) - _values(params, a, b).mean(), log_mean

    def step(carry: tuple[Params, optax.OptState, Array], key: Key) -> tuple[tuple, None]:
        params, state, log_mean = carry
        rows = jax.random.randint(key, (2, batch_size), 0, len(data[0]))
        batch = data[0][rows[0]], data[1][rows[0]], data[1][rows[1]]
        grads, log_mean = jax.grad(loss, has_aux=True)(params, batch, log_mean)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state, log_mean), None

    # Dense layers only: unlike a convolution's, their gradients are as fast within a loop.
    carry = (params, tx.init(params), jnp.zeros(()))
    (params, _, _), _ = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))(
        carry, jax.random.split(key_steps, num_steps)
    )
    return params


def _values(params: Params, a: Array, b: Array) -> Float[Array, " n"]:
    def value(x: Array, z: Array) -> Array:
        found = Statistic().apply({"params": params}, x, z)
        assert isinstance(found, jax.Array)
        return found

    return jax.vmap(value)(a, b)


@jax.jit
def _own_values(params: Params, a: Array, b: Array) -> Array:
    return _values(params, a, b)


def _own(params: Params, a: Array, b: Array) -> Float[np.ndarray, " n"]:
    return np.asarray(_own_values(params, a, b), np.float64)


@jax.jit
def _every(params: Params, a: Array, labels: Array) -> Float[Array, "n labels"]:
    return jax.vmap(lambda z: _values(params, a, jnp.broadcast_to(z, (len(a), len(z)))), out_axes=1)(labels)


def _standard(values: np.ndarray) -> Float[np.ndarray, "n d"]:
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    if not np.isfinite(flat).all():
        raise InputError("records hold NaN or infinity: mend or drop them.")
    std = flat.std(axis=0)
    return (flat - flat.mean(axis=0)) / np.where(std > 0, std, 1.0)
