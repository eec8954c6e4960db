"""The stream's guarantees: rows do not depend on blocks, devices, order or neighbours; one program; flat memory."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from diffaudit_jax.stream import Stream, local_mesh, stream
from diffaudit_jax.types import InputError, Query
from tests.oracles import EPS32, PROCESSES, SHAPE, conv, pool

KEY = jax.random.key(11)
PROCESS = PROCESSES["cosine-20"]
LAYOUTS = [(block, devices) for block in (7, 64) for devices in (1, 8)]


def elementwise(shared, key, query):
    """Integers and one rounding per number: nothing that a compiler may reorder."""
    return {"bits": jax.random.bits(key, (3,)), "scaled": query.x * shared, "row": query.row}


def network_loss(target):
    """Loss and per-tensor gradient norms of a convolution + group norm network on one query."""

    def loss(params, key, query):
        eps = jax.random.normal(key, SHAPE)
        x0 = query.x / 127.5 - 1
        pred = target.network.apply(params, PROCESS.corrupt(x0, jnp.float32(0.5), eps), jnp.float32(0.5))
        return ((pred.eps - eps) ** 2).mean()

    return loss


def floats(queries):
    return queries._replace(x=queries.x.astype(np.float32))


@pytest.mark.parametrize(("block", "devices"), LAYOUTS)
def test_rows_do_not_depend_on_block_or_devices(block, devices):
    queries = floats(pool(30))
    got = stream(elementwise, jnp.float32(0.3), KEY, queries, mesh=local_mesh(devices), block=block)
    np.testing.assert_array_equal(got["row"], queries.row)
    np.testing.assert_array_equal(got["scaled"], queries.x * np.float32(0.3))
    for i in (0, 7, 29):
        alone = jax.random.bits(jax.random.fold_in(KEY, queries.row[i]), (3,))
        np.testing.assert_array_equal(got["bits"][i], alone)


@pytest.mark.parametrize("indices", [[4], [29, 3, 17], list(range(30))[::-1]], ids=["one", "some", "reversed"])
def test_rows_do_not_depend_on_order_or_on_the_other_queries(indices):
    queries = floats(pool(30))
    whole = stream(elementwise, jnp.float32(0.3), KEY, queries, block=16)
    part = stream(elementwise, jnp.float32(0.3), KEY, Query(queries.x[indices], None, queries.row[indices]), block=16)
    jax.tree.map(np.testing.assert_array_equal, part, jax.tree.map(lambda leaf: leaf[indices], whole))


@pytest.mark.parametrize("devices", [1, 8])
def test_a_compiled_block_is_what_calls_run_and_tells_its_memory(devices):
    queries = floats(pool(16))
    run = Stream(elementwise, mesh=local_mesh(devices), block=16)
    program, once = run.compiled(jnp.float32(0.3), KEY, queries)
    ((_, _, want),) = run(jnp.float32(0.3), KEY, queries)
    jax.tree.map(np.testing.assert_array_equal, once(), want)
    told = program.memory_analysis()
    assert told.output_size_in_bytes >= sum(leaf.nbytes for leaf in jax.tree.leaves(want)) // devices


def test_a_network_agrees_over_all_layouts_to_rounding():
    target, queries = conv(PROCESS), floats(pool(30))
    grad = jax.grad(network_loss(target))
    results = [
        stream(grad, target.params, KEY, queries, mesh=local_mesh(devices), block=block) for block, devices in LAYOUTS
    ]
    for other in results[1:]:
        # Sums over at most 4 x 4 positions x 8 channels x 9 taps, in another order.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=np.sqrt(1152) * EPS32 * np.abs(b).max()),
            results[0],
            other,
        )


def without_cast(fn):
    """What the stream would be if it left its shared arrays replicated."""

    def shard(shared, key, queries):
        return jax.vmap(lambda query: fn(shared, jax.random.fold_in(key, query.row), query))(queries)

    mesh = Mesh(np.asarray(jax.devices()), ("queries",))
    shared, per_query = PartitionSpec(), PartitionSpec("queries")
    return jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=(shared, shared, per_query), out_specs=per_query))


def test_per_example_gradients_are_each_querys_own():
    target, queries = conv(PROCESS), floats(pool(32))
    grad = jax.grad(network_loss(target))
    alone = jax.jit(lambda x, row: grad(target.params, jax.random.fold_in(KEY, row), Query(x, None, row)))
    want = [alone(x, row) for x, row in zip(queries.x, queries.row, strict=True)]
    want = jax.tree.map(lambda *rows: np.stack(rows), *want)

    def worst(got):
        """Largest error of any query's gradient, relative to its norm."""
        rows = [
            np.concatenate([np.asarray(leaf).reshape(32, -1) for leaf in jax.tree.leaves(g)], 1) for g in (got, want)
        ]
        return (np.linalg.norm(rows[0] - rows[1], axis=1) / np.linalg.norm(rows[1], axis=1)).max()

    assert jax.device_count() == 8
    assert worst(stream(grad, target.params, KEY, queries, block=32)) < np.sqrt(1152) * EPS32
    # The trap this guards against: gradients of replicated parameters are summed over the eight devices.
    assert worst(without_cast(grad)(target.params, KEY, queries)) > 0.5


