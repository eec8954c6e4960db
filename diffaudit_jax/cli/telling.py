"""Who tells which value of a property an image has: a classifier trained for it, or CLIP with one text a value."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from diffaudit_jax import importers
from diffaudit_jax.cli.drawing import Generated
from diffaudit_jax.cli.labelled import Aux, Labelled
from diffaudit_jax.cli.progress import Stage, stage
from diffaudit_jax.cli.table_drawing import Records
from diffaudit_jax.cli.values import Asked
from diffaudit_jax.importers.zero_shot import zero_shot
from diffaudit_jax.metrics.anytime import anytime
from diffaudit_jax.training.discriminator import train_discriminator
from diffaudit_jax.training.receivers import NAMES, ROWS, Predict, train_receiver
from diffaudit_jax.types import InputError, Key, known

CLIP = "clip"


@dataclass(frozen=True)
class Telling:
    """Who tells which value an image has."""

    discriminator: str | None = None
    """One of lenet, resnet, mlp, vit, logistic, boosting, trained on labelled images; or clip, zero-shot. If not given,
    resnet; boosting of a table, which takes it, logistic and mlp."""
    discriminator_steps: int = 400
    """Training steps of a network."""
    clip: Path | None = None
    """Folder of a CLIP model in the layout of Hugging Face, for --discriminator clip."""
    prompts: tuple[str, ...] = ()
    """Texts, one for each value, in the order of values, sorted (false before true), for --discriminator clip."""

    def named(self) -> str:
        """Returns who tells of images."""
        return self.discriminator or "resnet"


class Teller(NamedTuple):
    """Who tells, and how often he errs.

    Attributes:
      predict: ``images (or records) -> code of each``.
      confusion: Labelled images that taught nothing, by code and by what they are called; None if there are none.
      by: Class -> the same of the images of this class; empty if nobody says the class.
      taught: Labelled images that taught.
    """

    predict: Callable[[Any], np.ndarray]
    confusion: Int[np.ndarray, "v v"] | None
    by: Mapping[int, Int[np.ndarray, "v v"]]
    taught: int


def check_telling(telling: Telling, aux: Aux) -> None:
    """Refuses flags that do not go together.

    Raises:
      InputError: naming the flag that is missing or left over.
    """
    if telling.discriminator_steps < 1:
        raise InputError(f"--discriminator-steps must be at least 1, got {telling.discriminator_steps}.")
    clip = known("discriminator", telling.named(), (*NAMES, CLIP)) == CLIP
    if clip and (telling.clip is None or len(telling.prompts) < 2):
        raise InputError("--discriminator clip takes a folder with --clip, and a text for each value with --prompts.")
    if not clip and (telling.clip is not None or telling.prompts):
        raise InputError("--clip and --prompts are for --discriminator clip: give it, or leave them out.")
    if aux.aux is None and not clip:
        raise InputError(f"--discriminator {telling.named()} learns from labelled images: give --aux.")
    for flag, given in (("--aux-test", aux.aux_test), ("--aux-label", aux.aux_label)):
        if aux.aux is None and given is not None:
            raise InputError(f"{flag} goes with --aux: give both, or leave it out.")
    if clip and aux.aux_test is not None:
        raise InputError(
            "--aux-test is for a discriminator that learns from --aux, and CLIP does not: give --aux alone."
        )


def clip_teller(telling: Telling, asked: Asked, shape: tuple[int, ...]) -> Predict:
    """Reads CLIP, and returns who tells by its texts.

    Args:
      telling: The flags.
      asked: What is asked for.
      shape: Shape of an image.

    Raises:
      InputError: if there is not one text a value, images have neither one channel nor three, or CLIP cannot be read.
    """
    if len(telling.prompts) != len(asked.values):
        raise InputError(
            f"--prompts takes a text for each value of {asked.name!r}, which are {', '.join(asked.values)}, got "
            f"{len(telling.prompts)}."
        )
    if shape[-1] not in (1, 3):
        raise InputError(f"CLIP sees images of one channel or three, and these have {shape[-1]}: convert them.")
    assert telling.clip is not None
    asks = zero_shot(importers.clip.load(telling.clip), telling.prompts)
    return lambda images: asked.codes(asks(images).argmax(axis=1))


def untaught(predict: Predict, asked: Asked, labelled: Labelled | None) -> Teller:
    """Returns a discriminator that no image taught, its errors counted on all labelled images."""
    if labelled is None:
        return Teller(predict, None, {}, 0)
    with stage("asking about labelled images"):
        return Teller(predict, *counted(predict, labelled, len(asked.told)), 0)


def taught(key: Key, name: str, num_steps: int, labelled: Labelled, test: Labelled | None, size: int) -> Teller:
    """Trains a discriminator on half of the labelled images, or on all if there are others to judge it by.

    Args:
      key: All that is drawn.
      name: Who is trained.
      num_steps: Training steps of a network.
      labelled: Images that teach, and that judge if there are no others.
      test: Those others, or None.
      size: What is told apart, in number.
    """
    with stage("training the discriminator") as show:
        progress: Callable[..., None] = lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}")  # noqa: E731
        network: dict[str, Any] = {"progress": progress, "num_steps": num_steps}
        settings = {} if name in ROWS else network
        if test is None:
            found = train_discriminator(key, labelled.lesson, name=name, by=labelled.by, **settings)
            return Teller(found.predict, found.confusion, found.by, len(labelled.codes) - int(found.confusion.sum()))
        predict = train_receiver(jax.random.fold_in(key, 1), name, labelled.lesson, **settings)
    return Teller(predict, *counted(predict, test, size), len(labelled.codes))


def counted(
    predict: Predict, labelled: Labelled, size: int
) -> tuple[Int[np.ndarray, "v v"], dict[int, Int[np.ndarray, "v v"]]]:
    """Counts what labelled images are called: all of them, and those of each class.

    Args:
      predict: Who tells.
      labelled: Images that did not teach him.
      size: What is told apart, in number.
    """
    called = predict(labelled.pool.x)

    def table(where: np.ndarray) -> Int[np.ndarray, "v v"]:
        found = np.zeros((size, size), int)
        np.add.at(found, (labelled.codes[where], called[where]), 1)
        return found

    of_class = {} if labelled.by is None else {int(y): table(labelled.by == y) for y in np.unique(labelled.by)}
    return table(np.ones(len(called), bool)), of_class


def called(
    blocks: Iterator[Any], predict: Callable[[Any], np.ndarray], one: bool, error: float | None, level: float
) -> Int[np.ndarray, " n"]:
    """Returns what samples are called, no more of them than are needed.

    Args:
      blocks: Images, or tables of records.
      predict: Who tells.
      one: Whether the share of one value, code 1, is asked for.
      error: Half the width of the interval, of a share that may be looked at after every block, at which to stop.
      level: Its confidence level.
    """
    found: list[np.ndarray] = []
    k, n = 0, 0
    for block in blocks:
        found.append(np.asarray(predict(block), int))
        k, n = k + int((found[-1] == 1).sum()), n + len(block)
        if one and error is not None and np.ptp(anytime(k, n, level)) <= 2 * error:
            break
    return np.concatenate(found)


def shown(made: Generated | Records, show: Stage) -> Iterator[Any]:
    """Yields a generator's blocks of samples, and shows how many there have been."""
    done = 0
    for block in made.blocks:
        yield block
        done += len(block)
        show(done, made.num)
