"""How far apart a network of vision sees images, at the cost of one pass of every image and not two of every pair.

    d(x, y) = between(features(x), features(y))

A pass is dear, a comparison is not, and features are large: 2 MB of an image of 64x64 pixels, by VGG16. So the features
of found images never leave the device, and those of targets are held as long as their block is compared.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffaudit_jax.reconstruction.targets import Images
from diffaudit_jax.stream import Stream
from diffaudit_jax.types import Example, Key, Params, Query, Time

Features = Any  # a pytree of arrays, of one image or with a leading axis


class Perceptual(NamedTuple):
    """A distance of two images that compares what a network sees in each: two pure functions and their weights.

        lpips = models.lpips("alex")
        Perceptual(importers.lpips_weights("alex"), lpips.features, lpips.between)

    Attributes:
      params: Weights, a pytree of arrays.
      features: ``features(params, x)`` of one image in [-1, 1], a pytree of arrays.
      between: ``between(params, u, v)`` of the features of two images, their distance.
    """

    params: Params
    features: Callable[[Params, Example], Features]
    between: Callable[[Params, Features, Features], Time]


class PerceptualDistances:
    """Distances of any number of images, compiled once for sets of one size.

    Args:
      perceptual: The distance.
      block: Images per dispatch; of the features of so many targets, and of the others that they are set against, one
        copy is on the host and one on each device.
    """

    def __init__(self, perceptual: Perceptual, *, block: int = 64):
        self._params = perceptual.params

        def features(params: Params, key: Key, query: Query) -> Features:
            return perceptual.features(params, query.x)

        def to(shared: tuple[Params, Features], key: Key, query: Query) -> Time:
            (params, held), (x, at) = shared, query.x
            return perceptual.between(params, perceptual.features(params, x), _row(held, at))

        def among(shared: tuple[Params, Features, Array], key: Key, query: Query) -> Float[Array, " shifts"]:
            params, held, shifts = shared
            num, own = jax.tree.leaves(held)[0].shape[0], _row(held, query.x)
            # One at a time: their features beside each other would be `shifts` times as large.
            return jax.lax.map(lambda s: perceptual.between(params, _row(held, (query.x + s) % num), own), shifts)

        self._features, self._to, self._among = (Stream(_precise(fn), block=block) for fn in (features, to, among))

    def to(self, found: Float[np.ndarray, "k n *shape"], targets: Images) -> Float[np.ndarray, "k n"]:
        """Returns the distance of each image from its target, float64; a pass of each and of every target."""
        distances = np.empty(found.shape[:2])
        for rows, held in self._held(targets):
            x, at = found[:, rows], np.arange(rows.stop - rows.start)
            asked = np.asarray(x, np.float32).reshape(-1, *x.shape[2:]), np.tile(at, len(x))
            distances[:, rows] = _run(self._to, (self._params, held), asked).reshape(x.shape[:2])
        return distances

    def among(self, targets: Images, num: int) -> Float[np.ndarray, "n num"]:
        """Returns the distance of target i from i + 1, ..., i + num, counted round, float64.

        Costs a pass of every target, and of `num` more where a block and those that it is set against are not all.
        """
        shifts, distances = np.arange(1, num + 1), np.empty((len(targets), num))
        for rows, held in self._held(targets, num):
            distances[rows] = _run(self._among, (self._params, held, shifts), np.arange(rows.stop - rows.start))
        return distances

    def _held(self, targets: Images, ahead: int = 0) -> Iterator[tuple[slice, Features]]:
        """Yields which targets are to be compared, and the features of these and of `ahead` more, counted round."""
        n, block = len(targets), self._features.block
        size = min(n, block + ahead)
        step, held = n if size == n else block, None
        for start in range(0, n, step):
            index = np.arange(start if held is None else start + size - step, start + size) % n
            new = _run(self._features, self._params, targets[index])
            keep = lambda old, new: np.concatenate([old[step:], new])  # noqa: E731
            held = new if held is None else jax.tree.map(keep, held, new)
            yield slice(start, min(start + step, n)), held


def _precise(fn: Callable[[Any, Key, Query], Any]) -> Callable[[Any, Key, Query], Any]:
    def precise(shared: Any, key: Key, query: Query) -> Any:
        # In TF32, features would keep three digits.
        with jax.default_matmul_precision("highest"):
            return fn(shared, key, query)

    return precise


def _row(held: Features, at: Any) -> Features:
    return jax.tree.map(lambda leaf: jnp.take(leaf, at, axis=0), held)


def _run(run: Stream, shared: Any, x: Any) -> Any:
    asked = Query(x, None, np.arange(len(jax.tree.leaves(x)[0])))
    parts = [part for _, _, part in run(shared, jax.random.key(0), asked)]  # nothing is drawn
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
