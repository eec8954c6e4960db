"""Runs the studies of `diffaudit study`: loads priors and images, attacks, and reports."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli import studied_images as images_of
from diffaudit_jax.cli.aimed import images, public_of, targets_of, trained_on
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.reconstruct import mus_of
from diffaudit_jax.cli.studied_images import NONE, prior_at, priors_at
from diffaudit_jax.cli.study import Asked, Noise, Priors, Rounds, Seen, Sizes, Study, check, rounds_of
from diffaudit_jax.cli.subject import Subject, told_of
from diffaudit_jax.reconstruction import Attacker, image_sizes, prior_dial, rounds, seen_by_prior, unknown_noise
from diffaudit_jax.reconstruction.targets import LEAST
from diffaudit_jax.report import studies, studies_found
from diffaudit_jax.report.studies import StudyReport, study_npz, study_report
from diffaudit_jax.types import InputError, Key, write_atomic


class Done(NamedTuple):
    """A study that ran.

    Attributes:
      study: What it measured.
      priors: By name.
      targets: By variant.
      known: How many targets trained a prior; None if nobody can tell.
      public: Public images, or None.
      notes: What a reader has to know of the targets.
    """

    study: studies.Study
    priors: Mapping[str, Subject]
    targets: Mapping[str, data.Pool]
    known: int | None = None
    public: data.Pool | None = None
    notes: tuple[str, ...] = ()


def run_study(options: Study) -> StudyReport:
    """Runs the command; returns the report it saved."""
    varied = options.varied
    check(varied)
    done, asked = _RUN[type(varied)](varied), varied.asked
    conditional = any(each.target.num_classes is not None for each in done.priors.values())
    report = study_report(
        done.study,
        attacker={"method": "ddim", "steps": asked.steps, "classes": "not told" if conditional else "none"},
        delta=asked.delta,
        known=done.known,
        num_public=0 if done.public is None else len(done.public),
        notes=done.notes,
        provenance=_provenance(done, varied),
        seed=asked.seed,
    )
    report.save(varied.out)
    hashes = {name: pool.hashes().tolist() for name, pool in done.targets.items()}
    write_atomic(varied.out / "scores.npz", study_npz(done.study, hashes))
    return report


def _noise(options: Noise) -> Done:
    subject, asked = prior_at(options.prior, options.weights), options.asked
    targets, _ = targets_of(options.targets, asked.num_targets, subject, asked.seed)
    public = public_of(options.public, subject, options.prior, targets, asked.seed)
    if public is None:
        raise InputError(f"{options.prior} held out no images to take the usual norm from: give --public.")
    with stage("reconstructing"):
        found = unknown_noise(
            _key(asked), subject.target, targets.x, mus_of(asked.mu), public.x, attacker=_attacker(asked)
        )
    return _done(studies_found.of_noise(found), {options.prior.name: subject}, targets, public)


def _rounds(options: Rounds) -> Done:
    subject, asked = prior_at(options.prior, options.weights), options.asked
    targets, _ = targets_of(options.targets, asked.num_targets, subject, asked.seed)
    counts, attacker = rounds_of(options.rounds), _attacker(asked)
    with stage("reconstructing"):
        found = rounds(_key(asked), subject.target, targets.x, mus_of(asked.mu), num_releases=counts, attacker=attacker)
    return _done(studies_found.of_rounds(found), {options.prior.name: subject}, targets)


def _seen(options: Seen) -> Done:
    subject, asked = prior_at(options.prior, options.weights), options.asked
    both = images_of.sides_of(options.prior, subject, options.targets, options.others)
    seen, unseen = (
        images_of.drawn(pool, f"different images that {what} the prior", asked.num_targets, asked.seed)
        for pool, what in zip(both, ("trained", "did not train"), strict=True)
    )
    with stage("reconstructing"):
        found = seen_by_prior(
            _key(asked), subject.target, seen.x, unseen.x, mus_of(asked.mu), attacker=_attacker(asked)
        )
    targets = {studies_found.SEEN: seen, studies_found.UNSEEN: unseen}
    return Done(studies_found.of_seen(found), {options.prior.name: subject}, targets)


def _priors(options: Priors) -> Done:
    asked, subjects = options.asked, priors_at(options.priors, options.weights)
    matched = next(iter(subjects.values()))
    for path, subject in zip(options.priors, subjects.values(), strict=True):
        if tuple(subject.target.shape) != tuple(matched.target.shape):
            raise InputError(
                f"{path} takes images of {tuple(subject.target.shape)} and {options.priors[0]} of "
                f"{tuple(matched.target.shape)}: name priors of one shape."
            )
    targets, _ = targets_of(options.targets, asked.num_targets, matched, asked.seed)
    public = public_of(options.public, matched, options.priors[0], targets, asked.seed)
    assert public is not None  # a source was named
    trained = [stored for subject in subjects.values() for stored in trained_on(subject.record.get("split") or {})]
    public = public.take(~np.isin(public.hashes(), trained))
    if len(public) < 2:
        raise InputError(f"{len(public)} images of {options.public} trained none of the priors: give 2 or more.")
    priors = {**{name: subject.target for name, subject in subjects.items()}, NONE: None}
    with stage("reconstructing"):
        found = prior_dial(_key(asked), priors, targets.x, mus_of(asked.mu), public.x, attacker=_attacker(asked))
    return _done(studies_found.of_priors(found), subjects, targets, public)


def _sizes(options: Sizes) -> Done:
    asked, subjects = options.asked, priors_at(options.priors, options.weights)
    sides: dict[int, tuple[str, Any]] = {}
    for path, (name, subject) in zip(options.priors, subjects.items(), strict=True):
        side = subject.target.shape[0]
        if side in sides:
            raise InputError(f"{path} and {sides[side][0]} both take images of {side} pixels a side: name one of each.")
        sides[side] = name, path
    pool, order = data.distinct(images(options.targets)), sorted(sides)
    factors = {side: images_of.factor_of(pool, subjects[sides[side][0]].target.shape, sides[side][1]) for side in order}
    # What is of one value all over at one size shows nothing there.
    able = np.flatnonzero(np.all([images_of.varied(pool, factor) for factor in factors.values()], axis=0))
    if len(able) < LEAST:
        raise InputError(f"{options.targets} holds {len(able)} different images: targets are {LEAST} or more.")
    targets = pool.take(np.random.default_rng(asked.seed).permutation(able)[: asked.num_targets])
    notes = tuple(
        f"Targets of {pool.shape[0]} pixels a side are brought down to {side} by the exact mean over blocks of "
        f"{factor} x {factor}."
        for side, factor in factors.items()
        if factor > 1
    )
    for note in notes:
        warnings.warn(note[0].lower() + note[1:], stacklevel=2)
    sized = {side: images_of.brought_down(targets, factor) for side, factor in factors.items()}
    with stage("reconstructing"):
        found = image_sizes(
            _key(asked),
            {side: (subjects[sides[side][0]].target, sized[side]) for side in order},
            mus_of(asked.mu),
            attacker=_attacker(asked),
        )
    known = images_of.known_of(
        (subjects[sides[side][0]], images_of.rounded_down(targets, factors[side])) for side in order
    )
    return _done(studies_found.of_sizes(found, mus_of(asked.mu)), subjects, targets)._replace(known=known, notes=notes)


_RUN: Mapping[type, Callable[[Any], Done]] = {
    Noise: _noise,
    Rounds: _rounds,
    Seen: _seen,
    Priors: _priors,
    Sizes: _sizes,
}


def _done(
    study: studies.Study, priors: Mapping[str, Subject], targets: data.Pool, public: data.Pool | None = None
) -> Done:
    """Returns a study all of whose variants attacked the same targets."""
    known = images_of.known_of((subject, targets) for subject in priors.values())
    return Done(study, priors, dict.fromkeys(study.variants, targets), known, public)


def _key(asked: Asked) -> Key:
    return jax.random.key(asked.seed)


def _attacker(asked: Asked) -> Attacker:
    return Attacker(steps=asked.steps, block=asked.block)


def _provenance(done: Done, options: Noise | Rounds | Seen | Priors | Sizes) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON."""
    device = jax.local_devices()[0]
    sources = {name: getattr(options, name, None) for name in ("targets", "others", "public")}
    return {
        "priors": {name: told_of(subject) for name, subject in done.priors.items()},
        "images": {name: source or "the run's own" for name, source in sources.items() if hasattr(options, name)},
        "hashes": {name: pool.fingerprint() for name, pool in done.targets.items()},
        "public": done.public and done.public.fingerprint(),
        "seed": options.asked.seed,
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }
