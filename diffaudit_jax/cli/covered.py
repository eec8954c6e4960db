"""What is known of the images behind a generator: the names of its classes, and of a run of our own the true share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffaudit_jax import data
from diffaudit_jax.cli.drawing import SAMPLES
from diffaudit_jax.cli.values import Asked, column_of
from diffaudit_jax.report.property_shares import Training
from diffaudit_jax.types import InputError


def trainers_of(record: Mapping[str, Any]) -> data.Pool | None:
    """Returns the images that trained a run of our own, if they can still be had as they were.

    Args:
      record: What `diffaudit train` wrote of it; empty of another generator.
    """
    if not {"data", "split"} <= set(record):
        return None
    try:
        pool = data.load(record["data"], groups=record.get("groups"))
        return data.from_record(record["split"], pool).training if isinstance(pool, data.Pool) else None
    except InputError:
        return None


def class_names(path: Path, trainers: data.Pool | None, labels: np.ndarray) -> tuple[str, ...]:
    """Returns the names of a generator's classes, their numbers where nobody says names.

    Args:
      path: Where it is.
      trainers: What `trainers_of` returned.
      labels: Classes of its images.
    """
    names = trainers.label_names if trainers is not None else None
    path = path / SAMPLES if (path / SAMPLES).is_file() else path
    if trainers is None and (path.is_dir() or path.suffix == ".npz") and not (path / "run.json").exists():
        try:
            pool = data.load(path)
            names = pool.label_names if isinstance(pool, data.Pool) else None
        except InputError:  # a folder of weights
            names = None
    size = int(labels.max()) + 1
    return names if names is not None and len(names) >= size else tuple(map(str, range(size)))


def truth_of(trainers: data.Pool | None, attribute: str | None, asked: Asked) -> Training | None:
    """Counts the values of the images that trained a generator; None if they are not known.

    Args:
      trainers: What `trainers_of` returned.
      attribute: The property, None for the images' own labels.
      asked: What is asked for.
    """
    if trainers is None:
        return None
    try:
        codes, values = column_of(trainers, attribute)
    except InputError:
        return None
    if not set(values) <= set(asked.values):
        return None
    numbers = np.array([asked.values.index(value) for value in values])[codes]
    coded, size = asked.codes(numbers), len(asked.told)
    classes = {} if trainers.labels is None else {int(y): trainers.labels == y for y in np.unique(trainers.labels)}
    by = {y: np.bincount(coded[where], minlength=size) for y, where in classes.items()}
    return Training(np.bincount(coded, minlength=size), by)
