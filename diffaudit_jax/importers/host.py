"""A function of NumPy batches as a function of one example, for code that is written for one example and vmapped.

Under `vmap` the question waits for the batch: a primitive whose batching rule stacks its arguments, so that Python is
asked once for all rows. It has no lowering: asked inside a compiled program, Python could be called out of order or
twice, and on CPU from threads that wait for each other. `stream.Stream` runs such code un-jitted instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from diffaudit_jax.types import Example, InputError


@dataclass(frozen=True, eq=False)
class Question:
    """A function of batches with its answer checked: rows [n, ...] in, float32 [n, *shape] out.

    Attributes:
      function: The user's, of arrays with a leading axis n.
      shape: Of one answer.
      who: What messages call it.
      batch: Rows per call at most; None for all.
      read: ``read(who, out, rows)`` turns an answer of the right shape into finite float32, or says what is wrong.
    """

    function: Callable[..., Any]
    shape: tuple[int, ...]
    who: str
    batch: int | None
    read: Callable[[str, np.ndarray, list[np.ndarray]], np.ndarray]

    def __call__(self, *rows: np.ndarray) -> np.ndarray:
        """Asks, in parts of at most `batch` rows."""
        n = len(rows[0])
        size = self.batch or n
        return np.concatenate([self._call([row[i : i + size] for row in rows]) for i in range(0, n, size)])

    def _call(self, rows: list[np.ndarray]) -> np.ndarray:
        n = len(rows[0])
        try:
            # Copies, because the function may write into them; and its own JAX programs stay compiled.
            with jax.disable_jit(False):
                out = np.asarray(self.function(*(np.array(row) for row in rows)))
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(f"{self.who} raised {said} for a batch of {n}: mend it and ask again.") from error
        if out.shape != (n, *self.shape):
            due = (n, *self.shape)
            raise InputError(f"{self.who} returned shape {out.shape} for {due}: return one example a row, in order.")
        return self.read(self.who, out, rows)


_ask_p = Primitive("ask")


def ask(question: Question, *rows: Any, rank: int) -> Example:
    """Asks about one example, or under vmap about all at once.

    Args:
      question: What is asked.
      *rows: Its arguments for one example; None is left out.
      rank: Axes of the first, without a batch.

    Raises:
      InputError: if the function raises or answers wrongly, or this is traced for compilation.
    """
    return _ask_p.bind(*(jnp.asarray(row) for row in rows if row is not None), question=question, rank=rank)


@_ask_p.def_impl
def _answer(*arrays: jax.Array, question: Question, rank: int) -> jax.Array:
    lead = arrays[0].ndim - rank
    shape = arrays[0].shape[:lead]
    rows = [np.asarray(array).reshape(prod(shape), *array.shape[lead:]) for array in arrays]
    return jnp.asarray(question(*rows).reshape(*shape, *question.shape))


@_ask_p.def_abstract_eval
def _shape(*avals: Any, question: Question, rank: int) -> Any:
    return avals[0].update(shape=(*avals[0].shape[: avals[0].ndim - rank], *question.shape), dtype=np.dtype(np.float32))


def _stack(arrays: Any, axes: Any, **params: Any) -> tuple[Any, int]:
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    fronted = [
        jnp.broadcast_to(array[None], (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    ]
    return _ask_p.bind(*fronted, **params), 0


def _refuse(ctx: Any, *values: Any, question: Question, rank: int) -> Any:
    raise InputError(f"{question.who} cannot be called from a compiled program: stream it with host=True, without jit.")


batching.primitive_batchers[_ask_p] = _stack
mlir.register_lowering(_ask_p, _refuse)
