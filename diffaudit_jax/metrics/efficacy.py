"""What classifiers learn from a synthetic table, beside what the same classifiers learn from real records.

Both are tested on the same real records, so that their difference does not have the luck of the test records twice.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from diffaudit_jax.data.table import Table
from diffaudit_jax.metrics.classifiers import CLASSIFIERS
from diffaudit_jax.metrics.intervals import Estimate, clopper_pearson
from diffaudit_jax.metrics.resampling import limits
from diffaudit_jax.metrics.roc import auc
from diffaudit_jax.metrics.tables import matched
from diffaudit_jax.types import InputError, known

MOST_CLASSES, BLOCK = 20, 2**22


class Quality(NamedTuple):
    """How good a classifier is, or how much better one is than another.

    Attributes:
      accuracy: Share of records whose class is told.
      f1: F1, the mean over classes.
      auc: Area under the ROC curve; of several classes the mean of each against the others.
    """

    accuracy: Estimate
    f1: Estimate
    auc: Estimate


class Efficacy(NamedTuple):
    """What one classifier learned.

    Attributes:
      classifier: Its name.
      synthetic: Trained on the synthetic table.
      members: Trained on the members.
      lost: The second less the first, record by record: above 0 is worse.
    """

    classifier: str
    synthetic: Quality
    members: Quality
    lost: Quality


class _Answers(NamedTuple):
    """What a classifier says of the test records: a class each [n], and a score for each class [n, classes]."""

    told: np.ndarray
    scores: np.ndarray


def efficacy(
    members: Table,
    synthetic: Table,
    test: Table,
    label: str,
    *,
    classifiers: Sequence[str] = tuple(CLASSIFIERS),
    level: float = 0.95,
    seed: int = 0,
    num_resamples: int = 2000,
) -> tuple[Efficacy, ...]:
    """Trains classifiers on the synthetic table and on the members, and tests both on the same records.

    Categories are one-hot (the commonest 100 of a column) and numbers standardised, as the table that trains knows
    them; a missing number is the median, and a column of its own says so. Boosting takes categories as they are.

    Differences and F1 have bootstrap intervals: the test records weigh anew (exponential weights, which leave out no
    class), the same for both classifiers. Accuracy has Clopper-Pearson's, and the AUC of two classes that of `auc`.
    They speak of new test records, and not of tables drawn or classifiers trained anew.

    Args:
      members: What trained the generator.
      synthetic: What it drew.
      test: Real records that did not train it.
      label: The column that is told: text, or at most 20 different numbers.
      classifiers: Names of `classifiers.CLASSIFIERS`.
      level: Confidence level of each interval.
      seed: Seed of classifiers and weights.
      num_resamples: Resamples, 100 or more.

    Raises:
      InputError: if the tables do not have the same columns, a name is unknown, the label is not of classes, there is
        no other column, the test records are of one class, or a number is out of range.
    """
    known("column", label, members.columns)
    tables = [members, matched(members, synthetic, "synthetic"), matched(members, test, "test")]
    if len(members.columns) < 2:
        raise InputError(f"{label!r} is the only column: a classifier needs another to tell it by.")
    if num_resamples < 100:
        raise InputError(f"num_resamples is {num_resamples}: give 100 or more.")
    labels = _labels(tables, label)
    features, numeric = _features(tables, label)
    weights = np.random.default_rng(seed)

    def learned(name: str) -> Efficacy:
        make = CLASSIFIERS[known("classifier", name, CLASSIFIERS)]
        real, drawn = (_answers(make(numeric, seed), features, labels, i) for i in (0, 1))
        return _compared(name, labels[2], drawn, real, weights, level, num_resamples)

    return tuple(learned(name) for name in classifiers)


def _labels(tables: Sequence[Table], label: str) -> list[np.ndarray]:
    """Returns the classes of each table as numbers, the same of all."""
    joined = np.concatenate([table.columns[label] for table in tables])
    classes, codes = np.unique(joined, return_inverse=True)
    if joined.dtype.kind == "f" and len(classes) > MOST_CLASSES:
        raise InputError(f"label {label!r} has {len(classes)} different numbers: efficacy takes classes, bin it first.")
    parts = np.split(codes, np.cumsum([len(table) for table in tables])[:-1])
    if len(np.unique(parts[2])) < 2:
        raise InputError(f"{label!r} is {classes[parts[2][0]]} in every test record: give records of two classes.")
    return parts


def _features(tables: Sequence[Table], label: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the other columns as float64 [n, c], categories by number; and which of them are numbers."""
    columns, numeric = [], []
    for name in tables[0].columns:
        if name != label:
            joined = np.concatenate([table.columns[name] for table in tables])
            numeric.append(joined.dtype.kind == "f")
            columns.append(joined if numeric[-1] else np.unique(joined, return_inverse=True)[1].astype(np.float64))
    return np.split(np.column_stack(columns), np.cumsum([len(table) for table in tables])[:-1]), np.array(numeric)


