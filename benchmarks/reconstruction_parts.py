"""The parts of benchmarks/reconstruction.py: each attacks, and returns what is told of it as JSON."""

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reconstruction_priors as priors
from benchmarks.reconstruction_priors import Bench, images_of, matched
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.reconstruct import perceptual_of
from diffaudit_jax.importers.lpips import PACKAGE
from diffaudit_jax.reconstruction.attacker import Attacker
from diffaudit_jax.reconstruction.dials import image_sizes, prior_dial
from diffaudit_jax.reconstruction.studies import rounds, seen_by_prior, unknown_noise
from diffaudit_jax.reconstruction.sweep import Sweep, sweep
from diffaudit_jax.report.grid import grid_png
from diffaudit_jax.types import write_atomic


def swept(bench: Bench, name: str, pictures: Path) -> dict[str, Any]:
    """Sweeps one set, and draws two of its targets; scores LPIPS too where its weights are installed."""
    tier, images, prior = bench.tier, images_of(bench, name), matched(bench, name)
    net = "none" if find_spec(PACKAGE) is None else "alex"
    perceptual, enlarged = perceptual_of(net, prior.shape)
    with stage(f"attacking {name}") as show:
        found = sweep(
            bench.key(2),
            prior,
            images.targets,
            tier.mus,
            public=images.public,
            num=tier.num,
            steps=tier.steps,
            perceptual=perceptual,
            shown=2,
            block=tier.block,
            progress=show,
        )
    bounds = found.bounds
    assert bounds.uninformed is not None
    assert bounds.picked is not None
    write_atomic(pictures.with_name(f"{pictures.name}-{Path(name).stem}.png"), grid_png(sheet(found)))
    return {
        "lpips": None if perceptual is None else {"net": net, "enlarged": enlarged},
        "epsilons": found.epsilons.tolist(),
        "scores": {method: _means(scores) for method, scores in found.scores.items()},
        "unrelated": {metric: float(values.mean()) for metric, values in found.unrelated.items()},
        "uninformed": _means(bounds.uninformed.mean),
        "prior_curve": None if bounds.prior_curve is None else np.transpose(bounds.prior_curve).tolist(),
        "rero": {f"{kappa:g}": bound.tolist() for kappa, bound in bounds.rero.items()},
        "picked": {
            "top1": [list(each.top1) for each in bounds.picked.found],
            "bound": bounds.picked.bound.tolist(),
        },
        "top1": {method: [list(each.top1) for each in row] for method, row in found.retrieval.items()},
        "relative": {method: [list(each) for each in row] for method, row in found.relative.items()},
        "agreement": _means({"error": found.agreement_error, "ratio": found.agreement_ratio}),
        "rank": [list(each) for each in found.agreement_rank],
        "transition": {
            method: {metric: _place(each) for metric, each in row.items()} for method, row in found.transition.items()
        },
    }


def by_prior(bench: Bench) -> dict[str, Any]:
    """Attacks the first set with priors from its own to none."""
    images = images_of(bench, bench.data[0])
    found = prior_dial(
        bench.key(2), priors.priors(bench), images.targets, bench.tier.mus, images.public, attacker=_attacker(bench)
    )
    rows = ({metric: values[i] for metric, values in found.scores.items()} for i in range(len(found.names)))
    return {
        "distance": dict(zip(found.names, zip(found.distance, found.distance_se, strict=True), strict=True)),
        "scores": {name: _means(row) for name, row in zip(found.names, rows, strict=True)},
        "correlation": {metric: [list(each) for each in row] for metric, row in found.correlation.items()},
    }


def by_knowledge(bench: Bench) -> dict[str, Any]:
    """Attacks the first set knowing less of the noise."""
    images, prior = images_of(bench, bench.data[0]), matched(bench, bench.data[0])
    found = unknown_noise(bench.key(2), prior, images.targets, bench.tier.mus, images.public, attacker=_attacker(bench))
    rows = {name: {m: v[i] for m, v in found.scores.items()} for i, name in enumerate(found.names)}
    believed = (found.sigma / found.sigma[0]).mean(axis=-1)
    return {
        "scores": {name: _means(row) for name, row in rows.items()},
        "sigma": {name: row.tolist() for name, row in zip(found.names, believed, strict=True)},
        "lost": {name: [list(each) for each in row["mse"]] for name, row in found.lost.items()},
    }


