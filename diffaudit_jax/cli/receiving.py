"""Runs `diffaudit fairness`: draws samples, trains what a receiver trains on them, and reports."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from diffaudit_jax.cli.cells import Cells, print_values
from diffaudit_jax.cli.drawing import Generated
from diffaudit_jax.cli.fairness import Fairness, Sides, check, sides_of
from diffaudit_jax.cli.progress import Stage, stage
from diffaudit_jax.cli.samples_check import check_of, discriminator_of, sheets_of, together
from diffaudit_jax.cli.shared import Shared
from diffaudit_jax.cli.table_fairness import Seen, grouping_of, read_check, seen_of
from diffaudit_jax.cli.table_features import encoded
from diffaudit_jax.data.encoding import Encoder
from diffaudit_jax.metrics.fairness import fairness_of
from diffaudit_jax.poisoning import gap
from diffaudit_jax.report.fairness import Audited, FairnessReport, RealImages, Sheet, fairness_report, predictions_npz
from diffaudit_jax.report.nouns import RECORD
from diffaudit_jax.training.discriminator import Discriminator, train_discriminator
from diffaudit_jax.training.receivers import NAMES, ROWS, train_receiver
from diffaudit_jax.types import write_atomic


def run_fairness(options: Fairness) -> FairnessReport:
    """Runs the command; returns the report it saved."""
    sides = sides_of(options, check(options))
    judge, predictions = _judge(options, sides), {}
    pools = _sampled(sides, options)
    with stage("training receivers") as show:
        for name, seen in pools.items():
            predictions[name] = _predictions(options, seen, show, len(predictions), len(pools))
    print_values(sides.test, options.labels)
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
        discriminator=None if judge is None else _told(judge, sides, options),
        provenance=provenance(sides, pools, options),
        noun=sides.test.noun,
        told_group=told_group(sides, options),
    )
    report.save(options.out)
    groups = np.asarray(sides.test.groups)[sides.test.s].tolist()
    kept = predictions_npz(predictions, sides.test.y, groups, sides.test.pool.hashes().tolist())
    write_atomic(options.out / "predictions.npz", kept)
    return report


def told_group(sides: Sides, options: Fairness) -> bool:
    """Returns whether classifiers see the group, as a column of records."""
    if sides.test.noun != RECORD or options.without_sensitive:
        return False
    return any(options.sensitive in each.records.columns for each in sides.generators)


def provenance(sides: Sides, pools: Mapping[str, Seen], options: Fairness) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON."""
    device = jax.local_devices()[0]
    return {
        "generators": {
            each.name: {
                "path": str(each.path),
                **each.images.told,
                "samples": pools[each.name].fingerprint(),
            }
            for each in sides.generators
        },
        "test": {"source": options.test, "hash": sides.test.pool.fingerprint()},
        "aux": sides.aux and {"source": options.aux, "hash": sides.aux.pool.fingerprint()},
        "receiver_steps": options.receiver_steps,
        "seed": options.seed,
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }


class Judge(NamedTuple):
    """Who says which group a sample is of.

    Attributes:
      discriminator: Who tells it; None where records say it themselves.
      encoder: What he sees of a record; None of images.
    """

    discriminator: Discriminator | None
    encoder: Encoder | None

    def called(self, seen: Seen) -> np.ndarray | None:
        """Returns the group that each sample is taken for; None where samples say it themselves."""
        if self.discriminator is None:
            return None
        if self.encoder is None or seen.table is None:
            return self.discriminator.predict(seen.pool.x)
        return self.discriminator.predict(encoded(self.encoder, seen.table))


def _judge(options: Fairness, sides: Sides) -> Judge | None:
    """Trains who says the groups of samples, if there is anybody and he has to learn it."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(options.seed), 8), len(NAMES))
    settings = _settings(options, options.judge)
    if sides.test.noun == RECORD:
        who = grouping_of(sides, options)
        if who is None or who.lesson is None:
            return who and Judge(None, None)
        with stage("training the discriminator"):
            found = train_discriminator(key, who.lesson, name=options.judge, by=who.by, **settings)
            return Judge(found, who.encoder)
    if sides.aux is None:
        return None
    with stage("training the discriminator"):
        return Judge(discriminator_of(key, sides.aux, options.judge, settings), None)


def _sampled(sides: Sides, options: Fairness) -> dict[str, Seen]:
    """Draws the samples of every generator, by its name."""
    generators, test = sides.generators, sides.test
    done, total = 0, sum(each.images.num for each in generators)
    with stage("sampling") as show:

        def count(num: int) -> None:
            nonlocal done
            done += num
            show(done, total)

        if test.noun == RECORD:
            return {each.name: seen_of(each.drawn(count), test, options) for each in generators}
        return {each.name: Seen(each.samples(count), test.images.x, None) for each in generators}


def _settings(options: Fairness, name: str) -> dict[str, Any]:
    return {} if name in ROWS else {"num_steps": options.receiver_steps}


def _predictions(options: Fairness, seen: Seen, show: Stage, done: int, total: int) -> dict[str, np.ndarray]:
    """Trains every receiver on a generator's samples; returns what it says of the test images.

    A receiver has the same key for all generators: what differs is the samples.
    """
    key, found = jax.random.fold_in(jax.random.key(options.seed), 8), {}
    for i, name in enumerate(options.receivers):
        own = jax.random.fold_in(key, NAMES.index(name))
        trained = train_receiver(own, name, seen.pool, **_settings(options, name))
        found[name] = np.asarray(trained(seen.test)).astype(int)
        show(done * len(options.receivers) + i + 1, total * len(options.receivers))
    return found


def _audited(
    each: Shared,
    seen: Seen,
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    sides: Sides,
    judge: Judge | None,
    options: Fairness,
) -> Audited:
    pool = seen.pool
    assert pool.labels is not None
    test, clean = sides.test, sides.clean if each.name != sides.clean else None
    groups = np.asarray(test.groups)[test.s]
    stats = {
        name: fairness_of(said, test.y, groups, None if clean is None else predictions[clean][name], seed=options.seed)
        for name, said in predictions[each.name].items()
    }
    called, check = None if judge is None else judge.called(seen), None
    if judge is not None and judge.discriminator is not None and called is not None:
        check = check_of(judge.discriminator, called, pool.labels, test.groups)
    elif judge is not None and seen.table is not None:
        check = read_check(seen.table, pool.labels, test.groups, options.sensitive)
    return Audited(
        each.name,
        each.alpha,
        (int((pool.labels == 0).sum()), int((pool.labels == 1).sum())),
        each.manifest,
        stats,
        check,
        _sheets(each, seen, called, test, options),
    )


def _sheets(each: Shared, seen: Seen, called: np.ndarray | None, test: Cells, options: Fairness) -> list[Sheet]:
    """Returns pictures of samples; none of records."""
    if not isinstance(each.images, Generated):
        return []
    # A sharer's set may stand for its generator: its images are records, and not samples.
    shown = options.show_samples and not (each.images.hashes and each.manifest)
    return sheets_of(seen.pool, called, test.groups, shown=shown)


def _told(judge: Judge, sides: Sides, options: Fairness) -> dict[str, Any]:
    level = together(len(sides.test.groups))
    if judge.discriminator is None or sides.aux is None:
        num = sum(each.images.num for each in sides.generators)
        return {"name": options.sensitive, "accuracy": 1.0, "images": num, "level": level, "read": True}
    return {
        "name": options.judge,
        "accuracy": judge.discriminator.accuracy,
        "images": len(sides.aux.s),
        "level": level,
    }
