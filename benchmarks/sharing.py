"""Generators that are shared: what benchmarks on properties, on fairness and on both together have in common."""

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from benchmarks.cases import pool_of
from diffaudit_jax import data, models, process, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.models.families import Size
from diffaudit_jax.models.generators import GENERATORS, generator
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.training.receivers import ROWS, Predict
from diffaudit_jax.types import InputError, Key, write_atomic


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      network: What to change of the network of a DDPM.
      schedule: Its noise schedule; the family's if None.
      apart: Whether there is a network for each label, each with its share of the steps, or one that is told of them.
      recipe: How diffusion models and VAEs are trained.
      private: How diffusion models are, with differential privacy.
      gan: How GANs are.
      fits: Training steps from under- to over-fitted, on `few` images.
      few: Images of these.
      members: Images of a training set, at most.
      samples: Images drawn of each generator.
      steps: DDIM steps; every diffusion model is drawn so.
      receiver: Settings of networks that a receiver trains.
      num_noises: Losses per private gradient.
      delta: Of private training.
      block: Samples per dispatch.
    """

    size: Size
    network: dict[str, Any]
    schedule: dict[str, Any] | None
    apart: bool
    recipe: training.Recipe
    private: training.Recipe
    gan: training.GanRecipe
    fits: tuple[int, ...]
    few: int
    members: int
    samples: int
    steps: int
    receiver: dict[str, Any]
    num_noises: int
    delta: float
    block: int


TIERS = {
    "cpu": Tier(
        size="small",
        # Predicting noise, this network makes noise of faces that are drawn in hard pixels.
        network={"predicts": "v"},
        schedule={"name": "ddpm-cosine", "num_steps": 1000},
        apart=True,
        recipe=training.Recipe(num_steps=4000, batch_size=16, learning_rate=1e-3, warmup_steps=50, ema_decay=0.998),
        private=training.Recipe(num_steps=1000, batch_size=64, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995),
        gan=training.GanRecipe(num_steps=2500, batch_size=64, num_critic=1, ema_decay=0.995),
        fits=(250, 1000, 4000, 10_000, 20_000),
        few=300,
        members=1500,
        samples=1000,
        steps=50,
        receiver={"num_steps": 400, "batch_size": 64},
        num_noises=2,
        delta=1e-4,
        block=100,
    ),
    "gpu": Tier(
        size="published",
        network={},
        schedule={"name": "ddpm-cosine", "num_steps": 1000},
        apart=False,
        recipe=training.Recipe(50_000, 128, 2e-4, warmup_steps=1000, ema_decay=0.9999),
        private=training.Recipe(50_000, 256, 2e-4, warmup_steps=1000, ema_decay=0.9999),
        gan=training.GanRecipe(num_steps=15_000, batch_size=64, num_critic=5, ema_decay=0.999),
        fits=(2_000, 10_000, 50_000, 200_000, 400_000),
        few=300,
        members=6000,
        samples=10_000,
        steps=100,
        receiver={"num_steps": 5_000, "batch_size": 64},
        num_noises=8,
        delta=1e-5,
        block=512,
    ),
}


SMALL = 16
"""Side up to which small networks look at blocks of 2x2 pixels, and not of 4x4."""


class Bench(NamedTuple):
    """What all parts share: how much is done, from which seed, on which images, and where models are kept."""

    tier: Tier
    seed: int
    faces: str
    fashion: str
    work: Path

    def key(self, use: int) -> Key:
        """Returns the key of one use: 0 a split, 1 training, 2 samples, 3 a discriminator, 4 a receiver, 5 MINE."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


def bench_of(tier: str, seed: int, faces: str, fashion: str, work: Path) -> Bench:
    """Returns what all parts share: one scratch directory for a tier and a seed, whichever benchmark asks."""
    return Bench(TIERS[tier], seed, faces, fashion, work / f"{tier}-{seed}")


class Shared(NamedTuple):
    """A generator to be: the images it is trained on, and how.

    Attributes:
      name: Its directory.
      pool: Training images; it is told their labels if there are any.
      family: One of `models.FAMILIES`, "vae" or "gan".
      steps: Training steps; the tier's if None.
      epsilon: What training is to promise; infinite for plain training.
      guidance: Scale at which it is drawn, by one network that is told of labels; None for what the tier does.
    """

    name: str
    pool: data.Pool
    family: str = "ddpm"
    steps: int | None = None
    epsilon: float = math.inf
    guidance: float | None = None


def drawn_of(bench: Bench, shared: Shared) -> data.Pool:
    """Trains a generator and draws of it, as many of each label; what was drawn before is read.

    Faces that are drawn in blocks of 2x2 pixels are generated at half their side: nothing is lost. Networks that know
    no classes (NCSN) are one for each label, as published.
    """
    guided = "" if shared.guidance is None else f"-guidance-{shared.guidance:g}"
    kept = bench.work / shared.name / f"samples-{shared.steps or 'all'}{guided}.npz"
    if not kept.exists():
        small = shared.pool.x[:, ::2, ::2]
        in_blocks = bool(np.array_equal(_enlarged(small), shared.pool.x))
        x, labels = _drawn(bench, shared._replace(pool=replace(shared.pool, x=small)) if in_blocks else shared)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"images": _enlarged(x) if in_blocks else x}
        arrays |= {} if labels is None else {"labels": labels}
        np.savez_compressed(buffer, **arrays)
        write_atomic(kept, buffer.getvalue())
        jax.clear_caches()
    pool = data.load(kept)
    assert isinstance(pool, data.Pool)
    return pool


