"""Where diffusers keeps the modules of a UNet2DModel, for each module of our U-Net and NCSN++.

Its blocks on the way up are counted in the order they run, coarsest first; our levels are counted from the finest.
Checkpoints older than version 0.17 name the layers of attention otherwise, and hold Fourier frequencies twice.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from diffaudit_jax.importers.tensors import Tensor, Tensors, shown
from diffaudit_jax.types import InputError

PLACES: tuple[tuple[str, str], ...] = (
    (r"time(\d)", r"time_embedding.linear_\1"),
    (r"label", r"class_embedding"),
    (r"fourier", r"time_proj"),
    (r"stem/conv", r"conv_in"),
    (r"norm_out", r"conv_norm_out"),
    (r"head/conv", r"conv_out"),
    (r"middle_(\d)/(.*)", r"mid_block.resnets.\1.\2"),
    (r"middle_attend/(.*)", r"mid_block.attentions.0.\1"),
    (r"(down|up)(\d+)_(\d+)/(.*)", r"\1_blocks.\2.resnets.\3.\4"),
    (r"(down|up)(\d+)_(\d+)_attention/(.*)", r"\1_blocks.\2.attentions.\3.\4"),
    (r"(down|up)(\d+)_attention/(.*)", r"\1_blocks.\2.attentions.0.\3"),
    (r"(down|up)(\d+)_resample/(.*)", r"\1_blocks.\2.\1samplers.0.\3"),
    (r"(down|up)(\d+)_pyramid_norm", r"\1_blocks.\2.skip_norm"),
    (r"(down|up)(\d+)_pyramid(/conv)?", r"\1_blocks.\2.skip_conv"),
)
LAYERS: Mapping[str, tuple[str, ...]] = {
    "conv1/conv": ("conv1",),
    "conv2/conv": ("conv2",),
    "emb": ("time_emb_proj",),
    "skip": ("conv_shortcut",),
    "norm": ("group_norm",),
    "qkv": ("to_q", "to_k", "to_v"),
    "out": ("to_out.0",),
}
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def unet2d_names(num_levels: int, *, pyramids: bool) -> Callable[[str], tuple[str, ...]]:
    """Returns the function that says which modules of a UNet2DModel make up a module of ours.

    Args:
      num_levels: Levels of the network.
      pyramids: Whether it is NCSN++, whose resampling blocks are named otherwise.
    """

    def names(path: str) -> tuple[str, ...]:
        path = re.sub(r"^up(\d+)", lambda found: f"up{num_levels - 1 - int(found[1])}", path)
        place = next(found.expand(there) for here, there in PLACES if (found := re.fullmatch(here, path)))
        if pyramids:
            place = re.sub(r"(down|up)samplers\.0", r"resnet_\1", place)
        block, _, layer = place.rpartition(".")
        return tuple(f"{block}.{name}" for name in LAYERS[layer]) if layer in LAYERS else (place,)

    return names


def renewed(tensors: Tensors) -> dict[str, Tensor]:
    """Returns the tensors under the names of today's diffusers.

    Raises:
      InputError: if a tensor is there under an old and a new name, except for equal Fourier frequencies.
    """
    found = {re.sub(r"(attentions\.\d+)\.(\w+)\.(weight|bias)", _renewed, name): t for name, t in tensors.items()}
    if len(found) < len(tensors):
        twice = next(name for name in tensors if name not in found)
        raise InputError(f"tensor {shown(twice)!r} is an old name, and the new one is there as well: remove one.")
    old, new = found.get("time_proj.W"), found.get("time_proj.weight")
    if old is None:
        return found
    if new is not None and not np.array_equal(old.read(), new.read()):
        raise InputError(
            "tensors 'time_proj.W' and 'time_proj.weight' differ, and a model has one of them: remove one."
        )
    return {name: tensor for name, tensor in found.items() if name != "time_proj.W"} | {"time_proj.weight": old}


def _renewed(found: re.Match[str]) -> str:
    return f"{found[1]}.{OLD.get(found[2], found[2])}.{found[3]}"
