"""diffaudit audit: from a run directory to a report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from diffaudit_jax import attacks, data, training
from diffaudit_jax.attack import Attack, Score, Spec
from diffaudit_jax.attacks.trajectory import LOSSES, Loss
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import provenance, save_scores
from diffaudit_jax.metrics.membership import FEWEST
from diffaudit_jax.report import Report, Trajectory, membership_report
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, Query, known

ATTACKS: Mapping[str, Loss] = {"eps-loss": "eps", "x0-loss": "x0", "vlb-loss": "vlb"}
"""Attacks by name; all three score one stored pass."""


@dataclass(frozen=True)
class Audit:
    """Audit a trained model: ask it about members and non-members, and write report.html and report.json.

    An audit that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """Run directory of `diffaudit train`."""
    out: Path
    """Directory for the report and what it was computed from; made if it does not exist."""
    attack: tuple[str, ...] = tuple(ATTACKS)
    """Attacks, of eps-loss, x0-loss, vlb-loss; they share one pass."""
    queries: int | None = None
    """Ask about only this many images, drawn at random, members and non-members in proportion; all if not given."""
    members: str | None = None
    """Images the model was trained on, instead of the run's own split: a path or name as in `diffaudit train`."""
    nonmembers: str | None = None
    """Images of the same kind that it was not trained on; given together with --members."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do about images that are on both sides: refuse them, or keep them as members only."""

    times: int = 50
    """Times at which the loss is taken, evenly strided over the schedule."""
    noises: int = 1
    """Noise draws per time."""
    statistic: Literal["sum", "mean", "median", "min", "max"] = "mean"
    """How the losses over time are joined."""
    truncate: float | None = 0.3
    """Keep times up to this, in (0, 1] (--by time), or drop this share of the largest losses (--by value).
    Published attacks look at a tenth to a third of the schedule, where an image is still recognisable."""
    by: Literal["time", "value"] = "time"
    """What the truncation goes by."""
    clip: bool = True
    """Clip estimates of the clean image to the range of images, as published evaluations do."""

    block: int = 64
    """Images per dispatch, over all devices; more is faster and takes more memory."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    show_images: int = 0
    """Show this many of the most exposed images in the report. They are personal data."""
    seed: int = 0
    """Seed of the audit's noise, of --queries, and of the report's random halves."""


def run_audit(options: Audit) -> Report:
    """Runs the command; returns the report it saved."""
    check(options)
    run = training.load_run(options.run)
    return audit_run(run, asked(options, _split(options, run)), options)


def check(options: Audit) -> None:
    """Refuses what can be seen to be wrong before a network is trained or asked.

    Raises:
      InputError: if no or an unknown attack is named, a count is too small, or the directory holds another report.
    """
    if not options.attack:
        raise InputError(f"no attack is named: give --attack some of {', '.join(ATTACKS)}.")
    for name in options.attack:
        known("attack", name, ATTACKS)
    for flag, value, least in (("times", options.times, 1), ("show-images", options.show_images, 0)):
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if (options.out / "report.json").exists() and not (options.out / "observations").exists():
        raise InputError(f"{options.out} holds a report of something else: use another --out.")


def check_sizes(members: int, nonmembers: int) -> None:
    """Refuses sides that are too small for statistics, before a network is trained or asked."""
    if min(members, nonmembers) < FEWEST:
        raise InputError(
            f"{members} members and {nonmembers} non-members are too few for statistics: "
            f"ask about at least {FEWEST} of each."
        )


def audit_run(run: training.Run, split: data.Split, options: Audit) -> Report:
    """Audits a run on a split and saves the report.

    Args:
      run: The trained model.
      split: Who is a member.
      options: Attacks, their settings and where to write.
    """
    check_sizes(len(split.members), len(split.nonmembers))
    times = run.process.times(options.times)
    attack = _attack(options, times, run.model.learn_sigma)
    rules = {name: _score(options, times, ATTACKS[name]) for name in options.attack}
    queries, member = _queries(split, run.model.num_classes), split.member
    key = jax.random.fold_in(jax.random.key(options.seed), 2)
    with stage("auditing") as show:
        seen = audit(
            attack,
            run.target,
            queries,
            key=key,
            block=options.block,
            mesh=local_mesh(options.devices),
            out=options.out / "observations",
            progress=show,
        )
    scores = {name: rule(seen.features) for name, rule in rules.items()}
    save_scores(options.out / "scores.npz", member, scores)
    report = membership_report(
        scores,
        member,
        images=queries.x,
        groups=split.groups,
        trajectory=Trajectory(times, {loss: attacks.trajectory.average(seen.features, loss) for loss in LOSSES}),
        attacks={name: _spec(attack.spec, options, ATTACKS[name]) for name in options.attack},
        provenance=provenance(
            run,
            fingerprints(attack, run.target, queries, key),
            {"members": options.members or run.config.get("data"), "nonmembers": options.nonmembers},
            options.seed,
            options.devices,
        ),
        show_images=options.show_images,
        seed=options.seed,
    )
    report.save(options.out)
    return report


def asked(options: Audit, split: data.Split) -> data.Split:
    """Returns the split, or a random part of it with `--queries`, members and non-members in proportion."""
    total = len(split.member)
    if options.queries is None:
        return split
    if not 2 <= options.queries <= total:
        raise InputError(f"--queries must be between 2 and the {total} there are, got {options.queries}.")
    part = options.queries / total
    sizes = [max(1, round(part * len(side))) for side in (split.members, split.nonmembers)]
    draws = np.random.default_rng(options.seed)
    chosen = [
        side.take(np.sort(draws.permutation(len(side))[:size]))
        for side, size in zip((split.members, split.nonmembers), sizes, strict=True)
    ]
    return replace(split, members=chosen[0], nonmembers=chosen[1])


def _split(options: Audit, run: training.Run) -> data.Split:
    if (options.members is None) != (options.nonmembers is None):
        raise InputError("give --members and --nonmembers together: an audit compares the two.")
    if options.members is not None and options.nonmembers is not None:
        return data.pair(_pool(options.members), _pool(options.nonmembers), duplicates=options.duplicates)
    if not {"data", "split"} <= set(run.config):
        raise InputError(f"{options.run} records no split: give --members and --nonmembers.")
    try:
        return data.from_record(run.config["split"], _pool(run.config["data"], run.config.get("groups")))
    except InputError as error:
        raise InputError(f"the images that {options.run} was split from are not as they were: {error}") from error


def _queries(split: data.Split, num_classes: int | None) -> Query:
    """Returns what is asked, with labels if the model takes them."""
    queries = split.queries
    if num_classes is None:
        return queries._replace(cond=None)
    if queries.cond is None:
        raise InputError("the model is conditioned on labels and these images have none: give images with labels.")
    if queries.cond.max() >= num_classes:
        raise InputError(
            f"label {queries.cond.max()} is beyond the {num_classes} classes that the model was trained on: "
            f"give images of these classes."
        )
    return queries


def _pool(source: str, groups: str | None = None) -> data.Pool:
    pool = data.load(source, groups=groups)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{source} is a table: an image model is audited on images.")
    return pool


def _attack(options: Audit, times: np.ndarray, learn_sigma: bool) -> Attack:
    return attacks.loss_trajectory(
        times,
        num_noises=options.noises,
        noise_key=jax.random.fold_in(jax.random.key(options.seed), 3),
        variance="learned" if learn_sigma else "fixed_small",
        clip=options.clip,
    )


def _score(options: Audit, times: np.ndarray, loss: Loss) -> Score:
    return attacks.trajectory.score(
        times, loss=loss, statistic=options.statistic, truncate=options.truncate, by=options.by
    )


def _spec(spec: Spec, options: Audit, loss: str) -> dict[str, Any]:
    scoring = {"loss": loss, "statistic": options.statistic, "truncate": options.truncate, "by": options.by}
    return {
        "name": spec.name,
        "access": spec.access,
        "paper": spec.paper,
        "calls": spec.calls,
        "config": {**spec.config, **scoring},
    }
