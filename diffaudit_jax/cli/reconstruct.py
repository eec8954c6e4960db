"""diffaudit reconstruct: what a privatised gradient shows of images to whoever has a diffusion prior."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro

from diffaudit_jax import data, importers, models
from diffaudit_jax.cli.aimed import NUM_SHOWN, classes_of, known_targets, public_of, shown_of, targets_of
from diffaudit_jax.cli.attacker import Attacker, knowledge_of, pictured
from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.subject import Subject, Weights, load_subject, told_of
from diffaudit_jax.metrics.bounds import checked_kappa
from diffaudit_jax.reconstruction import Knowledge
from diffaudit_jax.reconstruction.denoise import prior_of
from diffaudit_jax.reconstruction.perceptual import Perceptual
from diffaudit_jax.reconstruction.promises import Training
from diffaudit_jax.reconstruction.sweep import sweep
from diffaudit_jax.reconstruction.targets import LEAST, checked_grid
from diffaudit_jax.report.reconstruction import ReconstructionReport, reconstruction_report, scores_npz
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Reconstruct:
    """Attack privatised gradients of images with a diffusion prior, at several levels of privacy.

    Writes report.html, reconstruction.json, and scores.npz with what was measured of every target. It is the worst
    case: a batch of one, and a model made to leak. Targets are images that the prior has never seen.
    """

    prior: tyro.conf.Positional[Path]
    """The attacker's diffusion model: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved-
    or guided-diffusion."""
    targets: str
    """Images that are attacked: a path or name as in `diffaudit train`."""
    out: Path
    """Directory for the report; made if it does not exist."""
    mu: tuple[str, ...] = ("1,2,5,10,20,50,100",)
    """Privacy of one release: clipping norm over noise, with spaces or commas between."""
    num_targets: int = 64
    """Attack this many of the targets, drawn at random; all if there are fewer."""
    public: str | None = None
    """Images like the prior's data that the attacker has, for other denoisers and for the prior's own error. A run
    takes its held-out images if not given; targets, and what trained the prior, are left out."""
    attacker: Annotated[Attacker, tyro.conf.arg(name="")] = field(default_factory=Attacker)
    """What the attacker does and knows."""
    delta: float = 1e-5
    """Delta at which epsilon is told."""
    kappa: tuple[float, ...] = (1e-2, 1e-4, 1e-6)
    """Chances of a right guess without the release; what any attack can make of them at most is told."""
    near: float | None = None
    """Count reconstructions within this mean squared error (images in [-1, 1]) of their targets, and bound how many
    there can be: the chance of such a guess is estimated from public images."""
    training: tuple[float, int] | None = None
    """Bound a whole DP-SGD training with these mu too: the chance that a step draws an image, and the number of steps,
    such as 0.01 1000."""
    lpips: Literal["none", "vgg", "alex"] = "none"
    """Measure the perceptual distance LPIPS too, by this network; its weights come with the extra `lpips`."""
    show_images: bool = False
    """Show targets in the report. They are personal data; if not given, public images are attacked too and shown."""
    block: int = 64
    """Random reconstructions per dispatch, over all devices; more is faster and takes more memory."""
    seed: int = 0
    """Seed of everything that is drawn."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


class Aim(NamedTuple):
    """What is attacked and what is known beside, all checked.

    Attributes:
      subject: The prior.
      targets: What is attacked.
      cond: Their classes, or None.
      known: How many of them trained the prior; None if nobody can tell.
      public: Public images, or None.
      public_cond: Their classes, or None.
      shown: Other public images, attacked to be shown, or None.
      knowledge: What the attacker knows of clipping and noise.
    """

    subject: Subject
    targets: data.Pool
    cond: np.ndarray | None
    known: int | None
    public: data.Pool | None
    public_cond: np.ndarray | None
    shown: data.Pool | None
    knowledge: Knowledge


def run_reconstruct(options: Reconstruct) -> ReconstructionReport:
    """Runs the command; returns the report it saved."""
    mus, attacker = check(options), options.attacker
    aim = aimed(options)
    perceptual, upsampled = perceptual_of(options.lpips, aim.subject.target.shape)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(options.seed), 6))
    with stage("reconstructing") as show:
        found = sweep(
            keys[0],
            aim.subject.target,
            aim.targets.x,
            mus,
            public=None if aim.public is None else aim.public.x,
            num=attacker.num,
            steps=attacker.steps,
            eta=attacker.eta,
            consistency=attacker.consistency,
            kappas=options.kappa,
            near=options.near,
            training=options.training and Training(*options.training),
            knowledge=aim.knowledge,
            num_releases=attacker.releases,
            delta=options.delta,
            cond=aim.cond,
            public_cond=aim.public_cond,
            perceptual=perceptual,
            shown=NUM_SHOWN,
            block=options.block,
            progress=show,
        )
    report = reconstruction_report(
        found,
        attacker={
            **vars(aim.knowledge),
            "classes": "none" if aim.cond is None else "known",
            "leak": "linear_unit",
            "steps": attacker.steps,
            "samples": attacker.num,
            "eta": attacker.eta,
            "consistency": attacker.consistency,
        },
        delta=options.delta,
        num_releases=attacker.releases,
        known=aim.known,
        num_public=0 if aim.public is None else len(aim.public),
        public_shown=None
        if aim.shown is None
        else pictured(keys[1], aim.subject.target, aim.shown, found.mus, attacker, aim.knowledge, block=options.block),
        show_targets=options.show_images,
        upsampled=upsampled,
        provenance=provenance(aim, options),
        seed=options.seed,
    )
    report.save(options.out)
    write_atomic(options.out / "scores.npz", scores_npz(found, aim.targets.hashes().tolist()))
    return report


