"""What is attacked, and what is known beside: images that a study can be made of, refused before any network runs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffaudit_jax.types import InputError, to_signed

Images: TypeAlias = Float[np.ndarray, "n *shape"]

LEAST = 4
"""Targets of which a rank correlation has an interval."""


def checked_targets(targets: Any, shape: Sequence[int], cond: Any = None) -> Images:
    """Returns targets as float32 in [-1, 1].

    Args:
      targets: [n, h, w, c], uint8 or floats in [-1, 1].
      shape: What the prior takes.
      cond: Classes [n], or None.

    Raises:
      InputError: if they are fewer than `LEAST`, of another shape or range, of one colour or twice the same, or classes
        do not go with them.
    """
    x = _checked("targets", targets, shape, LEAST)
    if (flat := np.ptp(x.reshape(len(x), -1), axis=1) == 0).any():
        raise InputError(f"target {int(flat.argmax())} is of one value all over: it shows nothing, leave it out.")
    first: dict[bytes, int] = {}
    for i, image in enumerate(x):
        if (j := first.setdefault(image.tobytes(), i)) != i:
            raise InputError(f"targets {j} and {i} are the same image: leave one out.")
    if cond is not None and np.shape(cond) != x.shape[:1]:
        raise InputError(f"every target has its class, got classes of shape {np.shape(cond)} for {len(x)}.")
    return x


def checked_public(public: Any, targets: Images) -> Images:
    """Returns public images as float32 in [-1, 1].

    Args:
      public: [m, h, w, c], uint8 or floats in [-1, 1].
      targets: What they must not hold, checked.

    Raises:
      InputError: if fewer than 2 are distinct, their shape or range is another, or one is a target.
    """
    seen = _checked("public images", public, targets.shape[1:], 2)
    known = {image.tobytes() for image in seen}
    if len(known) < 2:
        raise InputError("the public images are all the same: give distinct ones.")
    if both := [i for i, image in enumerate(targets) if image.tobytes() in known]:
        raise InputError(f"target {both[0]} is among the public images: take it out of one of the sets.")
    return seen


def _checked(what: str, images: Any, shape: Sequence[int], least: int) -> Images:
    x = np.asarray(to_signed(jnp.asarray(images)))
    if x.ndim != 4 or x.shape[1:] != tuple(shape) or len(x) < least:
        raise InputError(
            f"{what} have shape {x.shape}: the prior takes images {tuple(shape)}, {least} of them or more."
        )
    if not (np.abs(x) <= 1).all():  # also where one is NaN
        raise InputError(f"floating {what} lie in [-1, 1], got {x.min():.4g} to {x.max():.4g}: rescale them.")
    return x
