"""What is asked of images: a property, its values, and which of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from diffaudit_jax import data
from diffaudit_jax.types import InputError, known


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
      name: The property's.
      values: Its values, sorted as they are, not as text.
      has: Which of them is asked for; None for each.
    """

    name: str
    values: tuple[str, ...]
    has: int | None

    @property
    def called(self) -> str | None:
        """What an image has that has the value asked for; None if each is."""
        if self.has is None:
            return None
        return self.name if set(self.values) == {"False", "True"} and self.values[self.has] == "True" else self.told[1]

    @property
    def told(self) -> tuple[str, ...]:
        """What is told apart, in the order of codes."""
        if self.has is None:
            return self.values
        value = self.values[self.has]
        other = self.values[1 - self.has] if len(self.values) == 2 else f"not {value}"
        named = self.name if set(self.values) == {"False", "True"} else ""
        return (f"{named} = {other}", f"{named} = {value}") if named else (other, value)

    def codes(self, values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Returns which of `told` each of `values`, by number, is."""
        return values if self.has is None else (values == self.has).astype(int)


def asked_of(values: Sequence[str], name: str, value: str | None) -> Asked:
    """Returns which of the values is asked for.

    Raises:
      InputError: if `value` is not one of them.
    """
    has = 1 if len(values) == 2 else None
    if value is not None:
        has = list(values).index(known("value", value, values))
    return Asked(name, tuple(values), has)


def column_of(pool: data.Pool, name: str | None) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
    """Returns the number of each image's value, and the values that there are.

    Args:
      pool: Images.
      name: An attribute; None, or "labels" where no attribute is called so, for the pool's own labels.

    Raises:
      InputError: if there is no such attribute, or it is not one whole number, bool or string an image.
    """
    attributes = pool.attributes or {}
    if name is None or (name == "labels" and name not in attributes):
        if pool.labels is None:
            raise InputError(f"{pool.name} has no labels of its own: name an attribute, {_listed(attributes)}.")
        found, codes = np.unique(pool.labels, return_inverse=True)
        return codes, tuple(pool.label_names[y] if pool.label_names else str(y) for y in found)
    if not attributes:
        raise InputError(f"{pool.name} has no attributes, so {name!r} cannot be one: give images that have.")
    column = attributes[known("property", name, attributes)]
    column = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else column
    if column.ndim != 1 or column.dtype.kind not in "buiUS":
        raise InputError(
            f"{name!r} of {pool.name} is {column.dtype} {column.shape}: a property is one whole number, bool or string "
            "an image."
        )
    found, codes = np.unique(column.astype(str) if column.dtype.kind == "S" else column, return_inverse=True)
    return codes, tuple(map(str, found.tolist()))


def _listed(attributes: Mapping[str, np.ndarray]) -> str:
    return f"one of {', '.join(sorted(attributes))}" if attributes else "of which it has none either"
