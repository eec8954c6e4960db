"""Scores against scikit-learn's, simulated coverage of what is lost, and tables that teach all or nothing."""

import math
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from diffaudit_jax.metrics import auc, clopper_pearson
from diffaudit_jax.metrics.classifiers import CLASSIFIERS
from diffaudit_jax.metrics.efficacy import _Answers, _compared, efficacy, qualities
from diffaudit_jax.types import InputError

from .tabled import drawn, table


@pytest.mark.parametrize("num_classes", [2, 4])
def test_weighted_scores_are_scikit_learns(num_classes):
    rng = np.random.default_rng(0)
    truth, told = rng.integers(num_classes, size=(2, 60))
    scores = rng.integers(1, 5, (60, num_classes)).astype(float)  # many ties
    scores /= scores.sum(axis=1, keepdims=True)
    weights = rng.standard_exponential((3, 60))
    found = qualities(truth, told, scores, weights)
    for b, w in enumerate(weights):
        areas = [roc_auc_score(truth == y, scores[:, y], sample_weight=w) for y in range(num_classes)]
        expected = [
            accuracy_score(truth, told, sample_weight=w),
            f1_score(truth, told, average="macro", sample_weight=w),
            areas[1] if num_classes == 2 else np.mean(areas),
        ]
        np.testing.assert_allclose(found[:, b], expected, rtol=1e-12)


def answers(rng, truth, good):
    """Scores of a Gaussian classifier whose classes are `good` apart."""
    scores = rng.normal(size=len(truth)) + good * (truth - 0.5)
    return _Answers((scores > 0).astype(int), np.stack([-scores, scores], axis=1))


def test_what_is_lost_is_covered():
    """True AUC is Phi(good/sqrt(2)) and true accuracy Phi(good/2), of each; 200 records, 200 times."""
    phi, num, missed = (lambda x: (1 + math.erf(x / math.sqrt(2))) / 2), 200, np.zeros(2)
    lost = [phi(2.0 / 2) - phi(1.0 / 2), phi(2.0 / math.sqrt(2)) - phi(1.0 / math.sqrt(2))]
    for seed in range(num):
        rng = np.random.default_rng(seed)
        truth = (rng.random(200) < 0.5).astype(int)
        found = _compared("made", truth, answers(rng, truth, 1.0), answers(rng, truth, 2.0), rng, 0.95, 400).lost
        missed += [
            not each.low <= value <= each.high for each, value in zip((found.accuracy, found.auc), lost, strict=True)
        ]
    assert (missed / num <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / num)).all()


def test_intervals_of_one_classifier_are_those_of_counts_and_of_the_curve():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=80)
    drawn_from, real = answers(rng, truth, 1.0), answers(rng, truth, 2.0)
    found = _compared("made", truth, drawn_from, real, rng, 0.9, 300)
    for side, each in ((found.synthetic, drawn_from), (found.members, real)):
        assert side.accuracy == clopper_pearson(int((each.told == truth).sum()), 80, 0.9)
        assert side.auc == auc(each.scores[:, 1], truth == 1, level=0.9)
        assert side.f1.low < side.f1.value < side.f1.high
    assert found.lost.f1.value == pytest.approx(found.members.f1.value - found.synthetic.f1.value)


def test_every_classifier_learns_from_copies_what_it_learns_from_members():
    members, test = drawn(150, 0, 0.2), drawn(90, 1, 0.2)
    found = efficacy(members, members, test, "group", num_resamples=100)
    assert [each.classifier for each in found] == list(CLASSIFIERS)
    for each in found:
        assert each.synthetic == each.members
        assert set(each.lost) == {(0, 0, 0)}
        assert each.members.auc.low > 0.6  # three classes, chance is 0.5


def test_from_shuffled_labels_nothing_is_learned():
    members, test = drawn(400, 0), drawn(400, 1)
    shuffled = table(**{**members.columns, "group": np.random.default_rng(2).permutation(members.columns["group"])})
    (found,) = efficacy(members, shuffled, test, "group", classifiers=["logistic"], num_resamples=200)
    assert found.lost.auc.low > 0.1
    assert found.lost.accuracy.low > 0.1
    one = table(**{**members.columns, "group": ["low"] * 400})
    (found,) = efficacy(members, one, test, "group", classifiers=["logistic"], num_resamples=200)
    assert found.synthetic.auc == (0.5, 0.5, 0.5)
    assert found.synthetic.accuracy.value == (test.columns["group"] == "low").mean()


@pytest.mark.parametrize("classifier", ["boosting", "logistic"])
def test_columns_that_are_empty_or_new_do_no_harm(classifier):
    """A number that is never there, a category that only test records have, and labels that are numbers."""
    rng = np.random.default_rng(0)
    made = []
    for names in (["p", "q"], ["p", "q"], ["p", "q", "new"]):
        y = rng.integers(2, size=80) * 1.0
        made.append(table(label=y, empty=[np.nan] * 80, x=y + rng.normal(size=80), name=rng.choice(names, 80)))
    (found,) = efficacy(*made, "label", classifiers=[classifier], num_resamples=100)
    assert found.synthetic.auc.low > 0.5


MADE = drawn(20, 0)
REFUSED = {
    "label": (lambda: efficacy(MADE, MADE, MADE, "grop"), "unknown column 'grop': did you mean 'group'?"),
    "numbers": (
        lambda: efficacy(drawn(30, 0, 0), MADE, MADE, "x"),
        "label 'x' has 30 different numbers: efficacy takes classes, bin it first.",
    ),
    "classifier": (lambda: efficacy(MADE, MADE, MADE, "group", classifiers=["mpl"]), "unknown classifier 'mpl': did"),
    "one class": (
        lambda: efficacy(MADE, MADE, MADE.take(MADE.columns["group"] == "low"), "group"),
        "'group' is low in every test record: give records of two classes.",
    ),
    "alone": (lambda: efficacy(*[table(y=["a", "b"])] * 3, "y"), "'y' is the only column: a classifier needs another"),
    "resamples": (
        lambda: efficacy(MADE, MADE, MADE, "group", num_resamples=9),
        "num_resamples is 9: give 100 or more.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_told(case):
    call, says = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(says)):
        call()
