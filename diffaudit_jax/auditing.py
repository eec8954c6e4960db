"""Runs an attack over queries, block by block, into a run directory from which an interrupted audit resumes.

    DIR/audit.json             what is being audited: fingerprints of target, attack, queries and key
    DIR/block-FIRST-COUNT.npz      features of some queries, written as each block arrives

Rows are stable (see `stream`), so a resumed audit may use another block size or device count.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from diffaudit_jax._version import __version__
from diffaudit_jax.attack import Attack
from diffaudit_jax.blocks import open_audit, read_blocks, write_block
from diffaudit_jax.stream import Features, Stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Query, to_signed


class Observations(NamedTuple):
    """What an audit saw: features (leading axis n), scores (float64 [n], higher = member) and the queries' rows."""

    features: Features
    scores: Float[np.ndarray, " n"]
    rows: Int[np.ndarray, " n"]


def audit(
    attack: Attack,
    target: Target,
    queries: Query,
    *,
    key: Key,
    block: int = 64,
    mesh: Mesh | None = None,
    out: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    stream: Stream | None = None,
) -> Observations:
    """Asks the target every query and scores the answers; costs attack.spec.calls x n network calls.

    Scores depend on (attack, target, key, query) only: not on block, devices, order or the other queries.

    Args:
      attack: What is asked and how it is scored.
      target: Who is asked.
      queries: n queries; uint8 images are mapped to [-1, 1] on the device, records of a table taken as they are.
      key: Typed key of this audit.
      block: Queries per dispatch, over all devices.
      mesh: One-axis mesh; default all local devices.
      out: Directory that receives each block as it is seen, and from which a stopped audit resumes.
      progress: Called with (queries done, n) after every block.
      stream: Stream of `observing(attack, other)`, of another target of the same architecture, compiled before; it
        decides about block and devices.

    Returns:
      Features, scores and rows in the order of the queries.

    Raises:
      InputError: if there are no queries, their shape, range or classes are not the target's, they hold NaN, or `out`
        holds another audit.
    """
    check_queries(queries, target)
    n, observe = len(queries.row), observing(attack, target)
    shared = (target.params, attack.evidence)
    like = jax.eval_shape(observe, shared, key, jax.tree.map(lambda leaf: leaf[0], queries))
    seen = jax.tree.map(lambda leaf: np.empty((n, *leaf.shape), leaf.dtype), like)
    done = np.zeros(n, bool)

    def keep(index: Int[np.ndarray, " m"], features: Features) -> None:
        jax.tree.map(lambda all_rows, some: all_rows.__setitem__(index, some), seen, features)
        done[index] = True
        if progress is not None:
            progress(int(done.sum()), n)

    store = None if out is None else open_audit(Path(out), fingerprints(attack, target, queries, key))
    for index, leaves in [] if store is None else read_blocks(store, len(jax.tree.leaves(like))):
        keep(index, jax.tree.unflatten(jax.tree.structure(like), leaves))
    missing = np.flatnonzero(~done)
    if len(missing):
        run = Stream(observe, mesh=mesh, block=block, host=target.host) if stream is None else stream
        asked = jax.tree.map(lambda leaf: np.asarray(leaf)[missing], queries)
        for start, stop, features in run(shared, key, asked):
            if store is not None:
                write_block(store, missing[start:stop], jax.tree.leaves(features))
            keep(missing[start:stop], features)
    return Observations(seen, attack.score(seen), np.asarray(queries.row))


