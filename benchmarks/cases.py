"""One audited model of benchmarks/membership.py: its images, its training, and what is asked of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.datasets import load_sample_images

from benchmarks.families import rate
from diffaudit_jax import data, models, process, training
from diffaudit_jax.auditing import Observations, audit
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.passes import Pass, passes
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.setting import Setting
from diffaudit_jax.models.families import Size
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import InputError, Key, Query

PHOTOS = "photo-crops"
"""Name of the visually complex set: tiles of the two photographs that come with scikit-learn."""
ASKED = tuple(name for name, entry in ENTRIES.items() if entry.of in ("diffusion", "images"))
BLACK = tuple(name for name, entry in ENTRIES.items() if entry.access == "black")


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      members: The two numbers of images trained on, few first.
      fits: Training steps, from under- to over-fitted; studies look at the middle one.
      nonmembers: Images held out and asked about.
      shadow_nonmembers: The same of shadow models.
      recipe: How everything is trained, but for the number of steps.
      bank: Images drawn of each model.
      bank_steps: Steps of each sampler.
      surrogate_steps: Training steps of surrogates.
      times: Times of trajectories.
      block: Queries per dispatch.
    """

    size: Size
    members: tuple[int, int]
    fits: tuple[int, int, int]
    nonmembers: int
    shadow_nonmembers: int
    recipe: training.Recipe
    bank: int
    bank_steps: Mapping[str, int]
    surrogate_steps: int
    times: int
    block: int


class Case(NamedTuple):
    """One model: what it is, what it was trained on, and how it is sampled."""

    data: str
    members: int
    steps: int
    family: str = "ddpm"
    sampler: str = "ddim"

    @property
    def name(self) -> str:
        """Its name in results and directories."""
        return "-".join((Path(self.data).name, str(self.members), str(self.steps), self.family, self.sampler))