def _answers(pipeline: Pipeline, features: Sequence[np.ndarray], labels: Sequence[np.ndarray], side: int) -> _Answers:
    if len(np.unique(labels[side])) < 2:
        pipeline = make_pipeline(DummyClassifier())  # a table of one class teaches to say it always
    # Threads of small trees wait for each other more than they work, and beside another program for ever.
    with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many steps as were asked for
        warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
        pipeline.fit(features[side], labels[side])
        shares = pipeline.predict_proba(features[2])
    scores = np.zeros((len(features[2]), max(map(np.max, labels)) + 1))
    scores[:, pipeline.classes_] = shares
    return _Answers(scores.argmax(axis=1), scores)


def _compared(
    name: str,
    truth: np.ndarray,
    drawn: _Answers,
    real: _Answers,
    rng: np.random.Generator,
    level: float,
    num_resamples: int,
) -> Efficacy:
    n, size = len(truth), max(1, BLOCK // len(truth))
    starts = range(0, num_resamples, size)
    blocks = [rng.standard_exponential((min(size, num_resamples - start), n)) for start in starts]
    once, sides = np.ones((1, n)), (drawn, real)
    values = [qualities(truth, *side, once)[:, 0] for side in sides]
    resampled = [np.concatenate([qualities(truth, *side, block) for block in blocks], axis=1) for side in sides]

    def quality(i: int) -> Quality:
        hits = int((sides[i].told == truth).sum())
        found = [Estimate(float(v), *limits(r, n, level)) for v, r in zip(values[i], resampled[i], strict=True)]
        classes = np.unique(truth)
        if len(classes) == 2:
            found[2] = auc(sides[i].scores[:, classes[1]], truth == classes[1], level=level)
        return Quality(clopper_pearson(hits, n, level), found[1], found[2])

    lost = [
        Estimate(float(b - a), *limits(after - before, n, level))
        for a, b, before, after in zip(*values, *resampled, strict=True)
    ]
    return Efficacy(name, quality(0), quality(1), Quality(*lost))


def qualities(truth: np.ndarray, told: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Accuracy, macro F1 and AUC of weighted records.

    F1 and AUC are means over the classes that the records have.

    Args:
      truth: Class of each record, int [n].
      told: Class that it is told to be, int [n].
      scores: Score of each class, float64 [n, classes].
      weights: Weights of the records, above 0, float64 [b, n].

    Returns:
      float64 [3, b].
    """
    classes = np.unique(truth)
    f1 = [
        2 * (weights @ ((truth == y) & (told == y))) / (weights @ (1.0 * (truth == y) + (told == y))) for y in classes
    ]
    each = classes[1:] if len(classes) == 2 else classes  # of two, one against the other is both
    areas = [_area(scores[:, y], truth == y, weights) for y in each]
    return np.stack([weights @ (told == truth) / weights.sum(axis=1), np.mean(f1, axis=0), np.mean(areas, axis=0)])


def _area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of weighted records [b]: weight of the pairs in order, ties half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    above, below = (np.add.reduceat((weights * side)[:, order], starts, axis=1) for side in (positive, ~positive))
    beaten = np.cumsum(below, axis=1) - below / 2
    return (above * beaten).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
