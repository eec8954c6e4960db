"""Architectures by name: checked options in, a `Model` and the JSON that makes it again out."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from diffaudit_jax.models.adapter import Model
from diffaudit_jax.models.grids import (
    attended,
    attending,
    check_divisors,
    check_image,
    check_rates,
    from_options,
    grids,
)
from diffaudit_jax.models.layers import EMBEDDINGS, Embedding
from diffaudit_jax.models.ncsn import NCSN
from diffaudit_jax.models.ncsnpp import ncsnpp
from diffaudit_jax.models.precondition import Predicts, Told
from diffaudit_jax.models.unet import UNet
from diffaudit_jax.types import InputError, known


def unet(
    shape: tuple[int, int, int],
    *,
    channels: int = 64,
    mults: tuple[float, ...] = (1, 2),
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
    stem: int | None = None,
    embedding: Embedding = "guided",
    epsilon: float = 1e-5,
    asymmetric: bool = False,
    attention_up: tuple[int, ...] | None = None,
    null_class: bool = True,
    middle_groups: int | None = None,
    center: bool = False,
    predicts: Predicts = "eps",
    told: Told = "step",
    signed: bool = True,
    bfloat16: bool = False,
) -> Model:
    """A U-Net for images of `shape`.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width that the multipliers are of, and a quarter of the embedding's.
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
      stem: Channels of the first convolution, if others than `channels` (guided-diffusion at 512x512).
      embedding: How the time is embedded: as in improved- and guided-diffusion, as in DDPM (either also with sines and
        cosines in the other order), or by Fourier features.
      epsilon: Added to the variance in norms.
      asymmetric: Pad strided convolutions on the right and below only, as DDPM does.
      attention_up: Grid sides that attend on the way up, if others than on the way down.
      null_class: Whether there is a class for "none", which guidance needs.
      middle_groups: Groups of the norm before the middle's attention, if others than everywhere; 0 for no norm.
      center: Whether the network takes 2 x - 1 of the image first.
      predicts: What the output is (`models.precondition`).
      told: What the network is told of the time (`models.precondition`).
      signed: Whether it takes images in [-1, 1], else [0, 1].
      bfloat16: Compute in bfloat16 with float32 parameters (accelerators; on CPU it is slower).

    Raises:
      InputError: if the image does not divide into the grids, heads do not divide the width, or a size is not positive.
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    known("embedding", embedding, EMBEDDINGS)
    sides, widths = grids(shape, channels, mults, num_blocks, patch)
    down = attending(attention, sides)
    up = down if attention_up is None else attending(attention_up, sides)
    check_divisors(sorted({stem or channels, *widths}), groups=groups)
    check_divisors(widths[-1:], middle_groups=middle_groups or None)
    check_divisors(attended(widths, down, up, middle_attention), head_channels=head_channels, num_heads=num_heads)
    check_rates(num_classes, dropout)
    module = from_options(UNet, config, mults=tuple(mults), attention=down, attention_up=up)
    record = {"name": "unet", "shape": list(shape), **config}
    return Model(module, tuple(shape), predicts, learn_sigma, num_classes, record, told, signed, null_class)


def ncsn(
    shape: tuple[int, int, int],
    *,
    channels: int = 128,
    num_levels: int | None = None,
    patch: int = 1,
    bfloat16: bool = False,
) -> Model:
    """The RefineNet of NCSN (told its noise level's index) or NCSNv2 (not told), for images of `shape`.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width of the first stage; 128 as published.
      num_levels: NCSN's number of noise levels, that of its process; None for NCSNv2.
      patch: Side of the space-to-depth stem's blocks, 1 for none.
      bfloat16: Compute in bfloat16 with float32 parameters.

    Raises:
      InputError: if the image does not halve after the stem, or a size is not positive.
    """
    config = {name: value for name, value in locals().items() if name != "shape"}
    check_image(shape)
    if min(channels - 1, patch, *shape) < 1 or (num_levels is not None and num_levels < 1):
        raise InputError(f"sizes must be positive and channels 2 or more, got {shape=}, {channels=}, {patch=}.")
    if shape[0] % (2 * patch) or shape[1] % (2 * patch):
        raise InputError(f"images of {shape[0]}x{shape[1]} do not halve after a stem of {patch}: use another patch.")
    module = NCSN(channels, num_levels, patch, jnp.bfloat16 if bfloat16 else None)
    return Model(module, tuple(shape), "score", config={"name": "ncsn", "shape": list(shape), **config})


MODELS: Mapping[str, Callable[..., Model]] = {"unet": unet, "ncsn": ncsn, "ncsnpp": ncsnpp}


def from_config(config: Mapping[str, Any]) -> Model:
    """Makes a model again from its `config`.

    Raises:
      InputError: if the name is none of `MODELS`, or an option is none of that architecture's.
    """
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    name = known("model", arguments.pop("name"), MODELS)
    for option in arguments:
        known(f"option of {name}", option, inspect.signature(MODELS[name]).parameters)
    return MODELS[name](**arguments)
