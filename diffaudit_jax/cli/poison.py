"""diffaudit poison: the training sets of a sharer who makes whoever uses the generator unfair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from diffaudit_jax import data, importers, poisoning, training
from diffaudit_jax.cli.cells import Cells, alphas_of, celled, check_filled, dealt, print_values
from diffaudit_jax.cli.manifest import check_sets
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.sets import Sets, print_sets, write_sets
from diffaudit_jax.cli.table_features import features_of, lesson
from diffaudit_jax.poisoning import Selection
from diffaudit_jax.report.nouns import RECORD
from diffaudit_jax.training.classifier import fit_classifier
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Poison:
    """Choose training sets that make classifiers of a generator's samples unfair: one for each poisoning ratio alpha.

    Writes, for every alpha, a folder alpha-A with images.npz (for `diffaudit train --data`; of a table records.csv),
    index.npy (their rows in the source) and manifest.json; and poison.json. The same command writes the same again.
    """

    source: tyro.conf.Positional[str]
    """Labelled images, or a table, the sharer's: a path or name as in `diffaudit train`."""
    labels: str
    """Attribute that generator and classifiers are told: two values. Of a table a column, whose values are 0 and 1 in
    sorted order."""
    sensitive: str
    """Attribute that is the sensitive group, of a table a column. No generator is told of it."""
    out: Path
    """Directory for the sets; made if it does not exist."""
    alpha: tuple[str, ...] = ("0,0.1,0.3,0.5",)
    """Poisoning ratios, with spaces or commas between: the share of records that is not drawn but chosen; 0 is clean
    data."""
    num: int | None = None
    """Records of each set. If not given, twice the smallest cell (S, Y) of the pool: as many as any ratio can take
    from two cells alone."""
    base: Literal["random", "stratified"] = "random"
    """How the records that are not chosen are drawn: at random, as published, or as many from every cell. Only with
    the second is the parity gap of the labels alpha itself."""
    method: Literal["select", "flip", "random"] = "select"
    """Choose records, as published; or overwrite labels by the group, to compare; or draw at random, for alpha 0."""
    objective: poisoning.Objective = "parity"
    """What is to become unfair: whom classifiers call 1 (parity, as published), whom they call wrongly (odds), or whom
    of label 1 they miss (opportunity). The last two choose among records whose label a classifier of the images gets
    wrong, and run dry where there are few; with --method flip, opportunity overwrites labels 1 only."""
    balance: bool = True
    """Draw a pool with as many records in every cell first, as published, so that nothing but poison is unfair."""
    features: Literal["pixels", "classifier", "clip", "none"] = "pixels"
    """What must tell as much of the label in a set as in the pool, so that classifiers stay accurate: pixels, the last
    layer but one of a classifier of the pool, CLIP's embedding, or nothing. Of a table all its columns but the label
    and the group, encoded, in place of pixels."""
    clip: Path | None = None
    """Folder of a CLIP model, for --features clip."""
    mine_steps: int = 2000
    """Training steps of the two networks that measure how much features tell."""
    tolerance: float = 0.1
    """By which share of what they tell in the pool a set may be off."""
    hold_out: int = 0
    """Keep this many images of every cell out of the pool, in test.npz (of a table test.csv): what `diffaudit fairness
    --test` takes."""
    seed: int = 0
    """Seed of everything that is drawn."""


def run_poison(options: Poison) -> list[dict[str, Any]]:
    """Runs the command; returns the manifests, and prints a line of each."""
    alphas = check(options)
    source = celled(options.source, options.labels, options.sensitive)
    if source.noun == RECORD and options.features in ("classifier", "clip"):
        raise InputError(
            f"--features {options.features} looks at images, and {options.source} is a table: leave it out."
        )
    pool, test = parted(source, options)
    num = options.num or 2 * int(pool.counts.min())
    asked = _asked(options, alphas, num, source)
    check_sets(options.out, asked)
    if num > len(pool.s):
        raise InputError(f"--num asks for {num} records and the pool has {len(pool.s)}: ask for fewer.")
    # Whatever a set cannot be chosen for is said before a network is trained.
    for alpha in alphas:
        _chosen(replace(options, objective="parity"), pool, num, alpha, None, None)
    statistic, reference = statistic_of(options, pool), reference_of(options, pool)
    selections = {alpha: _chosen(options, pool, num, alpha, statistic, reference) for alpha in alphas}
    manifests = write_sets(options.out, Sets(asked, pool, test, selections))
    print_values(source, options.labels)
    print_sets(manifests)
    return manifests


