"""The parts of benchmarks/property.py: each returns what it measured, as JSON."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks.sharing import Bench, Shared, drawn_of, labelled
from diffaudit_jax import data, training
from diffaudit_jax.attacks import property_share
from diffaudit_jax.metrics.anytime import narrow_from
from diffaudit_jax.metrics.planning import plan_samples
from diffaudit_jax.training import Discriminator, rates_of
from diffaudit_jax.training.receivers import NAMES, ROWS
from diffaudit_jax.types import InputError

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
COUNTS = (30, 50, 100, 200, 300)
ONE_RATIO = 0.3
CLASSES = (7, 9)
"""Sneakers, and ankle boots: the property, of two classes of Fashion-MNIST."""
FEWEST, REPEATS, LEVEL = 20, 500, 0.95


class Case(NamedTuple):
    """A property: all images, whether each has it, and who tells.

    Attributes:
      name: "faces" or "fashion".
      pool: Images that may train a generator.
      has: Whether each has the property, 0 or 1.
      aux: Other images, labelled, half with the property and half without.
    """

    name: str
    pool: data.Pool
    has: np.ndarray
    aux: data.Pool


def case_of(bench: Bench, name: str) -> Case:
    """Deals a set: a fifth of the rarer kind, and as many of the other, is the receiver's own.

    Raises:
      InputError: if the set is too small, or lacks what is asked for.
    """
    if name == "faces":
        pool, has = labelled(bench.faces, "smile")
    else:
        pool, has = labelled_classes(bench.fashion)
    order = np.random.default_rng(bench.seed).permutation(len(pool))
    rarer = int(np.bincount(has).min())
    if rarer < FEWEST:
        raise InputError(f"{pool.name} has {rarer} images of one kind: give a larger set.")
    aux = np.concatenate([order[has[order] == value][: rarer // 5] for value in (0, 1)])
    rest = np.setdiff1d(np.arange(len(pool)), aux)
    return Case(name, pool.take(rest), has[rest], replace(pool.take(aux), labels=has[aux], label_names=("0", "1")))


def labelled_classes(source: str) -> tuple[data.Pool, np.ndarray]:
    """Returns the images of two classes, and whether each is of the second."""
    pool = data.load(source)
    if not isinstance(pool, data.Pool) or pool.labels is None or not set(CLASSES) <= set(pool.labels.tolist()):
        raise InputError(f"{source} lacks the classes {CLASSES}: give Fashion-MNIST.")
    pool = data.distinct(pool.take(np.isin(pool.labels, CLASSES)))
    assert pool.labels is not None
    return pool, (pool.labels == CLASSES[1]).astype(np.int32)


def with_share(bench: Bench, case: Case, ratio: float, num: int | None = None) -> data.Pool:
    """Returns a training set in which exactly this share has the property, without labels.

    Args:
      bench: What all parts share.
      case: The property.
      ratio: The share.
      num: Images; as many as all ratios of `RATIOS` allow, or the tier's number if that is less.
    """
    most = int(np.bincount(case.has).min() / max(RATIOS))
    num = min(bench.tier.members, most) if num is None else min(num, most)
    order, positive = np.random.default_rng(bench.seed + 1).permutation(len(case.pool)), round(ratio * num)
    rows = [order[case.has[order] == value][:count] for value, count in ((0, num - positive), (1, positive))]
    return replace(case.pool.take(np.sort(np.concatenate(rows))), labels=None, label_names=None, attributes=None)


def discriminator_of(bench: Bench, case: Case, name: str = "resnet") -> Discriminator:
    """Trains the receiver's discriminator on half of his images; the other half tells its errors."""
    settings = {} if name in ROWS else bench.tier.receiver
    return training.train_discriminator(bench.key(3), case.aux, name=name, **settings)


def by_ratio(bench: Bench, name: str) -> dict[str, Any]:
    """Generators of five shares: error against n, coverage, and where the sequential run stops."""
    case = case_of(bench, name)
    told = discriminator_of(bench, case)
    rows = []
    for ratio in RATIOS:
        pool = with_share(bench, case, ratio)
        made = drawn_of(bench, Shared(f"property-{name}-{ratio}", pool))
        rows.append({"ratio": ratio, "members": len(pool), **estimated(told, made, ratio, bench.seed)})
    return {"confusion": told.confusion.tolist(), "aux": len(case.aux), "rows": rows}


