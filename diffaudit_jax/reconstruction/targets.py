"""What is attacked, and what is known beside: images that a study can be made of, refused before any network runs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from diffaudit_jax.metrics.bounds import checked_mu
from diffaudit_jax.types import InputError, to_signed

Images: TypeAlias = Float[np.ndarray, "n *shape"]

LEAST = 4
"""Targets of which a rank correlation has an interval."""
LEAST_MU = 1e-6
"""The least mu whose noise float32 can tell, and the inverse of the most."""


def checked_grid(mus: ArrayLike) -> Float[np.ndarray, " k"]:
    """Returns values of mu, increasing, each once.

    Raises:
      InputError: if one is not positive, or there is no such noise in float32.
    """
    grid = np.unique(checked_mu(mus))
    if beyond := [mu for mu in grid if not LEAST_MU <= mu <= 1 / LEAST_MU]:
        raise InputError(f"mu is {beyond[0]:g}: beyond {LEAST_MU:g} and {1 / LEAST_MU:g} float32 tells no such noise.")
    return grid


def checked_targets(targets: Any, shape: Sequence[int], cond: Any = None, num_classes: int | None = None) -> Images:
    """Returns targets as float32 in [-1, 1].

    Args:
      targets: [n, h, w, c], uint8 or floats in [-1, 1].
      shape: What the prior takes.
      cond: Classes [n], or None.
      num_classes: How many the prior knows, if it tells.

    Raises:
      InputError: if they are fewer than `LEAST`, of another shape or range, of one colour or twice the same, or classes
        go with neither them nor the prior.
    """
    x = _checked("targets", targets, shape, LEAST)
    if (flat := np.ptp(x.reshape(len(x), -1), axis=1) == 0).any():
        raise InputError(f"target {int(flat.argmax())} is of one value all over: it shows nothing, leave it out.")
    first: dict[bytes, int] = {}
    for i, image in enumerate(x):
        if (j := first.setdefault(image.tobytes(), i)) != i:
            raise InputError(f"targets {j} and {i} are the same image: leave one out.")
    _check_classes("target", x, cond, num_classes)
    return x


def checked_public(public: Any, targets: Images, cond: Any = None, num_classes: int | None = None) -> Images:
    """Returns public images as float32 in [-1, 1].

    Args:
      public: [m, h, w, c], uint8 or floats in [-1, 1].
      targets: What they must not hold, checked.
      cond: Classes [m], or None.
      num_classes: How many the prior knows, if it tells.

    Raises:
      InputError: if fewer than 2 are distinct, their shape or range is another, one is a target, or classes go with
        neither them nor the prior.
    """
    seen = _checked("public images", public, targets.shape[1:], 2)
    known = {image.tobytes() for image in seen}
    if len(known) < 2:
        raise InputError("the public images are all the same: give distinct ones.")
    if both := [i for i, image in enumerate(targets) if image.tobytes() in known]:
        raise InputError(f"target {both[0]} is among the public images: take it out of one of the sets.")
    _check_classes("public image", seen, cond, num_classes)
    return seen


def typical_norm(public: Any) -> float:
    """Returns the mean norm of public images, uint8 or in [-1, 1]: what a target's is taken for where it is not known.

    It is the norm of a linear unit's gradient before clipping; see `Knowledge.typical_norm`.
    """
    x = np.asarray(to_signed(jnp.asarray(public)), np.float64)
    return float(np.linalg.norm(x.reshape(len(x), -1), axis=1).mean())


def _check_classes(what: str, x: Images, cond: Any, num_classes: int | None) -> None:
    if cond is None:
        return
    if np.shape(cond) != x.shape[:1]:
        raise InputError(f"every {what} has its class, got classes of shape {np.shape(cond)} for {len(x)}.")
    # Beyond the last one lies the class of none, or whatever an index out of range is taken for.
    classes = np.asarray(cond)
    if num_classes is not None and (beyond := (classes < 0) | (classes >= num_classes)).any():
        raise InputError(
            f"class {classes[beyond][0]} of {what} {int(beyond.argmax())} is none that the prior knows: give one from "
            f"0 to {num_classes - 1}."
        )


def _checked(what: str, images: Any, shape: Sequence[int], least: int) -> Images:
    x = np.asarray(to_signed(jnp.asarray(images)))
    if x.ndim != 4 or x.shape[1:] != tuple(shape) or len(x) < least:
        raise InputError(
            f"{what} have shape {x.shape}: the prior takes images {tuple(shape)}, {least} of them or more."
        )
    if not (np.abs(x) <= 1).all():  # also where one is NaN
        raise InputError(f"floating {what} lie in [-1, 1], got {x.min():.4g} to {x.max():.4g}: rescale them.")
    return x
