"""U-Nets of improved-diffusion and guided-diffusion, read from the state dicts that both projects write.

What names and shapes tell is taken from them; what they cannot tell is asked for, under the projects' own flags:

    told by the file    width, multipliers, blocks per level, which levels attend, scale-shift norm, residual
                        resampling, learned variance, classes
    asked for           image size, schedule and steps, heads, the order of q, k and v, whether times are rescaled

References:
  Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672 (improved-diffusion)
  Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233 (guided-diffusion)
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from diffaudit_jax.importers.arrange import arranged
from diffaudit_jax.importers.guided_layout import Structure, layout, structure
from diffaudit_jax.importers.imported import Imported
from diffaudit_jax.importers.weights import read_weights
from diffaudit_jax.models import Model, from_linen, unet
from diffaudit_jax.models.precondition import Told
from diffaudit_jax.process import Process, ddpm_cosine, ddpm_linear
from diffaudit_jax.types import InputError, known

Schedule = Literal["linear", "cosine"]
SCHEDULES = {"linear": ddpm_linear, "cosine": ddpm_cosine}


def load(
    path: str | os.PathLike,
    *,
    image_size: int | None = None,
    schedule: Schedule = "linear",
    num_steps: int = 1000,
    num_heads: int | None = None,
    num_head_channels: int | None = None,
    new_attention_order: bool = False,
    rescale_timesteps: bool | None = None,
    predict_xstart: bool = False,
    sigma_small: bool = False,
    key: str | None = None,
) -> Imported:
    """Reads a U-Net of improved-diffusion or guided-diffusion, e.g. an `ema_0.9999_*.pt`.

    The options are what the model was trained with. A wrong one gives a model that runs and denoises badly, so those
    without a safe default must be said.

    Args:
      path: A state dict, as `.pt` or `.safetensors`.
      image_size: `--image_size`, the side of the images; must be said.
      schedule: `--noise_schedule`.
      num_steps: `--diffusion_steps`: 1000 in guided-diffusion, mostly 4000 in improved-diffusion.
      num_heads: `--num_heads`, 4 by default in both projects; this or `num_head_channels` must be said.
      num_head_channels: `--num_head_channels`: 64 in guided-diffusion's models, but for those of 128x128.
      new_attention_order: `--use_new_attention_order`: q, k and v outermost, then the heads. Published models have the
        heads outermost.
      rescale_timesteps: `--rescale_timesteps`, whether the network is told step x 1000/T: by default True in
        improved-diffusion and False in guided-diffusion. It matters, and must be said, if T is not 1000.
      predict_xstart: `--predict_xstart`: the network predicts x0 rather than eps.
      sigma_small: `--sigma_small`: the smaller reverse variance, if it is not learned.
      key: Where in the file the state dict is, if not at the top (`importers.pickles.read_torch`).

    Returns:
      The model with its process and its parameters, float32. Beside them, one tensor at a time is in memory.

    Raises:
      InputError: if the file is no U-Net of these projects or one that is not read (super-resolution), a
        tensor is missing, left over or of another shape, or what must be said is not.
    """
    path = Path(path)
    tensors = read_weights(path, key)
    if "conv_in.weight" in tensors and "time_embed.0.weight" not in tensors:
        raise InputError(f"{path} is of a diffusers model: give its folder, with the config.json in it.")
    found = structure(tensors, path)
    if image_size is None:
        raise InputError(f"{path} does not tell the side of its images: say image_size (--image-size).")
    if (num_heads is None) == (num_head_channels is None):
        raise InputError(
            f"{path} does not tell its heads, got {num_heads=} and {num_head_channels=}: say one of them, num_heads=4 "
            "being both projects' default and num_head_channels=64 that of most published guided-diffusion models "
            "(--num-heads, --num-head-channels)."
        )
    process: Process = SCHEDULES[known("schedule", schedule, SCHEDULES)](num_steps)
    heads = {"head_channels": num_head_channels, "num_heads": 1 if num_heads is None else num_heads}
    read = {"predicts": "x0" if predict_xstart else "eps", "told": _told(num_steps, rescale_timesteps)}
    try:
        model = _model(found, image_size, **heads, **read)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    template = jax.eval_shape(from_linen(model, process).init, jax.random.key(0))
    params = arranged(template, layout(found), tensors, path)
    if not new_attention_order:
        params = {name: _heads_inside(part, model) if "qkv" in part else part for name, part in params.items()}
    variance = "learned" if found.learn_sigma else "fixed_small" if sigma_small else "fixed_large"
    return Imported(model, process, params, variance, clip=True)


def _model(found: Structure, image_size: int, **options: Any) -> Model:
    return unet(
        (image_size, image_size, found.inputs),
        channels=found.channels,
        mults=found.mults,
        num_blocks=found.num_blocks,
        attention=tuple(image_size // 2**level for level in found.attention),
        stem=None if found.stem == found.channels else found.stem,
        groups=32,
        num_classes=found.num_classes,
        scale_shift=found.scale_shift,
        resblock_updown=found.resblock_updown,
        learn_sigma=found.learn_sigma,
        null_class=False,
        **options,
    )


def _told(num_steps: int, rescale_timesteps: bool | None) -> Told:
    if rescale_timesteps is None and num_steps != 1000:
        raise InputError(
            f"a model of {num_steps} steps is told step i as i or as i x 1000/{num_steps}: say rescale_timesteps, True "
            "by default in improved-diffusion and False in guided-diffusion (--rescale-timesteps)."
        )
    return "step-of-1000" if rescale_timesteps else "step"


def _heads_inside(attention: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Turns rows ordered (head, q|k|v, d) into our (q|k|v, head, d)."""

    def turned(leaf: jax.Array) -> jax.Array:
        width = leaf.shape[-1] // 3
        heads = (
            model.config["num_heads"]
            if model.config["head_channels"] is None
            else width // model.config["head_channels"]
        )
        rows = leaf.reshape(-1, heads, 3, width // heads)
        return rows.swapaxes(1, 2).reshape(leaf.shape)

    return {**attention, "qkv": jax.tree.map(turned, attention["qkv"])}
