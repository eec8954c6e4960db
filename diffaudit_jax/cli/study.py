"""diffaudit study: attacks in which one thing is varied, and what that changes of the error."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from diffaudit_jax.cli.conclusion import check_out
from diffaudit_jax.cli.reconstruct import mus_of
from diffaudit_jax.cli.subject import Weights
from diffaudit_jax.reconstruction.targets import LEAST
from diffaudit_jax.report.studies import StudyReport
from diffaudit_jax.types import InputError

LEAST_MODELS = 4
"""Priors that are models: a rank correlation of fewer, with none at all as one more, cannot be clear."""


@dataclass(frozen=True)
class Asked:
    """What all studies are asked."""

    mu: tuple[str, ...] = ("1,5,20",)
    """Privacy of one release: clipping norm over noise, with spaces or commas between."""
    num_targets: int = 64
    """Attack this many of the targets, drawn at random; all if there are fewer."""
    steps: int = 50
    """Steps of DDIM."""
    delta: float = 1e-5
    """Delta at which epsilon is told."""
    block: int = 64
    """Reconstructions per dispatch, over all devices; more is faster and takes more memory."""
    seed: int = 0
    """Seed of everything that is drawn."""


@dataclass(frozen=True)
class Noise:
    """What it costs the attacker not to be told the noise: to estimate it, or to believe in 20 % more or less."""

    prior: tyro.conf.Positional[Path]
    """The attacker's diffusion model: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved-
    or guided-diffusion."""
    targets: str
    """Images that are attacked: a path or name as in `diffaudit train`."""
    out: Path
    """Directory for the report; made if it does not exist."""
    public: str | None = None
    """Images like the prior's data, whose usual norm the attacker knows. A run takes its held-out images if not given;
    targets, and what trained the prior, are left out."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """What all studies are asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


@dataclass(frozen=True)
class Rounds:
    """What several releases of an image show together, beside one release that says as much."""

    prior: tyro.conf.Positional[Path]
    """The attacker's diffusion model: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved-
    or guided-diffusion."""
    targets: str
    """Images that are attacked: a path or name as in `diffaudit train`."""
    out: Path
    """Directory for the report; made if it does not exist."""
    rounds: tuple[str, ...] = ("1,4,16",)
    """Releases of each target, which the attacker averages, with spaces or commas between."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """What all studies are asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


@dataclass(frozen=True)
class Seen:
    """Whether the prior remembers: the attack on images that trained it, beside the attack on others."""

    prior: tyro.conf.Positional[Path]
    """The attacker's diffusion model: a run directory of `diffaudit train`, a diffusers folder, or a .pt of improved-
    or guided-diffusion."""
    out: Path
    """Directory for the report; made if it does not exist."""
    targets: str | None = None
    """Images that are attacked; a run's record tells which of them trained it. The run's members and held-out images
    if not given. Of a prior from elsewhere, all are taken for images that trained it."""
    others: str | None = None
    """Images that did not train the prior; those of --targets if not given. A prior from elsewhere needs them."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """What all studies are asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


@dataclass(frozen=True)
class Priors:
    """The same attack by priors that are further and further from the targets' data, and by none."""

    priors: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH PATH ...")]
    """Diffusion models, 4 or more, the one of the targets' data first; the attack without one is added."""
    targets: str
    """Images that are attacked: a path or name as in `diffaudit train`."""
    public: str
    """Images of the targets' kind, on which distances are measured; targets, and what trained a prior, are left out."""
    out: Path
    """Directory for the report; made if it does not exist."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """What all studies are asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


@dataclass(frozen=True)
class Sizes:
    """The same images attacked at several sizes, each with a prior of its own."""

    priors: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH PATH ...")]
    """Diffusion models of different sizes of images, 2 or more."""
    targets: str
    """Images that are attacked, of the largest size or more; they are brought down to each prior's by means over
    blocks of pixels."""
    out: Path
    """Directory for the report; made if it does not exist."""
    asked: Annotated[Asked, tyro.conf.arg(name="")] = field(default_factory=Asked)
    """What all studies are asked."""
    weights: Annotated[Weights, tyro.conf.arg(name="")] = field(default_factory=Weights)
    """What a file of weights alone cannot tell."""


Varied = (
    Annotated[Noise, tyro.conf.subcommand("noise")]
    | Annotated[Rounds, tyro.conf.subcommand("rounds")]
    | Annotated[Seen, tyro.conf.subcommand("seen")]
    | Annotated[Priors, tyro.conf.subcommand("priors")]
    | Annotated[Sizes, tyro.conf.subcommand("sizes")]
)
VARIED = ("noise", "rounds", "seen", "priors", "sizes")


@dataclass(frozen=True)
class Study:
    """Vary one thing of an attack on privatised gradients, and report what that changes.

    Writes report.html, study.json, and scores.npz with what was measured of every target. No image is shown.
    """

    varied: Annotated[tyro.conf.OmitSubcommandPrefixes[Varied], tyro.conf.arg(name="")]
    """What is varied."""

    @property
    def seed(self) -> int:
        """Seed of everything that is drawn."""
        return self.varied.asked.seed


def check(options: Noise | Rounds | Seen | Priors | Sizes) -> None:
    """Refuses what can be seen to be wrong before anything is loaded.

    Raises:
      InputError: if a number is out of range, priors are too few, or the directory holds something else.
    """
    asked = options.asked
    for flag, value, least in (
        ("num-targets", asked.num_targets, LEAST),
        ("steps", asked.steps, 1),
        ("block", asked.block, 1),
    ):
        if value < least:
            raise InputError(f"--{flag} must be at least {least}, got {value}.")
    if not 0 < asked.delta < 1:
        raise InputError(f"--delta must lie between 0 and 1, got {asked.delta:g}.")
    mus_of(asked.mu)
    if isinstance(options, Rounds):
        rounds_of(options.rounds)
    if isinstance(options, Priors):
        _check_priors(options.priors, LEAST_MODELS, "the one of the targets' data first")
    if isinstance(options, Sizes):
        _check_priors(options.priors, 2, "each of another size of images")
    check_out(options.out, StudyReport)


def rounds_of(words: Sequence[str]) -> list[int]:
    """Returns the numbers of releases that were written, increasing, each once.

    Raises:
      InputError: if one is no whole number from 1, or none is above 1.
    """
    parts = [part.strip() for word in words for part in word.split(",") if part.strip()]
    if any(not part.isdecimal() or int(part) < 1 for part in parts):
        raise InputError(f"--rounds takes whole numbers from 1 such as 1,4,16, got {' '.join(parts)!r}.")
    counts = sorted({int(part) for part in parts})
    if not counts or counts[-1] < 2:
        raise InputError(
            f"--rounds takes a number above 1, of releases that are averaged, such as 1,4,16, got "
            f"{' '.join(parts) or 'none'}."
        )
    return counts


def _check_priors(priors: Sequence[Path], least: int, order: str) -> None:
    if len(priors) < least:
        raise InputError(f"{least} priors or more are compared, got {len(priors)}: name models, {order}.")
    resolved = [path.resolve() for path in priors]
    if twice := next((path for i, path in enumerate(priors) if resolved[i] in resolved[:i]), None):
        raise InputError(f"the prior {twice} is named twice: name different ones.")
