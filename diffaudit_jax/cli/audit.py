"""diffaudit audit: from a model to a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from diffaudit_jax import data
from diffaudit_jax.auditing import check_queries
from diffaudit_jax.cli import black
from diffaudit_jax.cli.asked import Asked, asked, check_sizes, queries_of, split_of, strata_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.budget import Budget, check_minutes, fit_budget, num_shadows
from diffaudit_jax.cli.catalogue import ENTRIES, check_answered, named
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.dry import print_dry_run
from diffaudit_jax.cli.kept import check_beside, flags_of
from diffaudit_jax.cli.passes import check_service, passes, run_passes
from diffaudit_jax.cli.planned import check_kept, planned, prints_of, read_plan
from diffaudit_jax.cli.provenance import provenance, save_scores
from diffaudit_jax.cli.setting import Setting, audit_key, setting_of
from diffaudit_jax.cli.shadowed import Shadowed, check_own, comparable, compared, told_of_shadows
from diffaudit_jax.cli.shadows_asked import ask_shadows
from diffaudit_jax.cli.shadows_scored import with_shadows
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.cli.synthetic import synthetic
from diffaudit_jax.cli.trajectories import curves, variants
from diffaudit_jax.cli.truth import check_truth
from diffaudit_jax.report import Report, membership_report
from diffaudit_jax.report.registered import registered_section
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError


@dataclass(frozen=True)
class Audit:
    """Audit a trained model: ask it about members and non-members, and write report.html and report.json.

    An audit that was stopped goes on when the same command is given again.
    """

    run: tyro.conf.Positional[Path]
    """What to audit: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved- or
    guided-diffusion; or generated images or records themselves, a folder, an .npz or a CSV."""
    out: Path
    """Directory for the report and what it was computed from; made if it does not exist."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """Who is asked about."""

    asking: Annotated[Asking, tyro.conf.arg(name="")] = field(default_factory=Asking)
    """What is asked, and how it is scored."""

    shadowed: Annotated[Shadowed, tyro.conf.arg(name="")] = field(default_factory=Shadowed)
    """Whom it is compared with."""

    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""

    budget: Annotated[Budget, tyro.conf.arg(name="")] = field(default_factory=Budget)
    """How long it may take."""

    plan: Path | None = None
    """Plan of `diffaudit plan`: its attack, seed and queries are asked, and its threshold is judged. A flag that
    differs is refused, unless it is at its default, which counts as not given."""
    block: int = 64
    """Images per dispatch, over all devices; more is faster and takes more memory."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    show_images: int = 0
    """Show this many of the most exposed images in the report. They are personal data."""
    seed: int = 0
    """Seed of the audit's noise, of --queries, and of the report's random halves."""


def run_audit(options: Audit) -> Report | None:
    """Runs the command; returns the report it saved, None for a dry run."""
    plan = None if options.plan is None else read_plan(options.plan)
    if plan is not None:
        check_beside(options.run, options.budget, options.shadowed)
        given = {"asked": options.asked, "asking": options.asking, "weights": options.weights, "seed": options.seed}
        options = replace(options, **flags_of(plan, **given))
    check(options)
    if is_table(options.run):
        # Records are all that there is, and black the only access.
        asking = replace(options.asking, access="black") if options.asking.access == "white" else options.asking
        options = replace(options, asking=asking)
        subject, split = synthetic(options.run, options.asked)
    else:
        subject = load_subject(options.run, options.weights)
        split = split_of(options.asked, options.run, subject)
    how = {"seed": options.seed, "block": options.block, "mesh": local_mesh(options.devices)}
    most = options.asking, options.asked, options.shadowed
    flags, fitted = fit_budget(options.budget, subject, split, *most, **how, out=options.out)
    options = replace(options, **flags)
    split = asked(options.asked, split, options.seed)
    split = split if plan is None else planned(split, plan)
    if not options.budget.dry_run:
        return audit_subject(subject, split, options, plan, fitted)
    if fitted is None:
        print_dry_run(subject, split, options.asking, options.shadowed, run=options.run, **how)
    return None


