"""Audits resume from whatever is left of a run directory, and never from another audit's."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.attack import with_score
from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.auditing import audit, audit_each, content_hash, fingerprints
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, Query
from tests.oracles import EPS32, PROCESSES, SHAPE, counted, gaussian, pool, signed

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(3)
TIMES = (0.2, 0.6)
N = 48


def attack(**options):
    return loss_trajectory(**{"times": TIMES, **options})


class StopError(Exception):
    """The user's Ctrl-C."""


def stop_after(rows):
    def progress(done, n):
        assert n == N
        if done >= rows:
            raise StopError

    return progress


def same(got, want):
    # Another block size may sum the 32 pixels in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=32 * EPS32), got, want)


@pytest.fixture(scope="module")
def whole():
    """The audit that was never interrupted."""
    return audit(attack(), gaussian(PROCESS, 0.2), pool(N), key=KEY, block=16)


def test_an_interrupted_audit_resumes_with_other_blocks_and_devices(tmp_path, whole):
    target, calls = counted(gaussian(PROCESS, 0.2))
    with pytest.raises(StopError):
        audit(attack(), target, pool(N), key=KEY, block=8, out=tmp_path, progress=stop_after(16))
    assert len(list(tmp_path.glob("block-*.npz"))) == 2
    jax.effects_barrier()
    calls.clear()
    done = []
    resumed = audit(
        attack(),
        target,
        pool(N),
        key=KEY,
        block=16,
        mesh=local_mesh(2),
        out=tmp_path,
        progress=lambda now, n: done.append(now),
    )
    jax.effects_barrier()
    assert len(calls) == (N - 16) * attack().spec.calls
    assert done == [8, 16, 32, 48]
    same(resumed, whole)
    calls.clear()
    jax.tree.map(np.testing.assert_array_equal, audit(attack(), target, pool(N), key=KEY, out=tmp_path), resumed)
    jax.effects_barrier()
    assert calls == []