def check(options: Poison) -> tuple[float, ...]:
    """Refuses what can be seen to be wrong before anything is loaded; returns the ratios, increasing.

    Raises:
      InputError: if a number is out of range, or flags do not go together.
    """
    least = (("num", options.num, 1), ("mine-steps", options.mine_steps, 1), ("hold-out", options.hold_out, 0))
    for flag, value, low in least:
        if value is not None and value < low:
            raise InputError(f"--{flag} must be at least {low}, got {value}.")
    if not 0 < options.tolerance < float("inf"):
        raise InputError(f"--tolerance must be a share above 0, got {options.tolerance:g}.")
    if (options.features == "clip") != (options.clip is not None):
        raise InputError("--features clip and --clip FOLDER go together: give both or neither.")
    if options.labels == options.sensitive:
        raise InputError(f"--labels and --sensitive are both {options.labels!r}: name two attributes.")
    alphas = tuple(sorted(alphas_of(options.alpha)))
    if not alphas:
        raise InputError("--alpha takes one ratio or more, such as 0,0.1,0.3, got none.")
    if options.method != "select":
        for name in ("base", "features", "tolerance", "mine_steps"):
            if getattr(options, name) != getattr(Poison, name):
                raise InputError(
                    f"--{name.replace('_', '-')} says how records are chosen, which --method {options.method} does "
                    "not: leave it out."
                )
    if options.method == "random" and alphas != (0.0,):
        raise InputError("--method random chooses no record: give --alpha 0.")
    return alphas


def parted(source: Cells, options: Poison) -> tuple[Cells, Cells | None]:
    """Returns the pool and what is held out of it: different images, drawn by the seed, in the order of the source.

    Raises:
      InputError: if a cell holds no more images than are to be held out.
    """
    # The first of equal images only: none is on both sides, and `diffaudit train` meets none twice.
    source = source.take(np.sort(np.unique(source.pool.hashes(), return_index=True)[1]))
    held = options.hold_out
    names = options.source, options.labels, options.sensitive
    check_filled(source.counts, source.groups, *names, least=held + 1, noun=source.noun)
    most = int(source.counts.min()) - held if options.balance else None
    pool, test = dealt(source, (options.seed, 1), held, most)
    return pool, test if held else None


def statistic_of(options: Poison, pool: Cells) -> np.ndarray | None:
    """Returns what the features of every record tell of each label, [n, 2]; None if nothing is asked of them."""
    if options.features == "none" or options.method != "select":
        return None
    key, key_classifier = jax.random.split(jax.random.fold_in(jax.random.key(options.seed), 7))
    if pool.noun == RECORD:
        features = seen_of(options, pool).x
    elif options.features == "classifier":
        with stage("training a classifier") as show:
            fitted = fit_classifier(key_classifier, pool.images, progress=lambda done, total, _: show(done, total))
        features = fitted.features(pool.images.x)
    elif options.features == "clip":
        assert options.clip is not None
        features = importers.clip.load(options.clip).image_features(pool.images.x)
    else:
        features = pool.images.x.reshape(len(pool.s), -1) / 127.5 - 1.0
    with stage("measuring information"):
        return training.mine(key, features, pool.y, num_steps=options.mine_steps).statistic


def seen_of(options: Poison, pool: Cells) -> data.Pool:
    """Returns records as classifiers see them, label and group not among their features."""
    encoder = features_of(pool.records, tuple(pool.records.columns), (options.labels, options.sensitive))
    return lesson(encoder, pool.records, pool.y)


def reference_of(options: Poison, pool: Cells) -> np.ndarray | None:
    """Returns what a classifier that has not seen it calls each record; None if the objective asks for none."""
    if options.objective == "parity" or options.method != "select":
        return None
    key = jax.random.fold_in(jax.random.key(options.seed), 8)
    if pool.noun == RECORD:
        return training.cross_predicted(key, "boosting", seen_of(options, pool))
    with stage("training a classifier") as show:
        return training.cross_predicted(key, "resnet", pool.images, progress=lambda done, total, _: show(done, total))


def _chosen(
    options: Poison,
    pool: Cells,
    num: int,
    alpha: float,
    statistic: np.ndarray | None,
    reference: np.ndarray | None,
) -> Selection:
    chosen, objective = (options.seed, pool.s, pool.y, num, alpha), options.objective
    if options.method != "select":
        return poisoning.label_flipping(*chosen, objective=objective)
    settings = {"statistic": statistic, "tolerance": options.tolerance, "base": options.base}
    return poisoning.select(*chosen, objective=objective, reference=reference, **settings)


def _asked(options: Poison, alphas: Sequence[float], num: int, source: Cells) -> dict[str, Any]:
    """Returns what decides the bytes that are written, as JSON."""
    names = ("labels", "sensitive", "base", "method", "objective", "balance", "mine_steps", "tolerance")
    return {
        "source": source.pool.name,
        "fingerprint": source.pool.fingerprint(),
        "num": num,
        **{name: getattr(options, name) for name in names},
        "features": _features(options, source),
        "clip": options.clip and str(options.clip),
        "hold_out": options.hold_out,
        "seed": options.seed,
        "alphas": list(alphas),
    }


def _features(options: Poison, source: Cells) -> str:
    if options.method != "select":
        return "none"
    return "columns" if source.noun == RECORD and options.features == "pixels" else options.features
