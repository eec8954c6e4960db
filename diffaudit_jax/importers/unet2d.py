"""What the config.json of a UNet2DModel says, as a U-Net or an NCSN++ of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffaudit_jax.importers.schedulers import Schedule
from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.models import Model, ncsnpp, unet
from diffaudit_jax.models.layers import Embedding
from diffaudit_jax.types import InputError, known

DEFAULTS: Mapping[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1.0,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
"""Every option with diffusers' default, which also holds for those that a configuration is too old to have."""

READ: Mapping[str, Sequence[Any]] = {
    "act_fn": ("silu", "swish"),
    "class_embed_type": (None,),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "freq_shift": (0, 1),
    "mid_block_type": ("UNetMidBlock2D",),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional", "fourier"),
    "upsample_type": ("conv", "resnet"),
}
"""Options of which only some values are read."""

COUNTS = (
    "attention_head_dim",
    "attn_norm_num_groups",
    "norm_num_groups",
    "num_class_embeds",
    "num_train_timesteps",
    "time_embedding_dim",
)
"""Options that are a number or none."""

ORDERS: Mapping[tuple[bool, int], Embedding] = {
    (True, 0): "guided",
    (False, 1): "ddpm",
    (False, 0): "guided-sin-first",
    (True, 1): "ddpm-cos-first",
}
MAX_BLOCKS, MAX_SIDE = 100, 2**14  # of a level, and of an image: a network is traced before its tensors are looked at
DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D", "SkipDownBlock2D", "AttnSkipDownBlock2D")
UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D", "SkipUpBlock2D", "AttnSkipUpBlock2D")
"""Block types that are read."""


