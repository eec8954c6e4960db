import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from diffaudit_jax.metrics import auc, auc_by_column, roc
from diffaudit_jax.metrics.roc import placements
from diffaudit_jax.types import InputError

RNG = np.random.default_rng(0)
MEMBER = RNG.random(200) < 0.3
NORMAL = RNG.normal(size=200) + MEMBER
SAMPLES = {
    "continuous": NORMAL,
    "tied": np.round(NORMAL),
    "two values": (NORMAL > 0.5).astype(float),
    "constant": np.zeros(200),
    "inverted": -NORMAL,
    "perfect": MEMBER + 0.001 * NORMAL,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_roc_is_scikit_learns(name):
    curve = roc(SAMPLES[name], MEMBER)
    for ours, theirs in zip(curve, roc_curve(MEMBER, SAMPLES[name], drop_intermediate=False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_vertex_is_a_rule_that_can_be_applied(name):
    for fpr, tpr, threshold in zip(*roc(SAMPLES[name], MEMBER), strict=True):
        hit = SAMPLES[name] >= threshold
        np.testing.assert_allclose((fpr, tpr), (hit[~MEMBER].mean(), hit[MEMBER].mean()), atol=1e-15)


def test_ties_are_one_step():
    curve = roc(np.zeros(200), MEMBER)
    np.testing.assert_array_equal(curve.fpr, [0, 1])
    np.testing.assert_array_equal(curve.tpr, [0, 1])


@pytest.mark.parametrize("name", SAMPLES)
def test_auc_counts_pairs(name):
    x, y = SAMPLES[name][MEMBER][:, None], SAMPLES[name][~MEMBER]
    pairs = (x > y) + 0.5 * (x == y)
    np.testing.assert_allclose(auc(SAMPLES[name], MEMBER).value, pairs.mean(), rtol=1e-12)
    np.testing.assert_allclose(auc(SAMPLES[name], MEMBER).value, roc_auc_score(MEMBER, SAMPLES[name]), rtol=1e-12)
    v10, v01 = placements(x[:, 0], y)
    np.testing.assert_allclose(v10, pairs.mean(axis=1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(v01, pairs.mean(axis=0), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SAMPLES)
def test_auc_mirrors_when_scores_are_negated(name):
    a, mirrored = auc(SAMPLES[name], MEMBER), auc(-SAMPLES[name], MEMBER)
    np.testing.assert_allclose(a, (1 - mirrored.value, 1 - mirrored.high, 1 - mirrored.low), atol=1e-12)
    assert 0 <= a.low <= a.value <= a.high <= 1


def test_auc_depends_on_the_order_of_scores_only():
    assert auc(np.exp(NORMAL), MEMBER) == auc(NORMAL, MEMBER)


def test_auc_by_column_is_auc_of_each_column():
    columns = np.stack(list(SAMPLES.values()), axis=1)
    assert auc_by_column(columns, MEMBER, 0.9) == tuple(auc(c, MEMBER, level=0.9) for c in columns.T)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 30), (64, 1000), (50, 50), (1000, 64)])
def test_perfect_auc_has_the_interval_of_the_smaller_class(m, n):
    """Below the limit, min(m, n) records without one mistake have a chance of 2.5 %: p^min(m, n) = .025."""
    member = np.arange(m + n) < m
    np.testing.assert_allclose(auc(member, member), (1, 0.025 ** (1 / min(m, n)), 1), rtol=1e-12)
    np.testing.assert_allclose(auc(~member, member), (0, 0, 1 - 0.025 ** (1 / min(m, n))), rtol=1e-12, atol=1e-15)


# Populations with a known AUC `a`, as (members [m, r], non-members [n, r]): what attacks on real models give.
def shifted(a, m, n, r, rng):
    return rng.normal(size=(m, r)) + norm.ppf(a) * 2**0.5, rng.normal(size=(n, r))


def memorised(a, m, n, r, rng):
    """A share 2a - 1 of the members stands out completely, the others not at all."""
    return rng.normal(size=(m, r)) + 50.0 * (rng.random((m, r)) < 2 * a - 1), rng.normal(size=(n, r))


def all_or_nothing(a, m, n, r, rng):
    """A member outranks everyone or no one: the largest variance that an AUC can have."""
    return rng.normal(size=(m, r)) + np.where(rng.random((m, r)) < a, 50.0, -50.0), rng.normal(size=(n, r))


REPEATS = 1000
SIZES = [(64, 1000), (50, 50), (256, 256), (10, 100)]


def covered(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


@pytest.mark.parametrize("a", [0.5, 0.75, 0.95, 0.99])
@pytest.mark.parametrize(("m", "n"), SIZES)
@pytest.mark.parametrize("population", [shifted, memorised, all_or_nothing])
def test_auc_interval_covers(population, m, n, a):
    features = np.concatenate(population(a, m, n, REPEATS, np.random.default_rng(1)))
    found = auc_by_column(features, np.arange(m + n) < m)
    assert covered([e[1:] for e in found], a) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPEATS)


def test_auc_interval_covers_with_ties():
    """Scores of five values; the AUC of such scores in closed form."""
    edges = np.array([-1.0, 0.0, 1.0, 2.0])
    p, q = (np.diff(norm.cdf(edges - shift), prepend=0, append=1) for shift in (1.5, 0.0))
    truth = p @ (np.cumsum(q) - q / 2)
    features = np.digitize(np.concatenate(shifted(norm.cdf(1.5 / 2**0.5), 64, 500, REPEATS, RNG)), edges)
    found = auc_by_column(features, np.arange(564) < 64)
    assert covered([e[1:] for e in found], truth) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPEATS)


def test_the_usual_interval_does_not_cover_and_ours_is_no_longer_than_needed():
    """DeLong's value +- 1.96 standard errors: at AUC .99 with 64 memorised members it covers less than 80 %."""
    x, y = memorised(0.99, 64, 1000, REPEATS, np.random.default_rng(1))
    v10, v01 = placements(x, y)
    a, se = v10.mean(axis=0), np.sqrt(v10.var(axis=0, ddof=1) / 64 + v01.var(axis=0, ddof=1) / 1000)
    assert covered(zip(a - 1.96 * se, a + 1.96 * se, strict=True), 0.99) < 0.8

    x, y = shifted(0.75, 64, 1000, REPEATS, np.random.default_rng(1))
    found = auc_by_column(np.concatenate([x, y]), np.arange(1064) < 64)
    width = np.mean([e.high - e.low for e in found])
    ideal = 2 * 1.96 * np.std([e.value for e in found])
    assert ideal < width < 1.1 * ideal


def test_design_effect_is_that_many_fewer_records():
    a, b = auc(NORMAL, MEMBER), auc(NORMAL, MEMBER, design_effect=2.0)
    assert a.value == b.value
    np.testing.assert_allclose((b.high - b.low) / (a.high - a.low), 2**0.5, rtol=0.05)


BAD_SCORES = [
    (np.where(np.arange(200) == 7, np.nan, NORMAL), MEMBER, "row 7 is nan"),
    (np.where(np.arange(200) == 8, np.inf, NORMAL), MEMBER, "row 8 is inf"),
    (NORMAL[:-1], MEMBER, r"\[199\].*200 rows.*\[200\]"),
    (NORMAL[:, None], MEMBER, r"\[200, 1\].*\[200\]"),
    (np.full(200, "high"), MEMBER, "not numbers"),
    (NORMAL, np.ones(200, bool), "member has members only \\(200 rows\\): add rows of non-members"),
    (NORMAL, np.zeros(200, bool), "member has non-members only \\(200 rows\\): add rows of members"),
    (NORMAL, np.where(np.arange(200) == 3, 2, MEMBER), "member is 2 in row 3"),
    (NORMAL, np.where(MEMBER, "1", "0"), "member is <U1"),
    (NORMAL, np.where(np.arange(200) == 3, np.nan, MEMBER), "member is nan in row 3"),
    ([], [], "member has no rows: add one row per record"),
]


@pytest.mark.parametrize("statistic", [roc, auc])
@pytest.mark.parametrize(("scores", "member", "message"), BAD_SCORES)
def test_bad_scores_are_refused(statistic, scores, member, message):
    with pytest.raises(InputError, match=message):
        statistic(scores, member)


def test_bad_features_name_row_and_column():
    features = np.zeros((200, 3))
    features[5, 2] = np.nan
    with pytest.raises(InputError, match="row 5, column 2 is nan"):
        auc_by_column(features, MEMBER)
    with pytest.raises(InputError, match=r"\[200\].*columns"):
        auc_by_column(NORMAL, MEMBER)
