"""What the config.json of a CLIPModel says, as an architecture of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.models.clip import MEAN, STD, Clip
from diffaudit_jax.models.clip_towers import ACTIVATIONS, Tower
from diffaudit_jax.types import InputError, known

SHARED: Mapping[str, Any] = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "vision_config": {
        **SHARED,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
    },
    "text_config": {
        **SHARED,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_attention_heads": 8,
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
    },
}
"""The options that are read, with transformers' default, which holds for those that a configuration leaves out."""
MAX_LAYERS, MAX_SIDE = 100, 2**14  # of a tower, and of an image: networks are traced before tensors are looked at
GREATEST = 2  # the token that configurations before transformers 4.31 name, and by which the greatest is meant


def clip_config(folder: Path) -> Clip:
    """Returns the architecture of a CLIPModel.

    Args:
      folder: Holds its config.json, and perhaps a preprocessor_config.json.

    Raises:
      InputError: if a file is missing or no JSON, or an option has a value that is not read.
    """
    path = folder / "config.json"
    config = read_json(path)
    try:
        known("model type", str(config.get("model_type")), ("clip",))
        vision, text = (_options(config, name) for name in DEFAULTS)
        dim = _checked("projection_dim", config.get("projection_dim", 512), 512)
        _check_image(vision)
        towers = _tower("vision_config", vision), _tower("text_config", text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return Clip(
        *towers,
        dim=dim,
        side=vision["image_size"],
        patch=vision["patch_size"],
        vocab=text["vocab_size"],
        context=text["max_position_embeddings"],
        eot=None if text["eos_token_id"] == GREATEST else text["eos_token_id"],
        **_moments(folder / "preprocessor_config.json"),
    )


def read_json(path: Path) -> Mapping[str, Any]:
    """Returns a file's JSON object.

    Raises:
      InputError: if there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: name the folder of a CLIP model.")
    try:
        if isinstance(parsed := json.loads(path.read_bytes()), dict):
            return parsed
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({type(error).__name__}): copy it again.") from error
    raise InputError(f"{path} is not a JSON object: copy it again.")


def _options(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Returns every option of a tower, checked one by one."""
    # Where an older version wrote both, the one that it was made of holds.
    given = config.get(part) if config.get(f"{part}_dict") is None else config[f"{part}_dict"]
    if not isinstance(given, dict | None):
        raise InputError(f"{part} is {shown(repr(given))}, not a JSON object: copy the file again.")
    options = {**DEFAULTS[part], **(given or {})}
    return {name: _checked(f"{part}.{name}", options[name], default) for name, default in DEFAULTS[part].items()}


def _checked(name: str, value: Any, default: Any) -> Any:
    match default:
        case int():
            fits = type(value) is int and 0 < value < 2**31
        case float():
            fits = type(value) in (int, float) and 0 <= value < 1
        case _:
            fits = isinstance(value, str)
    if not fits:
        raise InputError(f"{name} is {shown(repr(value))}, which a CLIP cannot have: copy its configuration again.")
    return value


def _tower(part: str, options: Mapping[str, Any]) -> Tower:
    width, heads, layers = (options[name] for name in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    if layers > MAX_LAYERS:
        raise InputError(f"{part}.num_hidden_layers is {layers}, and {MAX_LAYERS} are read at most.")
    if width % heads:
        raise InputError(f"{part}.hidden_size is {width}, which {heads} heads do not divide: copy the file again.")
    known("activation", options["hidden_act"], ACTIVATIONS)
    return Tower(width, layers, heads, options["intermediate_size"], options["hidden_act"], options["layer_norm_eps"])


def _check_image(vision: Mapping[str, Any]) -> None:
    side, patch, channels = (vision[name] for name in ("image_size", "patch_size", "num_channels"))
    if not patch <= side <= MAX_SIDE:
        raise InputError(f"an image of side {side} in patches of side {patch} is not read: {MAX_SIDE} is the greatest.")
    if channels != 3:
        raise InputError(f"vision_config.num_channels is {channels}, and only 3 is read.")


def _moments(path: Path) -> dict[str, Any]:
    """Returns the mean and the std that images are normalised by."""
    given = read_json(path) if path.is_file() else {}
    found = {"mean": given.get("image_mean", MEAN), "std": given.get("image_std", STD)}
    for name, value in found.items():
        least = 0 if name == "mean" else 1e-6
        match value:
            case [*numbers] if len(numbers) == 3 and all(type(n) in (int, float) and least <= n <= 1 for n in numbers):
                found[name] = tuple(float(n) for n in numbers)
            case _:
                raise InputError(f"{path}: image_{name} is {shown(repr(value))}, not three numbers: copy it again.")
    return found
