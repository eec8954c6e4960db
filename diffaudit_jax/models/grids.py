"""The grids and widths of a network whose levels each halve the image, checked once for every architecture."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax.numpy as jnp

from diffaudit_jax.types import InputError

Module = TypeVar("Module", bound=nn.Module)


def check_image(shape: tuple[int, ...]) -> None:
    """Refuses what is not (height, width, channels)."""
    if len(shape) != 3:
        raise InputError(f"an image's shape is (height, width, channels), got {tuple(shape)}.")


def grids(
    shape: tuple[int, ...], channels: int, mults: Sequence[float], num_blocks: int, patch: int = 1
) -> tuple[list[int], list[int]]:
    """Returns the height of each level's grid and the width of each level, finest first.

    Args:
      shape: (height, width, channels) of one image.
      channels: Width that the multipliers are of.
      mults: Width multiplier of each level; each further level halves the resolution.
      num_blocks: Residual blocks per level.
      patch: Side of the space-to-depth stem's blocks.

    Raises:
      InputError: if this is not the shape of an image, a size is not positive, or the image does not divide.
    """
    check_image(shape)
    widths = [round(channels * mult) for mult in mults]
    if min(channels, num_blocks, patch, *widths, *shape) < 1 or not widths:
        raise InputError(f"sizes must be positive, got {shape=}, {channels=}, {mults=}, {num_blocks=}, {patch=}.")
    cell = patch * 2 ** (len(mults) - 1)
    height, width = shape[:2]
    if height % cell or width % cell:
        raise InputError(
            f"images of {height}x{width} do not divide into cells of {cell} (patch {patch}, {len(mults)} levels): "
            f"use a smaller patch or fewer levels."
        )
    return [height // patch // 2**level for level in range(len(mults))], widths


def check_divisors(widths: Sequence[int], **counts: int | None) -> None:
    """Refuses options, such as a number of groups, that do not divide every one of these widths; None is skipped."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, got {count}.")
        if count is not None and any(width % count for width in widths):
            raise InputError(f"{name}={count} must divide every width {list(widths)}.")


def attending(sides: Iterable[int], grid: Sequence[int]) -> tuple[int, ...]:
    """Returns the levels whose grids have one of these sides.

    Raises:
      InputError: if no level has a grid of such a side.
    """
    if strangers := sorted(set(sides) - set(grid)):
        raise InputError(f"no level has a grid of side {strangers[0]} to attend on: there are {list(grid)}.")
    return tuple(level for level, side in enumerate(grid) if side in set(sides))


def attended(widths: Sequence[int], down: Iterable[int], up: Iterable[int], middle: bool) -> list[int]:
    """Returns the widths on which a network attends: of these levels, and of its middle."""
    levels = {*down, *up, *[len(widths) - 1] * middle}
    return [widths[level] for level in sorted(levels)]


def check_rates(num_classes: int | None, dropout: float) -> None:
    """Refuses a number of classes or a dropout rate that no network can have."""
    if num_classes is not None and num_classes < 1:
        raise InputError(f"num_classes must be at least 1, or None for an unconditional model, got {num_classes}.")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be in [0, 1), got {dropout}.")


def from_options(kind: type[Module], options: Mapping[str, Any], **checked: Any) -> Module:
    """Makes a module of those options that it has, and of these instead where they are given."""
    own = {name: options[name] for name in kind.__dataclass_fields__ if name in options}
    return kind(**{**own, **checked}, dtype=jnp.bfloat16 if options["bfloat16"] else None)
