"""What reconstructions say of their own error: exact posterior samples of Gaussian data, and samplers that are not."""

from dataclasses import replace
from itertools import combinations

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from diffaudit_jax.reconstruction.agreement import agreement, pairwise_error, rank_correlation
from diffaudit_jax.reconstruction.denoise import reconstruct
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.types import InputError
from tests.oracles import PROCESSES, gaussian

SHAPE, DIMS = (3, 2, 1), 6
MEAN, VAR = 0.1, 0.04


def released(n, sigma, seed=0):
    rng = np.random.default_rng(seed)
    x = MEAN + np.sqrt(VAR) * rng.standard_normal((n, *SHAPE))
    return x, x + sigma * rng.standard_normal(x.shape), rng


def posterior_draws(y, sigma, num, rng, mean=MEAN, var=VAR):
    gain = var / (var + sigma**2)
    std = np.sqrt(gain * sigma**2)
    return (mean + gain * (y - mean))[:, None] + std * rng.standard_normal((len(y), num, *SHAPE))


def mse(a, b):
    return ((a - b) ** 2).reshape(len(a), -1).mean(1)


def within(values, want=0.0):
    """Whether the mean of independent values is what it should be, by 4 of its standard errors."""
    return abs(values.mean() - want) < 4 * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("num", [2, 3, 7])
def test_pairs_are_compared_without_forming_them(num):
    x = np.random.default_rng(0).normal(size=(4, num, *SHAPE))
    pairs = [mse(x[:, i], x[:, j]) for i, j in combinations(range(num), 2)]
    np.testing.assert_allclose(pairwise_error(x), np.mean(pairs, 0), rtol=1e-12)


@pytest.mark.parametrize("num", [2, 5])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 5.0])
def test_posterior_samples_tell_their_error(sigma, num):
    x, y, rng = released(4000, sigma)
    drawn = posterior_draws(y, sigma, num, rng)
    told = agreement(drawn, x)
    assert within(told.error - mse(drawn[:, 0], x))
    assert within(told.error_of_mean - mse(drawn.mean(1), x))
    var = VAR * sigma**2 / (VAR + sigma**2)
    assert within(told.error, 2 * var)
    assert within((told.std**2).reshape(len(x), -1).mean(1), var)
    # Half of it is the posterior mean's error.
    gain = VAR / (VAR + sigma**2)
    assert within(told.error / 2 - mse(MEAN + gain * (y - MEAN), x))


def test_pixels_that_agree_are_told_from_those_that_do_not():
    rng = np.random.default_rng(1)
    scale = np.linspace(0, 1, DIMS).reshape(SHAPE)
    std = agreement(scale * rng.standard_normal((200, 50, *SHAPE)), rng.normal(size=(9, *SHAPE))).std
    assert (std[:, 0, 0, 0] == 0).all()
    # Standard error of one variance of 50 draws, over 200 releases.
    np.testing.assert_allclose((std**2).mean(0), scale**2, atol=4 * np.sqrt(2 / 49 / 200))


def test_at_ratio_one_reconstructions_are_unrelated_images():
    x, y, rng = released(4000, 1e4)
    told = agreement(posterior_draws(y, 1e4, 2, rng), x)
    apart = mse(x[::2], x[1::2])
    # The baseline is a mean over all pairs, surer than that over pairs apart.
    assert abs(told.ratio.mean() - 1) < 4 * np.hypot(told.ratio.std(), apart.std() / apart.mean()) / np.sqrt(2000)