def test_shared_arrays_are_arguments_and_one_program_serves_all():
    traces = 0

    def fn(shared, key, query):
        nonlocal traces
        traces += 1
        return query.x.sum() * shared["w"] + shared["b"]

    run = Stream(fn, block=16)
    assert run.num_compiles == 0
    for n, w in ((5, 1.0), (16, 1.0), (40, 2.0), (100, -3.0)):
        shared = {"w": jnp.float32(w), "b": jnp.float32(0.25)}
        queries = floats(pool(n))
        got = np.concatenate([features for _, _, features in run(shared, KEY, queries)])
        np.testing.assert_allclose(got, queries.x.sum((1, 2, 3)) * w + 0.25, rtol=4 * EPS32)
    assert run.num_compiles == 1
    assert traces == 1


def test_device_memory_does_not_grow_with_the_number_of_queries():
    run = Stream(lambda shared, key, query: (query.x * shared, query.row), block=16)

    def live():
        return sum(array.nbytes for array in jax.live_arrays() if len(array.devices()) == jax.device_count())

    def peak(n):
        gc.collect()
        before = live()
        return max(live() - before for _ in run(jnp.float32(2), KEY, floats(pool(n))))

    per_block = 16 * (int(np.prod(SHAPE)) * 4 + 4)
    replicated = jnp.float32(2).nbytes + jax.random.key_data(KEY).nbytes
    assert peak(64) == peak(2048) == 2 * per_block + replicated


def test_blocks_arrive_in_order_and_cover_every_query_once():
    run = Stream(lambda shared, key, query: query.row, mesh=local_mesh(4), block=10)
    assert run.block == 12
    queries = pool(30)
    seen = list(run((), KEY, queries))
    assert [(start, stop) for start, stop, _ in seen] == [(0, 12), (12, 24), (24, 30)]
    assert [len(rows) for _, _, rows in seen] == [12, 12, 6]
    np.testing.assert_array_equal(np.concatenate([rows for *_, rows in seen]), queries.row)


def test_a_block_is_fetched_only_after_the_next_is_dispatched(monkeypatch):
    dispatched = []
    run = Stream(lambda shared, key, query: query.row, block=8)
    inner = run._run
    monkeypatch.setattr(run, "_run", lambda *arguments: dispatched.append(1) or inner(*arguments))
    counts = [len(dispatched) for _ in run((), KEY, pool(32))]
    assert counts == [2, 3, 4, 4]


def test_every_row_has_its_own_dropout():
    keep = lambda shared, key, query: jax.random.bernoulli(key, 0.5, (64,))  # noqa: E731
    queries = pool(20)
    masks = stream(keep, (), KEY, queries, block=32)
    assert len(np.unique(masks, axis=0)) == 20
    for mask, row in zip(masks, queries.row, strict=True):
        np.testing.assert_array_equal(mask, jax.random.bernoulli(jax.random.fold_in(KEY, row), 0.5, (64,)))


def test_padding_repeats_real_queries_and_is_dropped():
    # log of a padding zero would be -inf; 1/rows of a padding zero would be inf.
    fn = lambda shared, key, query: jnp.where(query.row == 0, jnp.nan, 1 / query.row)  # noqa: E731
    rows = np.arange(1, 4)
    got = stream(fn, (), KEY, Query(np.ones((3, 2), np.float32), None, rows), block=8)
    assert got.shape == (3,)
    np.testing.assert_allclose(got, 1 / rows, rtol=EPS32)


def test_conditions_travel_with_their_queries():
    queries = pool(10)._replace(cond=np.arange(10) % 3)
    got = stream(lambda shared, key, query: (query.cond, query.row), (), KEY, queries, block=4)
    np.testing.assert_array_equal(got[0], queries.cond)
    np.testing.assert_array_equal(got[1], queries.row)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: stream(elementwise, jnp.float32(1), KEY, pool(0)), "no queries to run"),
        (lambda: Stream(elementwise, block=0), "at least 1 query, got block=0"),
        (lambda: local_mesh(9), "asked for 9 devices, there are 8 here"),
        (lambda: local_mesh(0), "asked for 0 devices, there are 8 here"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
