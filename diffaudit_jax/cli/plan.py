"""diffaudit plan: attack, threshold and who is asked about, fixed before any member is."""

import tempfile
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from diffaudit_jax import data
from diffaudit_jax._version import __version__
from diffaudit_jax.auditing import check_queries
from diffaudit_jax.cli.asked import Asked, asked, check_sizes, queries_of, split_of
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.catalogue import ENTRIES, check_answered, named
from diffaudit_jax.cli.columns import is_table
from diffaudit_jax.cli.passes import Seen, check_service, passes, run_passes
from diffaudit_jax.cli.planned import SCHEMA, SCHEMA_VERSION, dealt, digest, fixed_set, prints_of, to_json
from diffaudit_jax.cli.setting import audit_key, setting_of
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.cli.truth import check_truth
from diffaudit_jax.metrics.committed import check_fixes, fixed_threshold
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Plan:
    """Fix attack, threshold and who is asked about before a member is: the plan for `diffaudit audit --plan`.

    A random half of the non-members sets the threshold; the model is asked about nobody else.
    """

    run: tyro.conf.Positional[Path]
    """What to audit: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved- or
    guided-diffusion."""
    fpr: float = 0.01
    """Share of non-members that the threshold may accuse."""
    out: Path | None = None
    """File for the plan, which must not exist yet; standard output if not given."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """Who is asked about."""

    asking: Annotated[Asking, tyro.conf.arg(name="")] = field(default_factory=Asking)
    """What is asked, and how it is scored."""

    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""

    block: int = 64
    """Images per dispatch, over all devices; more is faster and takes more memory."""
    devices: int | None = None
    """Local devices to use; all if not given."""
    seed: int = 0
    """Seed of the audit's noise, of --queries, and of the half that sets the threshold."""


def run_plan(options: Plan) -> dict[str, Any]:
    """Runs the command; returns the plan, which is written to its file if one is named."""
    if options.out is not None and options.out.exists():
        raise InputError(f"{options.out} exists, and a plan is made once: name another --out, or remove it.")
    if is_table(options.run):
        raise InputError(f"{options.run} is a table of records, which can only be audited as a bank: plan no audit.")
    subject = load_subject(options.run, options.weights)
    name = _one(options, subject)
    split = asked(options.asked, split_of(options.asked, options.run, subject), options.seed)
    if subject.encoder is None:
        check_truth(split, subject.record.get("split"))
    calibration, rest = dealt(split, options.seed)
    check_sizes(len(rest.members), len(rest.nonmembers))
    check_fixes(len(calibration), options.fpr)
    asking = replace(options.asking, attack=(name,))
    seen, prints = _asked(name, asking, subject, calibration, len(calibration) + len(rest.member), options)
    plan = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "attack": name,
        "spec": seen.specs[name],
        "target_fpr": options.fpr,
        "threshold": fixed_threshold(seen.scores[name], options.fpr),
        "seed": options.seed,
        "asked": asdict(options.asked),
        "asking": asdict(asking),
        "weights": asdict(options.weights),
        "fingerprints": prints,
        "sets": {
            "calibration": fixed_set(calibration),
            "members": fixed_set(rest.members),
            "nonmembers": fixed_set(rest.nonmembers),
        },
    }
    plan["sha256"] = digest(plan)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(options.out, to_json(plan).encode())
    return plan


def _one(options: Plan, subject: Subject) -> str:
    """Returns the attack, of those that a plan can fix."""
    names = named(options.asking, subject.target)
    if len(names) > 1:
        raise InputError(f"a plan fixes one attack, and there are {', '.join(names)}: name one with --attack.")
    check_answered(names, subject.target)
    name = next(iter(names))
    if ENTRIES[name].access == "black":
        raise InputError(
            f"{name} stands on a bank of generated images, which a plan does not fix: plan an attack that asks the "
            "model, white-box, gray-box or image-to-image."
        )
    return name


def _asked(
    name: str, asking: Asking, subject: Subject, calibration: data.Pool, num_queries: int, options: Plan
) -> tuple[Seen, dict[str, str]]:
    """Asks about the half that sets the threshold; returns what was seen, and fingerprints of what asked whom."""
    target, key = subject.target, audit_key(options.seed)
    nobody = calibration.take(calibration.rows[:0])
    queries = queries_of(data.Split(calibration, nobody), target.num_classes)
    check_queries(queries, target)
    made = passes((name,), setting_of(asking, target, subject.encoder, options.seed))
    check_service(made, num_queries, asking, 0)
    with tempfile.TemporaryDirectory() as folder:
        seen = run_passes(
            made,
            target,
            queries,
            key=key,
            block=options.block,
            mesh=local_mesh(options.devices),
            out=Path(folder),
        )
    return seen, prints_of(made, target, queries, key)