def check(options: Reconstruct) -> np.ndarray:
    """Refuses what can be seen to be wrong before anything is loaded; returns the values of mu, increasing.

    Raises:
      InputError: if a number is out of range, or the directory holds something else.
    """
    counts = (
        ("num-targets", options.num_targets, LEAST),
        ("num", options.attacker.num, 2),
        ("steps", options.attacker.steps, 1),
        ("releases", options.attacker.releases, 1),
        ("block", options.block, 1),
    )
    for flag, value, least in counts:
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if not 0 < options.delta < 1:
        raise InputError(f"--delta must lie between 0 and 1, got {options.delta:g}.")
    if not 0 < options.attacker.eta < float("inf"):
        raise InputError(f"--eta must be above 0, or all draws are the same, got {options.attacker.eta:g}.")
    checked_kappa(options.kappa)
    if options.near is not None and not 0 < options.near < float("inf"):
        raise InputError(f"--near must be a mean squared error above 0 and finite, got {options.near:g}.")
    if options.training is not None and not (0 < options.training[0] <= 1 <= options.training[1]):
        raise InputError(
            f"--training takes a chance above 0, at most 1, and a number of steps, such as 0.01 1000, got "
            f"{options.training[0]:g} {options.training[1]}."
        )
    check_out(options.out, ReconstructionReport)
    return mus_of(options.mu)


def mus_of(words: Sequence[str]) -> np.ndarray:
    """Returns the values of mu that were written, increasing, each once.

    Raises:
      InputError: if one is no number or not positive, or there are fewer than 2.
    """
    parts = [part for word in words for part in word.split(",") if part.strip()]
    try:
        mus = checked_grid([float(part) for part in parts])
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--mu takes numbers such as 1,5,20, got {' '.join(parts)!r}.") from None
    if len(mus) < 2:
        raise InputError(f"--mu takes 2 different values or more, such as 1,5,20, got {' '.join(parts) or 'none'}.")
    return mus


def aimed(options: Reconstruct) -> Aim:
    """Loads prior and images, and refuses what does not go together before the network is asked."""
    subject = load_subject(options.prior, options.weights)
    prior_of(subject.target)
    targets, everyone = targets_of(options.targets, options.num_targets, subject, options.seed)
    public = public_of(options.public, subject, options.prior, targets, options.seed)
    cond, num_classes = classes_of(targets, subject.target.num_classes), subject.target.num_classes
    shown, public_cond = None, None
    if public is not None:
        # Also where targets are shown: what is measured does not go with what is drawn.
        shown, public = shown_of(public, everyone)
        shown = None if options.show_images else shown
        public_cond = classes_of(public, num_classes)
    if public is None and options.near is not None:
        raise InputError("--near estimates the chance of a guess from public images: give --public.")
    known = known_targets(targets, subject.record.get("split"))
    knowledge = knowledge_of(options.attacker, public)
    return Aim(subject, targets, cond, known, public, public_cond, shown, knowledge)


def perceptual_of(net: str, shape: tuple[int, ...]) -> tuple[Perceptual | None, tuple[int, int] | None]:
    """Returns LPIPS, and the size to which images of this shape are enlarged for it; None for "none"."""
    if net == "none":
        return None, None
    lpips = models.lpips("vgg" if net == "vgg" else "alex")
    upsampled = lpips.upsampled_to(shape)
    return Perceptual(importers.lpips_weights(net), lpips.features, lpips.between), upsampled


def provenance(aim: Aim, options: Reconstruct) -> dict[str, Any]:
    """Returns where a report's numbers come from, as JSON."""
    subject, device = aim.subject, jax.local_devices()[0]
    public = aim.public and {"source": options.public or "held out by the run", "hash": aim.public.fingerprint()}
    return {
        "prior": told_of(subject),
        "targets": {"source": options.targets, "hash": aim.targets.fingerprint()},
        "public": public,
        "lpips": options.lpips,
        "seeds": {"reconstruction": options.seed, "training": subject.record.get("seed")},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }
