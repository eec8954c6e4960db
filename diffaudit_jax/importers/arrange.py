"""Tensors of another framework, arranged as the parameter tree of a module: each used once, none left over.

    convolution    kernel [h, w, in, out]  is  weight [out, in, h, w] there
    dense          kernel [in, out]        is  weight [out, in], or that of a 1x1 convolution
    the rest       is the same

A parameter may be made of several tensors, stacked along their first axis there and so along its last here.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from diffaudit_jax.importers.tensors import BFLOAT16, Tensor, Tensors, shown
from diffaudit_jax.types import InputError, Params

ModulePath: TypeAlias = str  # names of modules joined by "/", e.g. "down0_1/conv1/conv"
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "embedding": "weight", "frequencies": "weight"}


def sources(template: Params, names: Callable[[ModulePath], tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    """Returns the name of every tensor that a parameter tree is made of, and its shape there.

    Args:
      template: Tree of arrays or of their shapes, as `jax.eval_shape` gives it.
      names: Says which modules there make up a module here.
    """
    return {name: leaf.part for leaf in _leaves(template, names) for name in leaf.names}


def arranged(template: Params, names: Callable[[ModulePath], tuple[str, ...]], tensors: Tensors, where: Path) -> Params:
    """Returns the parameter tree, float32; beside it, one tensor at a time is in memory.

    Args:
      template: Tree of arrays or of their shapes, as `jax.eval_shape` gives it.
      names: Says which modules there make up a module here.
      tensors: What there is.
      where: Where the tensors are from, for messages.

    Raises:
      InputError: if a tensor is missing or left over, or has another shape, or is not of finite floating numbers.
    """
    _check_names(sources(template, names), tensors, where)
    params: dict[str, Any] = {}
    for leaf in _leaves(template, names):
        place = params
        for module in leaf.path[:-1]:
            place = place.setdefault(module, {})
        # Not jnp.asarray, which compiles a copy for every shape.
        place[leaf.path[-1]] = jax.device_put(_read(leaf, tensors, where)).block_until_ready()
    return params


def taken_apart(params: Params, names: Callable[[ModulePath], tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Returns the tensors that `arranged` would make this parameter tree of, float32."""
    tensors = {}
    for leaf in _leaves(params, names):
        value = params
        for part in leaf.path:
            value = value[part]
        there = np.asarray(value, np.float32).transpose(leaf.axes)
        tensors |= dict(zip(leaf.names, np.split(there, len(leaf.names)), strict=True))
    return tensors


def nearest(name: str, others: Iterable[str]) -> str:
    """Returns a clause that names the nearest of the others to a name, empty if none is near."""
    near = difflib.get_close_matches(name, list(others), n=1, cutoff=0.4)
    return f" (nearest to it: {shown(near[0])!r})" if near else ""


class Leaf(NamedTuple):
    """One parameter: its place and shape here, its axes in their order there, and the tensors that make it up."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def part(self) -> tuple[int, ...]:
        """The shape of each of its tensors there."""
        first, *rest = (self.shape[axis] for axis in self.axes)
        return (first // len(self.names), *rest)


def _leaves(template: Params, names: Callable[[ModulePath], tuple[str, ...]]) -> Iterator[Leaf]:
    for keys, leaf in jax.tree_util.tree_leaves_with_path(template):
        *modules, kind = (key.key for key in keys)
        rank = len(leaf.shape)
        axes = (rank - 1, rank - 2, *range(rank - 2)) if kind == "kernel" else tuple(range(rank))
        found = tuple(f"{module}.{LEAVES[kind]}" for module in names("/".join(modules)))
        yield Leaf((*modules, kind), leaf.shape, axes, found)


def _read(leaf: Leaf, tensors: Tensors, where: Path) -> np.ndarray:
    here = np.empty(leaf.shape, np.float32)
    there = here.transpose(leaf.axes)  # the same memory, so that converting, stacking and transposing are one copy
    size = leaf.part[0]
    for i, name in enumerate(leaf.names):
        tensor = tensors[name]
        _check_tensor(tensor, leaf.part, where)
        with np.errstate(over="ignore"):
            there[i * size : (i + 1) * size] = tensor.read().reshape(leaf.part)
    if not np.isfinite(here).all():
        raise InputError(
            f"{where}: {' or '.join(map(shown, leaf.names))} has values that are not finite: copy it again."
        )
    return here


def _check_names(wanted: Mapping[str, Any], tensors: Tensors, where: Path) -> None:
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing:
        raise InputError(
            f"{where} lacks {len(missing)} of {len(wanted)} tensors, first {missing[0]!r}{nearest(missing[0], extra)}"
            ": the file is incomplete, or of another model than it is taken for."
        )
    if extra:
        raise InputError(
            f"{where} has {len(extra)} tensors too many, first {shown(extra[0])!r}{nearest(extra[0], wanted)}: the "
            "file is of another model than it is taken for."
        )


def _check_tensor(tensor: Tensor, part: tuple[int, ...], where: Path) -> None:
    what = f"{where}: tensor {shown(tensor.name)!r}"
    if tensor.dtype.kind != "f" and tensor.dtype != BFLOAT16:
        raise InputError(f"{what} is of {tensor.dtype}, not of floating numbers: save the weights unquantised.")
    # A dense layer may be stored as a 1x1 convolution.
    if tensor.shape != part + (1,) * (len(tensor.shape) - len(part)):
        raise InputError(f"{what} has shape {tensor.shape} and this model needs {part}: the file is of another.")
