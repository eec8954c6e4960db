"""Maps a function of ONE query over any number of queries: the only file that knows devices, blocks and padding.

    run = jit(shard_map(vmap(fn)))      fixed blocks, one compile, device memory O(block)

Row i of the result depends only on (shared, fold_in(key, row_i), query_i): it is the same for any block size, device
count, subset or order of queries, up to float32 rounding (XLA may sum in another order at another block size).

A function that asks Python (a model of another framework, a service) takes the host path: vmap(fn) runs un-jitted,
loops and all, on the calling thread. Nothing of it is inside a compiled program, so Python is asked in order, once, and
what it raises arrives as it is. A callback out of the sharded program does neither, and hung on CPU: eight devices
waited for each other's copies of eight 128x128 images.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffaudit_jax.types import InputError, Key, Query

Features: TypeAlias = Any  # a pytree of arrays; on the host with a leading axis of queries
_AXIS = "queries"


def local_mesh(devices: int | None = None) -> Mesh:
    """Returns a one-axis mesh over the local devices, or over the first `devices` of them.

    Raises:
      InputError: if there are fewer devices than asked for.
    """
    local = jax.local_devices()
    count = len(local) if devices is None else devices
    if not 1 <= count <= len(local):
        raise InputError(f"asked for {count} devices, there are {len(local)} here.")
    return Mesh(np.asarray(local[:count]), (_AXIS,))


class Stream:
    """A compiled `fn(shared, key, query) -> features`, to be run over query sets of any size.

    Padding rows repeat a real query and are dropped; block k + 1 is dispatched before block k is fetched, so at most
    two blocks live on the devices. Compiled once: further calls with the same shapes reuse the program.

    Attributes:
      mesh: The devices.
      block: Queries per dispatch, a multiple of their number.
      host: Whether `fn` runs un-jitted.
      num_compiles: Programs compiled so far; 1 whatever the number of queries, 0 on the host path.

    Args:
      fn: Pure function of one query. Its `key` is already folded with the query's row.
      mesh: One-axis mesh; default all local devices.
      block: Queries per dispatch, rounded up to a multiple of the device count.
      host: Whether to run un-jitted: for an `fn` that asks Python. Then `mesh` is not used, `block` is kept, and the
        last block is short rather than padded: every query asked is one that was meant.

    Raises:
      InputError: if `block` is not positive.
    """

    def __init__(
        self,
        fn: Callable[[Any, Key, Query], Features],
        *,
        mesh: Mesh | None = None,
        block: int = 64,
        host: bool = False,
    ):
        if block < 1:
            raise InputError(f"a block holds at least 1 query, got {block=}.")
        self.mesh = local_mesh() if mesh is None else mesh
        self.block = block if host else -(-block // self.mesh.size) * self.mesh.size
        self.host = host
        self.num_compiles = 0
        self._fn = fn

        def shard(shared: Any, key: Key, queries: Query) -> Features:
            self.num_compiles += 1  # runs when traced, never when called
            # Cast to varying: a gradient taken inside shard_map with respect to replicated arrays would be summed
            # over devices, and each query's own gradient lost.
            shared, key = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, _AXIS, to="varying"), (shared, key))
            one = lambda query: fn(shared, jax.random.fold_in(key, query.row), query)  # noqa: E731
            return jax.vmap(one)(queries)

        spec = PartitionSpec(_AXIS)
        self._run = jax.jit(
            jax.shard_map(shard, mesh=self.mesh, in_specs=(PartitionSpec(), PartitionSpec(), spec), out_specs=spec)
        )

    def __call__(self, shared: Any, key: Key, queries: Query) -> Iterator[tuple[int, int, Features]]:
        """Yields (start, stop, features of those queries as NumPy arrays), in order.

        Args:
          shared: Pytree of arrays that every query sees, e.g. parameters.
          key: Typed key of the whole run.
          queries: Query set with a leading axis n on every field, on the host.
        """
        if self.host:
            yield from self._on_host(shared, key, queries)
            return
        n = len(queries.row)
        shared, key = self._placed(shared, key)
        pending: tuple[int, int, Features] | None = None
        for start in range(0, n, self.block):
            stop = min(start + self.block, n)
            # mod n: padding repeats real queries, so that no NaN or denormal path is entered for its sake.
            index = np.arange(start, start + self.block) % n
            dispatched = self._run(shared, key, jax.tree.map(lambda leaf, index=index: leaf[index], queries))
            if pending is not None:
                yield _fetch(*pending)
            pending = start, stop, dispatched
        if pending is not None:
            yield _fetch(*pending)

    def compiled(self, shared: Any, key: Key, queries: Query) -> tuple[jax.stages.Compiled, Callable[[], Features]]:
        """Compiles the program of one block, for what it takes in memory and time; nothing is run yet.

        Args:
          shared: Pytree of arrays that every query sees.
          key: Typed key.
          queries: As many queries as a block holds.

        Returns:
          The program, and a function that runs it on these queries and waits for the answers. Calls of this stream
          compile it again.
        """
        placed = self._placed(shared, key)
        program = self._run.lower(*placed, queries).compile()
        return program, lambda: jax.block_until_ready(program(*placed, queries))

    def _placed(self, shared: Any, key: Key) -> tuple[Any, Key]:
        # Once, to every device: parameters may come from a checkpoint that was restored to one of them.
        return jax.device_put((shared, key), NamedSharding(self.mesh, PartitionSpec()))

    def _on_host(self, shared: Any, key: Key, queries: Query) -> Iterator[tuple[int, int, Features]]:
        n = len(queries.row)
        one = lambda query: self._fn(shared, jax.random.fold_in(key, query.row), query)  # noqa: E731
        for start in range(0, n, self.block):
            stop = min(start + self.block, n)
            some = jax.tree.map(lambda leaf, rows=slice(start, stop): jax.numpy.asarray(leaf[rows]), queries)
            # vmap alone would still compile a scan, with the question to Python inside it.
            with jax.disable_jit():
                features = jax.vmap(one)(some)
            yield _fetch(start, stop, features)


def stream(
    fn: Callable[[Any, Key, Query], Features],
    shared: Any,
    key: Key,
    queries: Query,
    *,
    mesh: Mesh | None = None,
    block: int = 64,
    host: bool = False,
) -> Features:
    """Runs `fn` over all queries and returns the features on the host, row i for query i.

    Args:
      fn: Pure function ``fn(shared, key, query) -> features`` of one query.
      shared: Pytree of arrays that every query sees.
      key: Typed key; each query gets fold_in(key, its row).
      queries: Query set on the host, leading axis n.
      mesh: One-axis mesh; default all local devices.
      block: Queries per dispatch.
      host: Whether to run un-jitted, as `fn` asks Python.

    Raises:
      InputError: if there are no queries.
    """
    if not len(queries.row):
        raise InputError("there are no queries to run: the query set is empty.")
    blocks = [features for _, _, features in Stream(fn, mesh=mesh, block=block, host=host)(shared, key, queries)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *blocks)


def _fetch(start: int, stop: int, features: Features) -> tuple[int, int, Features]:
    return start, stop, jax.tree.map(lambda leaf: np.asarray(leaf)[: stop - start], features)
