"""Where the framework stops: a Linen module becomes a `Network` of one example that predicts eps and x0.

    predicts "eps":  x0 = (x_t - sigma eps)/alpha
             "x0":   eps = (x_t - alpha x0)/sigma
             "v":    x0 = alpha x_t - sigma v,  eps = sigma x_t + alpha v       (alpha^2 + sigma^2 = 1)

With a learned variance the second half of the output channels is v in [-1, 1], and u = (v + 1)/2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffaudit_jax.models.unet import UNet, receptive_grid
from diffaudit_jax.process import Process
from diffaudit_jax.types import Example, InputError, Key, Network, Params, Prediction, Time, known

Predicts = Literal["eps", "x0", "v"]


@dataclass(frozen=True)
class Model:
    """An architecture before it meets a process: module, example shape and what the module predicts.

    Attributes:
      module: Linen module of ONE example: ``module(x, time, label | None, deterministic=...)``.
      shape: Shape of one example.
      predicts: What the module's output is.
      learn_sigma: Whether the output carries a variance in a second half of the channels.
      num_classes: Classes of a conditional module, else None.
      config: JSON that `from_config` turns back into this model.
    """

    module: nn.Module
    shape: tuple[int, ...]
    predicts: Predicts
    learn_sigma: bool
    num_classes: int | None
    config: Mapping[str, Any]


def unet(
    shape: tuple[int, int, int],
    *,
    channels: int = 64,
    mults: tuple[int, ...] = (1, 2),
    num_blocks: int = 2,
    attention: tuple[int, ...] = (),
    middle_attention: bool = True,
    head_channels: int | None = None,
    num_heads: int = 1,
    groups: int | None = None,
    dropout: float = 0.0,
    num_classes: int | None = None,
    scale_shift: bool = False,
    resblock_updown: bool = False,
    learn_sigma: bool = False,
    patch: int = 1,
    predicts: Predicts = "eps",
    bfloat16: bool = False,
) -> Model:
    """A U-Net for images of `shape`.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width of the first level.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level.
      attention: Grid sides (e.g. 16 for 16x16, after the stem) that attend.
      middle_attention: Whether the middle of the network attends.
      head_channels: Channels of an attention head (guided-diffusion: 64); None to give `num_heads` instead.
      num_heads: Attention heads (improved-diffusion: 4), if `head_channels` is None.
      groups: Groups of the norms (published models: 32); None for as many as 32, of 4 channels or more.
      dropout: Dropout rate.
      num_classes: Classes, None for unconditional.
      scale_shift: Scale-shift norm (improved- and guided-diffusion).
      resblock_updown: Resample in residual blocks (guided-diffusion).
      learn_sigma: Learn the reverse variance (improved- and guided-diffusion).
      patch: Side of the space-to-depth stem's blocks, 1 for none.
      predicts: What the output is: the noise, the clean image, or v.
      bfloat16: Compute in bfloat16 with float32 parameters (accelerators; on CPU it is slower).

    Raises:
      InputError: if the image does not divide into the grids, heads do not divide the width, or a size is not positive.
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    if len(shape) != 3:
        raise InputError(f"an image's shape is (height, width, channels), got {tuple(shape)}.")
    known("prediction", predicts, ("eps", "x0", "v"))
    if num_classes is not None and num_classes < 1:
        raise InputError(f"num_classes must be at least 1, or None for an unconditional model, got {num_classes}.")
    if min(channels, num_blocks, patch, *mults, *shape) < 1 or not mults:
        raise InputError(f"sizes must be positive, got {shape=}, {channels=}, {mults=}, {num_blocks=}, {patch=}.")
    cell = patch * 2 ** (len(mults) - 1)
    height, width = shape[:2]
    if height % cell or width % cell:
        raise InputError(
            f"images of {height}x{width} do not divide into cells of {cell} (patch {patch}, {len(mults)} levels): "
            f"use a smaller patch or fewer levels."
        )
    if head_channels is not None and (head_channels < 1 or any(channels * mult % head_channels for mult in mults)):
        raise InputError(f"{head_channels=} must divide every width {[channels * mult for mult in mults]}.")
    for name, count in (("num_heads", num_heads), ("groups", groups)):
        if count is not None and (count < 1 or any(channels * mult % count for mult in mults)):
            raise InputError(f"{name}={count} must divide every width {[channels * mult for mult in mults]}.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be in [0, 1), got {dropout}.")
    module = UNet(
        channels=channels,
        mults=tuple(mults),
        num_blocks=num_blocks,
        attention=(),
        middle_attention=middle_attention,
        head_channels=head_channels,
        num_heads=num_heads,
        groups=groups,
        dropout=dropout,
        num_classes=num_classes,
        scale_shift=scale_shift,
        resblock_updown=resblock_updown,
        learn_sigma=learn_sigma,
        patch=patch,
        dtype=jnp.bfloat16 if bfloat16 else None,
    )
    grids = receptive_grid(module, height)
    if strangers := sorted(set(attention) - set(grids)):
        raise InputError(f"no level has a grid of side {strangers[0]} to attend on: there are {grids}.")
    levels = tuple(level for level, side in enumerate(grids) if side in attention)
    module = module.clone(attention=levels)
    record = {"name": "unet", "shape": list(shape), **config}
    return Model(module, tuple(shape), predicts, learn_sigma, num_classes, record)


