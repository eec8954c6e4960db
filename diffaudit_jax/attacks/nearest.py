"""Nearest samples: how close a black box has come to the query in a bank of what it drew.

    ||x - g||^2 = ||x||^2 - 2 x.g + ||g||^2

The right side is one matrix product for a block of queries, but loses digits where the two are near. So it only says
which groups of the bank may hold the nearest samples, and their distances are then taken by differences. Images of
bytes are compared as whole numbers: a sample that is the query, byte for byte, is at distance 0, and the product is
exact too up to 1,024 values an image.

References:
  Chen et al. 2020, GAN-Leaks, https://arxiv.org/abs/1909.03935
  Matsumoto et al. 2023, https://arxiv.org/abs/2302.03262 (the nearest of a diffusion model's samples)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from diffaudit_jax.access import BlackBox, black_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.stream import stream
from diffaudit_jax.types import Example, InputError, Key, Params, Query, to_signed

GROUP = 16
"""Samples of a group, of which the first look keeps only the nearest."""
CHUNK = 2048
"""Samples, at most, that are floats at one time."""
SPARE = 1
"""Groups that are looked at beyond the k that suffice in exact arithmetic."""


def nearest(
    bank: ArrayLike,
    *,
    k: int = 1,
    features: Callable[[Params, Example], Float[Array, " d"]] | None = None,
    params: Params = None,
) -> Attack[BlackBox]:
    """Scores by how near the query lies to the nearest samples of a bank.

    score(x) = -mean of the k smallest ||f(x) - f(g)||_2 over g in the bank,   f(x) = x unless `features` says otherwise

    k = 1 is GAN-Leaks' full black-box attack. A distance is exact to float32 rounding. A nearer sample is missed only
    among samples that the matrix product cannot tell apart: their squared distances then differ by less than its
    rounding, some 1e-7 ||f(x)||^2, and not even so if they are bytes, at most 1,024 an image.

    Args:
      bank: Samples of the target, [m, *shape], uint8 or float in [-1, 1], or records of a table; `draw_bank` makes it.
      k: Samples that count.
      features: Space in which distances are taken, ``features(params, x) -> vector`` of one example in [-1, 1], e.g. a
        classifier's penultimate layer; None for pixels. The bank is mapped here, once: m calls of it.
      params: What `features` is given.

    Returns:
      A black-box attack whose features are the k distances, ascending, float32 [k]. Costs no network calls a query: the
      bank has cost the sampler's calls for each of its m samples. The bank becomes floats once for each block of
      queries, so larger blocks are faster; memory is that of CHUNK samples as floats and CHUNK distances a query.

    Raises:
      InputError: if the bank is empty or holds NaN or values outside [-1, 1], k is not between 1 and m, or (when it is
        asked) the queries' shape is not the bank's.

    References:
      Chen et al. 2020, https://arxiv.org/abs/1909.03935
    """
    bank = _checked(bank)
    num, shape = len(bank), bank.shape[1:]
    if not 1 <= k <= num:
        raise InputError(f"the {k} nearest of {num} samples were asked for: draw more, or ask for 1 to {num}.")
    if features is not None:
        bank = _mapped(features, params, bank)

    def observe(access: BlackBox, evidence: tuple[Any, Params], key: Key, query: Query) -> Float[Array, " k"]:
        del access, key  # the bank is all that was ever asked of the target
        if query.x.shape != shape:
            raise InputError(f"queries of shape {query.x.shape} do not fit a bank of samples of shape {shape}.")
        samples, params = evidence
        return smallest(samples, query.x if features is None else features(params, query.x), k)

    def score(distances: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        return -np.asarray(distances, np.float64).mean(axis=1)

    config = {"samples": num, "k": k, "space": "pixels" if features is None else "features"}
    spec = Spec("nearest", "black", "https://arxiv.org/abs/1909.03935", 0, config)
    return Attack(spec, black_box, (bank, params), observe, score)


def mixed_distance(num_numeric: int) -> Callable[[Params, Example], Float[Array, " d"]]:
    """Makes the space in which records of a table are compared, for `nearest`: as Gower's, every column counts alike.

    ||f(x) - f(g)||^2 = sum over numbers of (Phi(x) - Phi(g))^2 + how many categories differ

    A number's quantile score becomes its rank in [0, 1] again, and one-hots that differ are a distance of 1.

    Args:
      num_numeric: Numbers of a record, which come first.
    """

    def features(params: Params, x: Example) -> Float[Array, " d"]:
        del params
        return jnp.concatenate([jax.scipy.special.ndtr(x[:num_numeric]), x[num_numeric:] / jnp.sqrt(2.0)])

    return features


def smallest(bank: Array, x: Float[Array, "*shape"], k: int) -> Float[Array, " k"]:
    """Returns the k smallest l2 distances from x to the samples of a bank [m, *shape], ascending.

    Batched over x it is one matrix product per chunk of the bank, and the bank's norms are taken once for all.

    Args:
      bank: uint8, which stand for [-1, 1], or float.
      x: One example, in [-1, 1] if the bank is uint8.
      k: How many, at most m.
    """
    of_bytes, x = bank.dtype == np.uint8, x.reshape(-1)
    groups, real = _groups(jnp.asarray(bank))
    x = _levels(x) if of_bytes else x
    lowest = _lowest(groups, real, x)

    def squared(group: Array) -> Float[Array, " GROUP"]:
        apart = jnp.sum((x[None] - _floats(groups[group])) ** 2, axis=-1)
        return jnp.where(real[group], apart, jnp.inf)

    # The k nearest lie in the k groups whose own nearest are nearest.
    chosen = jax.lax.top_k(-lowest, min(k + SPARE, len(lowest)))[1]
    distances = jnp.sqrt(-jax.lax.top_k(-jax.lax.map(squared, chosen).reshape(-1), k)[0])
    return distances / 127.5 if of_bytes else distances


def _groups(bank: Array) -> tuple[Array, Bool[Array, "groups GROUP"]]:
    """Returns the bank [groups, GROUP, d], filled up to chunks of one size, and which of its samples are real."""
    num = len(bank)
    chunks = -(-num // CHUNK)
    fill = -num % (chunks * GROUP)
    bank = jnp.pad(bank.reshape(num, -1), ((0, fill), (0, 0)))
    return bank.reshape(-1, GROUP, bank.shape[1]), (jnp.arange(num + fill) < num).reshape(-1, GROUP)


def _lowest(groups: Array, real: Bool[Array, "groups GROUP"], x: Float[Array, " d"]) -> Float[Array, " groups"]:
    """Returns the smallest (||x - g||^2 - ||x||^2)/2 of each group, by one matrix product a chunk."""

    def one(chunk: tuple[Array, Array]) -> Float[Array, " some"]:
        g, is_real = _floats(chunk[0]), chunk[1]
        half = jnp.where(is_real, jnp.sum(g * g, axis=-1) / 2, jnp.inf)
        return jnp.min(half - jnp.matmul(g, x, precision="highest"), axis=-1)

    chunks = -(-groups.shape[0] * GROUP // CHUNK)
    chunked = [leaf.reshape(chunks, -1, *leaf.shape[1:]) for leaf in (groups, real)]
    return jax.lax.map(one, (chunked[0], chunked[1])).reshape(-1)


def _floats(g: Array) -> Float[Array, "..."]:
    """Returns bytes as whole numbers from -128 to 127, whose products are exact, and floats as they are."""
    return jnp.asarray(g, jnp.float32) - 128.0 if g.dtype == jnp.uint8 else g


def _levels(x: Example) -> Example:
    """Returns an example in [-1, 1] on the scale of `_floats`."""
    levels = (x + 1) * 127.5
    whole = jnp.round(levels)
    # Bytes were rounded when they became floats, in another way in each program: here they are whole again.
    return jnp.where(jnp.abs(levels - whole) < 1e-4, whole, levels) - 128.0


def _mapped(features: Callable[[Params, Example], Any], params: Params, bank: np.ndarray) -> np.ndarray:
    """Returns the features of every sample, float32 [m, d]."""

    def one(params: Params, key: Key, query: Query) -> Float[Array, " d"]:
        with jax.default_matmul_precision("highest"):  # as an audit maps its queries
            return features(params, to_signed(query.x)).reshape(-1)

    vectors = stream(one, params, jax.random.key(0), Query(bank, None, np.arange(len(bank))))
    if not np.isfinite(vectors).all():
        raise InputError("the features of the bank hold NaN or infinity: distances to them mean nothing.")
    return vectors


def _checked(bank: ArrayLike) -> np.ndarray:
    """Returns the bank as uint8 or float32 images."""
    images = np.asarray(bank)
    if images.ndim < 2 or not images.size:
        raise InputError(f"a bank holds samples [m, *shape], at least one, got shape {images.shape}.")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f"a bank holds uint8 images or floats in [-1, 1], got {images.dtype}: convert it first.")
    bad = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))
    if len(bad):
        raise InputError(f"sample {bad[0]} of the bank holds NaN or infinity (of {len(bad)} such): leave it out.")
    if images.ndim > 2 and np.abs(images).max() > 1:
        raise InputError(f"a bank of floats lies in [-1, 1], got {images.min():.4g} to {images.max():.4g}: rescale it.")
    return images.astype(np.float32)
