"""What a pass takes, by compiling and running a block of it on queries of noise: nobody is asked about."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from diffaudit_jax.attack import Attack
from diffaudit_jax.auditing import observing
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import Query

ENOUGH_SECONDS = 1.0
"""Blocks are timed until they have taken this long, or there are `MOST_BLOCKS` of them."""
MOST_BLOCKS = 3
HOST_BLOCK = 2
"""Queries that a Python function is asked to be timed: it takes them one by one."""


class Measured(NamedTuple):
    """What a pass takes.

    Attributes:
      compile: Seconds to compile it.
      per_query: Seconds a query after that.
      memory: Bytes on each device with two blocks in flight, weights among them; None where the compiler does not say.
      features: Bytes that a query's answers take on the host and on disk.
    """

    compile: float
    per_query: float
    memory: int | None
    features: int


def measure(attack: Attack, target: Target, classes: np.ndarray | None, *, block: int, mesh: Mesh) -> Measured:
    """Compiles one block of an attack on a target and times it, on queries of noise.

    Args:
      attack: What is asked.
      target: Who is asked.
      classes: Classes of the queries to come, of which one is used; None if they have none.
      block: Queries per dispatch, over all devices.
      mesh: Devices.

    Returns:
      What it takes; this costs attack.spec.calls network calls for each query of one to `MOST_BLOCKS` + 1 blocks.
    """
    observe, shared, key = observing(attack, target), (target.params, attack.evidence), jax.random.key(0)
    stream = Stream(observe, mesh=mesh, block=HOST_BLOCK if target.host else block, host=target.host)
    queries = _noise(target, classes, stream.block)
    like = jax.eval_shape(observe, shared, key, jax.tree.map(lambda leaf: leaf[0], queries))
    features = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
    if target.host:
        seconds = _timed(lambda: list(stream(shared, key, queries)), most=1)
        return Measured(0.0, seconds / stream.block, None, features)
    begun = time.perf_counter()
    program, run = stream.compiled(shared, key, queries)
    compiling = time.perf_counter() - begun
    seconds = _timed(run, most=MOST_BLOCKS)
    return Measured(compiling, seconds / stream.block, _memory(program), features)


def calls_of(attack: Attack) -> int:
    """Returns the network calls a query: of the target, or of the surrogate where that is asked in its place."""
    asked = (each.get("asked", {}).get("calls", 0) for each in attack.spec.config.values() if isinstance(each, dict))
    return attack.spec.calls or sum(asked)


def _noise(target: Target, classes: np.ndarray | None, num: int) -> Query:
    draws = np.random.default_rng(0)
    shape = (num, *target.shape)
    x = draws.integers(0, 256, shape, np.uint8) if len(shape) > 2 else draws.normal(size=shape).astype(np.float32)
    return Query(x, None if classes is None else np.zeros(num, np.asarray(classes).dtype), np.arange(num))


def _timed(run: Any, most: int) -> float:
    """Returns the mean seconds of a few runs; the first one, which also warms up, counts only if it was long."""
    taken = [_clocked(run)]
    if taken[0] < ENOUGH_SECONDS and most > 1:
        taken = [_clocked(run)]
        while len(taken) < most and sum(taken) < ENOUGH_SECONDS:
            taken.append(_clocked(run))
    return sum(taken) / len(taken)


def _clocked(run: Any) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _memory(program: jax.stages.Compiled) -> int | None:
    told = program.memory_analysis()
    if told is None:
        return None
    return told.argument_size_in_bytes + told.temp_size_in_bytes + 2 * told.output_size_in_bytes
