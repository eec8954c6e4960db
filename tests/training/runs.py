"""One small run that every training test shares, so that its programs are compiled once."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from diffaudit_jax.data import Pool
from diffaudit_jax.models import unet
from diffaudit_jax.process import ddpm_cosine
from diffaudit_jax.training import Recipe, Run, fit

SHAPE = (4, 4, 1)
PROCESS = ddpm_cosine(10)
MODEL = unet(SHAPE, channels=4, mults=(1,), num_blocks=1, attention=(), middle_attention=False)
RECIPE = Recipe(num_steps=45, batch_size=4, learning_rate=1e-2, warmup_steps=5)
CHECKPOINT_EVERY = 15


def members(n: int = 8, seed: int = 0) -> Pool:
    """N images that differ in more than noise: bright squares on black."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, *SHAPE), np.uint8)
    for image, (i, j) in zip(x, rng.integers(0, 3, (n, 2)), strict=True):
        image[i : i + 2, j : j + 2] = 255
    return Pool(x, np.arange(n), "squares")


def train(out: Path | None = None, recipe: Recipe = RECIPE, progress: Callable | None = None) -> Run:
    """Trains the run, or goes on with it where it stands."""
    return fit(
        jax.random.key(0),
        MODEL,
        PROCESS,
        members(),
        recipe,
        out=out,
        checkpoint_every=CHECKPOINT_EVERY,
        progress=progress,
    )
