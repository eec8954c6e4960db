"""Quality of generated images: closed forms of Gaussians, naive loops, and what copying and its absence give."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from diffaudit_jax.metrics import density_coverage, frechet, novelty, precision_recall
from diffaudit_jax.metrics.quality import BLOCK
from diffaudit_jax.types import InputError

EPS = np.finfo(np.float64).eps


def normal(n, d, seed=0, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def with_moments(n, mean, covariance, seed=0):
    """Rows whose sample mean and covariance are exactly these, up to rounding."""
    d = len(mean)
    z = normal(n, d, seed)
    z -= z.mean(axis=0)
    white = z @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False))).T
    values, vectors = np.linalg.eigh(covariance)
    return white * np.sqrt(np.maximum(values, 0)) @ vectors.T + mean


def covariance(d, seed, rank=None):
    a = normal(rank or d, d, seed)
    return a.T @ a / d


# (mean, covariance) of two Gaussians and their distance in closed form, where there is one.
DIAGONAL = np.array([4.0, 1.0, 0.25, 0.0])
PAIRS = {
    "means": (np.zeros(4), np.eye(4), np.full(4, 3.0), np.eye(4), 36.0),
    "scales": (np.zeros(4), np.eye(4), np.zeros(4), 9 * np.eye(4), 4 * (3 - 1) ** 2),
    "diagonal": (np.ones(4), np.diag(DIAGONAL), np.ones(4), np.eye(4), ((np.sqrt(DIAGONAL) - 1) ** 2).sum()),
    "orthogonal lines": (np.zeros(2), np.diag([1.0, 0.0]), np.zeros(2), np.diag([0.0, 4.0]), 5.0),
}


@pytest.mark.parametrize("name", PAIRS)
def test_frechet_is_the_closed_form(name):
    m1, s1, m2, s2, distance = PAIRS[name]
    x, y = with_moments(50, m1, s1), with_moments(60, m2, s2, seed=1)
    # Rounding of the whitening, whose condition number is below 10, on terms of this size.
    size = (m1**2).sum() + (m2**2).sum() + np.trace(s1 + s2)
    np.testing.assert_allclose(frechet(x, y), distance, atol=100 * len(m1) * EPS * size)


@pytest.mark.parametrize("d", [1, 3, 8])
def test_frechet_is_that_of_the_matrix_root(d):
    x, y = normal(40, d) @ covariance(d, 2), normal(30, d, 1, shift=0.3) @ covariance(d, 3)
    s, t = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    root = np.real(sqrtm(s @ t))
    naive = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)
    np.testing.assert_allclose(frechet(x, y), naive, rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(5, 7, 64), (100, 5, 64), (2, 2, 3), (300, 200, 64)])
def test_frechet_is_a_distance_with_few_rows_too(n, m, d):
    x, y = normal(n, d, shift=5.0), normal(m, d, 1)
    bound = 10 * d * EPS * ((x**2).sum() / (n - 1) + (y**2).sum() / (m - 1))
    assert frechet(x, x) <= bound
    np.testing.assert_allclose(frechet(x, y), frechet(y, x), atol=bound)
    assert frechet(x, y) > 0
    turn = np.linalg.qr(normal(d, d, 2))[0]
    np.testing.assert_allclose(frechet(x @ turn + 1, y @ turn + 1), frechet(x, y), atol=2 * bound)


def test_frechet_of_draws_is_the_populations_within_sampling_error():
    """Two Gaussians of covariance I and means 2 apart: the means alone give 4, and 4 is reached as n grows."""
    n, d, repeats = 400, 3, 50
    found = [frechet(normal(n, d, i), normal(n, d, 1000 + i, shift=2 / np.sqrt(d))) for i in range(repeats)]
    # Bias of |m - m'|^2 is 2d/n; that of the covariances' part is E|dS|^2/4 = 2 (d^2 + d)/(4n) to first order.
    bias = 2 * d / n + (d**2 + d) / (2 * n)
    error = np.std(found, ddof=1) / np.sqrt(repeats)
    assert abs(np.mean(found) - 4 - bias) < 4 * error + bias**2


def naive_balls(points, centres, k):
    """For each point, the balls around `centres` that hold it, ball by ball and point by point: bool [n, m]."""
    inside = np.zeros((len(points), len(centres)), bool)
    for j, centre in enumerate(centres):
        others = sorted(np.linalg.norm(centre - other) for i, other in enumerate(centres) if i != j)
        for i, point in enumerate(points):
            inside[i, j] = np.linalg.norm(centre - point) <= others[k - 1]
    return inside


SETS = {
    "alike": (normal(40, 3), normal(30, 3, 1)),
    "shifted": (normal(40, 3), normal(30, 3, 1, shift=1.0)),
    "narrow": (normal(40, 3), normal(30, 3, 1, scale=0.2)),
    "wide": (normal(20, 3), normal(50, 3, 1, scale=5.0)),
}


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("name", SETS)
def test_balls_are_those_of_a_double_loop(name, k, monkeypatch):
    monkeypatch.setattr("diffaudit_jax.metrics.quality.BLOCK", 7 * 40)
    real, fake = SETS[name]
    in_real, in_fake = naive_balls(fake, real, k), naive_balls(real, fake, k)
    assert precision_recall(real, fake, k) == (in_real.any(1).mean(), in_fake.any(1).mean())
    assert density_coverage(real, fake, k) == (in_real.sum() / (k * len(fake)), in_real.any(0).mean())
    assert BLOCK > 7 * 40


def test_the_same_set_has_everything_and_its_densest():
    """A real's ball holds itself and its k neighbours, the k-th on the surface: (k + 1)/k of them on average."""
    for d in (1, 7, 64):
        x = normal(100, d, scale=100.0)
        assert precision_recall(x, x) == (1, 1)
        assert density_coverage(x, x, 4) == (5 / 4, 1)


