"""Scores from shadows on a Gaussian oracle whose best attack is known, against loops, and under the laws they obey.

The model is the mean of its N training records x ~ N(0, I_D), the score of a record -|x - mean|^2. Given the record,

    N |x - mean|^2           ~ chi^2_D(N |x|^2)          of a model without it
    N^2/(N-1) |x - mean|^2   ~ chi^2_D((N-1) |x|^2)      of a model with it

and the ratio of the two densities is the best attack that looks at this score. A score that is not compared with the
record's own laws is |x - mean|^2 ~ (1 +- 1/N) chi^2_D, with AUC F_{D,D}((N+1)/(N-1)).
"""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.stats import f, ncx2, norm

from diffaudit_jax.auditing import Observations
from diffaudit_jax.data import Inclusion, coin_flips
from diffaudit_jax.shadows import lira, rmia
from diffaudit_jax.types import InputError

D = N = 64
BEST = 0.7608
"""AUC of the ratio of densities: ten simulations of 200,000 members and as many others, standard error 0.0004."""
NUM = 2000
MEMBER = np.arange(NUM) < NUM // 2
METHODS = {
    "lira": lira,
    "lira-offline": partial(lira, online=False),
    "rmia": rmia,
    "rmia-offline": partial(rmia, online=False),
    "rmia-2": partial(rmia, gamma=2),
}
every_method = pytest.mark.parametrize("method", METHODS)


def observed(scores, rows=None):
    return Observations((), scores, np.arange(len(scores)) if rows is None else rows)


def asked(scores, by_shadow, inside):
    """Arguments of lira and rmia."""
    return observed(scores), [observed(one) for one in by_shadow], Inclusion(np.arange(len(scores)), inside)


def halves(rng, num_shadows, n):
    return np.argsort(rng.random((num_shadows, n)), axis=0) < num_shadows // 2


def drawn(rng, squared, inside):
    """Scores of records of squared norms by models with and without them, one model for each score."""
    num, scale = np.where(inside, N - 1, N), np.where(inside, (N - 1) / N**2, 1 / N)
    return -scale * rng.noncentral_chisquare(D, num * squared)


def likelihood_ratio(scores, squared):
    with_it = ncx2.logpdf(-scores * N**2 / (N - 1), D, (N - 1) * squared) + np.log(N**2 / (N - 1))
    return with_it - ncx2.logpdf(-scores * N, D, N * squared) - np.log(N)


def wins(scores, member=MEMBER):
    """Each member's share of others that it is above, and each other's share of members that are above it."""
    above = np.sign(scores[member][:, None] - scores[~member]) / 2 + 0.5
    return above.mean(axis=1), above.mean(axis=0)


def auc_and_se(scores, less=None, member=MEMBER):
    """AUC, or its difference to that of other scores of the same records, and the standard error (DeLong)."""
    found = wins(scores, member)
    if less is not None:
        found = [a - b for a, b in zip(found, wins(less, member), strict=True)]
    return found[0].mean(), np.sqrt(sum(part.var() / len(part) for part in found))


@pytest.fixture(scope="module")
def oracle():
    """Squared norms, scores by a target, and the best attack's."""
    rng = np.random.default_rng(0)
    squared = rng.chisquare(D, NUM)
    scores = drawn(rng, squared, MEMBER)
    return squared, scores, likelihood_ratio(scores, squared)


@pytest.fixture(scope="module")
def by_number(oracle):
    """Number of shadows -> arguments."""
    rng = np.random.default_rng(1)
    coins = {num: halves(rng, num, NUM) for num in (8, 16, 64, 256)}
    return {num: asked(oracle[1], drawn(rng, oracle[0], inside), inside) for num, inside in coins.items()}


def test_the_oracle_is_as_derived(oracle):
    _, scores, best = oracle
    for found, expected in ((scores, f.cdf((N + 1) / (N - 1), D, D)), (best, BEST)):
        value, se = auc_and_se(found)
        assert abs(value - expected) < 4 * se