def check(options: Audit) -> None:
    """Refuses what can be seen to be wrong before a network is trained or asked.

    Raises:
      InputError: if no or an unknown attack is named, a count is too small, or the directory holds another report.
    """
    names = named(options.asking)
    check_own(options.shadowed, options.asked)
    check_minutes(options.budget)
    counts = (
        ("times", options.asking.times, 1),
        ("bank", options.asking.bank, 5 if "nearest-5" in names else 1),
        ("query-budget", options.asking.query_budget or 0, 0),
        ("show-images", options.show_images, 0),
    )
    for flag, value, least in counts:
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if (options.out / "report.json").exists() and not (options.out / "observations").exists():
        raise InputError(f"{options.out} holds a report of something else: use another --out.")


def audit_subject(
    subject: Subject,
    split: data.Split,
    options: Audit,
    plan: Mapping[str, Any] | None = None,
    fitted: Mapping[str, Any] | None = None,
) -> Report:
    """Audits a model on a split and saves the report.

    Args:
      subject: The model, and what is recorded of it.
      split: Who is a member.
      options: Attacks, their settings and where to write.
      plan: The plan that is kept, if there is one.
      fitted: How attacks were chosen to fit into a time, as JSON; None if they were not.
    """
    check_sizes(len(split.members), len(split.nonmembers))
    target, queries, member = subject.target, queries_of(split, subject.target.num_classes), split.member
    if subject.encoder is None:
        check_truth(split, subject.record.get("split"))
    elif options.show_images:
        raise InputError("--show-images shows images, and this is a model of a table: leave it out.")
    strata = strata_of(options.asked, split)
    setting, key = setting_of(options.asking, target, subject.encoder, options.seed), audit_key(options.seed)
    names = named(options.asking, target)
    check_answered(names, target)
    black_box = tuple(name for name in names if ENTRIES[name].access == "black")
    made = passes(tuple(name for name in names if name not in black_box), setting)
    # What cannot be done is said before a bank is drawn.
    check_queries(queries, target)
    whole = comparable(names)
    found = compared(options.shadowed, whole, subject, queries, options.run, num_shadows(fitted))
    if plan is not None:
        check_kept(plan, prints_of(made, target, queries, key))
    bank_calls = black.calls(target, options.asking) if black_box else 0
    check_service(made, len(member), options.asking, bank_calls)
    if black_box:
        passes(black_box, black.blanks(setting, subject))
        made |= passes(black_box, _prepared(setting, subject, options, "surrogate" in black_box))
    mesh, out = local_mesh(options.devices), options.out / "observations"
    seen = run_passes(made, target, queries, key=key, block=options.block, mesh=mesh, out=out)
    if found is not None:
        by_shadows = ask_shadows(found, whole, setting, key=key, block=options.block, mesh=mesh)
        seen = with_shadows(seen, queries.row, found, by_shadows)
    save_scores(options.out / "scores.npz", member, seen.scores)
    report = membership_report(
        seen.scores,
        member,
        images=queries.x,
        groups=split.groups,
        coin=split.coin,
        study=variants(seen, setting),
        strata=strata or None,
        trajectory=curves(seen, setting),
        attacks=seen.specs,
        provenance=provenance(
            subject,
            seen,
            {**black.prepared(subject, options.asking, black_box), **told_of_shadows(found)},
            {**vars(options.asked), "members": options.asked.members or subject.record.get("data")},
            options.seed,
            options.devices,
        )
        | ({} if fitted is None else {"plan": dict(fitted)}),
        show_images=options.show_images,
        seed=options.seed,
    )
    if plan is not None:
        told = registered_section(plan, seen.scores[plan["attack"]], member, report.document["level"])
        report = Report(report.document | {"registered": told})
    report.save(options.out)
    return report


def _prepared(setting: Setting, subject: Subject, options: Audit, surrogate: bool) -> Setting:
    """Draws the bank that black-box attacks need and, if asked to, trains a surrogate on it."""
    key_bank, key_surrogate = black.keys(options.seed)
    bank = black.draw(
        key_bank,
        subject,
        options.asking,
        out=options.out / "bank",
        block=options.block,
        mesh=local_mesh(options.devices),
    )
    if not surrogate:
        return setting._replace(bank=bank)
    trained = black.train_surrogate(key_surrogate, bank, subject, options.asking, out=options.out / "surrogate")
    return setting._replace(bank=bank, surrogate=trained)
