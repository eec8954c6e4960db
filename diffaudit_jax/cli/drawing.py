"""Images that a generator makes, for commands that look at nothing else of it: drawn of a model, or read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8

from diffaudit_jax import data, importers
from diffaudit_jax.bank import drawn
from diffaudit_jax.cli.subject import Subject, Weights, load_subject, told_of
from diffaudit_jax.models import guided
from diffaudit_jax.target import Target, redrawn
from diffaudit_jax.types import InputError

SAMPLES = "samples.npz"


@dataclass(frozen=True)
class Drawing:
    """How images are drawn of a model."""

    sampler: str | None = None
    """One of ddim, ancestral, langevin, euler-maruyama, predictor-corrector, heun; the model family's own if not given,
    ddim of checkpoints from elsewhere.
    """
    steps: int | None = None
    """Steps of the sampler; if not given 50 of ddim, 18 of heun, 1000 or more of langevin (over all its noise levels),
    else as many as the process has."""
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 for none. It takes two network calls for one."""


class Generated(NamedTuple):
    """Images of a generator, and what is known of them.

    Attributes:
      blocks: The images, uint8 [block, *shape] and fewer in the last: a model is asked for no more than are taken.
      num: How many there are in all.
      shape: Shape of one.
      labels: Class of each, in their order, int [num]; None where there are no classes.
      hashes: Content hashes of images that were given and not drawn; empty of a model.
      record: What `diffaudit train` wrote of a run of our own; empty for others.
      told: What a report says of where they are from, as JSON.
    """

    blocks: Iterator[UInt8[np.ndarray, "block *shape"]]
    num: int
    shape: tuple[int, ...]
    labels: Int[np.ndarray, " num"] | None
    hashes: list[str]
    record: dict[str, Any]
    told: dict[str, Any]

    @property
    def in_turn(self) -> bool:
        """Whether a model was asked for its classes in turn, so that their shares are nobody's but the asker's."""
        return "drawn" in self.told and self.labels is not None

    def all(self) -> UInt8[np.ndarray, "num *shape"]:
        """Takes all images."""
        return np.concatenate(list(self.blocks))


def generated(path: Path, weights: Weights, drawing: Drawing, num: int, *, seed: int, block: int) -> Generated:
    """Opens a generator: nothing is drawn before it is taken.

    Args:
      path: A run directory, a checkpoint, or generated images themselves: a folder (sub-folders are classes), an npz,
        or what `diffaudit sample` wrote.
      weights: What a file of weights alone cannot tell.
      drawing: How images are drawn of a model; classes are asked for in turn.
      num: Images; all there are, in random order, if a folder has fewer.
      seed: Seed of the images.
      block: Images per block.

    Raises:
      InputError: if the path leads to neither, a number is not positive, or images cannot be drawn so.
    """
    for flag, value in (("num", num), ("block", block)):
        if value < 1:
            raise InputError(f"--{flag} must be at least 1, got {value}.")
    # What `diffaudit sample` wrote: its picture beside the samples is none of them.
    path = path / SAMPLES if (path / SAMPLES).is_file() else path
    key = jax.random.fold_in(jax.random.key(seed), 4)
    if (path / "run.json").exists() or importers.recognise(path) != "images":
        subject = load_subject(path, weights)
        target = drawn_as(subject, drawing, path)
        labels = None if target.num_classes is None else np.arange(num) % target.num_classes
        blocks = drawn(key, target, num, labels=labels, block=block)
        told = told_of(subject) | {"drawn": {**target.config, "guidance": drawing.guidance}}
        return Generated(blocks, num, target.shape, labels, [], dict(subject.record), told)
    if drawing != Drawing():
        raise InputError(f"{path} holds images, which are not drawn: leave --sampler, --steps and --guidance out.")
    pool = data.load(path)
    assert isinstance(pool, data.Pool), "what is recognised as images is no table"
    hashes = pool.hashes().tolist()
    pool = pool.take(np.random.default_rng(seed).permutation(len(pool))[:num])
    blocks = (pool.x[start : start + block] for start in range(0, len(pool), block))
    return Generated(blocks, len(pool), pool.shape, pool.labels, hashes, {}, {"source": "images"})


def drawn_as(subject: Subject, drawing: Drawing, path: Path) -> Target:
    """Returns the target, with the sampler that was asked for.

    Args:
      subject: A model.
      drawing: How its images are drawn.
      path: What it is called in messages.

    Raises:
      InputError: if it cannot be drawn so, or consists of images.
    """
    target, network = subject.target, subject.target.network
    if network is None and "images" not in target.config:
        if drawing != Drawing():
            raise InputError(f"{path} draws in one step: leave --sampler, --steps and --guidance out.")
        return target
    if network is None:
        raise InputError(f"{path} holds samples only: give the model they are of.")
    if drawing.guidance != 1:
        if target.num_classes is None or not network.config.get("null_class", True):
            raise InputError(f"--guidance needs a model of classes and of none, got {drawing.guidance} without.")
        network = guided(network, drawing.guidance, target.num_classes)
    return redrawn(target, sampler=drawing.sampler, sample_steps=drawing.steps, network=network)
