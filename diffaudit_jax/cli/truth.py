"""Who is called a member, held against what is known of the training."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.types import InputError


def check_truth(split: data.Split[Any], record: Mapping[str, Any] | None) -> None:
    """Holds who is called a member against the hashes of what a run of our own was trained on."""
    if record is None:
        return
    noun = "records" if isinstance(split.members, data.Table) else "images"
    trained = {stored for side in ("members", "always") for stored in record.get(side, {}).get("hashes", ())}
    seen = [int(np.isin(side.hashes(), list(trained)).sum()) for side in (split.members, split.nonmembers)]
    if seen[1]:
        raise InputError(
            f"{seen[1]} of the {len(split.nonmembers)} {noun} of --nonmembers are ones this run was trained on: take "
            f"them out, or see whether --members and --nonmembers are swapped."
        )
    if seen[0] < len(split.members):
        warnings.warn(
            f"{len(split.members) - seen[0]} of the {len(split.members)} {noun} of --members are none that this run "
            f"was trained on, byte for byte: the audit says nothing about its training data then.",
            stacklevel=2,
        )