def estimated(told: Discriminator, made: data.Pool, truth: float, seed: int) -> dict[str, Any]:
    """Returns the estimate of one generator, and how it errs with fewer samples.

    Args:
      told: The discriminator.
      made: Samples.
      truth: Share of the training set.
      seed: Seed of the subsets.
    """
    rates = rates_of(told.confusion)
    found = property_share([made.x], lambda x: told.predict(x) == 1, rates, level=LEVEL)
    apart = rates.true_positives / rates.positives - rates.false_positives / rates.negatives
    false = rates.false_positives / rates.negatives
    rng, by_n = np.random.default_rng(seed), []
    for n in (*(count for count in COUNTS if count < len(made)), len(made)):
        # Of all samples there is one subset.
        subsets = [rng.permutation(len(made))[:n] for _ in range(REPEATS if n < len(made) else 1)]
        raw = np.array([found.has[subset].mean() for subset in subsets])
        corrected = np.clip((raw - false) / apart, 0, 1) if apart else np.full(len(raw), 0.5)
        planned = math.sqrt(math.log(2 / (1 - LEVEL)) / (2 * n))
        by_n.append(
            {
                "n": n,
                "planned": planned,
                "raw": float(abs(raw - truth).mean()),
                "corrected": float(abs(corrected - truth).mean()),
                "within": float((abs(corrected - truth) <= planned).mean()),
                "sampling": float(abs(raw - found.has.mean()).mean()),
            }
        )
    return {
        "truth": truth,
        "raw": found.corrected.raw._asdict(),
        "corrected": found.corrected.estimate._asdict(),
        "budget": found.budget._asdict(),
        "coverage": found.corrected.estimate.value - truth,
        "stops": narrow_from(found.has, 0.05, LEVEL),
        "planned": plan_samples(0.05, LEVEL, rule="exact"),
        "by_n": by_n,
    }


def by_length(bench: Bench) -> dict[str, Any]:
    """Few faces, trained ever longer: what under- and over-fitting do to the share that samples show."""
    case = case_of(bench, "faces")
    told, pool = discriminator_of(bench, case), with_share(bench, case, ONE_RATIO, bench.tier.few)
    truth = round(ONE_RATIO * len(pool)) / len(pool)
    rows = []
    for steps in bench.tier.fits:
        made = drawn_of(bench, Shared("property-few", pool, steps=steps))
        found = estimated(told, made, truth, bench.seed)
        rows.append({"steps": steps, "copied": copied(made, pool, case.pool), **found})
    return {"members": len(pool), "ratio": truth, "rows": rows}


def copied(made: data.Pool, members: data.Pool, pool: data.Pool) -> float:
    """Returns the share of samples whose nearest image, of the members and of as many others, is a member.

    A half, if nothing is remembered. Where there are fewer others, some of the members.
    """
    others = pool.take(~np.isin(pool.rows, members.rows))
    num = min(len(members), len(others))
    distance = [
        NearestNeighbors(n_neighbors=1).fit(_flat(side.x[:num])).kneighbors(_flat(made.x))[0][:, 0]
        for side in (members, others)
    ]
    return float((distance[0] < distance[1]).mean() + (distance[0] == distance[1]).mean() / 2)


def by_discriminator(bench: Bench) -> dict[str, Any]:
    """One generator and every discriminator."""
    case = case_of(bench, "faces")
    made = drawn_of(bench, Shared(f"property-faces-{ONE_RATIO}", with_share(bench, case, ONE_RATIO)))
    rows = []
    for name in NAMES:
        told = discriminator_of(bench, case, name)
        rows.append({"name": name, "accuracy": told.accuracy, **estimated(told, made, ONE_RATIO, bench.seed)})
    return {"rows": rows, "absent": ["CLIP, zero-shot"]}


def by_privacy(bench: Bench, epsilons: tuple[float, ...]) -> dict[str, Any]:
    """One share, trained under differential privacy: what it hides is the record, and not the group."""
    case = case_of(bench, "faces")
    told, pool = discriminator_of(bench, case), with_share(bench, case, ONE_RATIO)
    rows = []
    for epsilon in (*epsilons, math.inf):
        private = "" if math.isinf(epsilon) else f"-epsilon-{epsilon:g}"
        made = drawn_of(bench, Shared(f"property-faces-{ONE_RATIO}{private}", pool, epsilon=epsilon))
        rows.append({"epsilon": str(epsilon), **estimated(told, made, ONE_RATIO, bench.seed)})
    return {"rows": rows}


def picture_of(bench: Bench, name: str, ratio: float) -> Path:
    """Returns where the samples of a ratio are kept."""
    return bench.work / f"property-{name}-{ratio}" / "samples-all.npz"


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float32)