def test_lira_approaches_the_best_attack(oracle, by_number):
    """Above the plain score from 8 shadows on, better the more there are, and with 256 as good as can be."""
    _, scores, best = oracle
    found = {num: lira(*arguments) for num, arguments in by_number.items()}
    for one in found.values():
        gain, se = auc_and_se(one, less=scores)
        assert gain > 4 * se
        loss, se = auc_and_se(best, less=one)
        assert loss > -4 * se
    for few, many in ((8, 64), (16, 256)):
        gain, se = auc_and_se(found[many], less=found[few])
        assert gain > 2 * se
    loss, se = auc_and_se(best, less=found[256])
    assert abs(loss) < 4 * se


@every_method
def test_all_approach_it_where_spreads_are_alike(method, oracle, by_number):
    """The oracle's spreads differ by a tenth between records: what is pooled or left out costs little."""
    scores = METHODS[method](*by_number[256])
    loss, se = auc_and_se(oracle[2], less=scores)
    assert loss < 4 * se
    gain, se = auc_and_se(scores, less=oracle[1])
    assert gain > 4 * se


def test_shadows_of_one_pool_tell_who_was_in_the_target():
    """Real means of real halves of a pool of records, aligned by row."""
    num, n, d = 17, 600, 300
    rng = np.random.default_rng(2)
    x, rows = rng.normal(size=(n, d)), rng.permutation(10 * n)[:n]
    inclusion = coin_flips(jax.random.key(3), rows, num)
    means = [x[inside].mean(axis=0) for inside in inclusion.inside]
    orders = [rng.permutation(n) for _ in means]
    seen = [observed(-((x - mean) ** 2).sum(axis=1)[o], rows[o]) for mean, o in zip(means, orders, strict=True)]
    member = inclusion.of(seen[0].rows)[0]
    coins = Inclusion(rows, inclusion.inside[1:])
    for method in (lira, rmia):
        gain, se = auc_and_se(method(seen[0], seen[1:], coins), less=seen[0].scores, member=member)
        assert gain > 4 * se


def slow_lira(scores, by_shadow, inside, own, online):
    """The formulas of the paper, query by query."""
    parts = {}
    for side in (True, False):
        values = [by_shadow[inside[:, i] == side, i] for i in range(len(scores))]
        around = [v - v.mean() for v in values]
        pooled = sum((a**2).sum() for a in around) / sum(len(a) - 1 for a in around)
        spread = [v.std(ddof=1) if own else np.sqrt(pooled) for v in values]
        parts[side] = [v.mean() for v in values], spread
    if online:
        return norm.logpdf(scores, *parts[True]) - norm.logpdf(scores, *parts[False])
    return norm.logcdf(scores, *parts[False]) - norm.logsf(scores, *parts[False])


def slow_rmia(scores, by_shadow, inside, gamma, online, population):
    squares, free, ratios, shares = 0.0, 0, [], []
    for i in range(len(scores)):
        for side in (True, False) if online else (False,):
            v = by_shadow[inside[:, i] == side, i]
            squares, free = squares + ((v - v.mean()) ** 2).sum(), free + len(v) - 1
    scale = np.sqrt(squares / free)
    for i in range(len(scores)):
        p = [np.exp(by_shadow[inside[:, i] == side, i] / scale).mean() for side in (True, False)]
        ratios.append(np.exp(scores[i] / scale) / (np.mean(p) if online else p[1]))
    for i in range(len(scores)):
        others = [j for j in range(len(scores)) if j != i and j in population]
        shares.append(np.mean([ratios[i] / ratios[j] >= gamma for j in others]))
    return np.array(shares)


SMALL = 12


