"""Where the framework stops: a Flax module becomes a `Network` of one example that predicts eps and x0."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from diffaudit_jax.models.precondition import PREDICTS, TOLD, Predicts, Told, fed, read, told
from diffaudit_jax.process import Process
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time, known


@dataclass(frozen=True)
class Model:
    """An architecture before it meets a process: module, example shape, and how the module is fed and read.

    Attributes:
      module: Linen module of ONE example, ``module(x, time, label | None, deterministic=...)``; None for one of
        another kind (`from_nnx`).
      shape: Shape of one example.
      predicts: What the module's output is (`models.precondition`).
      learn_sigma: Whether the output carries a variance in a second half of the channels.
      num_classes: Classes of a conditional module, else None.
      config: JSON that `from_config` turns back into this model. Of a module of your own, whatever else tells it from
        others, e.g. a name and a version: an audit sees its class and settings, but not the code inside.
      told: What the module is told of the time (`models.precondition`).
      signed: Whether the module takes images in [-1, 1], else [0, 1].
      null_class: Whether index `num_classes` stands for no class, which guidance needs.
      batched: Whether the module takes a batch axis in front of every argument: it is then called on batches of one.
        A module written for one example is faster to train, and safer: flax's own GroupNorm takes axis 0 for a batch.
    """

    module: nn.Module | None
    shape: tuple[int, ...]
    predicts: Predicts = "eps"
    learn_sigma: bool = False
    num_classes: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    told: Told = "step"
    signed: bool = True
    null_class: bool = True
    batched: bool = False

    def __post_init__(self):
        known("prediction", self.predicts, PREDICTS)
        known("way to tell the time", self.told, TOLD)


def in_float32(model: Model) -> Model:
    """The same model with its module computing in float32, as audits do."""
    if model.module is None or getattr(model.module, "dtype", None) is None:
        return model
    return replace(model, module=model.module.clone(dtype=None), config={**model.config, "bfloat16": False})


def from_linen(model: Model, process: Process) -> Network:
    """Joins a model and a process into pure functions of one example.

    Args:
      model: Architecture; `Model(module, shape)` for a module of your own.
      process: Noising process.

    Returns:
      A network whose `apply` costs one call of the module.
    """
    module = model.module
    assert module is not None

    def init(key: Key) -> Params:
        label = None if model.num_classes is None else jnp.zeros((), jnp.int32)
        arguments = _lifted(model, (jnp.zeros(model.shape), jnp.zeros(()), label))
        return module.init(key, *arguments)["params"]

    def call(params: Params, x: Example, time: Time, label: Any, key: Key | None) -> jax.Array:
        rngs = None if key is None else {"dropout": key}
        out = module.apply({"params": params}, x, time, label, deterministic=key is None, rngs=rngs)
        assert isinstance(out, jax.Array)
        return out

    return _network(model, process, init, call, _described(module, repr(module)))


def from_nnx(module: nnx.Module, model: Model, process: Process) -> tuple[Network, Params]:
    """Takes a trained NNX module apart into pure functions of one example and their parameters.

    Dropout and the like are off; everything the module carries counts as a parameter. The module is left as it is.

    Args:
      module: Called as ``module(x, time)``, or ``module(x, time, label)`` if `model.num_classes` is set.
      model: How it is fed and read; its own module is not used and may be None.
      process: Noising process.

    Returns:
      The network, and the parameters to call it with.
    """
    copy = nnx.merge(*nnx.split(module))
    copy.eval()
    graph, params = nnx.split(copy)

    def call(params: Params, x: Example, time: Time, label: Any, key: Key | None) -> jax.Array:
        del key
        arguments = (x, time) if model.num_classes is None else (x, time, label)
        return nnx.merge(graph, params)(*arguments)

    return _network(model, process, lambda key: params, call, _described(module, str(graph))), params


def guided(network: Network, scale: float, num_classes: int) -> Network:
    """Classifier-free guidance: eps = eps(null class) + scale (eps(class) - eps(null class)). Two calls for one.

    Args:
      network: A class-conditional network trained with label dropout.
      scale: 1 is the network itself; the paper's weight w is scale - 1.
      num_classes: Its classes; this index is the null class.

    Returns:
      The guided network; a query without a class is answered by the null class, unguided.

    Raises:
      InputError: if the network has no null class.

    References:
      Ho and Salimans 2022, https://arxiv.org/abs/2207.12598
    """
    if not network.config.get("null_class", True):
        raise InputError(
            f"guidance needs a null class, and this model has classes 0 to {num_classes - 1} alone: ask it unguided."
        )

    def apply(params: Params, xt: Example, t: Time, cond: Any = None, *, key: Key | None = None) -> Prediction:
        null = network.apply(params, xt, t, jnp.asarray(num_classes), key=key)
        if cond is None:
            return null
        pred = network.apply(params, xt, t, cond, key=key)
        return Prediction(
            null.eps + scale * (pred.eps - null.eps), null.x0 + scale * (pred.x0 - null.x0), pred.var_fraction
        )

    return Network(network.init, apply, {**network.config, "guidance": scale})


def _network(model: Model, process: Process, init: Any, call: Any, module: str) -> Network:
    def apply(params: Params, xt: Example, t: Time, cond: Any = None, *, key: Key | None = None) -> Prediction:
        x = fed(model.predicts, process, xt, t, signed=model.signed)
        time = told(model.told, process, t, signed=model.signed)
        label = None if cond is None or model.num_classes is None else jnp.asarray(cond, jnp.int32)
        out = call(params, *_lifted(model, (x, time, label)), key)
        return read(model.predicts, model.learn_sigma, process, out[0] if model.batched else out, xt, t)

    # Jitted within whatever asks, so that one trace of the network serves every program that asks it alike.
    return Network(init, jax.jit(apply), {**_read_as(model), "model": dict(model.config), "module": module})


def _read_as(model: Model) -> dict[str, Any]:
    names = ("predicts", "learn_sigma", "num_classes", "told", "signed", "null_class", "batched")
    return {"shape": list(model.shape), **{name: getattr(model, name) for name in names}}


def _described(module: Any, settings: str) -> str:
    """Returns a module's class and a hash of its settings; functions among them count by name, not by address."""
    kind, lasting = type(module), re.sub(r" at 0x[0-9a-f]+", "", settings)
    return f"{kind.__module__}.{kind.__qualname__} {hashlib.sha256(lasting.encode()).hexdigest()[:16]}"


def _lifted(model: Model, arguments: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], arguments) if model.batched else arguments