def audit_each(
    attack: Attack,
    targets: Iterable[Target],
    queries: Query,
    *,
    key: Key,
    block: int = 64,
    mesh: Mesh | None = None,
    out: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Observations]:
    """Asks several targets of one architecture the same, as `audit` does each; what they run is compiled once.

    Args:
      attack: As in `audit`.
      targets: Who is asked, one after another, e.g. shadows; each is dropped before the next one is taken.
      queries: As in `audit`.
      key: As in `audit`; the same for all, so that they see the same noise.
      block: As in `audit`.
      mesh: As in `audit`.
      out: Directory with one for each target, ``target-K``.
      progress: Called with (queries done, n) of each target after every block.

    Returns:
      Observations of each, in their order.

    Raises:
      InputError: as `audit`, or if two targets are of different architectures.
    """
    seen, stream, first = [], None, ""
    for k, target in enumerate(targets):
        if stream is None:
            stream = Stream(observing(attack, target), mesh=mesh, block=block, host=target.host)
            first = _json(target.config)
        elif target.host or _json(target.config) != first:
            other = "a Python function" if target.host else "of another architecture than target 0"
            raise InputError(f"target {k} is {other}: ask it by itself, with `audit`.")
        where = None if out is None else Path(out) / f"target-{k}"
        seen.append(audit(attack, target, queries, key=key, out=where, progress=progress, stream=stream))
    return seen


def fingerprints(attack: Attack, target: Target, queries: Query, key: Key) -> dict[str, str]:
    """Returns content hashes of everything that observations depend on.

    Scoring is left out: stored observations serve every score.
    """
    spec = attack.spec
    return {
        "version": __version__,
        "target": content_hash((target.params, _json(target.config))),
        "attack": content_hash((_json([spec.name, spec.access, spec.calls, spec.config]), attack.evidence)),
        "queries": content_hash(queries),
        "key": content_hash(key),
    }


def content_hash(tree: Any) -> str:
    """Returns a hash of a pytree of arrays and strings: structure, types, shapes and bytes, never a printed form."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def observing(attack: Attack, target: Target) -> Callable[[Any, Key, Query], Features]:
    """Returns the function of one query that an audit streams: ``((params, evidence), key, query) -> features``."""

    def observe(shared: tuple[Any, Any], key: Key, query: Query) -> Features:
        params, evidence = shared
        # Granted inside the trace: weights are arguments of the program, not constants baked into it.
        access = attack.grant(replace(target, params=params))
        # A float32 product is TF32 on a GPU and bfloat16 on a TPU unless asked for: scores would depend on the device.
        with jax.default_matmul_precision("highest"):
            return attack.observe(access, evidence, key, query._replace(x=to_signed(query.x)))

    return observe


def check_queries(queries: Query, target: Target) -> None:
    """Refuses queries that a target cannot be asked.

    Raises:
      InputError: if there are none, their shape, range or classes are not the target's, they hold NaN, or two have one
        row.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(queries)]
    if any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise InputError(f"every query needs an x and a row of its own (and a cond, if any), got shapes {shapes}.")
    if not len(queries.row):
        raise InputError("there are no queries to audit: the query set is empty.")
    shape = tuple(queries.x.shape[1:])
    if shape != tuple(target.shape):
        raise InputError(f"queries of shape {shape} do not fit a target of shape {tuple(target.shape)}.")
    x = np.asarray(queries.x)
    if x.dtype != np.uint8 and not jax.numpy.issubdtype(x.dtype, jax.numpy.floating):
        raise InputError(f"queries are uint8 images or floats in [-1, 1], got {x.dtype}: convert them first.")
    if x.dtype != np.uint8:
        bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
        if len(bad):
            raise InputError(f"query {bad[0]} holds NaN or infinity (of {len(bad)} such): remove or repair it.")
        if len(shape) > 1 and len(x) and np.abs(x).max() > 1:
            raise InputError(f"floating queries lie in [-1, 1], got {x.min():.4g} to {x.max():.4g}: rescale them.")
    if queries.cond is not None and target.num_classes is not None:
        cond = np.asarray(queries.cond)
        # A network that does not say whether it has a class for none is believed to have one.
        null = target.network is None or bool(target.network.config.get("null_class", True))
        if cond.min() < 0 or cond.max() >= target.num_classes + null:
            raise InputError(
                f"classes {cond.min()} to {cond.max()} were asked about, the target has 0 to {target.num_classes - 1} "
                f"({f'and {target.num_classes}' if null else 'and no class'} for none)."
            )
    rows, counts = np.unique(np.asarray(queries.row), return_counts=True)
    if len(rows) < len(x):
        raise InputError(f"row {rows[counts > 1][0]} stands for several queries: every query needs a row of its own.")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
