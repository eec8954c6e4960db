"""From a path to a target: what a checkpoint is, is told by its content, never by its name."""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from diffaudit_jax import training
from diffaudit_jax.data.images import SUFFIXES
from diffaudit_jax.importers import diffusers, guided
from diffaudit_jax.importers.images import from_images
from diffaudit_jax.importers.imported import Imported
from diffaudit_jax.importers.pickles import ZIP_ERRORS
from diffaudit_jax.importers.weights import is_safetensors, is_torch
from diffaudit_jax.models import from_linen
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import InputError

Kind = Literal["diffaudit train", "diffusers", "guided-diffusion", "images"]


def recognise(path: str | os.PathLike) -> Kind:
    """Returns what a path leads to.

    Raises:
      InputError: if there is nothing, or nothing that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no {path}: give a run directory, a diffusers folder, or a file of weights.")
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(16)
        if is_torch(head) and _holds_arrays(path):
            return "images"
        if is_torch(head) or is_safetensors(head):
            return "guided-diffusion"
        raise InputError(
            f"{path} is neither a torch checkpoint nor safetensors: give the .pt of improved- or guided-diffusion, or "
            f"the folder of a diffusers model."
        )
    if (path / "run.json").is_file():
        return "diffaudit train"
    if any((path / name).is_file() for name in ("config.json", "model_index.json", "unet/config.json")):
        return "diffusers"
    if any(file.suffix.lower() in SUFFIXES for file in path.rglob("*")):
        return "images"
    raise InputError(
        f"{path} holds no model: a run has a run.json, a diffusers folder a config.json, a bank of samples images."
    )


def load(path: str | os.PathLike, **options: Any) -> Target:
    """Loads a model from elsewhere, or a run of our own, as a target.

    Nothing that a file says is run, and no framework but jax is needed. Weights become float32.

    Args:
      path: A run directory of `diffaudit train`; a diffusers folder (a model's, or a pipeline's with its scheduler); a
        `.pt` or `.safetensors` of improved- or guided-diffusion; a black box of generated images, a folder or `.npz`.
      **options: What the weights do not tell, as in `importers.guided.load` or `importers.diffusers.load`.

    Returns:
      What to audit.

    Raises:
      InputError: if it is none of these, damaged, of an unknown architecture, or an option is not one of its kind's.
    """
    kind = recognise(path)
    if kind in LOADERS:
        try:
            return to_target(LOADERS[kind](path, **options), kind)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise InputError(
                f"{path} is read as {kind}, which takes no such option ({error}): leave it out."
            ) from error
    if options:
        raise InputError(f"{path} is read as {kind}, which takes no options: leave {', '.join(options)} out.")
    return training.load_run(path).target if kind == "diffaudit train" else from_images(path)


def to_target(imported: Imported, kind: str) -> Target:
    """Returns an imported model as a target that samples by DDIM."""
    model, process = imported.model, imported.process
    network = from_linen(model, process)
    return diffusion_target(
        imported.params,
        network,
        process,
        model.shape,
        config={"source": kind},
        num_classes=model.num_classes,
        variance=imported.variance,
        clip=imported.clip,
    )


def _holds_arrays(path: Path) -> bool:
    """Whether a zip archive is one of NumPy's rather than one of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except ZIP_ERRORS:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


LOADERS: Mapping[str, Callable[..., Imported]] = {"diffusers": diffusers.load, "guided-diffusion": guided.load}
