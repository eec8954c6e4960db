"""How improved- and guided-diffusion lay out a U-Net's tensors: its structure off their shapes, and then their names.

With n blocks a level and L levels, input_blocks.0 is the stem and every (n + 1)-th block after it halves the
resolution; the L (n + 1) output_blocks run from the coarsest level, and the last of each but the finest doubles it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diffaudit_jax.importers.arrange import ModulePath, nearest
from diffaudit_jax.importers.tensors import Tensors
from diffaudit_jax.types import InputError

LAYERS = {
    "": "",
    "conv": "",
    "norm1": "in_layers.0",
    "conv1/conv": "in_layers.2",
    "emb": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2/conv": "out_layers.3",
    "skip": "skip_connection",
    "norm": "norm",
    "qkv": "qkv",
    "out": "proj_out",
}


class Structure(NamedTuple):
    """What a state dict tells of its U-Net.

    Attributes:
      inputs: Channels of an image.
      channels: Width that the multipliers are of.
      stem: Channels of the first convolution.
      mults: Width multiplier of each level.
      num_blocks: Residual blocks per level.
      attention: Levels that attend.
      num_classes: Classes, None for an unconditional model.
      scale_shift: Whether the embedding scales and shifts the norms.
      resblock_updown: Whether residual blocks resample.
      learn_sigma: Whether the variance is learned.
    """

    inputs: int
    channels: int
    stem: int
    mults: tuple[float, ...]
    num_blocks: int
    attention: tuple[int, ...]
    num_classes: int | None
    scale_shift: bool
    resblock_updown: bool
    learn_sigma: bool


def structure(tensors: Tensors, where: Path) -> Structure:
    """Reads a U-Net's structure off the names and shapes of its tensors.

    Raises:
      InputError: if a tensor that tells of it is missing, or tells of what is not read: a super-resolution model.
    """

    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in tensors:
            raise InputError(
                f"{where} lacks tensor {name!r}, which every U-Net of improved- and guided-diffusion has"
                f"{nearest(name, tensors)}: name the file of such a model's state dict."
            )
        if len(tensors[name].shape) != rank or not all(tensors[name].shape):
            raise InputError(f"{where}: tensor {name!r} has shape {tensors[name].shape} where {rank} axes belong.")
        return tensors[name].shape

    channels = shape("time_embed.0.weight", 2)[1]
    stem, inputs = shape("input_blocks.0.0.weight", 4)[:2]
    outputs = shape("out.2.weight", 4)[0]
    shape("output_blocks.0.0.in_layers.0.weight", 1)  # a classifier of these projects has none
    if outputs not in (inputs, 2 * inputs) or inputs > 4:
        raise InputError(
            f"{where} takes {inputs} channels and gives {outputs}: super-resolution models, which take two images, are "
            "not read."
        )
    num_blocks, levels = _depth(tensors)
    first = [1 + level * (num_blocks + 1) for level in range(levels)]  # the first block of each level
    widths = [shape(f"input_blocks.{block}.0.out_layers.3.weight", 4)[0] for block in first]
    classes = "label_emb.weight"
    return Structure(
        inputs=inputs,
        channels=channels,
        stem=stem,
        mults=tuple(width / channels for width in widths),
        num_blocks=num_blocks,
        attention=tuple(level for level, block in enumerate(first) if f"input_blocks.{block}.1.qkv.weight" in tensors),
        num_classes=shape(classes, 2)[0] if classes in tensors else None,
        scale_shift=shape("input_blocks.1.0.emb_layers.1.weight", 2)[0] == 2 * widths[0],
        resblock_updown=f"input_blocks.{num_blocks + 1}.0.in_layers.0.weight" in tensors,
        learn_sigma=outputs > inputs,
    )


def layout(found: Structure) -> Callable[[ModulePath], tuple[str, ...]]:
    """Returns the function that says which module there a module of our U-Net is."""
    n, places = found.num_blocks, {"time1": "time_embed.0", "time2": "time_embed.2", "label": "label_emb"}
    places |= {"stem": "input_blocks.0.0", "norm_out": "out.0", "head": "out.2"}
    places |= {"middle_0": "middle_block.0", "middle_attend": "middle_block.1", "middle_1": "middle_block.2"}
    down, up = ("", "") if found.resblock_updown else (".op", ".conv")
    for level in range(len(found.mults)):
        entry, exit = level * (n + 1), (len(found.mults) - 1 - level) * (n + 1)
        for i in range(n + 1):
            places[f"down{level}_{i}"] = f"input_blocks.{entry + 1 + i}.0"
            places[f"down{level}_{i}_attention"] = f"input_blocks.{entry + 1 + i}.1"
            places[f"up{level}_{i}"] = f"output_blocks.{exit + i}.0"
            places[f"up{level}_{i}_attention"] = f"output_blocks.{exit + i}.1"
        places[f"down{level}_resample"] = f"input_blocks.{entry + n + 1}.0{down}"
        places[f"up{level}_resample"] = f"output_blocks.{exit + n}.{1 + (level in found.attention)}{up}"

    def names(path: ModulePath) -> tuple[str, ...]:
        block, _, layer = path.partition("/")
        return (".".join(part for part in (places[block], LAYERS[layer]) if part),)

    return names


def _depth(tensors: Tensors) -> tuple[int, int]:
    """Returns blocks per level and levels: the first output block that resamples is the last of its level."""
    # Two digits: published models have some 20 blocks, and a hostile file is not to ask for a network of millions.
    parts = [found.groups() for name in tensors if (found := re.match(r"output_blocks\.(\d\d?)\.(\d)\.(\w+)", name))]
    outputs = 1 + max((int(block) for block, _, _ in parts), default=0)
    resample = [int(block) for block, place, layer in parts if place != "0" and layer in ("conv", "in_layers")]
    num_blocks = max(min(resample, default=outputs - 1), 1)
    return num_blocks, -(-outputs // (num_blocks + 1))
