"""What a command is pointed at: a run of our own or a checkpoint from elsewhere, as a target and a record of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from diffaudit_jax import importers, training
from diffaudit_jax.data import Encoder
from diffaudit_jax.target import Target


@dataclass(frozen=True)
class Weights:
    """What a .pt of improved- or guided-diffusion does not tell, under those projects' own names."""

    image_size: int | None = None
    """Side of the images, in pixels."""
    schedule: Literal["linear", "cosine"] | None = None
    """Noise schedule; linear if not given."""
    num_steps: int | None = None
    """Steps of the schedule; 1000 if not given."""
    num_heads: int | None = None
    """Attention heads; this or --num-head-channels must be said if the network attends."""
    num_head_channels: int | None = None
    """Channels of an attention head."""
    new_attention_order: bool | None = None
    """Whether q, k and v come before heads in the weights."""
    rescale_timesteps: bool | None = None
    """Whether the network was told times rescaled to 1000."""
    predict_xstart: bool | None = None
    """Whether the network predicts the clean image; the noise if not given."""
    sigma_small: bool | None = None
    """Whether a variance that is not learned is the smaller one."""
    key: str | None = None
    """Where in the file the weights are, if not at its top: ema, or ema/params further down."""


class Subject(NamedTuple):
    """A model and what is recorded of it.

    Attributes:
      target: The model.
      source: What kind of thing it was loaded from.
      record: What `diffaudit train` wrote of a run of our own; empty for others.
      training: How a run of our own was trained; empty for others.
      guarantee: What a private run of our own promises; None for others.
      encoder: Between records of a table and what the model sees; None of images.
    """

    target: Target
    source: str
    record: Mapping[str, Any]
    training: Mapping[str, Any]
    guarantee: Mapping[str, Any] | None = None
    encoder: Encoder | None = None


def told_of(subject: Subject) -> dict[str, Any]:
    """Returns what a report says of a model: where it is from, its parts, its training and what that promises."""
    return {
        "source": subject.source,
        "model": subject.target.config.get("network", {}).get("model", {}),
        "process": subject.target.config.get("process", {}),
        "training": subject.training,
        **({} if subject.guarantee is None else {"guarantee": subject.guarantee}),
    }


def of_run(run: training.Run, directory: Path | None = None) -> Subject:
    """Returns a run of our own as a subject.

    Args:
      run: The run.
      directory: Where it is kept: a private run that is not done has its key there, which the guarantee then tells.
    """
    steps = {**run.config["recipe"], "steps_done": int(run.state.step)}
    promised = None if run.ledger is None else asdict(training.guarantee(run.ledger))
    if promised is not None and directory is not None and training.holds_key(directory):
        promised["notes"] = (*promised["notes"], _KEY_IS_THERE)
    stored = run.config.get("encoder")
    encoder = None if stored is None else Encoder.from_config(stored)
    return Subject(run.target, "diffaudit train", run.config, steps, promised, encoder)


_KEY_IS_THERE = (
    "The run's directory still holds its key (secret.key): finish the run, or remove the file, before anyone gets the "
    "weights from there."
)


def load_subject(path: Path, weights: Weights) -> Subject:
    """Loads what a path leads to, by its content.

    Args:
      path: A run directory, a diffusers folder, or a file of weights.
      weights: What a file of weights alone cannot tell.

    Raises:
      InputError: if it is none of these, or damaged.
    """
    if (path / "run.json").exists():
        return of_run(training.load_run(path), path)
    given = {name: value for name, value in vars(weights).items() if value is not None}
    kind = importers.recognise(path)
    return Subject(importers.load(path, **given), kind, {}, {})
