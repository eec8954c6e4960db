"""How fast the nearest samples are found, beside the matrix product of the same sizes in the same run.

python -m benchmarks.nearest     # saves benchmarks/results/nearest-PLATFORM.json
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import timing
from diffaudit_jax.attacks import nearest
from diffaudit_jax.auditing import observing
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Query, to_signed

SHAPES = ((28, 28, 1), (32, 32, 3))
KS = (1, 5)
COPIES = 50
CHECKED = 100


@dataclass(frozen=True)
class Options:
    """Measure the search for nearest samples on this machine."""

    samples: int = 20_000
    """Images of the bank."""
    queries: int = 2_000
    """Queries."""
    blocks: tuple[int, ...] = (500, 64)
    """Queries per dispatch; 64 is an audit's default."""
    repeats: int = 3
    """Timed calls of each function; the median counts."""


def main(options: Options) -> None:
    """Measures, prints and saves."""
    sizes = {"x".join(map(str, shape)): measure(shape, options) for shape in SHAPES}
    for name, row in sizes.items():
        print("\n".join(f"{name}: {what} {value}" for what, value in row.items()))
    print(f"saved {timing.save(f'nearest-{jax.default_backend()}', {**vars(options), 'sizes': sizes})}")


def measure(shape: tuple[int, ...], options: Options) -> dict[str, float]:
    """Times the product alone and the k nearest, by turns; refuses distances that are wrong."""
    draws = np.random.default_rng(0)
    bank = draws.integers(0, 256, (options.samples, *shape), dtype=np.uint8)
    x = draws.integers(0, 256, (options.queries, *shape), dtype=np.uint8)
    x[:COPIES] = bank[draws.choice(options.samples, COPIES, replace=False)]
    a, b = (to_signed(jnp.asarray(images.reshape(len(images), -1))) for images in (x, bank))
    product = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision="highest"))
    searches = {}
    for k, block in itertools.product(KS, options.blocks):
        run = searches[f"nearest {k}, blocks of {block}"] = search(bank, x, k, block)
        check(np.concatenate(run()), x, bank, k)
    seconds = timing.by_turns({"product": lambda: product(a, b), **searches}, options.repeats)
    ratios = {f"{name}, of the product": round(seconds[name] / seconds["product"], 2) for name in searches}
    return {**{f"{name}, s": round(value, 3) for name, value in seconds.items()}, **ratios}


def search(bank: np.ndarray, x: np.ndarray, k: int, block: int) -> Callable[[], list[np.ndarray]]:
    """Returns the search of all queries as an audit runs it, compiled once."""
    attack, target = nearest(bank, k=k), Target(None, x.shape[1:], lambda params, key, cond: jnp.zeros(x.shape[1:]))
    run, queries = Stream(observing(attack, target), block=block), Query(x, None, np.arange(len(x)))
    return lambda: [distances for _, _, distances in run((None, attack.evidence), jax.random.key(0), queries)]


def check(distances: np.ndarray, x: np.ndarray, bank: np.ndarray, k: int) -> None:
    """Refuses copies that are not at distance 0, and distances that float64 arithmetic does not give."""
    if distances[:COPIES, 0].any():
        raise SystemExit(f"a copy of a sample is at distance {distances[:COPIES, 0].max():.3g}, not 0.")
    some = slice(COPIES, COPIES + CHECKED)
    flat: Any = [images.reshape(len(images), -1).astype(np.float64) / 127.5 for images in (x[some], bank)]
    squared = (flat[0] ** 2).sum(1)[:, None] - 2 * flat[0] @ flat[1].T + (flat[1] ** 2).sum(1)[None]
    error = np.abs(distances[some] / np.sqrt(np.sort(squared, axis=1)[:, :k]) - 1).max()
    # The sums' worst rounding, which is halved by the root.
    if error > flat[0].shape[1] * np.finfo(np.float32).eps / 2:
        raise SystemExit(f"distances are off by {error:.3g} of their size.")


if __name__ == "__main__":
    main(tyro.cli(Options))