def test_balls_are_closed_up_to_rounding_and_no_further():
    doubled = np.repeat(normal(20, 3), 2, axis=0)  # balls of radius 0
    assert precision_recall(doubled, doubled, 1) == (1, 1)
    real = np.array([[0.0], [-1.0], [-2.0]])
    on_surface, beyond = (np.full((3, 1), 1 + e) for e in (EPS, 1e-12))
    assert precision_recall(real, on_surface, 1).precision == 1
    assert precision_recall(real, beyond, 1).precision == 0


def test_sets_far_apart_have_nothing():
    x = normal(50, 4)
    assert precision_recall(x, x + 100) == (0, 0)
    assert density_coverage(x, x + 100) == (0, 0)


def test_one_mode_is_precise_and_recalls_half():
    real = np.concatenate([normal(100, 2), normal(100, 2, 1, shift=50.0)])
    found = precision_recall(real, normal(200, 2, scale=0.5))
    assert found.precision > 0.95
    assert found.recall <= 0.5
    assert density_coverage(real, normal(200, 2, scale=0.5)).coverage <= 0.5


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fresh_draws_have_density_one_and_the_papers_coverage(k):
    """A ball misses all n fakes if the k nearest of 2n - 1 exchangeable others are reals: a ratio of binomials."""
    n, repeats = 40, 60
    missed = np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    found = [density_coverage(normal(n, 5, i), normal(n, 5, 1000 + i), k) for i in range(repeats)]
    error = np.std(found, axis=0, ddof=1) / np.sqrt(repeats)
    assert (np.abs(np.mean(found, axis=0) - (1, 1 - missed)) < 4 * error).all()


def test_copies_are_told_and_their_interval_is_exact():
    train, heldout = normal(60, 10), normal(60, 10, 1)
    found = novelty(train, heldout, train)
    np.testing.assert_allclose(found.share, (1, 0.025 ** (1 / 60), 1), rtol=1e-12)
    assert found.p_value == 1 / 1000
    mirrored = novelty(heldout, train, train)
    np.testing.assert_allclose(mirrored.share, (0, 0, 1 - 0.025 ** (1 / 60)), atol=1e-12)
    assert mirrored.p_value == 1


