"""The attacker without a prior: every law against simulation of the release itself."""

import numpy as np
import pytest
from scipy.special import gamma
from scipy.stats import kstest

from diffaudit_jax.metrics.uninformed import uninformed, wiener_mse
from diffaudit_jax.types import InputError

REPEATS = 4000


def target(dims, seed=0):
    """An image with a mean, so that centring matters."""
    return np.clip(np.random.default_rng(seed).normal(0.3, 0.5, dims), -1, 1)


def simulated(x, scale, seed=1):
    y = x + scale * np.random.default_rng(seed).standard_normal((REPEATS, len(x)))
    mse = ((y - x) ** 2).mean(axis=1)
    centred = y - y.mean(axis=1, keepdims=True)
    u = x - x.mean()
    return {
        "mse": mse,
        "psnr": 10 * np.log10(4 / mse),
        "ncc": centred @ u / np.linalg.norm(centred, axis=1) / np.linalg.norm(u),
    }


@pytest.mark.parametrize("metric", ["mse", "psnr", "ncc"])
@pytest.mark.parametrize(("dims", "mu", "releases"), [(3, 1.0, 1), (12, 5.0, 1), (784, 1.0, 1), (784, 10.0, 4)])
def test_laws_are_those_of_the_release(metric, dims, mu, releases):
    x = target(dims)
    scale = np.linalg.norm(x) / mu / releases**0.5
    law = getattr(uninformed(np.linalg.norm(x), dims, mu, variance=x.var(), num_releases=releases), metric)
    drawn = simulated(x, scale)[metric]
    assert abs(drawn.mean() - law.mean) < 4 * drawn.std() / np.sqrt(REPEATS)
    assert kstest(drawn, law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("metric", ["mse", "psnr", "ncc"])
@pytest.mark.parametrize(("dims", "mu"), [(5, 0.5), (784, 10.0), (196_608, 50.0)])
def test_quantiles_invert_the_distribution_and_integrate_to_the_mean(metric, dims, mu):
    law = getattr(uninformed(0.5 * dims**0.5, dims, mu, variance=0.2), metric)
    p = np.array([1e-4, 0.05, 0.5, 0.95, 0.9999])
    np.testing.assert_allclose(law.cdf(law.quantile(p)), p, rtol=1e-6)
    grid = (np.arange(20_000) + 0.5) / 20_000
    values = law.quantile(grid)
    assert (np.diff(values) > 0).all()
    # The midpoint rule errs in the tails, by no more than one step of probability at the ends.
    assert abs(values.mean() - law.mean) < (values[-1] - values[0]) / 20_000


def test_ncc_in_two_limits():
    """Much noise: a Gamma(d/2)/Gamma((d + 1)/2)/sqrt(2), and sqrt(v/(v + s^2)) for many pixels."""
    faint = uninformed(10.0, 4, 1e-4, variance=1.0).ncc
    a = 2.0 / 1e5
    np.testing.assert_allclose(faint.mean, a * gamma(2.0) / gamma(2.5) / np.sqrt(2), rtol=a)
    many = uninformed(0.5 * 1e4**0.5, 10_000, 100.0, variance=0.2).ncc
    s = 0.5 * 100 / 100
    np.testing.assert_allclose(many.mean, np.sqrt(0.2 / (0.2 + s**2)), rtol=2 / 10_000)


def test_ends_of_the_range():
    mse, psnr, ncc = uninformed(5.0, 100, 1.0, variance=0.2)
    np.testing.assert_array_equal(mse.cdf([-1.0, 0.0, np.inf]), [0, 0, 1])
    np.testing.assert_array_equal(ncc.cdf([-2.0, -1.0, 1.0, 2.0]), [0, 0, 1, 1])
    assert psnr.cdf(1e3) == 1
    assert mse.mean == 25
    np.testing.assert_allclose(psnr.cdf(psnr.quantile(0.3)), 1 - mse.cdf(4 * 10 ** (-psnr.quantile(0.3) / 10)))
    assert uninformed(5.0, 100, 1.0).ncc is None


def test_wiener_is_the_best_linear_estimate():
    """Of all slopes b, simulated: E (b y - x)^2 = (1 - b)^2 v + b^2 s^2 is least at the formula."""
    for v, s in ((0.25, 27.0), (0.25, 0.1), (1e-3, 1.0)):
        b = np.linspace(0, 1, 100_001)
        np.testing.assert_allclose(wiener_mse(v, s), ((1 - b) ** 2 * v + b**2 * s**2).min(), rtol=1e-6)
    np.testing.assert_array_equal(wiener_mse([0.0, 1.0], 1.0), [0.0, 0.5])


def test_ncc_of_two_pixels_more_than_needed_is_elementary():
    """Centred noise of 4 pixels has 3 dimensions, and a faint signal's cosine the density (1 + a r sqrt(8/pi))/2."""
    law = uninformed(10.0, 4, 1e-3, variance=1.0).ncc
    a = 2.0 / 1e4
    r = np.linspace(-0.9, 0.9, 7)
    slope = a * np.sqrt(8 / np.pi)  # a E||u||, of the chi distribution of 3
    np.testing.assert_allclose(law.cdf(r), (1 + r) / 2 + slope * (r**2 - 1) / 4, atol=a**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uninformed(0.0, 10, 1.0), "norm is 0"),
        (lambda: uninformed(1.0, 0, 1.0), "dims is 0"),
        (lambda: uninformed(1.0, 10, -1.0), "mu is -1"),
        (lambda: uninformed(1.0, 10, 1.0, num_releases=0), "num_releases is 0"),
        (lambda: uninformed(1.0, 10, 1.0, data_range=0.0), "data_range is 0"),
        (lambda: uninformed(1.0, 10, 1.0, variance=0.2), r"variance is 0.2: .* it lies in \(0, 0.1\]"),
        (lambda: uninformed(1.0, 10, 1.0, variance=0.0), "variance is 0"),
        (lambda: uninformed(1.0, 2, 1.0, variance=0.1), "dims is 2: a correlation"),
        (lambda: wiener_mse(-1.0, 1.0), "variance is negative"),
        (lambda: wiener_mse(1.0, 0.0), "noise is not positive"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