def unet2d(config: Mapping[str, Any], schedule: Schedule) -> Model:
    """Returns the architecture of a UNet2DModel.

    Args:
      config: The JSON of its config.json.
      schedule: The schedule it was trained on.

    Raises:
      InputError: if an option is unknown, or has a value that is not read, or does not go with the others.
    """
    options = _options(config)
    down = [known("down block type", kind.removeprefix("UNetRes"), DOWN) for kind in options["down_block_types"]]
    up = [known("up block type", kind.removeprefix("UNetRes"), UP) for kind in options["up_block_types"]]
    widths, times = options["block_out_channels"], options["time_embedding_type"]
    if not len(down) == len(up) == len(widths) > 0:
        raise InputError(
            f"down_block_types, up_block_types and block_out_channels have {len(down)}, {len(up)} and {len(widths)} "
            "entries: each level needs one of each."
        )
    if options["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise InputError(f"time_embedding_dim is {options['time_embedding_dim']}, and only {4 * widths[0]} is read.")
    if (times == "fourier") != (schedule.told == "log-noise"):
        raise InputError(
            f"time_embedding_type {times!r} does not go with this process: 'fourier' goes with ScoreSdeVeScheduler, "
            "'positional' with the others."
        )
    if (skips := {"Skip" in kind for kind in (*down, *up)}) == {True, False}:
        raise InputError(f"Skip blocks go with each other only, and here are {', '.join(dict.fromkeys((*down, *up)))}.")
    height, width = _size(options["sample_size"])
    side = lambda level: height // 2**level  # noqa: E731
    shared: dict[str, Any] = {
        "channels": widths[0],
        "mults": tuple(width / widths[0] for width in widths),
        "num_blocks": options["layers_per_block"],
        "attention": tuple(side(level) for level, kind in enumerate(down) if "Attn" in kind),
        "attention_up": tuple(side(level) for level, kind in enumerate(reversed(up)) if "Attn" in kind),
        "middle_attention": options["add_attention"],
        "middle_groups": _middle_groups(options),
        "head_channels": options["attention_head_dim"],
        "groups": options["norm_num_groups"],
        "dropout": options["dropout"],
        "num_classes": options["num_class_embeds"],
        "null_class": False,
        "scale_shift": options["resnet_time_scale_shift"] == "scale_shift",
        "epsilon": options["norm_eps"],
        "center": options["center_input_sample"],
        "embedding": times if times == "fourier" else ORDERS[options["flip_sin_to_cos"], options["freq_shift"]],
        "predicts": schedule.predicts,
        "told": schedule.told,
        "signed": schedule.signed,
    }
    shape = (height, width, options["in_channels"])
    learn_sigma = _learns_sigma(options, schedule)
    if skips == {False}:
        return unet(shape, **shared, **_plain(options, down, up), learn_sigma=learn_sigma)
    if learn_sigma:
        raise InputError("Skip blocks do not learn a variance, and out_channels is twice in_channels.")
    return ncsnpp(shape, **shared, attention_groups=32, middle_scale=options["mid_block_scale_factor"])


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every option, checked one by one."""
    known("model class", str(config.get("_class_name")), ("UNet2DModel",))
    options = {name: value for name, value in config.items() if not name.startswith("_")}
    for name, value in options.items():
        # An option of another version that is off cannot change the model.
        if name not in DEFAULTS and value not in (None, False):
            known("option of UNet2DModel", name, DEFAULTS)
    options = {**DEFAULTS, **options}
    for name, default in DEFAULTS.items():
        value = options[name]
        if name in READ and value not in READ[name]:
            raise InputError(f"{name} is {shown(repr(value))}, and only {' or '.join(map(repr, READ[name]))} is read.")
        if (
            name not in READ
            and not (name in COUNTS and value is None)
            and not _fits(value, 1 if name in COUNTS else default)
        ):
            raise InputError(
                f"{name} is {shown(repr(value))}, which a UNet2DModel cannot have: copy its configuration again."
            )
    if options["layers_per_block"] > MAX_BLOCKS:
        raise InputError(f"layers_per_block is {options['layers_per_block']}, and {MAX_BLOCKS} are read at most.")
    return options


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of its default's kind, and positive if it counts something."""
    match default:
        case bool() | str():
            return type(value) is type(default)
        case float():
            return type(value) in (int, float) and 0 <= value < 1e9  # JSON has integers that no float holds
        case int():
            return type(value) is int and 0 < value < 2**31
        case [first, *_]:
            return isinstance(value, list | tuple) and all(_fits(entry, first) for entry in value)
    return True


def _size(size: Any) -> tuple[int, int]:
    match (size, size) if type(size) is int else size:
        case (int(height), int(width)) | [int(height), int(width)] if (
            0 < min(height, width) <= max(height, width) <= MAX_SIDE
        ):
            return height, width
    raise InputError(
        f"sample_size is {shown(repr(size))}, not a size up to {MAX_SIDE} or a pair: give the images' height and width "
        "as `size`."
    )


def _middle_groups(options: Mapping[str, Any]) -> int | None:
    if options["attn_norm_num_groups"] is None and options["resnet_time_scale_shift"] == "scale_shift":
        return 0  # diffusers then builds the middle's attention without a norm
    return options["attn_norm_num_groups"]


def _learns_sigma(options: Mapping[str, Any], schedule: Schedule) -> bool:
    taken, given = options["in_channels"], options["out_channels"]
    if given not in (taken, 2 * taken):
        raise InputError(
            f"out_channels is {given}, and only {taken} (in_channels) or {2 * taken} (a variance too) is read."
        )
    if schedule.variance == "learned" and given == taken:
        raise InputError(f"the scheduler reads a learned variance, and the model has none: out_channels is {given}.")
    return given > taken


def _plain(options: Mapping[str, Any], down: Sequence[str], up: Sequence[str]) -> dict[str, Any]:
    """Returns what only the U-Net without Skip blocks has."""
    if options["norm_num_groups"] is None or options["mid_block_scale_factor"] != 1:
        raise InputError("norm_num_groups null and mid_block_scale_factor other than 1 are read with Skip blocks only.")
    kinds = {_resampling(kind, options["downsample_type"]) for kind in down[:-1]}
    kinds |= {_resampling(kind, options["upsample_type"]) for kind in up[:-1]}
    if len(kinds) > 1:
        raise InputError(
            "some levels resample by convolutions and some in residual blocks: only one of the two is read."
        )
    return {"resblock_updown": kinds == {"resnet"}, "asymmetric": options["downsample_padding"] == 0}


def _resampling(kind: str, wanted: str) -> str:
    if "Attn" in kind:
        return wanted
    return "resnet" if "Resnet" in kind else "conv"
