"""What LPIPS and PyTorch are both asked: weights and images drawn from a seed, so that a fixture holds answers only."""

import functools
from pathlib import Path

import jax
import numpy as np

from diffaudit_jax.models.lpips import Net, lpips
from diffaudit_jax.types import Params

FIXTURE = Path(__file__).parent / "fixtures" / "lpips.json"
SHAPES: dict[str, tuple[int, int, int]] = {
    "grey, enlarged": (28, 28, 1),
    "colour, enlarged": (45, 32, 3),
    "grey, as it is": (71, 66, 1),
    "colour, as it is": (65, 78, 3),
}
CASES: list[tuple[Net, str]] = [(net, name) for net in ("vgg", "alex") for name in SHAPES]


@functools.cache
def weights(net: Net) -> Params:
    """Weights whose every layer shows: convolutions that keep the scale of what they are given, uneven heads."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lpips(net).init, jax.random.key(0))

    def drawn(leaf):
        # Uniform, with the standard deviation that keeps the scale: 15 million normal numbers would take longer.
        std = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) == 4 else 0.1
        return np.float32(std * 12**0.5) * (rng.random(leaf.shape, np.float32) - np.float32(0.5))

    heads = tuple(rng.random(leaf.shape, np.float32) for leaf in shapes["heads"])
    return {"trunk": jax.tree.map(drawn, shapes["trunk"]), "heads": heads}


def pairs(shape: tuple[int, int, int]) -> np.ndarray:
    """Two pairs of images in [-1, 1] or a little beyond, one far apart and one near: float32 [2, pairs, *shape]."""
    x, y, noise = np.random.default_rng(1).uniform(-1, 1, (3, *shape)).astype(np.float32)
    return np.stack([np.stack([x, x]), np.stack([y, x + np.float32(0.1) * noise])])
