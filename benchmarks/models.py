"""How good the models are: every family trained alike, sampled by its own sampler, judged against images it never saw.

python -m benchmarks.models --tier cpu                     # small networks, on 2,000 embedded images
python -m benchmarks.models --tier cpu --data train-images-idx3-ubyte.gz
python -m benchmarks.models --tier gpu --data train-images-idx3-ubyte.gz     # published widths; needs an accelerator

The images are dealt in three: a quarter to train on, a quarter held out, and the rest to train the classifier whose
features judge. Samples are compared with held-out images, and so are as many training images: those are the floor, what
a perfect model reaches and a perfect copier too. Novelty, in pixels, tells the two apart.

A family's row is saved as soon as it is there, and the same command goes on where it was stopped.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from benchmarks import timing
from benchmarks.families import TIERS, Tier, measured
from benchmarks.model_table import write_tables
from benchmarks.stopped import check_device, command, opened, saved
from diffaudit_jax import data, metrics, models
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.training.classifier import Classifier, fit_classifier
from diffaudit_jax.types import InputError, Key, known, write_atomic


@dataclass(frozen=True)
class Options:
    """Train, sample and judge the model families on this machine."""

    tier: Literal["cpu", "gpu"] = "cpu"
    """cpu: small networks. gpu: published widths, on an accelerator."""
    families: tuple[str, ...] = tuple(models.FAMILIES)
    """Families to measure."""
    data: str = "fashion-mnist-2k"
    """Labelled images: an embedded name, a path (npz, folder, IDX), or tfds:NAME[:SPLIT]."""
    steps: int | None = None
    """Training steps; the tier's if not given."""
    samples: int | None = None
    """Images to draw of each family; the tier's if not given, or as many as are held out."""
    sample_steps: int | None = None
    """Steps of every sampler; each family's if not given."""
    classifier_steps: int = 1000
    """Training steps of the classifier."""
    out: Path = timing.RESULTS
    """Directory for models-TIER.json, models-TIER.md and the pictures."""
    work: Path = Path("build/models")
    """Scratch directory for run directories and samples, from which a stopped measurement goes on."""
    seed: int = 0
    """Seed of everything."""


def main(options: Options) -> None:
    """Measures what is not there yet; saves after every family."""
    tier = checked(options)
    write_tables(options.out)
    check_device(options.tier)
    split = dealt(options, tier)
    setting = settings(options, tier, split)
    result = {"families": {}} | opened(options.out / f"models-{options.tier}.json", setting)
    missing = [name for name in options.families if name not in result["families"]]
    if not missing:
        print("every family asked for has been measured.")
        return
    key_judge, key_models = jax.random.split(jax.random.fold_in(jax.random.key(options.seed), 1))
    judge, num = trained_judge(key_judge, options, split), setting["samples"]
    result["floor"] = judged(split.members.x[:num], split, judge)
    result["classifier"] = {"accuracy": judge.accuracy(split.nonmembers)}
    picture(options, "heldout", split.nonmembers.x)
    digest = hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:8]
    for name in missing:
        work = options.work / f"{options.tier}-{digest}" / name
        row, images = measured(key_models, name, tier, split.members, num, options.sample_steps, work)
        result["families"][name] = {**row, **judged(images, split, judge), "hardware": timing.hardware()}
        picture(options, name, images)
        save(options, result)
        print(f"{name}: {json.dumps(result['families'][name])}")
        jax.clear_caches()  # no program of one family serves another


def checked(options: Options) -> Tier:
    """Returns what is done in the tier, with what the command line changes of it."""
    for name in options.families:
        known("model", name, models.FAMILIES)
    options.out.mkdir(parents=True, exist_ok=True)
    tier = TIERS[options.tier]
    return tier if options.steps is None else replace(tier, recipe=replace(tier.recipe, num_steps=options.steps))


def trained_judge(key: Key, options: Options, split: data.Split) -> Classifier:
    """Trains the classifier on images that no model sees and no sample is compared with."""
    assert split.reference is not None
    with stage("classifier") as show:
        progress = lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}")  # noqa: E731
        return fit_classifier(key, split.reference, num_steps=options.classifier_steps, progress=progress)


def picture(options: Options, name: str, images: np.ndarray) -> None:
    """Writes 64 images as models-TIER-NAME.png."""
    write_atomic(options.out / f"models-{options.tier}-{name}.png", grid_png(images[:64]))


def save(options: Options, result: dict[str, Any]) -> None:
    """Writes models-TIER.json and the tables."""
    saved(options.out / f"models-{options.tier}.json", result)
    write_tables(options.out)


def dealt(options: Options, tier: Tier) -> data.Split:
    """Deals the images: members are trained on, non-members held out, the reference trains the classifier."""
    pool = data.load(options.data)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{options.data} is a table: give images.")
    pool = data.distinct(pool)
    ends = [(0, -side % tier.cell) for side in pool.shape[:2]]
    # Published networks halve the image three times: 28x28 is padded with black to 32x32.
    pool = replace(pool, x=np.pad(pool.x, [(0, 0), *((n // 2, n - n // 2) for _, n in ends), (0, 0)]))
    quarter = len(pool) // 4
    rest = len(pool) - 2 * quarter
    key = jax.random.key(options.seed)
    return data.split(key, pool, members=quarter, nonmembers=quarter, reference=rest, by="record")


def settings(options: Options, tier: Tier, split: data.Split) -> dict[str, Any]:
    """What rows must share to stand in one table."""
    most = len(split.nonmembers)
    num = min(tier.samples, most) if options.samples is None else options.samples
    if not 8 <= num <= most:
        raise InputError(f"--samples is {num}: draw from 8 to {most}, as many as are held out.")
    return {
        "data": split.members.name,
        "members": len(split.members),
        "classifier": len(split.reference or ()),
        "fingerprint": split.members.fingerprint(),
        "samples": num,
        "sample_steps": options.sample_steps,
        "classifier_steps": options.classifier_steps,
        "training": asdict(tier.recipe),
        "size": tier.size,
        "seed": options.seed,
    }


def judged(images: np.ndarray, split: data.Split, classifier: Classifier) -> dict[str, Any]:
    """Compares images with as many held-out ones, by the classifier's features; by pixels, with all that is known."""
    real, fake = classifier.features(split.nonmembers.x[: len(images)]), classifier.features(images)
    pixels = (x.reshape(len(x), -1) for x in (split.members.x, split.nonmembers.x, images))
    new = metrics.novelty(*pixels)
    return {
        "frechet": metrics.frechet(real, fake),
        **metrics.precision_recall(real, fake)._asdict(),
        **metrics.density_coverage(real, fake)._asdict(),
        "nearer_to_training": new.share._asdict(),
        "p_value": new.p_value,
    }


if __name__ == "__main__":
    command(main, Options)
