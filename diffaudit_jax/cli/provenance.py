"""What is kept beside a report: where its numbers come from, and the scores themselves."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffaudit_jax.cli.passes import Seen
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.types import write_atomic


def provenance(
    subject: Subject,
    seen: Seen,
    black_box: Mapping[str, Any],
    sources: Mapping[str, Any],
    seed: int,
    devices: int | None,
) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON.

    Args:
      subject: The audited model.
      seen: What the passes saw.
      black_box: What black-box attacks stood on.
      sources: Where members and non-members came from.
      seed: The audit's seed.
      devices: Local devices used, None for all.
    """
    return {
        "data": dict(sources),
        "seeds": {"audit": seed, "training": subject.record.get("seed")},
        "hashes": {name: dict(prints) for name, prints in seen.hashes.items()},
        "calls": dict(seen.calls),
        **black_box,
        "source": subject.source,
        "model": subject.target.config.get("network", {}).get("model", {}),
        "process": subject.target.config.get("process", {}),
        "training": subject.training,
        **({} if subject.guarantee is None else {"guarantee": subject.guarantee}),
        "device": device_of(devices),
    }


def device_of(devices: int | None) -> dict[str, Any]:
    """Returns what computed, as JSON.

    Args:
      devices: Local devices used, None for all.
    """
    device = jax.local_devices()[0]
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": devices or jax.local_device_count(),
        "matmul_precision": "float32",
    }


def save_scores(path: Path, member: np.ndarray, scores: Mapping[str, Any]) -> None:
    """Keeps the scores beside the report, in the layout that `diffaudit report --scores` reads."""
    buffer = io.BytesIO()
    np.savez(buffer, member=member, **scores)
    write_atomic(path, buffer.getvalue())


def absolute(source: str) -> str:
    """Returns a path that a command started elsewhere finds too; names stay names."""
    return str(Path(source).resolve()) if Path(source).exists() else source
