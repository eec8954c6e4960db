"""Which images are attacked, and which public ones are known beside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.subject import Subject
from diffaudit_jax.reconstruction.targets import LEAST
from diffaudit_jax.types import InputError

NUM_PUBLIC = 256
"""Public images that are used at most: the error of the prior by itself costs network calls for each."""
NUM_SHOWN = 4
"""Images in pictures; public ones are held out from what the attacker knows."""


def images(source: str, shape: Sequence[int] | None = None, *, groups: str | None = None) -> data.Pool:
    """Loads images, of one shape where that is given.

    Raises:
      InputError: if there are none, they are a table, or of another shape.
    """
    pool = data.load(source, groups=groups)
    if not isinstance(pool, data.Pool):
        raise InputError(f"{source} is a table: reconstructions are of images.")
    if shape is not None and pool.shape != tuple(shape):
        raise InputError(f"{source} has images of {pool.shape} and the prior takes {tuple(shape)}: resize them.")
    return pool


def targets_of(source: str, num: int, subject: Subject, seed: int) -> tuple[data.Pool, np.ndarray]:
    """Draws targets at random from a source, each image once, none of one value all over.

    Returns:
      The targets; and the hashes of all images of the source, each of which is somebody's.

    Raises:
      InputError: if the source holds no images, or images of another shape than the prior's, or too few.
    """
    pool = data.distinct(images(source, subject.target.shape))
    everyone = pool.hashes()
    pool = pool.take(np.ptp(pool.x.reshape(len(pool), -1), axis=1) > 0)
    if len(pool) < LEAST:
        raise InputError(f"{source} holds {len(pool)} different images: targets are {LEAST} or more.")
    return _some(pool, num, seed), everyone


def known_targets(targets: data.Pool, record: Mapping[str, Any] | None) -> int | None:
    """Returns how many targets a run of our own was trained on, by content; None of a prior from elsewhere."""
    return None if record is None else int(np.isin(targets.hashes(), trained_on(record)).sum())


def trained_on(record: Mapping[str, Any]) -> list[str]:
    """Returns content hashes of what a recorded split trained; none of an empty one."""
    return [stored for side in ("members", "always") for stored in record.get(side, {}).get("hashes", ())]


def public_of(source: str | None, subject: Subject, path: Path, targets: data.Pool, seed: int) -> data.Pool | None:
    """Returns public images, none of them a target or one that the prior was trained on, in random order.

    Args:
      source: Where to take them from; the run's own held-out images if None.
      subject: The prior.
      path: Where it is, for messages.
      targets: What is attacked.
      seed: Seed of the order.

    Returns:
      Up to `NUM_PUBLIC` + `NUM_SHOWN` of them; None if none are given and the run holds too few of its own.

    Raises:
      InputError: if they are no images, of another shape, or too few are left.
    """
    record = subject.record.get("split")
    pool = _held_out(subject, path) if source is None else images(source, subject.target.shape)
    if pool is None:
        return None
    pool = data.distinct(pool)
    pool = pool.take(~np.isin(pool.hashes(), [*targets.hashes(), *trained_on(record or {})]))
    if len(pool) >= NUM_SHOWN + 2:
        return _some(pool, NUM_PUBLIC + NUM_SHOWN, seed + 1)
    if source is None:
        return None
    raise InputError(
        f"{len(pool)} images of {source} are neither targets nor what the prior was trained on: public images are "
        f"{NUM_SHOWN + 2} or more."
    )


def shown_of(public: data.Pool, everyone: np.ndarray) -> tuple[data.Pool | None, data.Pool]:
    """Holds out what pictures may show: images that are nobody's in the source of the targets, drawn or not.

    Args:
      public: What `public_of` returns.
      everyone: Hashes of that source.

    Returns:
      `NUM_SHOWN` images, None if there are not as many; and the others.
    """
    others = np.flatnonzero(~np.isin(public.hashes(), everyone))[:NUM_SHOWN]
    if len(others) < NUM_SHOWN:
        return None, public
    return public.take(others), public.take(np.setdiff1d(np.arange(len(public)), others))


def classes_of(pool: data.Pool, num_classes: int | None) -> np.ndarray | None:
    """Returns the classes that a conditional prior is told of; None of another.

    Raises:
      InputError: if the prior takes classes, and the images have none or others.
    """
    if num_classes is None:
        return None
    if pool.labels is None:
        raise InputError(f"the prior is conditioned on labels and {pool.name} has none: give images with labels.")
    if pool.labels.max() >= num_classes:
        raise InputError(
            f"label {pool.labels.max()} of {pool.name} is beyond the {num_classes} classes that the prior was trained "
            f"on: give images of these classes."
        )
    return pool.labels


def _held_out(subject: Subject, path: Path) -> data.Pool | None:
    record = subject.record
    if not {"data", "split"} <= set(record):
        return None
    try:
        split = data.from_record(record["split"], images(record["data"], groups=record.get("groups")))
    except InputError as error:
        raise InputError(
            f"the images that {path} held out are not as they were ({error.args[0].rstrip('.')}): give --public."
        ) from error
    return split.nonmembers if split.reference is None else data.concatenate(split.nonmembers, split.reference)


def _some(pool: data.Pool, num: int, seed: int) -> data.Pool:
    return pool.take(np.random.default_rng(seed).permutation(len(pool))[:num])
