"""Calibration and learned scorers against closed forms; what a scorer knows of its own fitting set proves nothing."""

import json

import jax
import numpy as np
import pytest
from scipy.stats import norm

from diffaudit_jax.attacks import loss_trajectory
from diffaudit_jax.auditing import Observations, fingerprints
from diffaudit_jax.calibration import calibrated, check_disjoint, fit_scorer, learned
from diffaudit_jax.losses import Losses
from diffaudit_jax.types import InputError
from tests.oracles import PROCESSES, auc, gaussian, null_se, pool

KINDS = ("logistic", "mlp", "boosting")
every_kind = pytest.mark.parametrize("kind", KINDS)


def observed(features, scores=None, rows=None):
    n = len(jax.tree.leaves(features)[0])
    return Observations(features, np.zeros(n) if scores is None else scores, np.arange(n) if rows is None else rows)


def auc_se(members, others):
    """AUC and its standard error (DeLong): the spread of each record's share of wins."""
    wins = (members[:, None] > others[None]).astype(float)
    of_members, of_others = wins.mean(1), wins.mean(0)
    return auc(members, others), np.sqrt(of_members.var() / len(members) + of_others.var() / len(others))


DIFFICULTY, SIGNAL, LUCK = 2.0, 1.0, 0.5
NUM = 600


def observed_scores(scores, rows):
    return Observations((), scores, rows)


@pytest.mark.parametrize("num_references", [1, 4])
def test_calibration_takes_the_difficulty_out(num_references):
    rng = np.random.default_rng(3)
    difficulty, member = DIFFICULTY * rng.normal(size=2 * NUM), np.arange(2 * NUM) < NUM
    rows = rng.permutation(10 * NUM)[: 2 * NUM]
    seen, *references = (
        observed_scores(difficulty + signal * member + LUCK * rng.normal(size=2 * NUM), rows)
        for signal in [SIGNAL] + [0.0] * num_references
    )
    for scores, variance in (
        (seen.scores, DIFFICULTY**2 + LUCK**2),
        (calibrated(seen, *references), LUCK**2 * (1 + 1 / num_references)),
    ):
        value, se = auc_se(scores[:NUM], scores[NUM:])
        assert abs(value - norm.cdf(SIGNAL / np.sqrt(2 * variance))) < 4 * se


def test_references_are_aligned_by_rows():
    rng = np.random.default_rng(4)
    rows, scores, order = np.array([30, 4, 17, 9]), rng.normal(size=(2, 4)), np.array([2, 0, 3, 1])
    seen, reference = (observed_scores(one, rows) for one in scores)
    shuffled = observed_scores(scores[1][order], rows[order])
    for other in (reference, shuffled):
        np.testing.assert_array_equal(calibrated(seen, other), scores[0] - scores[1])
    np.testing.assert_array_equal(calibrated(seen, seen), 0)
    np.testing.assert_allclose(calibrated(seen, reference, seen), (scores[0] - scores[1]) / 2, rtol=1e-15)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([1, 2], r"row 3 \(of 1 such\) was asked of the target and not of the reference"),
        ([1, 2, 3, 4], r"row 4 \(of 1 such\) was asked of the reference and not of the target"),
        ([7, 8, 9], r"row 1 \(of 6 such\) was asked of the target"),
    ],
)
def test_references_about_other_queries_are_refused(rows, says):
    seen = observed_scores(np.zeros(3), np.array([3, 1, 2]))
    with pytest.raises(InputError, match=says):
        calibrated(seen, observed_scores(np.zeros(len(rows)), np.array(rows)))
    with pytest.raises(InputError, match="at least one reference model, got none"):
        calibrated(seen)


MEANS = np.array([0.8, -0.5, 0.0])
SPREADS = np.array([1.0, 30.0, 1e-3])


