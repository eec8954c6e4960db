"""TabDDPM: a network of dense layers on ONE record of a table, its numbers and the one-hots of its categories.

    h = W x + f(t) + silu(e_y),   f two dense layers on sines and cosines of the step
    out = dense layers(h) = [eps', logits of x0's categories]

References:
  Kotelnikov et al. 2023, TabDDPM, https://arxiv.org/abs/2209.15421
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffaudit_jax.diffusion import Diffusion, mixed
from diffaudit_jax.process import from_config as process_from_config
from diffaudit_jax.process.mixed import Blocks, Mixed
from diffaudit_jax.sampler.mixed import mixed_ancestral
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time, known

TableSize = Literal["tiny", "small", "published"]
SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"widths": (32,), "dim": 16, "num_steps": 20},
    "small": {"widths": (256, 256), "dim": 128, "num_steps": 100},
    # The one tuned on Adult for gradient boosting.
    "published": {"widths": (256, 1024, 1024, 1024, 1024, 256), "dim": 128, "num_steps": 100},
}


class Mlp(nn.Module):
    """The network of the module's formulas.

    Attributes:
      widths: Of the hidden layers.
      dim: Width of what the record, the time and the class are mapped to.
      num_classes: Classes, None for unconditional.
      dropout: Share of hidden units left out while training.
    """

    widths: tuple[int, ...]
    dim: int
    num_classes: int | None
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, " d"], step: Float[Array, ""], label: Int[Array, ""] | None, deterministic: bool = True
    ) -> Float[Array, " d"]:
        """Returns noise of the numbers and logits of the categories.

        Args:
          x: Record at some time.
          step: Its time in steps of the schedule, counted from 0.
          label: Its class, of a conditional model.
          deterministic: Whether nothing is dropped.
        """
        frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(self.dim // 2) / (self.dim // 2))
        waves = jnp.concatenate([jnp.cos(step * frequencies), jnp.sin(step * frequencies)])
        told = nn.Dense(self.dim, name="time1")(nn.silu(nn.Dense(self.dim, name="time0")(waves)))
        if self.num_classes is not None:
            told = told + nn.silu(nn.Embed(self.num_classes, self.dim, name="class")(label))
        h = nn.Dense(self.dim, name="begin")(x) + told
        for i, width in enumerate(self.widths):
            h = nn.relu(nn.Dense(width, name=f"hidden{i}")(h))
            h = nn.Dropout(self.dropout, deterministic=deterministic)(h)
        return nn.Dense(x.shape[0], name="end")(h)


@dataclass(frozen=True, eq=False)
class TabDdpm:
    """An architecture and its noising.

    Attributes:
      num_numeric: Numbers of a record, which come first.
      sizes: Categories of each categorical column.
      num_classes: Classes that it is told, None for none.
      process: How records are noised.
      module: The network.
      config: JSON that `tabddpm` turns back into this model.
    """

    num_numeric: int
    sizes: tuple[int, ...]
    num_classes: int | None
    process: Mixed
    module: Mlp
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one record, (d,)."""
        return (self.num_numeric + sum(self.sizes),)

    @property
    def diffusion(self) -> Diffusion:
        """What losses, gradients and training ask of the noising."""
        return mixed(self.process)

    @property
    def network(self) -> Network:
        """The network of one record; `apply` costs one call."""
        schedule, blocks = self.process.schedule, self.process.blocks

        def init(key: Key) -> Params:
            label = None if self.num_classes is None else jnp.zeros((), jnp.int32)
            return self.module.init(key, jnp.zeros(self.shape), jnp.zeros(()), label)["params"]

        def apply(params: Params, xt: Example, t: Time, cond: Any = None, *, key: Key | None = None) -> Prediction:
            step, rngs = schedule.step(t) - 1.0, None if key is None else {"dropout": key}
            out = self.module.apply({"params": params}, xt, step, cond, deterministic=key is None, rngs=rngs)
            assert isinstance(out, jax.Array)
            (noise, logits), (numbers, _) = self.process.apart(out), self.process.apart(xt)
            log_p = blocks.log_softmax(logits)
            estimate = (numbers - schedule.sigma(t) * noise) / schedule.alpha(t)
            return Prediction(eps=jnp.concatenate([noise, log_p]), x0=jnp.concatenate([estimate, jnp.exp(log_p)]))

        return Network(init, apply, {"model": dict(self.config), "null_class": False})


def tabddpm(
    num_numeric: int,
    sizes: Sequence[int],
    *,
    num_classes: int | None = None,
    widths: Sequence[int] = (256, 256),
    dim: int = 128,
    dropout: float = 0.0,
    num_steps: int = 100,
    schedule: str = "ddpm-cosine",
) -> TabDdpm:
    """Builds a TabDDPM.

    Args:
      num_numeric: Numbers of a record.
      sizes: Categories of each categorical column, 2 or more.
      num_classes: Classes it is told, None for none.
      widths: Of the hidden layers.
      dim: Width of the embeddings, even.
      dropout: Share of hidden units left out while training.
      num_steps: Steps of the schedule, and network calls of a sample; published 100 and 1000.
      schedule: "ddpm-cosine" or "ddpm-linear".

    Raises:
      InputError: if there is no column, or a size is not positive.
    """
    if num_numeric + len(sizes) < 1 or num_numeric < 0:
        raise InputError(f"a record has at least one column, got {num_numeric} numbers and {len(sizes)} categories.")
    if min(*widths, dim, 1) < 1 or dim % 2:
        raise InputError(f"widths are positive and dim is even, got {tuple(widths)} and {dim}.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be from 0 to below 1, got {dropout}.")
    known("schedule", schedule, ("ddpm-cosine", "ddpm-linear"))
    config = {
        "name": "tabddpm",
        "num_numeric": num_numeric,
        "sizes": list(sizes),
        "num_classes": num_classes,
        "widths": list(widths),
        "dim": dim,
        "dropout": dropout,
        "num_steps": num_steps,
        "schedule": schedule,
    }
    process = Mixed(process_from_config({"name": schedule, "num_steps": num_steps}), num_numeric, Blocks(sizes))
    module = Mlp(tuple(widths), dim, num_classes, dropout)
    return TabDdpm(num_numeric, tuple(sizes), num_classes, process, module, config)


def tabddpm_from_config(config: Mapping[str, Any]) -> TabDdpm:
    """Makes a model again from its `config`."""
    arguments = {name: value for name, value in config.items() if name != "name"}
    return tabddpm(arguments.pop("num_numeric"), arguments.pop("sizes"), **arguments)


def table_target(model: TabDdpm, params: Params) -> Target:
    """A TabDDPM as a target: its samples are records [d], drawn over all steps of its schedule."""
    network, process = model.network, model.process

    def sample(params: Params, key: Key, cond: Any = None) -> Example:
        return mixed_ancestral(key, process, lambda xt, t: network.apply(params, xt, t, cond))

    config = {"network": dict(network.config), "process": dict(process.schedule.config), "sampler": "ancestral"}
    return Target(
        params,
        model.shape,
        sample,
        network=network,
        config=config,
        num_classes=model.num_classes,
        noising=model.diffusion,
    )
