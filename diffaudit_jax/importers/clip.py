"""CLIP as `transformers` keeps it, a folder read without transformers or PyTorch, as functions of images and texts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from diffaudit_jax.importers.arrange import arranged
from diffaudit_jax.importers.clip_config import clip_config
from diffaudit_jax.importers.clip_tokens import token_rows
from diffaudit_jax.importers.tensors import Tensor, Tensors, shown
from diffaudit_jax.importers.weights import read_weights
from diffaudit_jax.models.clip import Clip
from diffaudit_jax.stream import Features, Stream
from diffaudit_jax.types import InputError, Key, Params, Query

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Files of weights, the first that is there being read."""
PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"vision/class", ("vision_model.embeddings.class_embedding",)),
    (r"vision/patch", ("vision_model.embeddings.patch_embedding",)),
    (r"(vision|text)/(token|position)", (r"\1_model.embeddings.\2_embedding",)),
    (r"(vision|text)/blocks/(\d+)_norm(\d)", (r"\1_model.encoder.layers.\2.layer_norm\3",)),
    (r"(vision|text)/blocks/(\d+)_fc(\d)", (r"\1_model.encoder.layers.\2.mlp.fc\3",)),
    (r"(vision|text)/blocks/(\d+)_out", (r"\1_model.encoder.layers.\2.self_attn.out_proj",)),
    (r"(vision|text)/blocks/(\d+)_qkv", tuple(rf"\1_model.encoder.layers.\2.self_attn.{x}_proj" for x in "qkv")),
    (r"vision/norm_in", ("vision_model.pre_layrnorm",)),  # so spelt
    (r"vision/norm_out", ("vision_model.post_layernorm",)),
    (r"text/norm_out", ("text_model.final_layer_norm",)),
    (r"vision/project", ("visual_projection",)),
    (r"text/project", ("text_projection",)),
    (r"logit_scale", ("logit_scale",)),
)
BARE = ("vision_model.embeddings.class_embedding", "logit_scale")
"""Tensors that are no module's weight but a name of their own."""


@dataclass(frozen=True, eq=False)
class PretrainedClip:
    """A CLIP with its weights.

    Attributes:
      model: Its architecture.
      params: Its parameters, float32.
      folder: Where its tokenizer is.
      run: Its image tower over any number of images, on all devices.
      read: Its text tower over rows of tokens.
    """

    model: Clip
    params: Params
    folder: Path
    run: Stream
    read: Callable[[Params, Array], Array]

    def image_features(self, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n dim"]:
        """Returns unit vectors, float64; an image's feature does not depend on the others asked about.

        Cost: one pass of the image tower an image, compiled once for each size of images (`Clip.pixels`).

        Args:
          images: uint8 [n, h, w, 1 or 3], of any size.

        Raises:
          InputError: if there are no images, or they are not uint8 with one channel or three.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
            raise InputError(f"images are {images.dtype} {images.shape}: CLIP takes uint8 [n, h, w, 1 or 3].")
        asked = Query(images, None, np.arange(len(images)))
        tower = {"vision": self.params["vision"]}  # every device gets a copy of what is passed
        blocks = [features for _, _, features in self.run(tower, jax.random.key(0), asked)]
        return np.concatenate(blocks).astype(np.float64)

    def text_features(self, texts: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Returns unit vectors, float64, in one pass over all texts.

        Args:
          texts: Texts that fit into the context, as they are.

        Raises:
          InputError: if there are none, the tokenizer is missing or does not go with the model, or a text is too long.
        """
        ids = token_rows(self.folder, texts, self.model)
        return np.asarray(self.read(self.params, jnp.asarray(ids)), np.float64)

    @property
    def logit_scale(self) -> float:
        """What the product of two unit vectors is multiplied by before the softmax: exp(s), 100 in published models."""
        return float(np.exp(np.float64(self.params["logit_scale"]["scale"][0])))


def load(folder: str | PathLike) -> PretrainedClip:
    """Reads a CLIPModel of `transformers`: its architecture, and its weights in float32.

    The weights are mapped into memory and converted one tensor at a time. Nothing that a file says is run.

    Args:
      folder: Holds config.json and model.safetensors (or its shards with their index, or pytorch_model.bin); for texts
        a tokenizer.json, or vocab.json with merges.txt; and where images are not normalised as CLIP's are, a
        preprocessor_config.json, of which image_mean and image_std are read.

    Returns:
      Features of images and of texts.

    Raises:
      InputError: if a file is missing or damaged or of another architecture, or a tensor is missing, left over or of
        another shape.

    References:
      Radford et al. 2021, https://arxiv.org/abs/2103.00020; https://huggingface.co/docs/transformers/model_doc/clip
    """
    folder = Path(folder)
    model = clip_config(folder)
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no weights: none of {', '.join(WEIGHTS)} is there.")
    template = jax.eval_shape(model.init, jax.random.key(0))
    params = arranged(template, _names, _tensors(path), path)
    read = jax.jit(jax.vmap(model.text_features, (None, 0)))
    return PretrainedClip(model, params, folder, _stream(model), read)


def _stream(model: Clip) -> Stream:
    def features(params: Params, key: Key, query: Query) -> Features:
        del key
        return model.image_features(params, query.x)

    return Stream(features)


def _names(path: str) -> tuple[str, ...]:
    here, there = next((found, there) for here, there in PLACES if (found := re.fullmatch(here, path)))
    return tuple(here.expand(name) for name in there)


def _tensors(path: Path) -> Tensors:
    """Returns the tensors under names that all end as a module's weight or bias does."""
    tensors = {name: tensor for name, tensor in read_weights(path).items() if not _counts(name, tensor, path)}
    for name in BARE:
        if name not in tensors:
            raise InputError(f"{path} lacks {name!r}: the file is incomplete, or of another model than CLIP.")
        tensor = tensors.pop(name)
        # Parameters here have an axis.
        tensors[f"{name}.weight"] = tensor if tensor.shape else replace(tensor, shape=(1,), strides=(0,))
    return tensors


def _counts(name: str, tensor: Tensor, path: Path) -> bool:
    """Whether it is the 0, 1, 2, ... that older versions saved beside a table of positions."""
    if not name.endswith("_model.embeddings.position_ids"):
        return False
    values = tensor.read().ravel()
    if not np.array_equal(values, np.arange(values.size)):
        raise InputError(f"{path}: tensor {shown(name)} is not 0, 1, 2, ...: the file is damaged, so copy it again.")
    return True
