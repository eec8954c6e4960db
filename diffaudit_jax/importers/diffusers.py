"""Unconditional and class-conditional models of diffusers, read and written without diffusers or PyTorch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffaudit_jax.importers.arrange import arranged, sources, taken_apart
from diffaudit_jax.importers.imported import Imported
from diffaudit_jax.importers.safetensors import write_safetensors
from diffaudit_jax.importers.schedulers import Schedule, schedule
from diffaudit_jax.importers.tensors import shown
from diffaudit_jax.importers.unet2d import unet2d
from diffaudit_jax.importers.unet2d_names import renewed, unet2d_names
from diffaudit_jax.importers.weights import read_weights
from diffaudit_jax.models import Model
from diffaudit_jax.process import Process
from diffaudit_jax.types import InputError, Params, write_atomic

WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
)
"""Files of weights, the first that is there being read."""


def load(folder: str | os.PathLike, *, process: Process | None = None, size: tuple[int, int] | None = None) -> Imported:
    """Reads a UNet2DModel: its architecture, its weights in float32, and the process it was trained on.

    The weights are mapped into memory and converted one tensor at a time. Nothing that a file says is run.

    Args:
      folder: A model's folder (config.json beside its weights), or that of a pipeline with a unet/ in it. The
        scheduler_config.json is looked for beside the model and in a scheduler/ beside or in the folder.
      process: The process, in place of the scheduler's. Without any scheduler the network is taken to predict eps, told
        the step, on images in [-1, 1]; or with Fourier features the score, told ln sigma, on images in [0, 1].
      size: Height and width of the images, in place of the configuration's `sample_size`.

    Returns:
      All that `from_linen` and `diffusion_target` need.

    Raises:
      InputError: if a file is missing or damaged, names what is not read, or does not go with the others.

    References:
      https://huggingface.co/docs/diffusers
    """
    folder = Path(folder)
    home = folder / "unet" if (folder / "unet" / "config.json").is_file() else folder
    _check_pipeline(folder)
    config = _json(home / "config.json")
    if size is not None:
        config = {**config, "sample_size": list(size)}
    times = _schedule(folder, home, process, fourier=config.get("time_embedding_type") == "fourier")
    try:
        model = unet2d(config, times)
    except InputError as error:
        raise InputError(f"{home / 'config.json'}: {error}") from error
    return Imported(model, times.process, _params(model, home), times.variance, times.clip)


def architecture(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> tuple[Model, Process]:
    """Returns the untrained architecture and the process that a pair of configurations describes.

    With `training.fit` and `save`, a model in the layout of diffusers can be trained here.

    Args:
      config: The JSON of a UNet2DModel's config.json.
      scheduler: The JSON of a scheduler_config.json.

    Raises:
      InputError: if an option is unknown, or has a value that is not read.
    """
    times = schedule(scheduler)
    return unet2d(config, times), times.process


def save(folder: str | os.PathLike, config: Mapping[str, Any], scheduler: Mapping[str, Any], params: Params) -> Path:
    """Writes a model as diffusers keeps it, float32: config.json, scheduler_config.json and safetensors.

    Args:
      folder: Where to; made if it does not exist.
      config: What `architecture` made the model of.
      scheduler: The same, of its process.
      params: Its parameters, e.g. ``run.target.params``.

    Returns:
      The folder, which `load` reads.

    Raises:
      InputError: if the configurations are not read.
    """
    folder = Path(folder)
    model, _ = architecture(config, scheduler)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / WEIGHTS[0], taken_apart(params, _names(model)))
    for name, content in (("config.json", config), ("scheduler_config.json", scheduler)):
        write_atomic(folder / name, json.dumps(dict(content), indent=1).encode())
    return folder


def tensor_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Returns the name and the shape of every tensor that diffusers keeps this model in."""
    return sources(_template(model), _names(model))


def _params(model: Model, home: Path) -> Params:
    path = next((home / name for name in WEIGHTS if (home / name).is_file()), None)
    if path is None:
        raise InputError(f"{home} has no weights: none of {', '.join(WEIGHTS)} is there.")
    return arranged(_template(model), _names(model), renewed(read_weights(path)), path)


def _template(model: Model) -> Params:
    label = None if model.num_classes is None else jnp.int32(0)
    # Not arrays: a configuration may tell of images that no memory holds.
    arguments = (jax.ShapeDtypeStruct(model.shape, jnp.float32), jax.ShapeDtypeStruct((), jnp.float32), label)
    assert model.module is not None
    return jax.eval_shape(model.module.init, jax.random.key(0), *arguments)["params"]


def _names(model: Model) -> Any:
    return unet2d_names(len(model.config["mults"]), pyramids=model.config["name"] == "ncsnpp")


def _schedule(folder: Path, home: Path, process: Process | None, *, fourier: bool) -> Schedule:
    places = (home, folder / "scheduler", home.parent / "scheduler")
    path = next((p / "scheduler_config.json" for p in places if (p / "scheduler_config.json").is_file()), None)
    if path is not None:
        try:
            found = schedule(_json(path))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        return found if process is None else found._replace(process=process)
    if process is None:
        raise InputError(f"{home} has no scheduler_config.json, beside it or in scheduler/: add it, or give a process.")
    return Schedule(process, "score", "log-noise", signed=False, clip=False) if fourier else Schedule(process)


def _check_pipeline(folder: Path) -> None:
    if not (folder / "model_index.json").is_file():
        return
    parts = {name for name in _json(folder / "model_index.json") if not name.startswith("_")}
    if others := sorted(parts - {"unet", "scheduler"}):
        raise InputError(
            f"{folder} is a pipeline with {shown(', '.join(others))} beside unet and scheduler: only models of pixels "
            "are read."
        )


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is not there: name the folder of a diffusers model or pipeline.")
    try:
        if isinstance(parsed := json.loads(path.read_bytes()), dict):
            return parsed
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({type(error).__name__}): copy it again.") from error
    raise InputError(f"{path} is not a JSON object: copy it again.")
