"""Flags of private training, and the noise that they ask for."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from diffaudit_jax import training
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.report.numbers import at_most
from diffaudit_jax.types import InputError, write_atomic


@dataclass(frozen=True)
class Private:
    """Differential privacy (DP-SGD): a bound on what the weights can reveal of any one image."""

    dp: bool = False
    """Train with differential privacy. Each image is then in a batch by a coin of its own, --batch of them on average,
    and the key of the noise comes from the operating system instead of --seed."""
    target_epsilon: float | None = None
    """Find the noise that keeps epsilon within this, in --steps steps. Small is private."""
    noise_multiplier: float | None = None
    """Standard deviation of the noise on the sum of gradients, over --clip; in place of --target-epsilon."""
    delta: float = 1e-5
    """Probability with which epsilon may fail; below 1 in the number of members."""
    clip: float = 1.0
    """Greatest l2 norm of one image's gradient; the rest is cut off."""
    multiplicity: int = 1
    """Draws of time and noise averaged for each image before its gradient is clipped: they cost time and no privacy."""
    per_layer: bool = False
    """Clip every tensor of weights on its own."""
    microbatch: int = 16
    """Images worked on at once, --multiplicity draws of each; memory grows with it and not with --batch."""
    preprocessing: Literal["fixed", "public", "declared"] = "fixed"
    """What was fitted on members before they came here: nothing (fixed), something (declared: told with epsilon, which
    leaves it out), or it was fitted on public data."""
    tuned_on_members: bool = False
    """Say that settings were chosen by looking at members, which epsilon does not cover: it is told with it."""


def privacy_of(options: Private, num_examples: int, batch: int, steps: int) -> training.Privacy | None:
    """Returns how training is made private, with the noise that the target asks for; None for plain training.

    Args:
      options: The flags.
      num_examples: Images trained on.
      batch: Expected images per step.
      steps: Training steps.

    Raises:
      InputError: if a flag is given without --dp, both or neither of epsilon and noise are given, no step is taken, or
        no noise reaches the target.
    """
    if not options.dp:
        given = [f.name for f in fields(Private) if getattr(options, f.name) != f.default]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')} is for private training: give --dp, or leave it out.")
        return None
    if (options.target_epsilon is None) == (options.noise_multiplier is None):
        raise InputError("--dp needs --target-epsilon or --noise-multiplier, one of them.")
    if steps < 1:
        raise InputError(f"--dp trains in at least 1 step, got --steps {steps}.")
    noise = options.noise_multiplier
    if options.target_epsilon is not None:
        with stage("finding the noise"):
            noise = training.noise_multiplier(
                options.target_epsilon,
                options.delta,
                l2_clip_norm=options.clip,
                batch_size=batch,
                num_examples=num_examples,
                num_steps=steps,
            )
    assert noise is not None
    return training.Privacy(
        noise_multiplier=noise,
        l2_clip_norm=options.clip,
        num_noises=options.multiplicity,
        per_layer=options.per_layer,
        microbatch=options.microbatch,
        delta=options.delta,
        preprocessing=options.preprocessing,
        tuned_on_members=options.tuned_on_members,
    )


def told(run: training.Run, out: Path) -> str | None:
    """Returns what a private run promises, in a line, and writes all of it to guarantee.json; None for other runs.

    Args:
      run: The run.
      out: Its directory.
    """
    if run.ledger is None:
        return None
    promised = training.guarantee(run.ledger)
    write_atomic(out / "guarantee.json", (json.dumps(asdict(promised), indent=1) + "\n").encode())
    if promised.epsilon is None:
        return f"no epsilon holds for it: {promised.refusals[0]}"
    how = f"noise multiplier {run.ledger.noise_multiplier:.4g}, {run.ledger.num_steps:,} steps"
    return f"private: epsilon = {at_most(promised.epsilon)} at delta = {run.ledger.delta:g} ({how})"
