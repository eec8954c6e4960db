"""Estimators of noise against the exact laws of medians and norms; what the image adds; the guessed factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, chi2, kstest, norm

from diffaudit_jax.reconstruction.estimate import measured_factor, signal_free_std, typical_factor, wavelet_std
from diffaudit_jax.types import InputError
from tests.oracles import EPS32

KEY = jax.random.key(3)
Z = norm.ppf(0.75)


def median_law(n):
    """Distribution of median |n| / z of an odd number n of standard normals: the middle of n uniforms is Beta."""
    middle = beta((n + 1) / 2, (n + 1) / 2)
    return middle, lambda t: middle.cdf(2 * norm.cdf(t * Z) - 1)


def slow_wavelet_std(y):
    """The estimate from its definition, block by block."""
    corners = np.ndindex(y.shape[0] // 2, y.shape[1] // 2, y.shape[2])
    blocks = [y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, k] for i, j, k in corners]
    return np.median([abs(b[0, 0] - b[0, 1] - b[1, 0] + b[1, 1]) / 2 for b in blocks]) / Z


@pytest.mark.parametrize("shape", [(4, 4, 2), (7, 5, 3), (2, 3, 1)])
def test_the_wavelet_estimate_is_that_of_a_loop(shape):
    y = np.random.default_rng(0).normal(size=(2, *shape))
    several = wavelet_std(jnp.asarray(y, jnp.float32))
    # Three sums of four numbers of size 2 at most 4 times over, a division each by 2 and z.
    want = [slow_wavelet_std(image) for image in y]
    np.testing.assert_allclose(jax.jit(jax.vmap(wavelet_std))(jnp.asarray(y, jnp.float32)), want, atol=32 * EPS32)
    pooled = np.concatenate(list(y), axis=-1)
    np.testing.assert_allclose(several, slow_wavelet_std(pooled), atol=32 * EPS32)


@pytest.mark.parametrize(("shape", "n"), [((6, 10, 1), 15), ((7, 7, 3), 27)])
def test_of_pure_noise_the_wavelet_estimate_has_the_law_of_a_median(shape, n):
    noise = 0.3 * jax.random.normal(KEY, (3000, *shape))
    estimates = np.asarray(jax.vmap(wavelet_std)(noise)) / 0.3
    assert kstest(estimates, median_law(n)[1]).pvalue > 1e-3


def test_the_standard_error_stated_is_that_of_the_law():
    n = 10_001
    middle, _ = median_law(n)
    quantiles = norm.ppf((1 + middle.ppf((np.arange(4000) + 0.5) / 4000)) / 2) / Z
    # The asymptotic value is off by a share of order 1/n, the quadrature by 1/4000, and 1.17 is rounded.
    assert quantiles.std() * np.sqrt(n) == pytest.approx(1.17, abs=0.005)
    assert 1 / (4 * Z * norm.pdf(Z)) == pytest.approx(1.17, abs=0.005)


def content(kind, size):
    """Content [h, w, 1] by its diagonal band, and P(|n + c| <= m) of the band with unit noise."""
    rng = np.random.default_rng(1)
    sign = rng.choice([-1.0, 1.0], size)
    if kind == "gaussian texture":
        band, below = 0.2 * rng.normal(size=size), lambda m: 2 * norm.cdf(m / np.sqrt(1.04)) - 1
    elif kind == "sign texture":
        band, below = 0.2 * sign, lambda m: norm.cdf(m - 0.2) - norm.cdf(-m - 0.2)
    else:
        band = 100 * sign * (rng.random(size) < 0.02)
        share = (band != 0).mean()
        below = lambda m: (1 - share) * (2 * norm.cdf(m) - 1)  # noqa: E731
    x = np.zeros((2 * size[0], 2 * size[1]))
    x[::2, ::2] = 2 * band  # HH is half of it, the rest of the block is 0
    return x[..., None], below


@pytest.mark.parametrize(
    ("kind", "first_order"), [("gaussian texture", 0.02), ("sign texture", 0.02), ("edges", 0.02 * 1.166)]
)
def test_the_image_biases_the_wavelet_estimate_as_stated(kind, first_order):
    size = (128, 128)
    x, below = content(kind, size)
    exact = brentq(lambda m: below(m) - 0.5, 0.1, 2) / Z
    one = jax.jit(lambda key: wavelet_std(jnp.asarray(x, jnp.float32) + jax.random.normal(key, x.shape)))
    estimates = np.array([one(key) for key in jax.random.split(KEY, 16)])
    # The band of a texture is drawn too; its draws are part of the median's spread.
    standard_error = 1.17 / np.sqrt(size[0] * size[1])
    assert abs(estimates.mean() - exact) < 4 * standard_error * (1 if kind != "edges" else 1 / 4)
    # v/2 and 1.17 p are the first terms of series in v = 0.04 and p = 0.02 (here a share drawn at random).
    share = 0.25 if kind == "edges" else 0.04
    assert exact - 1 == pytest.approx(first_order, rel=share)


def test_free_coordinates_give_the_root_of_a_chi_square():
    n, sigma = 9, 0.7
    coordinates = sigma * jax.random.normal(KEY, (4000, 3, 3))
    estimates = np.float64(jax.jit(jax.vmap(signal_free_std))(coordinates))
    assert kstest(n * (estimates / sigma) ** 2, chi2(n).cdf).pvalue > 1e-3
    # The law's own mean and spread: the bias and the standard error stated are its first terms in 1/n.
    law = np.sqrt(chi2(1000).ppf((np.arange(4000) + 0.5) / 4000) / 1000)
    assert law.mean() - 1 == pytest.approx(-1 / 4000, rel=0.02)
    assert law.std() == pytest.approx(1 / np.sqrt(2000), rel=0.01)


def test_the_typical_factor_is_clipping_of_a_typical_gradient():
    np.testing.assert_allclose(typical_factor(1.0, 4.0), 0.25, rtol=EPS32)
    np.testing.assert_array_equal([typical_factor(5.0, 4.0), typical_factor(float("inf"), 4.0)], 1)


def test_the_measured_norm_has_the_mean_and_spread_stated():
    n, mu, clip, typical = 512, 20.0, 2.0, 11.0
    g = jnp.full(n, clip / n**0.5)
    noisy = g[None] + clip / mu * jax.random.normal(KEY, (4000, n))
    factors = jax.jit(jax.vmap(lambda g: measured_factor(g, jnp.float32(clip / mu), typical)))(noisy)
    square = (np.float64(factors) * typical / clip) ** 2
    spread = np.sqrt(2 * n / mu**2 + 4) / mu
    assert abs(square.mean() - 1) < 4 * spread / np.sqrt(4000)
    # Nearly normal: the standard error of a standard deviation is its 1/sqrt(2 n).
    assert abs(square.std() / spread - 1) < 4 / np.sqrt(8000)


def test_noise_that_hides_the_norm_leaves_a_factor_above_0():
    stddev, n = 10.0, 50
    silent = measured_factor(jnp.zeros(n), jnp.float32(stddev), 1000.0)
    np.testing.assert_allclose(silent, stddev * (2 * n) ** 0.25 / 1000, rtol=8 * EPS32)
    np.testing.assert_array_equal(measured_factor(jnp.ones(n), jnp.float32(0), 1.0), 1)


@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 8, 3), (8, 1, 3)])
def test_what_is_not_an_image_has_no_wavelet_estimate(shape):
    with pytest.raises(InputError, match=r"2x2 pixels, got \[.*give the noise"):
        wavelet_std(jnp.zeros(shape))


def test_no_coordinates_are_refused():
    with pytest.raises(InputError, match="give one at least"):
        signal_free_std(jnp.zeros(0))
