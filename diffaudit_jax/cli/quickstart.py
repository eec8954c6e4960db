"""diffaudit quickstart: the whole of an audit on images that come with the package."""

from dataclasses import dataclass
from pathlib import Path

from diffaudit_jax.cli.asked import check_sizes
from diffaudit_jax.cli.asking import Asking
from diffaudit_jax.cli.audit import Audit, audit_subject, check
from diffaudit_jax.cli.subject import of_run
from diffaudit_jax.cli.train import Train, train
from diffaudit_jax.report import Report


@dataclass(frozen=True)
class Quickstart:
    """Train a small DDPM on 64 Fashion-MNIST images, audit it white-box against 1,000 others, and write a report.

    Takes a few minutes on 2 CPU cores. Stopped, it goes on when the same command is given again.
    """

    out: Path = Path("diffaudit-quickstart")
    """Directory for the run, the audit and the report."""
    members: int = 64
    """Images to train on."""
    nonmembers: int = 1000
    """Images held out."""
    steps: int = 600
    """Training steps; 0 audits the untrained network."""
    times: int = 20
    """Times at which the loss is taken."""
    show_images: int = 0
    """Show this many of the most exposed images in the report."""
    seed: int = 0
    """Seed of everything."""


def run_quickstart(options: Quickstart) -> Report:
    """Runs the command; returns the report it saved."""
    audit = Audit(
        options.out / "run",
        options.out,
        asking=Asking(times=options.times),
        show_images=options.show_images,
        seed=options.seed,
    )
    check(audit)
    check_sizes(options.members, options.nonmembers)
    run, split = train(
        Train(
            data="fashion-mnist-2k",
            out=options.out / "run",
            members=options.members,
            nonmembers=options.nonmembers,
            steps=options.steps,
            seed=options.seed,
        )
    )
    return audit_subject(of_run(run), split, audit)
