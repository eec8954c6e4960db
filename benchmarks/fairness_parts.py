"""The parts of benchmarks/fairness.py: each returns what it measured, as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.property_parts import FEWEST, copied
from benchmarks.sharing import Bench, Shared, drawn_of, labelled, receiver
from diffaudit_jax import data, training
from diffaudit_jax.metrics.corrected import conditional
from diffaudit_jax.metrics.fairness import FairnessStats, fairness_of
from diffaudit_jax.poisoning import Selection, label_flipping, select
from diffaudit_jax.poisoning.cells import gap, information
from diffaudit_jax.poisoning.pool import OBJECTIVES
from diffaudit_jax.training import Discriminator, rates_of
from diffaudit_jax.training.classifier import fit_classifier
from diffaudit_jax.training.receivers import NAMES
from diffaudit_jax.types import InputError

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
CLEAN, MOST = 0.0, 0.5
SOME = ("lenet", "resnet")
"""Receivers of all parts but the first, which has every one."""
FAMILIES = ("ddpm", "ncsnv2", "vp-sde", "edm", "vae", "gan")
HELD = 0.15
"""Share of the smallest cell that is the test's, of every cell; and as much is the receiver's own."""


class Case(NamedTuple):
    """Faces, dealt: label Y whether they smile, group S whether hair is long; all three balanced over the cells.

    Attributes:
      pool: What a sharer chooses from, labelled by Y.
      s: Its groups.
      statistic: T of every image with every label, of MINE.
      num: Images of a training set: what the cells allow at the greatest alpha.
      test: Real images that receivers are tested on, labelled by Y, in groups of S.
      aux: Others, the receiver's own, the same.
    """

    pool: data.Pool
    s: np.ndarray
    statistic: np.ndarray
    num: int
    test: data.Pool
    aux: data.Pool


def case_of(bench: Bench) -> Case:
    """Deals the faces, and trains MINE on features of a classifier of the pool.

    Raises:
      InputError: if there are too few.
    """
    faces, y = labelled(bench.faces, "smile")
    _, s = labelled(bench.faces, "long_hair")
    faces = replace(faces, labels=y, groups=s, label_names=("serious", "smiling"), attributes=None)
    order, cell = np.random.default_rng(bench.seed).permutation(len(faces)), 2 * s + y
    least = int(np.bincount(cell, minlength=4).min())
    held = round(HELD * least)
    if held < FEWEST:
        raise InputError(f"{bench.faces} has {least} images of a group and label: give a larger set.")
    rows = [order[cell[order] == each][:least] for each in range(4)]
    test, aux, pool = (
        faces.take(np.sort(np.concatenate([part[a:b] for part in rows])))
        for a, b in ((0, held), (held, 2 * held), (2 * held, least))
    )
    assert pool.labels is not None
    assert pool.groups is not None
    judge = fit_classifier(bench.key(5), pool, **bench.tier.receiver)
    found = training.mine(jax.random.fold_in(bench.key(5), 1), judge.features(pool.x), pool.labels)
    assert found.statistic is not None
    num = min(bench.tier.members, 10 * int(0.24 * (least - 2 * held)))
    return Case(pool, pool.groups, found.statistic, num, test, aux)


def chosen(bench: Bench, case: Case, alpha: float, *, num: int | None = None, seed: int = 0) -> Selection:
    """Chooses a training set by Algorithm 1, its base at random."""
    assert case.pool.labels is not None
    return select(bench.seed + seed, case.s, case.pool.labels, num or case.num, alpha, statistic=case.statistic)


def set_of(case: Case, found: Selection) -> data.Pool:
    """Returns what a generator is trained on: images and labels, and nothing of groups."""
    return replace(case.pool.take(found.index), labels=found.labels, groups=None)


def group_discriminator(bench: Bench, case: Case) -> Discriminator:
    """Trains the receiver's discriminator of S; its errors are counted by Y too."""
    aux = case.aux
    assert aux.groups is not None
    pool = replace(aux, labels=aux.groups, label_names=("short", "long"), groups=None)
    return training.train_discriminator(bench.key(3), pool, by=aux.labels, **bench.tier.receiver)