@pytest.mark.parametrize(
    ("mean", "var", "believed"), [(0.4, VAR, 1.0), (MEAN, 4 * VAR, 1.0), (MEAN, VAR / 4, 1.0), (MEAN, VAR, 1.5)]
)
def test_another_posterior_departs_as_stated(mean, var, believed):
    sigma = 0.3
    x, y, rng = released(4000, sigma)
    drawn = posterior_draws(y, believed * sigma, 2, rng, mean, var)
    # pairwise - error = tr S_q - tr S - ||m - m_q||^2, the last in its mean over y.
    gain, gain_q = VAR / (VAR + sigma**2), var / (var + (believed * sigma) ** 2)
    moved = (gain_q - gain) ** 2 * (VAR + sigma**2) + (1 - gain_q) ** 2 * (mean - MEAN) ** 2
    departure = gain_q * (believed * sigma) ** 2 - gain * sigma**2 - moved
    assert within(agreement(drawn, x).error - mse(drawn[:, 0], x), departure)


def test_few_steps_of_ddim_spread_too_little():
    sigma, num = 0.3, 300
    _, y, _ = released(num, sigma)
    target = gaussian(PROCESSES["edm"], MEAN, VAR, SHAPE)
    target = replace(target, config={**target.config, "clip": False})
    releases = Release(y.astype(np.float32), np.full(num, sigma))
    errors = [
        pairwise_error(reconstruct(jax.random.key(0), target, releases, num=2, eta=1.0, steps=steps))
        for steps in (4, 40)
    ]
    want = 2 * VAR * sigma**2 / (VAR + sigma**2)
    few, many = (error.mean() for error in errors)
    se_few, se_many = (error.std() / np.sqrt(num) for error in errors)
    assert few + 4 * se_few < want
    assert few + 4 * np.hypot(se_few, se_many) < many < want + 4 * se_many


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(2)
    a = rng.normal(size=40)
    b = a + rng.normal(size=40)
    for one, other in ((a, b), (a, -b), (np.round(a), b)):
        got = rank_correlation(one, other)
        assert got.value == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
        assert got.low < got.value < got.high
        assert rank_correlation(one, other, level=0.5).low > got.low
    flipped = rank_correlation(a, -b)
    np.testing.assert_allclose([-flipped.value, -flipped.high, -flipped.low], rank_correlation(a, b), atol=1e-12)


@pytest.mark.parametrize("n", [4, 30])
def test_a_perfect_order_keeps_an_interval(n):
    a = np.arange(n)
    got, reverse = rank_correlation(a, a**3), rank_correlation(a, -a)
    assert (got.value, got.high) == (1, 1)
    assert got.low < 1 - 6 / (n * (n**2 - 1))
    assert (reverse.value, reverse.low, reverse.high) == (-1, -1, -got.low)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_intervals_of_the_rank_correlation_cover(rho):
    num, rng = 1000, np.random.default_rng(3)
    true = 6 / np.pi * np.arcsin(rho / 2)  # of Gaussian pairs; a sample of n is biased by less than 1/n
    covered = 0
    for _ in range(num):
        a, b = rng.normal(size=(2, 60))
        got = rank_correlation(a, rho * a + np.sqrt(1 - rho**2) * b)
        covered += got.low <= true <= got.high
    assert covered / num > 0.95 - 4 * np.sqrt(0.05 * 0.95 / num)


X = np.random.default_rng(0).normal(size=(4, 3, *SHAPE))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: agreement(X[:, :1], X[:, 0]), "takes 2 or more of each, got shape .4, 1, 3, 2, 1.: reconstruct"),
        (lambda: agreement(X, X[0, :1]), "2 or more of each"),
        (lambda: agreement(X, X[:, 0, :2]), "do not go with images of"),
        (lambda: agreement(X, np.ones((3, *SHAPE))), "all the same"),
        (lambda: pairwise_error(np.full_like(X, np.nan)), "NaN or infinity"),
        (lambda: rank_correlation([1, 2, 3], [1, 2, 3]), "4 or more pairs"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 3, 4, 5]), "got shapes .4,. and .5,."),
        (lambda: rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]), "not all the same"),
        (lambda: rank_correlation([1, 2, 3, np.nan], [1, 2, 3, 4]), "finite"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 4, 3], level=1.0), "level is 1.0"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