def test_two_images_prove_nothing():
    """Dealt anew, half of the time the one image that was copied is on the same side: p is 1/2."""
    found = novelty([[0.0]], [[1.0]], np.zeros((50, 1)))
    assert found.share.value == 1
    assert abs(found.p_value - 0.5) < 4 * np.sqrt(0.25 / 999)


def test_share_is_that_of_a_double_loop_and_ties_count_half():
    train, heldout, fake = normal(20, 2), normal(20, 2, 1), normal(30, 2, 2)
    heldout[:10] = train[:10]
    nearest = np.array([[min(((z - x) ** 2).sum() for x in side) for side in (train, heldout)] for z in fake])
    closer, ties = (nearest[:, 0] < nearest[:, 1]).sum(), (nearest[:, 0] == nearest[:, 1]).sum()
    assert ties > 0
    assert closer + ties / 2 != 15
    assert novelty(train, heldout, fake).share.value == (closer + ties / 2) / 30
    assert novelty(train, train, fake).share.value == 0.5


REPEATS, N = 150, 25


def fresh(repeat, m=400):
    """Two sets and many fakes, all of one distribution."""
    rows = normal(2 * N + m, 12, repeat)
    return novelty(rows[:N], rows[N : 2 * N], rows[2 * N :], num_permutations=99, seed=repeat)


def test_fresh_draws_are_nearer_to_either_side_alike_and_the_p_value_is_fair():
    found = [fresh(i) for i in range(REPEATS)]
    shares = np.array([f.share.value for f in found])
    assert abs(shares.mean() - 0.5) < 4 * shares.std(ddof=1) / np.sqrt(REPEATS)
    # A p-value at most a comes with probability a at most, and here nearly a: the test is exact.
    for a in (0.05, 0.2, 0.5):
        share = np.mean([f.p_value <= a for f in found])
        assert abs(share - a) < 4 * np.sqrt(a * (1 - a) / REPEATS)
    # The binomial interval is about these two sets, and leaves 0.5 out far more often than 1 time in 20.
    assert np.mean([not f.share.low <= 0.5 <= f.share.high for f in found]) > 0.25


def test_a_quarter_of_copies_is_found():
    rows = normal(2 * 100 + 300, 12)
    train, heldout, fake = rows[:100], rows[100:200], rows[200:].copy()
    fake[:75] = train[np.arange(75)] + normal(75, 12, 1, scale=1e-3)
    assert novelty(train, heldout, fake).p_value < 0.01


GOOD = normal(10, 3)
NAN = np.where(np.arange(30).reshape(10, 3) == 7, np.nan, GOOD)
STATISTICS = {
    "frechet": frechet,
    "precision": precision_recall,
    "density": density_coverage,
    "novelty": lambda x, y: novelty(x, x, y),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (NAN, "is nan in row 2, column 1: mend or drop that row"),
        (GOOD[:, :2], "columns: take all features from one network"),
        (GOOD[0], r"is float64 of shape \(3,\): give real features"),
        (GOOD[:0], "has 0 rows: give at least"),
        (GOOD.astype(str), "is <U32 of shape"),
        (GOOD[:, :0], "give real features"),
    ],
)
def test_bad_sets_are_refused(name, bad, message):
    with pytest.raises(InputError, match=message):
        STATISTICS[name](GOOD, bad)
    with pytest.raises(InputError, match=message):
        STATISTICS[name](bad, GOOD)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet(GOOD[:1], GOOD), "real has 1 rows: give at least 2"),
        (lambda: precision_recall(GOOD, GOOD[:3]), "fake has 3 rows: give at least 4"),
        (lambda: precision_recall(GOOD, GOOD, 10), "real has 10 rows: give at least 11"),
        (lambda: precision_recall(GOOD, GOOD, 0), "k is 0"),
        (lambda: density_coverage(GOOD, GOOD, -1), "k is -1"),
        (lambda: novelty(GOOD[:9], GOOD, GOOD), "train has 9 rows and heldout 10"),
        (lambda: novelty(GOOD, GOOD, GOOD, num_permutations=0), "num_permutations must be at least 1, got 0"),
        (lambda: novelty(GOOD, GOOD, GOOD, level=1.0), "level is 1.0"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