def _drawn(bench: Bench, shared: Shared) -> tuple[np.ndarray, np.ndarray | None]:
    labels, num = shared.pool.labels, bench.tier.samples
    if labels is None:
        return _asked(bench, shared, num, None), None
    values = np.unique(labels)
    if shared.guidance is not None or not (bench.tier.apart or shared.family in ("ncsn", "ncsnv2")):
        told = np.arange(num) % len(values)
        return _asked(bench, shared, num, told), told
    parts = [shared._replace(name=f"{shared.name}/{y}", pool=_of_label(shared.pool, y)) for y in values]
    x = [_asked(bench, part, num // len(values), None, share=len(values)) for part in parts]
    return np.concatenate(x), np.repeat(values, num // len(values))


def _asked(bench: Bench, shared: Shared, num: int, labels: np.ndarray | None, share: int = 1) -> np.ndarray:
    target = trained(bench, shared, share)
    if target.process is not None:
        network = target.network
        if shared.guidance not in (None, 1):
            assert network is not None
            assert target.num_classes is not None
            network = models.guided(network, shared.guidance, target.num_classes)
        target = redrawn(target, sampler="ddim", sample_steps=bench.tier.steps, network=network)
    with stage(f"drawing {shared.name}") as show:
        return draw_bank(bench.key(2), target, num, labels=labels, block=bench.tier.block, progress=show)


def trained(bench: Bench, shared: Shared, share: int = 1) -> Target:
    """Trains a generator, or goes on with it; with one of `share` parts of the steps."""
    pool, tier = shared.pool, bench.tier
    classes = {} if pool.labels is None else {"num_classes": pool.num_classes}
    private = not math.isinf(shared.epsilon)
    recipe: Any = tier.gan if shared.family == "gan" else tier.private if private else tier.recipe
    recipe = replace(recipe, num_steps=(shared.steps or recipe.num_steps) // share)
    with stage(f"training {shared.name}") as show:
        kept: dict[str, Any] = {
            "out": bench.work / shared.name / "run",
            "record": {"family": shared.family},
            "progress": lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        }
        if shared.family in GENERATORS:
            model: Any = generator(shared.family, pool.shape, size=tier.size, **classes)
            fit: Any = training.fit_gan if shared.family == "gan" else training.fit_vae
            return fit(bench.key(1), model, pool, recipe, **kept).target
        return training.fit(
            None if private else bench.key(1),
            _network(tier, shared, classes),
            process.from_config(_schedule(tier, shared.family)),
            pool,
            recipe,
            privacy=_privacy(tier, recipe, len(pool), shared.epsilon) if private else None,
            **kept,
        ).target


def _network(tier: Tier, shared: Shared, classes: dict[str, Any]) -> models.Model:
    changes = tier.network if shared.family == "ddpm" else {}
    if tier.size == "small" and max(shared.pool.shape) <= SMALL:
        changes = {**changes, "patch": 2}
    return models.build(shared.family, shared.pool.shape, size=tier.size, **changes, **classes)


def _schedule(tier: Tier, family: str) -> Any:
    return tier.schedule if family == "ddpm" and tier.schedule else models.FAMILIES[family].schedule


def _privacy(tier: Tier, recipe: training.Recipe, num: int, epsilon: float) -> training.Privacy:
    """Returns the privacy with the noise that keeps epsilon."""
    sizes = {"batch_size": recipe.batch_size, "num_examples": num, "num_steps": recipe.num_steps}
    noise = training.noise_multiplier(epsilon, tier.delta, l2_clip_norm=1.0, **sizes)
    return training.Privacy(noise, num_noises=tier.num_noises, delta=tier.delta)


def _enlarged(x: np.ndarray) -> np.ndarray:
    return x.repeat(2, axis=1).repeat(2, axis=2)


def receiver(bench: Bench, name: str, pool: data.Pool) -> Predict:
    """Trains a receiver's classifier, or a discriminator's, with the tier's settings if it is a network."""
    settings = {} if name in ROWS else bench.tier.receiver
    return training.train_receiver(bench.key(4), name, pool, **settings)


def labelled(source: str, name: str) -> tuple[data.Pool, Int[np.ndarray, " n"]]:
    """Returns the distinct images of a set, and an attribute of each as 0 or 1.

    Raises:
      InputError: if the set does not have it.
    """
    pool = pool_of(source)
    if name not in (pool.attributes or {}):
        raise InputError(f"{source} has no attribute {name}: give a set of pixel faces.")
    assert pool.attributes is not None
    return pool, pool.attributes[name].astype(np.int32)


def _of_label(pool: data.Pool, y: int) -> data.Pool:
    assert pool.labels is not None
    part = pool.take(pool.labels == y)
    return data.Pool(part.x, part.rows, part.name)
