"""diffaudit audit: from a run directory to a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from diffaudit_jax import attacks, data, process
from diffaudit_jax.access import Target
from diffaudit_jax.attack import Attack, Spec
from diffaudit_jax.attacks.trajectory import LOSSES, Loss
from diffaudit_jax.auditing import audit, fingerprints
from diffaudit_jax.cli.asked import Asked, asked, check_sizes, check_truth, queries_of, split_of
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.provenance import provenance, save_scores
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.report import Report, Trajectory, membership_report
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, known

ATTACKS: Mapping[str, Loss] = {"eps-loss": "eps", "x0-loss": "x0", "vlb-loss": "vlb"}
"""Attacks by name; all three score one stored pass."""


@dataclass(frozen=True)
class Audit:
    """Audit a trained model: ask it about members and non-members, and write report.html and report.json.

    An audit that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """What to audit: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved- or
    guided-diffusion."""
    out: Path
    """Directory for the report and what it was computed from; made if it does not exist."""
    attack: tuple[str, ...] = tuple(ATTACKS)
    """Attacks, of eps-loss, x0-loss, vlb-loss; they share one pass."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """Who is asked about."""

    times: int = 50
    """Times at which the loss is taken, evenly strided over the linear DDPM schedule.
    On other schedules they are the times of the same noise levels, as far as the schedule has them."""
    noises: int = 1
    """Noise draws per time."""
    statistic: Literal["sum", "mean", "median", "min", "max"] = "mean"
    """How the losses over time are joined."""
    truncate: float | None = 0.3
    """Keep times up to this, in (0, 1] (--by time), or drop this share of the largest losses (--by value).
    A time of the linear DDPM schedule, like the grid. Published attacks look at a tenth to a third of the schedule,
    where an image is still recognisable."""
    by: Literal["time", "value"] = "time"
    """What the truncation goes by."""
    clip: bool = True
    """Clip estimates of the clean image to the range of images, as published evaluations do."""

    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""

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
    subject = load_subject(options.run, options.weights)
    return audit_subject(
        subject, asked(options.asked, split_of(options.asked, options.run, subject), options.seed), options
    )


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


def audit_subject(subject: Subject, split: data.Split, options: Audit) -> Report:
    """Audits a model on a split and saves the report.

    Args:
      subject: The model, and what is recorded of it.
      split: Who is a member.
      options: Attacks, their settings and where to write.
    """
    check_sizes(len(split.members), len(split.nonmembers))
    target = subject.target
    times, truncate = matched(target, options)
    attack = _attack(options, times, target)
    rules = {
        name: attacks.trajectory.score(
            times, loss=ATTACKS[name], statistic=options.statistic, truncate=truncate, by=options.by
        )
        for name in options.attack
    }
    queries, member = queries_of(split, target.num_classes), split.member
    check_truth(split, subject.record.get("split"))
    key = jax.random.fold_in(jax.random.key(options.seed), 2)
    with stage("auditing") as show:
        seen = audit(
            attack,
            target,
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
        attacks={name: _spec(attack.spec, options, ATTACKS[name], truncate) for name in options.attack},
        provenance=provenance(
            subject,
            fingerprints(attack, target, queries, key),
            {**vars(options.asked), "members": options.asked.members or subject.record.get("data")},
            options.seed,
            options.devices,
        ),
        show_images=options.show_images,
        seed=options.seed,
    )
    report.save(options.out)
    return report


def matched(target: Target, options: Audit) -> tuple[np.ndarray, float | None]:
    """Returns the grid and the truncation in the target's own times, at the noise levels of the linear DDPM schedule.

    Families are compared at matched noise, never at equal t: t = 0.3 is a noise level of 1.2 there, and 0.26 in VE.
    """
    if target.process is None:
        raise InputError(f"{options.run} holds samples only, and {', '.join(options.attack)} need a model's weights.")
    if options.truncate is not None and not 0 <= options.truncate <= 1:
        raise InputError(
            f"truncate is a time or a share, from 0 to 1, got {options.truncate}; step i of T is (i + 1)/T."
        )
    reference, own = process.ddpm_linear(), target.process
    if own.config == reference.config:
        return own.times(options.times), options.truncate
    times = own.matched(reference, reference.times(options.times))
    if options.truncate is None or options.by == "value":
        return times, options.truncate
    return times, float(own.time_at(reference.noise_level(jax.numpy.float32(options.truncate))))


def _attack(options: Audit, times: np.ndarray, target: Target) -> Attack:
    return attacks.loss_trajectory(
        times,
        num_noises=options.noises,
        noise_key=jax.random.fold_in(jax.random.key(options.seed), 3),
        variance="learned" if target.variance == "learned" else "fixed_small",
        clip=options.clip,
    )


def _spec(spec: Spec, options: Audit, loss: str, truncate: float | None) -> dict[str, Any]:
    scoring = {"loss": loss, "statistic": options.statistic, "truncate": truncate, "by": options.by}
    return {
        "name": spec.name,
        "access": spec.access,
        "paper": spec.paper,
        "calls": spec.calls,
        "config": {**spec.config, **scoring},
    }
