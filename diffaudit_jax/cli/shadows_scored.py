"""A target's scores compared with those that its shadows give the same queries."""

from collections.abc import Mapping

import numpy as np

from diffaudit_jax import data, shadows
from diffaudit_jax.auditing import Observations
from diffaudit_jax.calibration import aligned
from diffaudit_jax.cli.passes import Seen
from diffaudit_jax.cli.shadowed import Compared

PAPERS = {
    "lira": "https://arxiv.org/abs/2112.03570",
    "lira-offline": "https://arxiv.org/abs/2112.03570",
    "rmia": "https://arxiv.org/abs/2312.03262",
    "calibrated": "https://arxiv.org/abs/2111.08440",
}
"""How a target's scores are compared with those of its shadows."""


def with_shadows(seen: Seen, rows: np.ndarray, found: Compared, by: Mapping[str, list[Observations]]) -> Seen:
    """Adds to what passes saw of a target its scores compared with its shadows', under names ``ATTACK+HOW``."""
    scores, specs, inclusion = dict(seen.scores), dict(seen.specs), found.inclusion
    for name, others in by.items():
        own = Observations((), seen.scores[name], rows)
        against = {
            "lira": shadows.lira(own, others, inclusion),
            "lira-offline": shadows.lira(own, others, inclusion, online=False),
            "rmia": shadows.rmia(own, others, inclusion),
            "calibrated": without(own, others, inclusion),
        }
        for how, values in against.items():
            config = {**seen.specs[name].get("config", {}), "shadows": len(others), "compared": how}
            scores[f"{name}+{how}"] = values
            specs[f"{name}+{how}"] = {**seen.specs[name], "paper": PAPERS[how], "config": config}
    return seen._replace(scores=scores, specs=specs)


def without(own: Observations, others: list[Observations], inclusion: data.Inclusion) -> np.ndarray:
    """Subtracts what the shadows that were trained without a record score it, in the mean."""
    by_shadow = np.stack([aligned(own, other, "shadow") for other in others])
    return own.scores - by_shadow.mean(axis=0, where=~inclusion.of(own.rows))
