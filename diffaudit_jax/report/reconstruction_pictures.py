"""Pictures of a sweep, each as a PNG in base64: what the page shows for every mu."""

from typing import Any

import numpy as np
from jaxtyping import Float

from diffaudit_jax.reconstruction.sweep import Shown
from diffaudit_jax.report.exposed import png

NUM_SAMPLES = 2


def pictures(shown: Shown, of: str) -> dict[str, Any]:
    """Returns the pictures of a sweep.

    Args:
      shown: What is to be seen.
      of: "targets" or "public": whose images these are.

    Returns:
      `images`: for each a `target` and `rows`, one a mu; `most_spread`: the standard deviation that is drawn black in
      maps of agreement, where 0 is white.
    """
    most = float(np.max(shown.spread)) or 1.0
    images = [
        {
            "target": png(_bytes(target)),
            "rows": [
                {
                    **{name: png(_bytes(getattr(shown, name)[k, i])) for name in ("release", "diffusion", "mean")},
                    "samples": [png(_bytes(sample)) for sample in shown.samples[k, i, :NUM_SAMPLES]],
                    "spread": png(np.rint(255 * (1 - shown.spread[k, i, ..., None] / most)).astype(np.uint8)),
                }
                for k in range(len(shown.release))
            ],
        }
        for i, target in enumerate(shown.targets)
    ]
    return {"of": of, "most_spread": most, "images": images}


def _bytes(image: Float[np.ndarray, "h w c"]) -> np.ndarray:
    return np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
