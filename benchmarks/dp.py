"""What privacy buys: one model trained plainly and at several epsilon, how good it is and who finds its members.

python -m benchmarks.dp --tier cpu                     # small networks, on embedded images
python -m benchmarks.dp --tier gpu --data train-images-idx3-ubyte.gz     # published widths; needs an accelerator

Each image that is asked about is a member by a coin of its own, so that one training bounds epsilon from below; the
rest train the classifier whose features judge. Every model is trained for as many steps with as many images in a batch
(on average), and asked by the same attacks. What is measured is saved as soon as it is there, and the same command goes
on where it was stopped.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import timing
from benchmarks.cases import Bench, ask, pool_of, setting_of
from benchmarks.dp_table import write_tables
from benchmarks.membership import TIERS as ASKING
from benchmarks.stopped import check_device, command, opened, saved
from benchmarks.studies import judged
from diffaudit_jax import data, metrics, models, process, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.passes import passes
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.models.families import Size
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.report.lower_bound import lower_bound_section
from diffaudit_jax.target import redrawn
from diffaudit_jax.training.classifier import Classifier, fit_classifier
from diffaudit_jax.types import InputError, write_atomic

ATTACKS = ("eps-loss", "vlb-loss", "gsa1", "likelihood", "pia", "sima", "pfami")


@dataclass(frozen=True)
class Tier:
    """How much is done, by what there is to do it on.

    Attributes:
      size: Width of the networks.
      canaries: Images with a coin each: trained on or held out, and asked about.
      always: Images trained on in any case.
      recipe: How everything is trained.
      num_noises: Draws averaged for each image of a private step.
      delta: Of every guarantee and lower bound.
      samples: Images drawn of each model.
      sample_steps: Steps of the sampler.
    """

    size: Size
    canaries: int
    always: int
    recipe: training.Recipe
    num_noises: int
    delta: float
    samples: int
    sample_steps: int


TIERS: Mapping[str, Tier] = {
    "cpu": Tier(
        size="small",
        canaries=512,
        always=0,
        recipe=training.Recipe(num_steps=1200, batch_size=64, learning_rate=2e-3, warmup_steps=50, ema_decay=0.99),
        num_noises=1,
        delta=1e-4,
        samples=300,
        sample_steps=50,
    ),
    "gpu": Tier(
        size="published",
        canaries=4_000,
        always=8_000,
        recipe=training.Recipe(50_000, 256, 2e-4, warmup_steps=1000, ema_decay=0.9999),
        num_noises=8,
        delta=1e-5,
        samples=2_000,
        sample_steps=100,
    ),
}


@dataclass(frozen=True)
class Options:
    """Train at several epsilon, judge the samples, and attack."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    epsilons: tuple[float, ...] = (1, 4, 10, 50, math.inf)
    """Epsilon of each model; inf is plain training."""
    data: str = "fashion-mnist-2k"
    """Labelled images: an embedded name, a path (npz, folder, IDX), or tfds:NAME[:SPLIT]."""
    out: Path = timing.RESULTS
    """Directory for dp-TIER.json, dp-TIER.md and the pictures."""
    work: Path = Path("build/dp")
    """Scratch directory for models and answers, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything but the noise of private training, which is the operating system's."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every model."""
    write_tables(options.out)
    check_device(options.tier)
    tier = TIERS[options.tier]
    bench = Bench(ASKING[options.tier], options.seed, options.work / f"{options.tier}-{options.seed}")
    split = dealt(bench, options, tier)
    path = options.out / f"dp-{options.tier}.json"
    setting = {"data": options.data, "tier": asdict(tier), "seed": options.seed}
    result = {"models": {}} | opened(path, setting)
    missing = [epsilon for epsilon in options.epsilons if str(epsilon) not in result["models"]]
    if not missing:
        print("every epsilon asked for has been measured.")
        return
    assert split.reference is not None
    with stage("classifier") as show:
        progress = lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}")  # noqa: E731
        judge = fit_classifier(bench.key(6), split.reference, progress=progress)
    result["sizes"] = {"trained": len(split.training), "held_out": len(split.nonmembers)}
    result["floor"] = metrics.frechet(*map(judge.features, (split.nonmembers.x, split.members.x)))
    for epsilon in missing:
        row, images = measured(bench, tier, split, judge, epsilon)
        result["models"][str(epsilon)] = {**row, "hardware": timing.hardware()}
        write_atomic(options.out / f"dp-{options.tier}-{epsilon:g}.png", grid_png(images[:64]))
        saved(path, result)
        write_tables(options.out)


def dealt(bench: Bench, options: Options, tier: Tier) -> data.Split:
    """Tosses for the canaries, deals those always trained on, and leaves the rest for the classifier."""
    pool = pool_of(options.data)
    if len(pool) < 2 * tier.canaries + tier.always:
        raise InputError(
            f"{options.data} has {len(pool)} images, too few for {tier.canaries} canaries: give a larger set."
        )
    split = data.split_coin(bench.key(0), pool, queries=tier.canaries, always=tier.always, by="record")
    dealt = np.concatenate([split.training.rows, split.nonmembers.rows])
    return replace(split, reference=pool.take(~np.isin(pool.rows, dealt)))


def measured(
    bench: Bench, tier: Tier, split: data.Split, judge: Classifier, epsilon: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains one model, samples it and attacks it.

    Args:
      bench: Seed, scratch directory, and how attacks are asked.
      tier: How much is done.
      split: The images.
      judge: Whose features compare samples with held-out images.
      epsilon: What training is to promise; infinite for plain training.

    Returns:
      The model's row, and its samples.
    """
    work = bench.work / f"epsilon-{epsilon:g}"
    privacy = None if math.isinf(epsilon) else private(tier, epsilon, len(split.training))
    schedule = process.from_config(models.FAMILIES["ddpm"].schedule)
    with stage(f"epsilon {epsilon:g}: training") as show:
        run = training.fit(
            bench.key(1) if privacy is None else None,
            models.build("ddpm", split.training.shape, size=tier.size),
            schedule,
            split.training,
            tier.recipe,
            privacy=privacy,
            out=work / "run",
            record={"family": "ddpm"},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )
    target = redrawn(run.target, sampler="ddim", sample_steps=tier.sample_steps)
    with stage("sampling") as show:
        images = draw_bank(bench.key(2), target, tier.samples, out=work / "samples", progress=show)
    asked = ask(bench, target, split.queries, passes(ATTACKS, setting_of(bench, target)), work / "asked")
    ledger = run.ledger
    return {
        "noise_multiplier": None if privacy is None else privacy.noise_multiplier,
        "guarantee": None if ledger is None else asdict(training.guarantee(ledger)),
        "frechet": metrics.frechet(*map(judge.features, (split.nonmembers.x, images))),
        "attacks": {name: judged(scores, split.member) for name, scores in asked.scores.items()},
        "lower_bound": lower_bound_section(asked.scores, split.member, coin=split.coin, delta=tier.delta),
    }, images


def private(tier: Tier, epsilon: float, num_examples: int) -> training.Privacy:
    """Returns the privacy with the noise that keeps epsilon in training on so many images."""
    recipe = tier.recipe
    noise = training.noise_multiplier(
        epsilon,
        tier.delta,
        l2_clip_norm=1.0,
        batch_size=recipe.batch_size,
        num_examples=num_examples,
        num_steps=recipe.num_steps,
    )
    return training.Privacy(noise, num_noises=tier.num_noises, delta=tier.delta)


if __name__ == "__main__":
    command(main, Options)