def in_float32(model: Model) -> Model:
    """The same model with its module computing in float32, as audits do."""
    if getattr(model.module, "dtype", None) is None:
        return model
    return replace(model, module=model.module.clone(dtype=None), config={**model.config, "bfloat16": False})


MODELS: Mapping[str, Callable[..., Model]] = {"unet": unet}


def from_config(config: Mapping[str, Any]) -> Model:
    """Makes a model again from its `config`.

    Raises:
      InputError: if the name is none of `MODELS`.
    """
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return MODELS[known("model", arguments.pop("name"), MODELS)](**arguments)


def from_linen(model: Model, process: Process, *, time_scale: float = 1.0) -> Network:
    """Joins a model and a process into pure functions of one example.

    The module is fed the 0-based step i = t T - 1, times `time_scale`.

    Args:
      model: Architecture.
      process: Discrete noising process.
      time_scale: 1, or 1000/T for models trained with rescaled timesteps.

    Returns:
      A network whose `apply` costs one call of the module.
    """

    def init(key: Key) -> Params:
        label = None if model.num_classes is None else jnp.zeros((), jnp.int32)
        return model.module.init(key, jnp.zeros(model.shape), jnp.zeros(()), label)["params"]

    def apply(params: Params, xt: Example, t: Time, cond: Any = None, *, key: Key | None = None) -> Prediction:
        time = (process.step(t) - 1).astype(jnp.float32) * time_scale
        label = None if cond is None or model.num_classes is None else jnp.asarray(cond, jnp.int32)
        out = model.module.apply(
            {"params": params},
            xt,
            time,
            label,
            deterministic=key is None,
            rngs=None if key is None else {"dropout": key},
        )
        assert isinstance(out, jax.Array)
        return prediction(model, process, out, xt, t)

    return Network(init, apply, {"model": dict(model.config), "time_scale": time_scale})


def prediction(model: Model, process: Process, out: jax.Array, xt: Example, t: Time) -> Prediction:
    """Turns a module's raw output into eps, x0 and the variance fraction (equations in the module docstring)."""
    fraction = None
    if model.learn_sigma:
        out, v = jnp.split(out, 2, axis=-1)
        fraction = (v + 1) / 2
    alpha, sigma = process.alpha(t), process.sigma(t)
    if model.predicts == "eps":
        return Prediction(out, (xt - sigma * out) / alpha, fraction)
    if model.predicts == "x0":
        return Prediction((xt - alpha * out) / sigma, out, fraction)
    return Prediction(sigma * xt + alpha * out, alpha * xt - sigma * out, fraction)
