"""The most exposed members: who they are by row, never by pixel unless asked."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaudit_jax.report.evidence import Trajectory

NUM_EXPOSED = 10


def png(image: NDArray[np.uint8]) -> str:
    """Encodes one image [height, width, 1 | 3 | 4] as PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def most_exposed(
    scores: NDArray,
    member: NDArray,
    trajectory: Trajectory | None,
    images: NDArray[np.uint8] | None,
    show_images: int,
) -> list[dict[str, Any]]:
    """Lists the members with the highest scores, the first `show_images` of them with their pixels.

    Args:
      scores: Float [n], of the strongest attack.
      member: Bool [n].
      trajectory: Losses of the same rows, or None.
      images: Uint8 [n, height, width, channels], or None.
      show_images: How many records to show; the list grows to hold them.

    Returns:
      For each: `rank` from 1, `row`, `score`, `nonmembers_above` (non-members that score as high), `trajectory`
      (loss -> values by time, or None) and, for the first `show_images`, `image_png_base64`.
    """
    members, others = np.flatnonzero(member), np.sort(scores[~member])
    rows = members[np.argsort(-scores[members], kind="stable")][: max(NUM_EXPOSED, show_images)]
    listed = []
    for rank, row in enumerate(rows.tolist(), start=1):
        record: dict[str, Any] = {
            "rank": rank,
            "row": row,
            "score": float(scores[row]),
            "nonmembers_above": int(len(others) - np.searchsorted(others, scores[row])),
            "trajectory": trajectory
            and {name: np.asarray(losses, float)[row].tolist() for name, losses in trajectory.losses.items()},
        }
        if images is not None and rank <= show_images:
            record["image_png_base64"] = png(images[row])
        listed.append(record)
    return listed
