"""What every room shares: the shape alphabet, records of data, and the one error a user sees.

Shape alphabet, used in every annotation:

    *shape    one example, e.g. ``28 28 1`` (height, width, channels); never a batch
    n         examples in a pool; axis 0 of anything stored on the host
    times     entries of a time grid; noises: noise draws per time

Time ``t`` is a float32 in (0, 1]; step i of T (0-based, as published code counts) lives at ``t = (i + 1)/T``, and
t = 0 is clean data. Images are uint8 on the host and float32 in [-1, 1] on the device.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Example: TypeAlias = Float[Array, "*shape"]
Time: TypeAlias = Float[Array, ""]
Key: TypeAlias = jax.Array  # a typed key, as jax.random.key makes
Params: TypeAlias = Any  # a pytree of arrays


class InputError(ValueError):
    """A mistake the user can mend: the message names the value and the mend in one sentence.

    The command line prints it and exits with 2; in library use it is an ordinary ValueError.
    """


class Query(NamedTuple):
    """One question to a model: an example, its condition, and its row in the pool it came from.

    With a leading axis n on every field it is a set of queries. `row` keys the randomness spent on a query, so a
    score does not depend on which other queries are asked, or in which order.
    """

    x: Any  # uint8 or float [-1, 1], *shape
    cond: Any = None  # class index, or None
    row: Any = 0


class Prediction(NamedTuple):
    """What a network says about one noised example: the noise, the clean example, and optionally a variance.

    `var_fraction` is u in [0, 1] of the learned range log s^2 = u log beta + (1 - u) log beta~, None if not learned.
    """

    eps: Example
    x0: Example
    var_fraction: Example | None = None


@dataclass(frozen=True)
class Network:
    """A pair of pure functions of one example; the framework that made them is no longer visible.

    Attributes:
      init: ``init(key) -> params``.
      apply: ``apply(params, xt, t, cond=None, *, key=None) -> Prediction``; without a key it is deterministic
        (no dropout).
      config: JSON that tells this network from others of the same parameters; audits fingerprint it.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Prediction]
    config: Mapping[str, Any] = field(default_factory=dict)


def to_signed(x: Array) -> Array:
    """Maps uint8 [0, 255] to float32 [-1, 1]; floating input is passed through unchanged."""
    return jnp.asarray(x, jnp.float32) / 127.5 - 1.0 if x.dtype == jnp.uint8 else jnp.asarray(x, jnp.float32)


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """Returns `name` if it is one of `names`, else says which it is nearest to.

    Args:
      kind: What is being named, for the message, e.g. ``"schedule"``.
      name: What the user wrote.
      names: What there is.

    Raises:
      InputError: if `name` is not one of `names`.
    """
    names = sorted(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"unknown {kind} {name!r}: {hint}There are {', '.join(names)}.")


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: to a neighbour first, then renamed over the old one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        with open(part, "r+b") as file:
            os.fsync(file.fileno())  # renamed before its bytes are on disk, a file can be empty after a power cut
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