@pytest.fixture(params=[9, 64], ids=["pooled", "own"])
def small(request):
    rng = np.random.default_rng(request.param)
    inside = halves(rng, request.param, SMALL)
    by_shadow = rng.normal(size=inside.shape) * rng.uniform(0.3, 3, SMALL) + inside
    return rng.normal(size=SMALL) + 0.5, by_shadow, inside


@pytest.mark.parametrize("online", [True, False])
def test_lira_is_the_formula(small, online):
    slow = slow_lira(*small, own=len(small[1]) >= 64, online=online)
    np.testing.assert_allclose(lira(*asked(*small), online=online), slow, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("gamma", [0.5, 1, 2])
@pytest.mark.parametrize("known", [range(SMALL), [0, 3, 4, 7, 9]])
def test_rmia_is_the_formula(small, online, gamma, known):
    population = None if len(known) == SMALL else np.array(known)
    found = rmia(*asked(*small), population, gamma=gamma, online=online)
    np.testing.assert_array_equal(found, slow_rmia(*small, gamma, online, set(known)))


@pytest.mark.parametrize("online", [True, False])
def test_rmia_ranks_as_the_ratio_does_unless_part_is_the_population_and_gamma_is_not_one(small, online):
    """At 1, with all for the population, a score is the rank of the ratio."""
    order = np.argsort(rmia(*asked(*small), online=online))
    part = np.arange(0, SMALL, 2)
    whole = [rmia(*asked(*small), gamma=gamma, online=online) for gamma in (0.1, 0.5, 2, 10)]
    for found in (*whole, rmia(*asked(*small), part, online=online)):
        assert (np.diff(found[order]) >= 0).all()
    others = [rmia(*asked(*small), part, gamma=gamma, online=online) for gamma in np.geomspace(0.1, 10, 20)]
    assert min(np.diff(found[order]).min() for found in others) < 0


@every_method
def test_the_order_of_queries_changes_no_bit(method):
    rng = np.random.default_rng(0)
    inside = halves(rng, 9, 200)
    scores, by_shadow, order = rng.normal(size=200), rng.normal(size=inside.shape), rng.permutation(200)
    own, others, coins = asked(scores, by_shadow, inside)
    moved = [observed(by_shadow[k][order], order) for k in range(9)]
    found = METHODS[method](observed(scores[order], order), moved, coins)
    np.testing.assert_array_equal(found, METHODS[method](own, others, coins)[order])


@every_method
def test_shift_and_unit_of_a_score_do_not_matter(method, small):
    scores, by_shadow, inside = small
    moved = METHODS[method](*asked(2.0**10 * scores - 64, 2.0**10 * by_shadow - 64, inside))
    np.testing.assert_allclose(moved, METHODS[method](*asked(*small)), rtol=1e-10, atol=1e-10)


@every_method
def test_neither_order_nor_other_records_of_the_matrix_matter(method, small):
    scores, by_shadow, inside = small
    want = METHODS[method](*asked(*small))
    rng = np.random.default_rng(0)
    queries, models = rng.permutation(SMALL), rng.permutation(len(by_shadow))
    rows = 3 * np.arange(SMALL)
    more = Inclusion(np.r_[1, rows], np.c_[np.zeros(len(inside), bool), inside][models])
    shadows = [observed(by_shadow[k][order], rows[order]) for k in models for order in [rng.permutation(SMALL)]]
    found = METHODS[method](observed(scores[queries], rows[queries]), shadows, more)
    np.testing.assert_allclose(found, want[queries], rtol=1e-11, atol=1e-11)


def test_a_variance_of_its_own_equals_the_pooled_where_all_are_alike():
    """Every record's scores are one pattern, shifted: then 64 shadows say what a pooled variance says."""
    rng = np.random.default_rng(5)
    inside, pattern = halves(rng, 64, SMALL), rng.normal(size=32)
    by_shadow = np.empty(inside.shape)
    for i in range(SMALL):
        by_shadow[inside[:, i], i], by_shadow[~inside[:, i], i] = pattern + i + 1, 2 * pattern + i
    scores = rng.normal(size=SMALL) + np.arange(SMALL)
    pooled = slow_lira(scores, by_shadow, inside, own=False, online=True)
    np.testing.assert_allclose(lira(*asked(scores, by_shadow, inside)), pooled, rtol=1e-11, atol=1e-11)


def test_offline_scores_rank_where_a_probability_would_be_one():
    scores, by_shadow = np.arange(SMALL) * 50.0, np.random.default_rng(0).normal(size=(8, SMALL))
    inside = halves(np.random.default_rng(1), 8, SMALL)
    found = lira(*asked(scores, by_shadow, inside), online=False)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_a_record_whose_scores_never_vary_takes_the_pooled_variance():
    """A record that every model generates: its distance to the nearest is 0, and 0.1 has a rounded mean."""
    rng = np.random.default_rng(6)
    inside = halves(rng, 64, SMALL)
    by_shadow = rng.normal(size=inside.shape)
    by_shadow[:, 4] = 0.1
    found = lira(*asked(np.where(np.arange(SMALL) == 4, 0.1, rng.normal(size=SMALL)), by_shadow, inside))
    assert np.isfinite(found).all()
    # ddof: 32 scores a record on each side, each record around its own mean.
    centred = {side: by_shadow - by_shadow.mean(axis=0, where=inside == side) for side in (True, False)}
    spread = {side: np.sqrt((one[inside == side] ** 2).sum() / (31 * SMALL)) for side, one in centred.items()}
    np.testing.assert_allclose(found[4], np.log(spread[False] / spread[True]), rtol=1e-10)


@pytest.mark.parametrize("method", [lira, rmia])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s, b, i: asked(s, b[:3], i[:3]), r"needs at least \d shadow models, got 3: train more"),
        (lambda s, b, i: asked(s, b, i[:8]), "9 shadows were observed and the inclusion matrix is of 8"),
        (lambda s, b, i: asked(s, b, i[:, :11]), r"inclusion matrix of 12 records has a bool \[K, 12\]"),
        (lambda s, b, i: asked(s, b[:, :11], i), "row 11 .* was asked of the target and not of the shadow"),
        (lambda s, b, i: asked(s, np.where(np.arange(12) == 5, np.nan, b), i), "the shadows' scores of row 5 hold NaN"),
        (lambda s, b, i: asked(np.where(np.arange(12) == 5, np.inf, s), b, i), "the target's scores of row 5 hold"),
        (lambda s, b, i: asked(s, b, i & (np.arange(12) != 2)), r"no shadow holds row 2 \(of 1 such\)"),
        (lambda s, b, i: asked(s, b, i | (np.arange(12) == 2)), "no shadow was trained without row 2"),
        (lambda s, b, i: asked(s, np.zeros_like(b), i), "no record's scores vary between shadows"),
    ],
)
def test_what_cannot_be_compared_is_refused(method, change, says):
    rng = np.random.default_rng(0)
    inside = halves(rng, 9, SMALL)
    with pytest.raises(InputError, match=says):
        method(*change(rng.normal(size=SMALL), rng.normal(size=(9, SMALL)), inside))


def test_offline_needs_no_shadow_with_the_record(small):
    scores, by_shadow, inside = small
    nobody = np.zeros_like(inside)
    for method in (lira, rmia):
        assert np.isfinite(method(*asked(scores, by_shadow, nobody), online=False)).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gamma": 0.0}, "gamma is a positive ratio, got 0.0"),
        ({"population": np.array([3])}, "compares a record with others, and 1 queries are of the population"),
        ({"population": np.array([3, 40])}, r"row 40 \(of 1 such\) of the population was not asked"),
    ],
)
def test_populations_that_compare_nothing_are_refused(small, options, says):
    with pytest.raises(InputError, match=says):
        rmia(*asked(*small), **options)
