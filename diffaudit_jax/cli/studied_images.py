"""Priors and images of studies: models without classes, who trained them and who did not, images at several sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.aimed import images, known_targets, trained_on
from diffaudit_jax.cli.subject import Subject, Weights, load_subject
from diffaudit_jax.reconstruction.denoise import prior_of
from diffaudit_jax.reconstruction.targets import LEAST
from diffaudit_jax.types import InputError

NONE = "none"
"""What the attack without a prior is called."""


def prior_at(path: Path, weights: Weights) -> Subject:
    """Loads a prior that can be asked without classes.

    Raises:
      InputError: if it is no diffusion model, or knows classes and none that stands for no class.
    """
    subject = load_subject(path, weights)
    network = prior_of(subject.target)[1]
    if subject.target.num_classes is not None and not network.config.get("null_class", True):
        raise InputError(
            f"{path} is conditioned on {subject.target.num_classes} classes and has none that stands for no class: "
            f"studies tell no classes, so name a prior without them."
        )
    return subject


def priors_at(paths: Sequence[Path], weights: Weights) -> dict[str, Subject]:
    """Loads priors by the names of their directories, made distinct; none is called `NONE`."""
    found: dict[str, Subject] = {}
    for path in paths:
        name, count = path.resolve().name, 1
        called = name
        while called in (*found, NONE):
            count += 1
            called = f"{name} {count}"
        found[called] = prior_at(path, weights)
    return found


def known_of(attacked: Iterable[tuple[Subject, data.Pool]]) -> int | None:
    """Returns how many targets trained the prior that attacks them, at most of any; None if nobody can tell."""
    counts = [known_targets(targets, subject.record.get("split")) for subject, targets in attacked]
    told = [count for count in counts if count is not None]
    return max(told) if any(told) or len(told) == len(counts) else None


def sides_of(path: Path, subject: Subject, targets: str | None, others: str | None) -> tuple[data.Pool, data.Pool]:
    """Returns images that trained a prior, and images that did not.

    Args:
      path: Where the prior is.
      subject: The prior.
      targets: Images that the prior's record divides; the run's members and held-out images if None.
      others: Images that did not train it; those of `targets` if None.

    Raises:
      InputError: if a prior has no record of what trained it and images are not named, or they have another shape.
    """
    shape = subject.target.shape
    rest = None if others is None else data.distinct(images(others, shape))
    if "split" not in subject.record:
        if targets is None or rest is None:
            raise InputError(
                f"{path} has no record of what trained it: name images that did with --targets, and others of their "
                f"kind with --others."
            )
        return data.distinct(images(targets, shape)), rest
    pool = _recorded(path, subject.record) if targets is None else data.distinct(images(targets, shape))
    rest = pool if rest is None else rest
    trained = trained_on(subject.record.get("split") or {})
    return pool.take(np.isin(pool.hashes(), trained)), rest.take(~np.isin(rest.hashes(), trained))


def drawn(pool: data.Pool, what: str, num: int, seed: int) -> data.Pool:
    """Draws images at random, none of one value all over.

    Raises:
      InputError: if there are too few.
    """
    pool = pool.take(np.ptp(pool.x, axis=(1, 2, 3)) > 0)
    if len(pool) < LEAST:
        raise InputError(f"there are {len(pool)} {what}: name {LEAST} or more with --targets or --others.")
    return pool.take(np.random.default_rng(seed).permutation(len(pool))[:num])


def factor_of(pool: data.Pool, shape: Sequence[int], path: Path) -> int:
    """Returns by what whole number the sides of images are brought down to a prior's.

    Raises:
      InputError: if there is none.
    """
    (height, width, channels), (h, w, c) = pool.shape, shape
    if channels != c or height % h or width % w or height // h != width // w:
        raise InputError(
            f"{pool.name} has images of {pool.shape}, and no whole number brings their sides to the {tuple(shape)} "
            f"that {path} takes: give images whose sides are multiples of each prior's."
        )
    return height // h


def brought_down(pool: data.Pool, factor: int) -> np.ndarray:
    """Returns images in [-1, 1], float64, each pixel the exact mean over a block; the bytes that they are, if 1 x 1."""
    return pool.x if factor == 1 else _sums(pool.x, factor) / (factor**2 * 127.5) - 1.0


def rounded_down(pool: data.Pool, factor: int) -> data.Pool:
    """Returns images with their means over blocks rounded to bytes, as a file of smaller images would have them."""
    return replace(pool, x=np.rint(_sums(pool.x, factor) / factor**2).astype(np.uint8))


def varied(pool: data.Pool, factor: int) -> np.ndarray:
    """Returns which images, brought down, are not of one value all over, bool [n]."""
    return np.ptp(_sums(pool.x, factor), axis=(1, 2, 3)) > 0


def _sums(x: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return x
    n, h, w, c = x.shape
    return x.reshape(n, h // factor, factor, w // factor, factor, c).sum(axis=(2, 4), dtype=np.uint32)


def _recorded(path: Path, record: Mapping[str, Any]) -> data.Pool:
    try:
        pool = data.load(record["data"], groups=record.get("groups"))
        assert isinstance(pool, data.Pool)  # priors are of images
        split = data.from_record(record["split"], pool)
    except InputError as error:
        raise InputError(
            f"the images of {path} are not as they were ({error.args[0].rstrip('.')}): give --targets and --others."
        ) from error
    return data.distinct(data.concatenate(split.members, split.nonmembers))