def by_alpha(bench: Bench) -> dict[str, Any]:
    """DDPM of six poisoning ratios, and every receiver; the same of the training sets themselves."""
    case = case_of(bench)
    told, rows = group_discriminator(bench, case), []
    clean: dict[str, Any] = {}
    for alpha in ALPHAS:
        found = chosen(bench, case, alpha)
        pool = set_of(case, found)
        made = drawn_of(bench, Shared(f"fairness-ddpm-{alpha}", pool))
        asked = {"shared": _asked(bench, case, made, NAMES), "set": _asked(bench, case, pool, SOME)}
        clean = clean or asked
        rows.append(
            {
                "alpha": alpha,
                **_selected(found),
                "samples": implied(told, made),
                **{of: _judged(case, asked[of], clean[of]) for of in asked},
            }
        )
    sizes = {"num": case.num, "pool": len(case.pool), "test": len(case.test), "aux": len(case.aux)}
    return {**sizes, "confusion": told.confusion.tolist(), "rows": rows}


def by_family(bench: Bench) -> dict[str, Any]:
    """Every family, clean and poisoned."""
    case = case_of(bench)
    told = group_discriminator(bench, case)
    return {"rows": [_pair(bench, case, told, family=family) | {"family": family} for family in FAMILIES]}


def by_guidance(bench: Bench, scales: Sequence[float] = (1.0, 3.0)) -> dict[str, Any]:
    """One DDPM that is told of labels, with and without classifier-free guidance, clean and poisoned."""
    case = case_of(bench)
    told = group_discriminator(bench, case)
    return {"rows": [_pair(bench, case, told, guidance=scale) | {"guidance": scale} for scale in scales]}


def by_privacy(bench: Bench, epsilons: Sequence[float]) -> dict[str, Any]:
    """DDPM with differential privacy, clean and poisoned."""
    case = case_of(bench)
    told = group_discriminator(bench, case)
    several = (*epsilons, math.inf)
    return {"rows": [_pair(bench, case, told, epsilon=epsilon) | {"epsilon": str(epsilon)} for epsilon in several]}


def by_length(bench: Bench) -> dict[str, Any]:
    """Few faces, poisoned, trained ever longer."""
    case = case_of(bench)
    told, found = group_discriminator(bench, case), chosen(bench, case, MOST, num=bench.tier.few)
    pool, rows = set_of(case, found), []
    for steps in bench.tier.fits:
        made = drawn_of(bench, Shared(f"fairness-few-{MOST}", pool, steps=steps))
        judged = _judged(case, _asked(bench, case, made, SOME), {})
        rows.append(
            {"steps": steps, "copied": copied(made, pool, case.pool), "samples": implied(told, made), "shared": judged}
        )
    return {"num": len(pool), **_selected(found), "rows": rows}


def by_objective(bench: Bench) -> dict[str, Any]:
    """Other aims than parity, and labels that lie, at the greatest alpha: by the set itself, and through DDPM."""
    case = case_of(bench)
    y = case.pool.labels
    assert y is not None
    told = group_discriminator(bench, case)
    reference = receiver(bench, "resnet", case.aux)(case.pool.x)
    plain = {name: _asked(bench, case, set_of(case, chosen(bench, case, CLEAN)), SOME) for name in ("set",)}
    plain["shared"] = _asked(bench, case, _drawn(bench, case, chosen(bench, case, CLEAN), f"ddpm-{CLEAN}"), SOME)
    sets: dict[str, Selection] = {}
    for aim in OBJECTIVES:
        seen = None if aim == "parity" else reference
        sets[aim] = select(
            bench.seed, case.s, y, case.num, MOST, statistic=case.statistic, objective=aim, reference=seen
        )
    for aim in OBJECTIVES[::2]:
        name = f"labels overwritten, {aim}"
        sets[name] = label_flipping(bench.seed, case.s, y, case.num, MOST, objective=aim)
    rows = []
    for name, found in sets.items():
        word = f"ddpm-{MOST}" if name == "parity" else "ddpm-" + name.replace(", ", "-").replace(" ", "-")
        made = _drawn(bench, case, found, word)
        asked = {"set": _asked(bench, case, set_of(case, found), SOME), "shared": _asked(bench, case, made, SOME)}
        judged = {of: _judged(case, asked[of], plain[of]) for of in asked}
        rows.append({"objective": name, **_selected(found), "samples": implied(told, made), **judged})
    return {"agrees": float((reference == y).mean()), "rows": rows}


