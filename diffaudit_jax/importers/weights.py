"""Files of weights, of whatever format: which one it is, is told by the first bytes."""

from pathlib import Path

from diffaudit_jax.importers.pickles import read_torch
from diffaudit_jax.importers.safetensors import read_safetensors
from diffaudit_jax.importers.tensors import Tensors, mapped


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins with a length and a brace; no pickle or zip that torch.save writes has a brace there."""
    return head[8:9] == b"{"


def is_torch(head: bytes) -> bool:
    """Whether a file begins as a zip archive, or as a pickle of protocol 2 or later."""
    return not is_safetensors(head) and (head[:4] == b"PK\x03\x04" or head[:1] == b"\x80")


def read_weights(path: Path, key: str | None = None) -> Tensors:
    """Reads the names, shapes and places of a file's tensors; their values stay on disk until asked for.

    Args:
      path: A safetensors file, the `.json` index of several, or a file that `torch.save` wrote.
      key: Where in a file of `torch.save` the tensors are (`importers.pickles.read_torch`).

    Raises:
      InputError: if it is none of these, or damaged.
    """
    if path.suffix == ".json" or is_safetensors(mapped(path)[:16].tobytes()):
        return read_safetensors(path)
    return read_torch(path, key)
