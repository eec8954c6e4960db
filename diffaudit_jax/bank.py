"""A bank of generated images: samples drawn as an audit is run, block by block, resumable, over all devices."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, UInt8

from diffaudit_jax.access import BlackBox, black_box
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.auditing import audit, check_queries, observing
from diffaudit_jax.stream import Stream
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key, Query

Images = UInt8[np.ndarray, "n *shape"] | Float[np.ndarray, "n d"]


def draw_bank(
    key: Key,
    target: Target,
    num: int,
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    block: int = 64,
    mesh: Mesh | None = None,
    out: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Draws `num` samples of a target, as its own sampler does.

    Sample i depends on (target, key, i, its label) only: not on block, devices, or how many others are drawn.

    Args:
      key: Typed key of the bank.
      target: Who is asked; black-box access suffices.
      num: Samples.
      labels: Class of each sample, for conditional targets; None for none.
      block: Samples per dispatch, over all devices.
      mesh: One-axis mesh; default all local devices.
      out: Directory from which a stopped bank resumes.
      progress: Called with (samples done, num) after every block.

    Returns:
      uint8 images [num, *shape], of a table float32 records. Costs the sampler's calls for each.

    Raises:
      InputError: if `num` is not positive, labels do not fit, or `out` holds another bank.
    """
    seen = audit(
        samples(), target, _asked(target, num, labels), key=key, block=block, mesh=mesh, out=out, progress=progress
    )
    return seen.features


def drawn(
    key: Key,
    target: Target,
    num: int,
    *,
    labels: Int[np.ndarray, " n"] | None = None,
    block: int = 64,
    mesh: Mesh | None = None,
) -> Iterator[Images]:
    """Draws the same samples block by block, and no more than are asked for.

    Args:
      key: Typed key of the bank.
      target: Who is asked; black-box access suffices.
      num: Samples at most.
      labels: Class of each sample, for conditional targets; None for none.
      block: Samples per dispatch, over all devices.
      mesh: One-axis mesh; default all local devices.

    Yields:
      uint8 images [block, *shape], fewer in the last one.

    Raises:
      InputError: as `draw_bank`.
    """
    asked, attack = _asked(target, num, labels), samples()
    check_queries(asked, target)
    run = Stream(observing(attack, target), mesh=mesh, block=block, host=target.host)
    for _, _, images in run((target.params, attack.evidence), key, asked):
        yield images


def _asked(target: Target, num: int, labels: np.ndarray | None) -> Query:
    if num < 1:
        raise InputError(f"a bank holds at least 1 sample, got {num}.")
    if labels is not None and len(labels) != num:
        raise InputError(f"{num} samples need as many labels, got {len(labels)}.")
    blank = np.zeros((num, *target.shape), np.uint8 if len(target.shape) > 1 else np.float32)
    return Query(blank, labels, np.arange(num))


def samples() -> Attack[BlackBox]:
    """The attack that only draws: its features are the samples, uint8 images or float32 records; its scores are 0."""

    def observe(access: BlackBox, evidence: Any, key: Key, query: Query) -> jax.Array:
        x = access.sample(key, query.cond)
        if x.ndim == 1:
            return x  # a record of a table
        return jnp.clip(jnp.round((x + 1) * 127.5), 0, 255).astype(jnp.uint8)

    spec = Spec(name="samples", access="black", paper="", calls=0, config={})
    return Attack(spec, black_box, (), observe, lambda features: np.zeros(len(features)))
