"""What a black-box attacker prepares: a bank of generated images, and a model trained on them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffaudit_jax import models, process, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import Setting, blank
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.cli.tables import TABDDPM, labels_like
from diffaudit_jax.data import Encoder, Pool
from diffaudit_jax.models.tabular import SIZES, TabDdpm, table_target
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import InputError, Key, known


def draws(target: Target) -> bool:
    """Whether the target has to be asked for a bank; if not, it consists of images, which are the bank."""
    return target.process is not None or "images" not in target.config


def calls(target: Target, asking: Asking) -> int:
    """Returns the network calls that the bank takes."""
    own = 1 if target.noising is None else target.noising.schedule.steps
    steps = own if target.process is None else asking.bank_steps
    return asking.bank * steps if draws(target) else 0


def blanks(setting: Setting, subject: Subject) -> Setting:
    """Returns the setting with blanks for bank and surrogate: attacks made of it show mistakes before hours of drawing.

    Raises:
      InputError: if the surrogate's family is unknown or it would not be trained.
    """
    target, asking = subject.target, setting.asking
    if asking.surrogate_steps < 1:
        raise InputError(f"--surrogate-steps must be at least 1, got {asking.surrogate_steps}.")
    num = asking.bank if draws(target) else len(target.params)
    if subject.encoder is not None:
        model = _tabddpm(subject.encoder)
        key = jax.random.key(0)
        surrogate = table_target(model, model.network.init(key))
        return setting._replace(bank=np.zeros((num, *target.shape), np.float32), surrogate=surrogate)
    schedule = process.from_config(models.FAMILIES[surrogate_family(subject, asking)].schedule)
    return setting._replace(bank=np.zeros((num, *target.shape), np.uint8), surrogate=blank(schedule, target.shape))


def prepared(subject: Subject, asking: Asking, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns what black-box attacks stood on, as JSON: the bank, and the surrogate if there is one.

    Args:
      subject: The audited model.
      asking: What was asked for.
      names: The black-box attacks.
    """
    sampled = {} if subject.target.process is None else {"sampler": "ddim", "steps": asking.bank_steps}
    drawn = {"images": asking.bank, **sampled}
    bank = drawn if draws(subject.target) else {"images": len(subject.target.params)}
    surrogate = {"family": surrogate_family(subject, asking), "steps": asking.surrogate_steps}
    return ({"bank": bank} if names else {}) | ({"surrogate": surrogate} if "surrogate" in names else {})


def surrogate_family(subject: Subject, asking: Asking) -> str:
    """Returns the family of the surrogate: that asked for, the own one of a diffusion run, or ddpm."""
    if subject.encoder is not None:
        return known("model of a table", asking.surrogate_model or TABDDPM, (TABDDPM,))
    own = str(subject.record.get("family"))
    return known("model", asking.surrogate_model or (own if own in models.FAMILIES else "ddpm"), models.FAMILIES)


def draw(key: Key, subject: Subject, asking: Asking, *, out: Path, block: int, mesh: Mesh) -> np.ndarray:
    """Draws the bank, or takes what the target consists of; uint8 [m, *shape], or float32 records.

    Args:
      key: Key of the bank.
      subject: Who is asked.
      asking: How many, in how many steps.
      out: Directory from which a bank that was stopped goes on.
      block: Images per dispatch.
      mesh: Devices.
    """
    target = subject.target
    if not draws(target):
        return np.asarray(target.params)
    labels = labels_like(subject.record, asking.bank, 0)
    if labels is None and target.num_classes is not None:
        labels = np.arange(asking.bank) % target.num_classes
    quick = target if target.process is None else redrawn(target, sampler="ddim", sample_steps=asking.bank_steps)
    with stage("drawing the bank") as show:
        return draw_bank(key, quick, asking.bank, labels=labels, block=block, mesh=mesh, out=out, progress=show)


def train_surrogate(key: Key, bank: np.ndarray, subject: Subject, asking: Asking, *, out: Path) -> Target:
    """Trains a model on the bank, resumable.

    Args:
      key: Key of its training.
      bank: Images, uint8 [m, *shape].
      subject: The audited model; a run of our own tells its family.
      asking: Family and steps.
      out: Run directory.
    """
    name = surrogate_family(subject, asking)
    if subject.encoder is not None:
        return _table_surrogate(key, bank, subject.encoder, asking, out)
    family = models.FAMILIES[name]
    schedule = process.from_config(family.schedule)
    weight = models.hybrid_weight(family, schedule)
    recipe = training.Recipe(asking.surrogate_steps, 64, 2e-3, warmup_steps=50, ema_decay=0.99, vlb_weight=weight)
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


def _tabddpm(encoder: Encoder) -> TabDdpm:
    return models.tabddpm(*encoder.layout, **SIZES["small"])


def _table_surrogate(key: Key, bank: np.ndarray, encoder: Encoder, asking: Asking, out: Path) -> Target:
    pool = Pool(bank, np.arange(len(bank)), "bank")
    batch = min(1024, len(bank))
    recipe = training.Recipe(asking.surrogate_steps, batch, 2e-3, warmup_steps=50, ema_decay=0.99, anneal=True)
    with stage("training the surrogate") as show:
        return training.fit_table(
            key,
            _tabddpm(encoder),
            pool,
            recipe,
            out=out,
            record={"family": TABDDPM},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        ).target


def keys(seed: int) -> tuple[Key, Key]:
    """Returns the keys of bank and surrogate."""
    key_bank, key_surrogate = jax.random.split(jax.random.fold_in(jax.random.key(seed), 5))
    return key_bank, key_surrogate