def drawn(n, seed, means=MEANS):
    """Features of n members, N(means, 1) in units of their spreads, then of n others, N(0, 1)."""
    x = np.random.default_rng(seed).normal(size=(2 * n, len(means)))
    x[:n] += means
    return observed({"a": x[:, :2] * SPREADS[:2], "b": 5 + x[:, 2:] * SPREADS[2:]}), np.arange(2 * n) < n


def test_the_logistic_scorer_attains_the_best_auc_on_gaussians():
    """Of N(mean, I) against N(0, I) it is Phi(|mean|/sqrt 2), by Neyman and Pearson."""
    score = fit_scorer(*drawn(2000, 0))
    fresh, member = drawn(500, 1)
    scores = score(fresh.features)
    assert scores.shape == (1000,)
    assert scores.dtype == np.float64
    value, se = auc_se(scores[member], scores[~member])
    assert abs(value - norm.cdf(np.linalg.norm(MEANS) / np.sqrt(2))) < 4 * se


def test_its_score_is_the_log_odds():
    """It is log p(x | member)/p(x | other) = mean.x - |mean|^2/2, to the standard errors of the fit."""
    x = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, -60.0, 0.0]])
    got = fit_scorer(*drawn(20_000, 5))({"a": x[:, :2], "b": 5 + x[:, 2:]})
    want = (x / SPREADS) @ MEANS - MEANS @ MEANS / 2
    # At most 4 terms, each an estimate from 40,000 rows of weight p(1 - p) above 0.1, in units of at most 2.
    np.testing.assert_allclose(got, want, rtol=0, atol=4 * np.sqrt((1 + 2**2) / (0.1 * 40_000)))


@every_kind
def test_every_kind_learns_and_the_curved_ones_learn_curves(kind):
    """Members on a ring around the others: no plane tells them apart, so logistic regression is left at 1/2."""

    def ring(n, seed):
        rng = np.random.default_rng(seed)
        x = 0.5 * rng.normal(size=(2 * n, 2))
        angle = rng.uniform(0, 2 * np.pi, n)
        x[:n] += 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return observed(x), np.arange(2 * n) < n

    fresh, member = ring(300, 1)
    scores = fit_scorer(*ring(600, 0), kind=kind)(fresh.features)
    value = auc(scores[member], scores[~member])
    assert value > 0.9 if kind != "logistic" else abs(value - 0.5) < 4 * null_se(300, 300)


@every_kind
def test_noise_teaches_nothing_though_the_fitting_set_says_otherwise(kind):
    noise = [drawn(150, seed, means=np.zeros(3)) for seed in (0, 1)]
    score = fit_scorer(*noise[0], kind=kind)
    own, fresh = ([score(seen.features)[member] for member in (truth, ~truth)] for seen, truth in noise)
    assert abs(auc(*fresh) - 0.5) < 4 * null_se(150, 150)
    if kind == "boosting":
        assert auc(*own) > 0.5 + 10 * null_se(150, 150)


@every_kind
def test_a_score_depends_on_its_own_query_alone(kind):
    shadow, (fresh, _) = drawn(100, 0), drawn(30, 1)
    score = fit_scorer(*shadow, kind=kind, seed=3)
    whole = score(fresh.features)
    some = score(jax.tree.map(lambda leaf: leaf[[5, 2]], fresh.features))
    np.testing.assert_allclose(some, whole[[5, 2]], rtol=1e-12)
    np.testing.assert_array_equal(fit_scorer(*shadow, kind=kind, seed=3)(fresh.features), whole)


@every_kind
def test_scores_do_not_saturate(kind):
    """A probability is 1 from log-odds of 37 on, and then scores tie where false positives are rarest."""
    score = fit_scorer(*drawn(100, 0, means=np.array([9.0, 0, 0])), kind=kind)
    far = np.arange(1, 9)[:, None] * np.array([[100.0, 0, 0]])
    scores = score({"a": far[:, :2], "b": far[:, 2:]})
    assert np.isfinite(scores).all()
    if kind != "boosting":  # its trees are constant outside the data
        assert (np.abs(np.diff(scores)) > 0).all()


