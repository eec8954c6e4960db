"""train_receiver: what a receiver makes of images that were shared with him, a classifier, by name.

Networks (`models.receivers`) are trained by `fit_classifier`; two classifiers of scikit-learn see an image as one row
of numbers. Whichever it is, what comes back maps uint8 images to labels and can be asked about real ones. Encoded
records of a table are rows already, and all their classifiers are scikit-learn's.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from diffaudit_jax.data import Pool
from diffaudit_jax.models.receivers import RECEIVERS
from diffaudit_jax.training.classifier import fit_classifier
from diffaudit_jax.types import InputError, Key, known

Images = UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n d"]
Labels = Int[np.ndarray, " n"]
Predict = Callable[[Images], Labels]

# Histogram boosting on one thread: its threads wait busily for each other (see `calibration`).
_ALONE = threadpool_limits.wrap(limits=1, user_api="openmp")
ROWS: dict[str, Callable[..., Any]] = {
    "logistic": lambda seed, **settings: LogisticRegression(**{"max_iter": 10_000, **settings}, random_state=seed),
    "boosting": lambda seed, **settings: HistGradientBoostingClassifier(**settings, random_state=seed),
}
"""Classifiers of rows, by name: seed and scikit-learn's own settings -> an estimator."""
RECORDS: dict[str, Callable[..., Any]] = {
    **ROWS,
    # As wide as that of images.
    "mlp": lambda seed, **settings: MLPClassifier(**{"hidden_layer_sizes": (256, 128), **settings}, random_state=seed),
}
"""The same of encoded records."""
NAMES = (*RECEIVERS, *ROWS)
BATCH = 128


def fit_sklearn(name: str, x: Images, y: Labels, *, seed: int = 0, **settings: Any) -> Predict:
    """Fits a classifier of scikit-learn to images, each as one row of numbers in [-1, 1], or to encoded records.

    Args:
      name: "logistic" regression, or histogram gradient "boosting"; of records "mlp" too.
      x: Images or records.
      y: Their labels.
      seed: Seed of whatever the estimator draws.
      **settings: The estimator's own, such as `C` or `max_iter`.

    Returns:
      ``images -> labels``; the same for the same arguments.

    Raises:
      InputError: if the name is not known, the images are not uint8 [n, h, w, c] (records float32 [n, d]) with a label
        each, or all labels are one.
    """
    kinds = RECORDS if np.ndim(x) == 2 else ROWS
    known("classifier of rows", name, kinds)
    _check(x, x.shape[1:])
    if np.shape(y) != (len(x),) or len(np.unique(y)) < 2:
        raise InputError(f"{len(x)} images with labels {np.unique(y)}: give a label for each, of two classes or more.")
    with warnings.catch_warnings():
        if name == "mlp":
            warnings.simplefilter("ignore", ConvergenceWarning)  # it takes the steps that it is given
        model = _ALONE(kinds[name](seed, **settings).fit)(_rows(x), y)

    def predict(images: Images) -> Labels:
        _check(images, x.shape[1:])
        return _ALONE(model.predict)(_rows(images))

    return predict


def train_receiver(key: Key, name: str, pool: Pool, **settings: Any) -> Predict:
    """Trains a receiver's classifier on a pool of images or of encoded records, real or generated.

    Args:
      key: Typed key: all that is drawn.
      name: A network of `models.receivers.RECEIVERS`, "logistic" or "boosting"; of records "mlp" and these two.
      pool: Images or records, and labels.
      **settings: For a network those of `fit_classifier` (of records `num_steps`, to whole passes over them), else
        scikit-learn's.

    Returns:
      ``images uint8 [n, h, w, c] -> labels [n]`` (records float32 [n, d]); the same for the same arguments. It refuses
      images of another shape.

    Raises:
      InputError: if the name is not known, the pool is empty, has no labels or is of one class alone, its images are
        too small for the network, or as `fit_classifier` does.
    """
    known("receiver", name, NAMES)
    if pool.x.ndim == 2 and name not in RECORDS:
        raise InputError(f"{name} is a network of images, and {pool.name} is a table: name {', '.join(RECORDS)}.")
    if pool.labels is None or len(np.unique(pool.labels)) < 2:
        seen = "no labels" if pool.labels is None else f"labels {np.unique(pool.labels)}"
        raise InputError(f"{pool.name} has {seen}: a receiver learns two classes or more.")
    if name in ROWS or pool.x.ndim == 2:
        if name == "mlp":
            settings = _passes(len(pool), **settings)
        seed = int(jax.random.bits(key, dtype="uint32"))
        return fit_sklearn(name, pool.x, pool.labels, seed=seed, **settings)
    classifier = fit_classifier(key, pool, network=RECEIVERS[name], **settings)
    return lambda images: classifier.logits(images).argmax(axis=1)


def cross_predicted(key: Key, name: str, pool: Pool, **settings: Any) -> Labels:
    """Predicts the label of every image by a receiver that has not seen it: two, each of one half of the pool.

    Args:
      key: Typed key: the halves, and all that is drawn.
      name: As in `train_receiver`.
      pool: Images and labels.
      **settings: As in `train_receiver`.

    Returns:
      Labels [n]; the same for the same arguments.

    Raises:
      InputError: as `train_receiver`, of either half.
    """
    key_halves, *keys = jax.random.split(key, 3)
    halves = np.array_split(np.asarray(jax.random.permutation(key_halves, len(pool))), 2)
    told = np.zeros(len(pool), np.int64)
    for key_half, seen, judged in zip(keys, halves, halves[::-1], strict=True):
        told[judged] = train_receiver(key_half, name, pool.take(seen), **settings)(pool.x[judged])
    return told


def _passes(n: int, *, num_steps: int = 1000, **_: Any) -> dict[str, Any]:
    batch = min(BATCH, n)
    return {"batch_size": batch, "max_iter": max(1, round(num_steps * batch / n))}


def _rows(x: Images) -> np.ndarray:
    return x if x.ndim == 2 else x.reshape(len(x), -1) / 127.5 - 1.0


def _check(images: np.ndarray, shape: tuple[int, ...]) -> None:
    form = np.float32 if len(shape) == 1 else np.uint8
    if images.dtype != form or images.ndim not in (2, 4) or images.shape[1:] != shape or not len(images):
        raise InputError(
            f"images are {images.dtype} {images.shape}: this receiver takes {np.dtype(form)} [n, *{shape}]."
        )