def finished(directory):
    return audit(attack(), gaussian(PROCESS, 0.2), pool(N), key=KEY, block=8, out=directory)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The files of a finished audit."""
    directory = tmp_path_factory.mktemp("audit")
    finished(directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def copy(tmp_path, stored):
    for name, data in stored.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def swapped(queries):
    return queries._replace(x=queries.x[::-1].copy())


CHANGES = {
    "params": ("target", {"target": gaussian(PROCESS, 0.3)}),
    "process": ("target", {"target": gaussian(PROCESSES["linear-50"], 0.2)}),
    "times": ("attack", {"attack": attack(times=(0.2, 0.65))}),
    "noises": ("attack", {"attack": attack(num_noises=2)}),
    "clip": ("attack", {"attack": attack(clip=False)}),
    "evidence": ("attack", {"attack": attack(noise_key=jax.random.key(1))}),
    "images": ("queries", {"queries": swapped(pool(N))}),
    "rows": ("queries", {"queries": pool(N)._replace(row=np.arange(N))}),
    "fewer": ("queries", {"queries": pool(N - 1)}),
    "cond": ("queries", {"queries": pool(N)._replace(cond=np.zeros(N, int))}),
    "key": ("key", {"key": jax.random.key(4)}),
    "key and queries": ("queries and key", {"key": jax.random.key(4), "queries": pool(N - 1)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_audit_is_refused_by_what_changed(copy, change):
    what, changes = CHANGES[change]
    arguments = {"attack": attack(), "target": gaussian(PROCESS, 0.2), "queries": pool(N), "key": KEY, **changes}
    with pytest.raises(InputError, match=rf"holds another audit \(its {what} differ .*use another directory"):
        audit(**arguments, out=copy)


def test_another_score_is_no_other_audit(copy, whole):
    target, calls = counted(gaussian(PROCESS, 0.2))
    other = attack(loss="x0", statistic="max", truncate=0.5, by="value")
    seen = audit(other, target, pool(N), key=KEY, out=copy)
    np.testing.assert_array_equal(seen.scores, other.score(seen.features))
    assert (seen.scores != whole.scores).all()
    flat = audit(with_score(other, lambda features: np.zeros(N)), target, pool(N), key=KEY, out=copy)
    np.testing.assert_array_equal(flat.scores, 0)
    jax.effects_barrier()
    assert calls == []


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "one byte": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "text": lambda data: b"not a block",
}


def test_damaged_blocks_are_asked_again(copy, whole):
    blocks = sorted(copy.glob("block-*.npz"))
    assert len(blocks) == 1 + len(DAMAGE)
    for path, damage in zip(blocks, DAMAGE.values(), strict=False):
        path.write_bytes(damage(path.read_bytes()))
    done = []
    seen = audit(
        attack(),
        gaussian(PROCESS, 0.2),
        pool(N),
        key=KEY,
        block=16,
        out=copy,
        progress=lambda now, n: done.append(now),
    )
    assert done == [8, 24, 40, 48]
    same(seen, whole)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "diffaudit.audit"}', "null"])
def test_a_damaged_manifest_is_refused(copy, text):
    (copy / "audit.json").write_text(text)
    with pytest.raises(InputError, match=r"audit\.json is damaged"):
        finished(copy)


def test_a_full_disk_loses_nothing_already_written(tmp_path, monkeypatch, whole):
    write, written = Path.write_bytes, []

    def full(path, data):
        if len(written) == 3:  # the manifest and two blocks
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        finished(tmp_path)
    monkeypatch.undo()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npz", ".npz"]
    done = []
    seen = audit(
        attack(),
        gaussian(PROCESS, 0.2),
        pool(N),
        key=KEY,
        block=16,
        out=tmp_path,
        progress=lambda now, n: done.append(now),
    )
    assert done == [8, 16, 32, 48]
    same(seen, whole)


def test_results_come_in_the_order_of_the_queries(whole):
    queries = pool(N)
    order = np.random.default_rng(0).permutation(N)[:20]
    some = Query(queries.x[order], None, queries.row[order])
    seen = audit(attack(), gaussian(PROCESS, 0.2), some, key=KEY, block=8)
    np.testing.assert_array_equal(seen.rows, queries.row[order])
    np.testing.assert_allclose(seen.scores, whole.scores[order], rtol=32 * EPS32)


def test_uint8_and_float_images_are_the_same_queries(whole):
    floats = pool(N)._replace(x=signed(pool(N).x))
    same(audit(attack(), gaussian(PROCESS, 0.2), floats, key=KEY, block=16).scores, whole.scores)


def bad(x=None, row=None, cond=None, n=4):
    queries = pool(n)
    x = queries.x.astype(np.float32) / 127.5 - 1 if x is None else x(queries.x.astype(np.float32) / 127.5 - 1)
    return Query(x, cond, queries.row if row is None else row)


def holding(value):
    def put(x):
        x[2, 0, 0, 0] = value
        return x

    return put


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (pool(0), "the query set is empty"),
        (bad(lambda x: x[:, :2]), r"queries of shape \(2, 4, 2\) do not fit a target of shape \(4, 4, 2\)"),
        (bad(lambda x: x[..., 0]), r"queries of shape \(4, 4\) do not fit"),
        (bad(holding(np.nan)), "query 2 holds NaN or infinity"),
        (bad(holding(-np.inf)), "query 2 holds NaN or infinity"),
        (bad(lambda x: (127.5 * (x + 1)).astype(np.int64)), "uint8 images or floats in .-1, 1., got int64"),
        (bad(row=np.array([3, 5, 3, 1])), "row 3 stands for several queries"),
        (bad(row=np.arange(3)), r"a row of its own .* got shapes \[\(4, 4, 4, 2\), \(3,\)\]"),
        (bad(row=np.arange(5)), "a row of its own"),
        (bad(row=0), "a row of its own"),
        (bad(cond=np.zeros(3, int)), "a row of its own"),
    ],
)
def test_bad_queries_are_refused(queries, says):
    with pytest.raises(InputError, match=says):
        audit(attack(), gaussian(PROCESS), queries, key=KEY)


def conditional(**config):
    target = gaussian(PROCESS)
    assert target.network is not None
    return replace(target, num_classes=3, network=replace(target.network, config=config))


@pytest.mark.parametrize("config", [{}, {"null_class": True}])
def test_the_class_for_none_may_be_asked(config):
    cond = np.array([0, 1, 2, 3])
    assert np.isfinite(audit(attack(), conditional(**config), bad(cond=cond), key=KEY).scores).all()
    with pytest.raises(InputError, match=r"classes 1 to 4 were asked about, the target has 0 to 2 \(and 3 for none"):
        audit(attack(), conditional(**config), bad(cond=cond + 1), key=KEY)


def test_the_class_for_none_is_refused_where_there_is_none():
    with pytest.raises(InputError, match=r"classes 0 to 3 .* the target has 0 to 2 \(and no class for none"):
        audit(attack(), conditional(null_class=False), bad(cond=np.arange(4)), key=KEY)


def test_content_hash_sees_structure_type_shape_and_bytes():
    x = np.arange(6, dtype=np.int32)
    trees = [
        {"a": x},
        {"b": x},
        [x],
        {"a": x.astype(np.int64)},
        {"a": x.view(np.float32)},
        {"a": x.reshape(2, 3)},
        {"a": x[:3], "b": x[3:]},
        {"a": x[:2], "b": x[2:]},
        {"a": x + 1},
        {"a": jax.random.key(0)},
        {"a": jax.random.key(1)},
        "text",
        "tex",
    ]
    assert len({content_hash(tree) for tree in trees}) == len(trees)
    assert content_hash({"a": jnp.asarray(x)}) == content_hash({"a": x.copy()})
    assert content_hash({"a": np.asfortranarray(x.reshape(2, 3))}) == content_hash({"a": x.reshape(2, 3)})


def test_fingerprints_are_of_contents_and_stored_as_json(stored):
    prints = fingerprints(attack(), gaussian(PROCESS, 0.2), pool(N), KEY)
    assert json.loads(stored["audit.json"]) == {"schema": "diffaudit.audit", "fingerprints": prints}
    assert gaussian(PROCESS, 0.2).shape == SHAPE


MEANS = (0.2, -0.3, 0.0)


def test_several_targets_are_asked_as_each_is_alone(tmp_path, whole):
    traced = []

    def observe(access, evidence, key, query):
        traced.append(1)
        return attack().observe(access, evidence, key, query)

    asked = replace(attack(), observe=observe)
    seen = audit_each(asked, (gaussian(PROCESS, mean) for mean in MEANS), pool(N), key=KEY, block=16, out=tmp_path)
    same(seen[0], whole)
    for mean, one in zip(MEANS[1:], seen[1:], strict=True):
        same(one, audit(attack(), gaussian(PROCESS, mean), pool(N), key=KEY, block=16))
    # Its features' shapes are asked of each; one program answers for all.
    assert len(traced) == len(MEANS) + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target-0", "target-1", "target-2"]


OTHERS = {
    "another architecture": (lambda: replace(gaussian(PROCESS), config={"width": 2}), "of another architecture"),
    "a Python function": (lambda: replace(gaussian(PROCESS), host=True), "a Python function"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_targets_that_share_no_program_are_refused(case):
    make, says = OTHERS[case]
    with pytest.raises(InputError, match=f"target 1 is {says}"):
        audit_each(attack(), [gaussian(PROCESS), make()], pool(16), key=KEY)
