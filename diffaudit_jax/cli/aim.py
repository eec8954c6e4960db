"""What `diffaudit property` asks of whom: of images and of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.drawing import Generated
from diffaudit_jax.cli.labelled import Labelled
from diffaudit_jax.cli.table_drawing import Records
from diffaudit_jax.cli.values import Asked
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.report.property_shares import Training
from diffaudit_jax.training.receivers import Predict
from diffaudit_jax.types import InputError

if TYPE_CHECKING:
    from diffaudit_jax.cli.property import Property


class Aim(NamedTuple):
    """What is asked of whom, all checked.

    Attributes:
      made: The generator.
      asked: What is asked for.
      name: Who tells.
      labelled: Labelled images (or records), None if there are none.
      test: Others that errors are counted on, None if there are none.
      clip: Who tells by texts, None if a discriminator is to be trained.
      training: What is known of what trained the generator.
      names: Names of its classes; empty if they are not asked about.
      encoder: What a discriminator of records sees them by; None of images.
      reads: ``records -> code of each`` where these say it themselves, in a column; None elsewhere.
    """

    made: Generated | Records
    asked: Asked
    name: str
    labelled: Labelled | None
    test: Labelled | None
    clip: Predict | None
    training: Training | None
    names: tuple[str, ...]
    encoder: Encoder | None = None
    reads: Callable[[data.Table], np.ndarray] | None = None


def check_several(options: Property, asked: Asked) -> None:
    """Refuses flags that are about one value, where each is asked for.

    Raises:
      InputError: naming the flag.
    """
    flags = {"--error": options.error is not None, "--declared": options.declared is not None}
    for flag, given in (flags | {"--by-label": options.by_label}).items():
        if given and asked.has is None:
            raise InputError(
                f"{flag} is about the share of one value, and {asked.name!r} has {len(asked.values)}: name one with "
                "--value."
            )