@every_kind
def test_a_feature_that_never_varied_says_nothing(kind):
    (shadow, member), (fresh, _) = drawn(100, 0), drawn(20, 1)
    for constant in (0.0, 0.1):
        score = fit_scorer(observed({**shadow.features, "c": np.full(200, constant)}), member, kind=kind)
        one, other = (score({**fresh.features, "c": np.full(40, value)}) for value in (constant, 1e6))
        np.testing.assert_array_equal(one, other)


def losses(n, seed, noises=2):
    """Features as an attack stores them, members' losses lower."""
    rng = np.random.default_rng(seed)
    member = np.arange(2 * n) < n
    scale = np.where(member, 0.5, 1)[:, None, None]
    return Losses(*(np.float32(scale * rng.gamma(4, size=(2 * n, 3, noises))) for _ in range(3))), member


def test_an_attack_with_a_learned_score_is_the_same_attack():
    attack, target, queries = loss_trajectory([0.1, 0.2, 0.3], num_noises=2), gaussian(PROCESSES["vp"]), pool(3)
    features, member = losses(50, 0)
    other = learned(attack, observed(features), member, kind="boosting", seed=4)
    key = jax.random.key(0)
    assert fingerprints(other, target, queries, key) == fingerprints(attack, target, queries, key)
    assert json.loads(json.dumps(other.spec.scoring)) == other.spec.scoring
    assert (other.spec.scoring["scorer"], other.spec.scoring["seed"]) == ("boosting", 4)
    fresh, truth = losses(40, 1)
    scores = other.score(fresh)
    assert auc(scores[truth], scores[~truth]) > 0.5 + 4 * null_se(40, 40)
    np.testing.assert_array_equal(scores, fit_scorer(observed(features), member, kind="boosting", seed=4)(fresh))
    shadows = {learned(attack, observed(features), truth).spec.scoring["shadow"] for truth in (member, ~member)}
    assert len(shadows) == 2


def test_features_of_another_structure_are_refused():
    features, member = losses(20, 0)
    score = fit_scorer(observed(features), member)
    for other in (losses(20, 0, noises=3)[0], features._asdict(), features.eps):
        with pytest.raises(InputError, match=r"a scorer of features Losses.* cannot score .*: fit one to these"):
            score(other)


def test_queries_that_taught_a_scorer_do_not_judge_it():
    shadow = observed(np.zeros((3, 1)), rows=np.array([5, 1, 8]))
    check_disjoint(shadow, observed(np.zeros((2, 1)), rows=np.array([2, 6])))
    with pytest.raises(InputError, match=r"row 5 \(of 2 such\) taught the scorer and cannot judge it: split the pool"):
        check_disjoint(shadow, observed(np.zeros((3, 1)), rows=np.array([8, 6, 5])))


MEMBER = np.arange(40) < 20
FEATURES = np.random.default_rng(0).normal(size=(40, 2))
HOLED = np.where(np.arange(40)[:, None] == 7, np.nan, FEATURES)


@pytest.mark.parametrize(
    ("features", "member", "kind", "says"),
    [
        (FEATURES, np.ones(40, bool), "mlp", "at least 10 members and 10 non-members of its shadow, got 40 and 0"),
        (FEATURES, np.arange(40) < 9, "logistic", "got 9 and 31"),
        (FEATURES, MEMBER[:39], "logistic", r"40 queries need as many truths .* got shape \(39,\)"),
        (HOLED, MEMBER, "boosting", r"features of query 7 hold NaN or infinity \(of 1 such\): leave it out"),
        (FEATURES, MEMBER, "boost", "unknown scorer 'boost': did you mean 'boosting'"),
    ],
)
def test_shadows_that_teach_nothing_are_refused(features, member, kind, says):
    with pytest.raises(InputError, match=says):
        fit_scorer(observed(features), member, kind=kind)


def test_nan_is_not_scored():
    with pytest.raises(InputError, match="features of query 7 hold NaN"):
        fit_scorer(observed(FEATURES), MEMBER)(HOLED)