class Bench(NamedTuple):
    """What all cases share: how much is done, from which seed, and where it is kept."""

    tier: Tier
    seed: int
    work: Path

    def key(self, use: int) -> Key:
        """Returns the key of one use: 0 the split, 1 training, 2 the bank, 3 the surrogate, 4 asking, 5 its noise."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


class Asked(NamedTuple):
    """What several passes saw.

    Attributes:
      made: The passes.
      seen: What is observed -> observations of it alone.
      scores: Name of an attack -> float64 [n].
      seconds: Name of a pass -> seconds per 1,000 queries; None if they were there before.
    """

    made: dict[str, Pass]
    seen: dict[str, Observations]
    scores: dict[str, np.ndarray]
    seconds: dict[str, float | None]


def pool_of(name: str) -> data.Pool:
    """Returns the distinct images of a source.

    Raises:
      InputError: if it is a table.
    """
    pool = photo_crops() if name == PHOTOS else data.load(name)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{name} is a table: give images.")
    return data.distinct(pool)


def photo_crops(side: int = 32) -> data.Pool:
    """Cuts two photographs, a palace and a flower, into tiles that do not overlap."""
    tiles = []
    for photo in load_sample_images().images:
        down, across = (size // side for size in photo.shape[:2])
        cut = photo[: down * side, : across * side].reshape(down, side, across, side, 3)
        tiles.append(cut.swapaxes(1, 2).reshape(-1, side, side, 3))
    x = np.concatenate(tiles)
    return data.Pool(x, np.arange(len(x)), PHOTOS)


def dealt(bench: Bench, case: Case) -> data.Split:
    """Deals the images: trained on, held out, and a reference from which a shadow is dealt likewise."""
    tier = bench.tier
    return data.split(
        bench.key(0),
        pool_of(case.data),
        members=case.members,
        nonmembers=tier.nonmembers,
        reference=case.members + tier.shadow_nonmembers,
        by="record",
    )


def trained(bench: Bench, family: str, pool: data.Pool, steps: int, out: Path, *, use: int = 1) -> Target:
    """Trains a model of a family, or goes on with it.

    Args:
      bench: What all cases share.
      family: One of `models.FAMILIES`.
      pool: Training images.
      steps: Training steps.
      out: Run directory.
      use: Which of the bench's keys.
    """
    schedule = process.from_config(models.FAMILIES[family].schedule)
    weight = models.hybrid_weight(models.FAMILIES[family], schedule)
    with stage(f"training {out.name}") as show:
        return training.fit(
            bench.key(use),
            models.build(family, pool.shape, size=bench.tier.size),
            schedule,
            pool,
            replace(bench.tier.recipe, num_steps=steps, vlb_weight=weight),
            out=out,
            record={"family": family},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        ).target


def target_of(bench: Bench, case: Case) -> Target:
    """Trains the audited model, or finds it; samplers share the model."""
    out = bench.work / case._replace(sampler="any").name / "run"
    target = trained(bench, case.family, dealt(bench, case).members, case.steps, out)
    return redrawn(target, sampler=case.sampler, sample_steps=bench.tier.bank_steps[case.sampler])


def bank_of(bench: Bench, case: Case) -> np.ndarray:
    """Draws the bank of a case, or finds it."""
    with stage("drawing the bank") as show:
        return draw_bank(
            bench.key(2),
            target_of(bench, case),
            bench.tier.bank,
            block=bench.tier.block,
            out=bench.work / case.name / "bank",
            progress=show,
        )


def surrogate_of(bench: Bench, case: Case, family: str) -> Target:
    """Trains a model of a family on the bank of a case, or finds it."""
    bank = bank_of(bench, case)
    pool = data.Pool(bank, np.arange(len(bank)), "bank")
    out = bench.work / case.name / f"surrogate-{family}"
    return trained(bench, family, pool, bench.tier.surrogate_steps, out, use=3)


def setting_of(bench: Bench, target: Target, **asking: Any) -> Setting:
    """Returns the command line's settings, but for how many times are looked at, and what else is given."""
    return Setting(Asking(times=bench.tier.times, **asking), target.process, target.variance, bench.key(5))


def ask(bench: Bench, target: Target, queries: Query, made: Mapping[str, Pass], out: Path) -> Asked:
    """Asks all queries in every pass, or finds the answers.

    Args:
      bench: What all cases share.
      target: Who is asked.
      queries: What is asked about.
      made: The passes.
      out: Directory with a directory for each pass.
    """
    asked = Asked(dict(made), {}, {}, {})
    for where, each in made.items():
        stamps: list[tuple[int, float]] = []
        fresh = not (out / where).exists()  # blocks that were there before arrive at once
        with stage(f"asking {out.name}: {where}") as show:

            def progress(done: int, total: int, stamps: list = stamps, show: Any = show) -> None:
                stamps.append((done, time.perf_counter()))
                show(done, total)

            key, block = bench.key(4), bench.tier.block
            seen = audit(each.attack, target, queries, key=key, block=block, out=out / where, progress=progress)
        per_s = rate(stamps) if fresh else None
        asked.seconds[where] = None if per_s is None else round(1000 / per_s, 2)
        for name, (observed, attack) in each.scored.items():
            features = seen.features[observed]
            asked.scores[name] = attack.score(features)
            asked.seen[observed] = Observations(features, asked.scores[name], seen.rows)
    return asked


def asked_all(bench: Bench, case: Case) -> tuple[data.Split, Asked]:
    """Asks by every attack of the catalogue, or finds the answers; the surrogate is of the target's own family."""
    split, target = dealt(bench, case), target_of(bench, case)
    setting = setting_of(bench, target)
    surrogate = surrogate_of(bench, case, case.family)
    made = passes(ASKED, setting) | passes(BLACK, setting._replace(bank=bank_of(bench, case), surrogate=surrogate))
    return split, ask(bench, target, split.queries, made, bench.work / case.name / "asked")