def implied(told: Discriminator, made: data.Pool) -> dict[str, Any]:
    """Returns P(S = 1 | Y = y) of samples, corrected, and the gap |P(Y = 1|S = 1) - P(Y = 1|S = 0)| that they imply."""
    assert made.labels is not None
    rates = {y: rates_of(confusion) for y, confusion in told.by.items()}
    found = conditional(told.predict(made.x) == 1, made.labels, rates)
    a, b = (found[y].estimate.value for y in (0, 1))
    # Half of the samples have either label.
    smiling = [b / (a + b) if a + b else 0.5, (1 - b) / (2 - a - b) if a + b < 2 else 0.5]
    return {
        "shares": {str(y): each.estimate._asdict() for y, each in found.items()},
        "gap": abs(smiling[0] - smiling[1]),
    }


def _drawn(bench: Bench, case: Case, found: Selection, word: str) -> data.Pool:
    return drawn_of(bench, Shared(f"fairness-{word}", set_of(case, found)))


def _pair(
    bench: Bench,
    case: Case,
    told: Discriminator,
    *,
    family: str = "ddpm",
    guidance: float | None = None,
    epsilon: float = math.inf,
) -> dict[str, Any]:
    """Measures one kind of generator, clean and with the most poison."""
    kind = family + ("" if math.isinf(epsilon) else f"-epsilon-{epsilon:g}") + ("" if guidance is None else "-told")
    asked, samples = {}, {}
    for name, alpha in (("clean", CLEAN), ("poisoned", MOST)):
        shared = Shared(f"fairness-{kind}-{alpha}", set_of(case, chosen(bench, case, alpha)), family)
        made = drawn_of(bench, shared._replace(guidance=guidance, epsilon=epsilon))
        samples[name], asked[name] = implied(told, made), _asked(bench, case, made, SOME)
    judged = {name: _judged(case, asked[name], asked["clean"]) for name in asked}
    return {name: {"samples": samples[name], "receivers": judged[name]} for name in judged}


def _asked(bench: Bench, case: Case, pool: data.Pool, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Trains receivers on a pool; returns what each calls the test images."""
    found = {name: receiver(bench, name, pool)(case.test.x) for name in names}
    jax.clear_caches()
    return found


def _judged(case: Case, asked: Mapping[str, np.ndarray], clean: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found = {
        name: fairness_of(told, case.test.labels, case.test.groups, clean.get(name))  # type: ignore[arg-type]
        for name, told in asked.items()
    }
    return {name: _numbers(stats) for name, stats in found.items()}


def _numbers(found: FairnessStats) -> dict[str, Any]:
    lost = {} if found.loss is None else {name: each._asdict() for name, each in found.loss._asdict().items()}
    names = ("parity", "opportunity", "odds", "accuracy")
    return {name: getattr(found, name)._asdict() for name in names} | {"loss": lost}


def _selected(found: Selection) -> dict[str, Any]:
    return {
        "counts": found.counts.tolist(),
        "set_gap": float(gap(found.counts)),
        "bits": float(information(found.counts)),
        "nats": found.information,
        "accepted": found.accepted,
        "fallbacks": found.fallbacks,
        "dry": found.dry,
    }
