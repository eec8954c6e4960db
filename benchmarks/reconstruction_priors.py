"""Images and priors of benchmarks/reconstruction.py: who trains a prior, who is attacked, and what anybody knows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from skimage.transform import resize

from benchmarks.cases import pool_of
from diffaudit_jax import data, models, process, training
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.models.families import Size
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key

OTHER_CLASSES = (5, 7, 8, 9)
"""Sandals, sneakers, bags and boots, of the ten classes of Fashion-MNIST."""


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      halved: What to change of a network for images of half the side.
      cell: Sides are padded with black to a multiple of it.
      recipe: How priors are trained.
      brief: Steps of the prior that is trained briefly.
      few: Images of the prior that sees few.
      targets: Images attacked.
      public: Images that nobody trains a prior on, of those left.
      mus: mu of one release.
      num: Random reconstructions of each.
      steps: DDIM steps.
      block: Reconstructions per dispatch.
    """

    size: Size
    halved: Mapping[str, Any]
    cell: int
    recipe: training.Recipe
    brief: int
    few: int
    targets: int
    public: int
    mus: tuple[float, ...]
    num: int
    steps: int
    block: int


class Bench(NamedTuple):
    """What all parts share: how much is done, from which seed, on which two sets, and where models are kept."""

    tier: Tier
    seed: int
    data: tuple[str, str]
    work: Path

    def key(self, use: int) -> Key:
        """Returns the key of one use: 0 the split, 1 training, 2 attacks."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


class Images(NamedTuple):
    """One set, dealt: what trains priors, what is attacked, and what is public; no image is in two."""

    members: data.Pool
    targets: np.ndarray
    public: np.ndarray


def images_of(bench: Bench, name: str) -> Images:
    """Deals a set.

    Raises:
      InputError: if it is too small.
    """
    tier, pool = bench.tier, pool_of(name)
    rest = len(pool) - tier.targets - tier.public
    if rest < 2 * tier.few:
        raise InputError(
            f"{name} has {len(pool)} images, too few to train a prior and attack others: give a larger set."
        )
    pool = replace(pool, x=_padded(pool.x, tier.cell))
    dealt = data.split(bench.key(0), pool, members=rest, nonmembers=tier.targets, reference=tier.public, by="record")
    assert dealt.reference is not None
    return Images(dealt.members, dealt.nonmembers.x, dealt.reference.x)


def trained(bench: Bench, name: str, pool: data.Pool, *, steps: int | None = None, **options: Any) -> Target:
    """Trains a prior without classes, or goes on with it.

    Args:
      bench: What all parts share.
      name: Directory of the run.
      pool: Training images.
      steps: Training steps, the tier's if not given.
      **options: What to change of the network.
    """
    recipe = bench.tier.recipe
    recipe = recipe if steps is None else replace(recipe, num_steps=steps)
    with stage(f"training {name}") as show:
        return training.fit(
            bench.key(1),
            models.build("ddpm", pool.shape, size=bench.tier.size, **options),
            process.from_config(models.FAMILIES["ddpm"].schedule),
            pool,
            recipe,
            out=bench.work / name,
            record={"family": "ddpm"},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        ).target


def matched(bench: Bench, name: str) -> Target:
    """Trains the prior of a set, on all its members."""
    return trained(bench, f"{Path(name).stem}-matched", images_of(bench, name).members)


def few_images(bench: Bench) -> tuple[Target, data.Pool]:
    """Trains a prior on few images of the first set as long as on all; returns these too."""
    few = images_of(bench, bench.data[0]).members.take(np.arange(bench.tier.few))
    return trained(bench, "few-images", few), few


def priors(bench: Bench) -> dict[str, Target | None]:
    """Returns priors of the first set, from its own to none."""
    first, second = bench.data
    members = images_of(bench, first).members
    found: dict[str, Target | None] = {"matched": matched(bench, first)}
    found["trained briefly"] = trained(bench, "brief", members, steps=bench.tier.brief)
    found["few images"] = few_images(bench)[0]
    if members.labels is not None and (other := np.isin(members.labels, OTHER_CLASSES)).any():
        found["bags and shoes"] = trained(bench, "other-classes", members.take(other))
    found["faces"] = trained(bench, "faces", alike(images_of(bench, second).members, members.shape))
    found["untrained"] = trained(bench, "untrained", members, steps=0)
    return {**found, "none (Wiener)": None}


def alike(pool: data.Pool, shape: tuple[int, ...]) -> data.Pool:
    """Returns the images without colour, if the others have none, and in their size."""
    x = pool.x.astype(np.float64)
    x = x if shape[-1] == x.shape[-1] else x.mean(axis=-1, keepdims=True).repeat(shape[-1], axis=-1)
    sized = np.stack([np.asarray(resize(image, shape, anti_aliasing=True, preserve_range=True)) for image in x])
    return data.Pool(_bytes(sized), pool.rows, pool.name)


def halved(x: np.ndarray) -> np.ndarray:
    """Returns images of half the side: means of 2 x 2 pixels, rounded."""
    n, h, w, c = x.shape
    return _bytes(x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4)))


def _padded(x: np.ndarray, cell: int) -> np.ndarray:
    more = [(-side % cell // 2, -side % cell - -side % cell // 2) for side in x.shape[1:3]]
    return np.pad(x, ((0, 0), *more, (0, 0)))


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.clip(np.round(x), 0, 255).astype(np.uint8)