def by_round(bench: Bench) -> dict[str, Any]:
    """Attacks several releases of the first set together."""
    images, prior = images_of(bench, bench.data[0]), matched(bench, bench.data[0])
    found = rounds(bench.key(2), prior, images.targets, bench.tier.mus, attacker=_attacker(bench))
    counts = [str(count) for count in found.rounds]

    def by_count(scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {count: _means({m: v[i] for m, v in scores.items()}) for i, count in enumerate(counts)}

    apart = zip(counts, found.difference, strict=True)
    return {
        "averaged": by_count(found.averaged),
        "single": by_count(found.single),
        "difference": {count: [list(each) for each in row["mse"]] for count, row in apart},
    }


def by_training(bench: Bench) -> dict[str, Any]:
    """Attacks images that trained the prior, of one that saw many and of one that saw few."""
    images, (few, theirs) = images_of(bench, bench.data[0]), priors.few_images(bench)
    asked = {"many images": (matched(bench, bench.data[0]), images.members.x[: bench.tier.targets])}
    found = {}
    for name, (prior, seen) in {**asked, "few images": (few, theirs.x)}.items():
        each = seen_by_prior(bench.key(2), prior, seen, images.targets, bench.tier.mus, attacker=_attacker(bench))
        found[name] = {
            "seen": _means(each.seen),
            "unseen": _means(each.unseen),
            "difference": [list(estimate) for estimate in each.difference["mse"]],
            "remembered": each.remembered.tolist(),
        }
    return {"priors": found}


def by_size(bench: Bench) -> dict[str, Any]:
    """Attacks the first set at its size, and at half the side."""
    images, tier = images_of(bench, bench.data[0]), bench.tier
    members = replace(images.members, x=priors.halved(images.members.x))
    small = priors.trained(bench, "half-side", members, **tier.halved)
    sizes = {
        images.targets.shape[1]: (matched(bench, bench.data[0]), images.targets),
        members.shape[0]: (small, priors.halved(images.targets)),
    }
    found = image_sizes(bench.key(2), sizes, tier.mus, attacker=_attacker(bench))
    return {
        "sides": {
            str(side): {
                "sigma": each.sigma.mean(axis=-1).tolist(),
                "scores": _means(each.scores),
                "unrelated": {metric: float(values.mean()) for metric, values in each.unrelated.items()},
                "relative": [list(estimate) for estimate in each.relative],
                "transition": {metric: _place(place) for metric, place in each.transition.items()},
            }
            for side, each in found.items()
        }
    }


def sheet(found: Sweep) -> np.ndarray:
    """Returns one picture, uint8 [1, height, width, c], with a row for each mu.

    Of each target shown, from left to right: itself, its release, DDIM, the posterior mean, two samples, and where
    samples disagree.
    """
    shown, (k, s) = found.shown, found.shown.release.shape[:2]
    targets = np.broadcast_to(shown.targets, shown.release.shape)
    spread = np.broadcast_to(2 * np.minimum(shown.spread, 1.0)[..., None] - 1, shown.release.shape)
    columns = [targets, shown.release, shown.diffusion, shown.mean, *np.moveaxis(shown.samples[:, :, :2], 2, 0), spread]
    cells = np.pad(np.stack(columns, axis=2), [(0, 0)] * 3 + [(1, 1)] * 2 + [(0, 0)], constant_values=1.0)
    h, w, c = cells.shape[3:]
    rows = cells.reshape(k, s * len(columns), h, w, c).swapaxes(1, 2).reshape(1, k * h, s * len(columns) * w, c)
    return np.round((rows + 1) * 127.5).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)


def _attacker(bench: Bench) -> Attacker:
    return Attacker(steps=bench.tier.steps, block=bench.tier.block)


def _means(scores: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    """Returns mean and standard error over the last axis: metric -> [k, 2]."""
    return {
        name: np.stack([v.mean(-1), v.std(-1, ddof=1) / math.sqrt(v.shape[-1])], axis=-1).tolist()
        for name, v in scores.items()
    }


def _place(found: Any) -> dict[str, Any]:
    """Returns a transition without infinities."""
    mu = None if found.mu is None else [value if math.isfinite(value) else None for value in found.mu]
    return {"mu": mu, "reason": found.reason}
