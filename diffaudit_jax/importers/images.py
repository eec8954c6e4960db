"""Generated images as a target: all that a black-box audit needs of a model that nobody may call."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffaudit_jax.data import Pool, load
from diffaudit_jax.data.arrays import as_images
from diffaudit_jax.target import Target
from diffaudit_jax.types import Example, InputError, Key, Params, to_signed


def from_images(images: str | os.PathLike | np.ndarray, *, name: str = "images") -> Target:
    """Makes a target of images that a model has generated: each sample is one of them, drawn with replacement.

    Args:
      images: A folder of image files or an `.npz`, as `data.load` reads them; or an array [n, h, w, c] or [n, h, w],
        uint8 or floats, as `data.arrays` converts it.
      name: What messages and the audit's record call it.

    Returns:
      A target with ``sample`` only, whose params are the bank, uint8 [n, h, w, c]: it is in the audit's fingerprint.

    Raises:
      InputError: if there are no images, they differ in size, cannot be read, or are a table; in an audit, if a sample
        of a class is asked for.
    """
    if isinstance(images, str | os.PathLike):
        pool = load(images)
        if not isinstance(pool, Pool):
            raise InputError(f"{images} is a table: name a folder or an npz of images.")
        bank = pool.x
    else:
        bank = as_images(images, name)

    def sample(params: Params, key: Key, cond: Any = None) -> Example:
        if cond is not None:
            raise InputError(f"{name} has images of no class in particular: ask for samples without one.")
        return to_signed(params[jax.random.randint(key, (), 0, len(params))])

    return Target(jnp.array(bank), bank.shape[1:], sample, config={"images": name})
