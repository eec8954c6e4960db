"""What a black-box attacker prepares: a bank of generated images, and a model trained on them."""

from pathlib import Path

import jax
import numpy as np

from diffaudit_jax import models, process, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.data import Pool
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import InputError, Key, known


def draw(key: Key, target: Target, asking: Asking, *, out: Path, block: int) -> np.ndarray:
    """Draws the bank, or takes the images that the target consists of; uint8 [m, *shape].

    Args:
      key: Key of the bank.
      target: Who is asked for images.
      asking: How many, in how many steps.
      out: Directory from which a bank that was stopped goes on.
      block: Images per dispatch.
    """
    if target.process is None and "images" in target.config:
        return np.asarray(target.params)
    labels = None if target.num_classes is None else np.arange(asking.bank) % target.num_classes
    quick = target if target.process is None else redrawn(target, sampler="ddim", sample_steps=asking.bank_steps)
    with stage("drawing the bank") as show:
        return draw_bank(key, quick, asking.bank, labels=labels, block=block, out=out, progress=show)


def train_surrogate(key: Key, bank: np.ndarray, subject: Subject, asking: Asking, *, out: Path) -> Target:
    """Trains a model on the bank, resumable.

    Args:
      key: Key of its training.
      bank: Images, uint8 [m, *shape].
      subject: The audited model; a run of our own tells its family.
      asking: Family and steps.
      out: Run directory.
    """
    own = str(subject.record.get("family", "ddpm"))
    name = known("model", asking.surrogate_model or own, models.FAMILIES)
    family = models.FAMILIES[name]
    schedule = process.from_config(family.schedule)
    weight = models.hybrid_weight(family, schedule)
    recipe = training.Recipe(asking.surrogate_steps, 64, 2e-3, warmup_steps=50, ema_decay=0.99, vlb_weight=weight)
    if asking.surrogate_steps < 1:
        raise InputError(f"--surrogate-steps must be at least 1, got {asking.surrogate_steps}.")
    pool = Pool(bank, np.arange(len(bank)), "bank")
    with stage("training the surrogate") as show:
        return training.fit(
            key,
            models.build(name, pool.shape),
            schedule,
            pool,
            recipe,
            out=out,
            record={"family": name},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        ).target


def keys(seed: int) -> tuple[Key, Key]:
    """Returns the keys of bank and surrogate."""
    key_bank, key_surrogate = jax.random.split(jax.random.fold_in(jax.random.key(seed), 5))
    return key_bank, key_surrogate
