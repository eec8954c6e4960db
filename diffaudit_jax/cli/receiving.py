"""Runs `diffaudit fairness`: draws samples, trains what a receiver trains on them, and reports."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.cells import Cells
from diffaudit_jax.cli.fairness import Fairness, Sides, check, sides_of
from diffaudit_jax.cli.progress import Stage, stage
from diffaudit_jax.cli.samples_check import check_of, discriminator_of, sheets_of, together
from diffaudit_jax.cli.shared import Shared
from diffaudit_jax.metrics.fairness import fairness_of
from diffaudit_jax.poisoning import gap
from diffaudit_jax.report.fairness import Audited, FairnessReport, RealImages, fairness_report, predictions_npz
from diffaudit_jax.training.discriminator import Discriminator
from diffaudit_jax.training.receivers import NAMES, ROWS, train_receiver
from diffaudit_jax.types import write_atomic


def run_fairness(options: Fairness) -> FairnessReport:
    """Runs the command; returns the report it saved."""
    sides = sides_of(options, check(options))
    key = jax.random.fold_in(jax.random.key(options.seed), 8)
    judge, predictions = None, {}
    if sides.aux is not None:
        with stage("training the discriminator"):
            settings = _settings(options, options.discriminator)
            judge = discriminator_of(jax.random.fold_in(key, len(NAMES)), sides.aux, options.discriminator, settings)
    pools = _sampled(sides.generators)
    with stage("training receivers") as show:
        for name, pool in pools.items():
            predictions[name] = _predictions(options, pool, sides.test, show, len(predictions), len(pools))
    report = fairness_report(
        [_audited(each, pools[each.name], predictions, sides, judge, options) for each in sides.generators],
        RealImages(
            {group: tuple(sides.test.counts[g].tolist()) for g, group in enumerate(sides.test.groups)},
            float(gap(sides.test.counts)),
            sides.left_out,
        ),
        labels=options.labels,
        sensitive=options.sensitive,
        clean=sides.clean,
        discriminator=None if judge is None or sides.aux is None else _told(judge, sides.aux, options),
        provenance=provenance(sides, pools, options),
    )
    report.save(options.out)
    groups = np.asarray(sides.test.groups)[sides.test.s].tolist()
    kept = predictions_npz(predictions, sides.test.y, groups, sides.test.pool.hashes().tolist())
    write_atomic(options.out / "predictions.npz", kept)
    return report


def provenance(sides: Sides, pools: Mapping[str, data.Pool], options: Fairness) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON."""
    device = jax.local_devices()[0]
    return {
        "generators": {
            each.name: {"path": str(each.path), **each.images.told, "samples": pools[each.name].fingerprint()}
            for each in sides.generators
        },
        "test": {"source": options.test, "hash": sides.test.pool.fingerprint()},
        "aux": sides.aux and {"source": options.aux, "hash": sides.aux.pool.fingerprint()},
        "receiver_steps": options.receiver_steps,
        "seed": options.seed,
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }


def _sampled(generators: Sequence[Shared]) -> dict[str, data.Pool]:
    """Draws the samples of every generator, by its name."""
    done, total = 0, sum(each.images.num for each in generators)
    with stage("sampling") as show:

        def count(num: int) -> None:
            nonlocal done
            done += num
            show(done, total)

        return {each.name: each.samples(count) for each in generators}


def _settings(options: Fairness, name: str) -> dict[str, Any]:
    return {} if name in ROWS else {"num_steps": options.receiver_steps}


def _predictions(
    options: Fairness, pool: data.Pool, test: Cells, show: Stage, done: int, total: int
) -> dict[str, np.ndarray]:
    """Trains every receiver on a generator's samples; returns what it says of the test images.

    A receiver has the same key for all generators: what differs is the samples.
    """
    key, found = jax.random.fold_in(jax.random.key(options.seed), 8), {}
    for i, name in enumerate(options.receiver):
        trained = train_receiver(jax.random.fold_in(key, NAMES.index(name)), name, pool, **_settings(options, name))
        found[name] = np.asarray(trained(test.pool.x)).astype(int)
        show(done * len(options.receiver) + i + 1, total * len(options.receiver))
    return found


def _audited(
    each: Shared,
    pool: data.Pool,
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    sides: Sides,
    judge: Discriminator | None,
    options: Fairness,
) -> Audited:
    assert pool.labels is not None
    test, clean = sides.test, sides.clean if each.name != sides.clean else None
    groups = np.asarray(test.groups)[test.s]
    stats = {
        name: fairness_of(said, test.y, groups, None if clean is None else predictions[clean][name], seed=options.seed)
        for name, said in predictions[each.name].items()
    }
    called = None if judge is None else judge.predict(pool.x)
    return Audited(
        each.name,
        each.alpha,
        (int((pool.labels == 0).sum()), int((pool.labels == 1).sum())),
        each.manifest,
        stats,
        None if judge is None or called is None else check_of(judge, called, pool.labels, test.groups),
        # A sharer's set may stand for its generator: its images are records, and not samples.
        sheets_of(pool, called, test.groups, shown=options.show_samples and not (each.images.hashes and each.manifest)),
    )


def _told(judge: Discriminator, aux: Cells, options: Fairness) -> dict[str, Any]:
    return {
        "name": options.discriminator,
        "accuracy": judge.accuracy,
        "images": len(aux.s),
        "level": together(len(aux.groups)),
    }
