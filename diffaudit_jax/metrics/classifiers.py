"""Classifiers of tables as scikit-learn has them, with what prepares the columns for each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

MOST_CATEGORIES = 100


def _boosting(numeric: np.ndarray, seed: int) -> Pipeline:
    """Its trees split categories as such."""
    unseen: dict[str, Any] = {"handle_unknown": "use_encoded_value", "unknown_value": np.nan}
    columns = _columns(numeric, OrdinalEncoder(max_categories=MOST_CATEGORIES, **unseen), "passthrough")
    settings: dict[str, Any] = {"categorical_features": np.arange(np.count_nonzero(~numeric)), "early_stopping": False}
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed, **settings))


def _linear(classifier: Callable[[int], Any], numeric: np.ndarray, seed: int) -> Pipeline:
    one_hot = OneHotEncoder(handle_unknown="ignore", max_categories=MOST_CATEGORIES, sparse_output=False)
    return make_pipeline(_columns(numeric, one_hot, StandardScaler()), classifier(seed))


def _columns(numeric: np.ndarray, categories: Any, numbers: Any) -> ColumnTransformer:
    """Categories first: how many columns numbers become depends on which are missing."""
    there = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    parts = [
        ("categories", categories, np.flatnonzero(~numeric)),
        ("numbers", make_pipeline(there, numbers), np.flatnonzero(numeric)),
    ]
    return ColumnTransformer([part for part in parts if len(part[2])])


CLASSIFIERS: Mapping[str, Callable[[np.ndarray, int], Pipeline]] = {
    "boosting": _boosting,
    "logistic": partial(_linear, lambda _: LogisticRegression(max_iter=1000)),
    "mlp": partial(_linear, lambda seed: MLPClassifier((64,), max_iter=50, random_state=seed)),
}
"""Name -> untrained classifier, by which columns are numbers and by its seed."""
