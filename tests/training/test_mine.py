"""MINE against closed forms: correlated Gaussians, labels of a known mixture, halves that have nothing in common."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from diffaudit_jax.training.mine import mine
from diffaudit_jax.types import InputError

KEY = jax.random.key(0)


def gaussians(rho, n=6000, seed=0):
    a, b = np.random.default_rng(seed).standard_normal((2, n))
    return a[:, None], (rho * a + np.sqrt(1 - rho**2) * b)[:, None]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_correlated_gaussians_have_the_information_of_their_correlation(rho):
    truth = -0.5 * np.log(1 - rho**2)
    found = mine(KEY, *gaussians(rho), num_steps=800, level=0.999).information
    # A bound from below, up to its error; a small network on a few thousand pairs leaves a little.
    assert found.low <= truth
    assert truth - found.high < 0.02
    assert found.high - found.low < 0.25


def test_labels_of_a_mixture_and_their_table():
    """X is N(+-1, 1) by label: I = h(X) - h(X | Y), by numerical integration."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 6000)
    x = rng.standard_normal(6000) + 2 * y - 1
    density = lambda t: 0.5 * (norm.pdf(t - 1) + norm.pdf(t + 1))  # noqa: E731
    truth = quad(lambda t: -density(t) * np.log(density(t)), -9, 9)[0] - 0.5 * np.log(2 * np.pi * np.e)
    found = mine(KEY, x[:, None], y, num_steps=800, level=0.999)
    assert found.information.low <= truth
    assert truth - found.information.high < 0.02
    # The best T is log p(y | x) - log p(y), up to a constant: a slope of 2 in x between the labels.
    slope = np.polyfit(x, found.statistic[:, 1] - found.statistic[:, 0], 1)[0]
    assert slope == pytest.approx(2, abs=0.4)


def test_a_network_does_not_praise_itself():
    """Sixty records of noise in 50 dimensions are learnt by heart; those that were not seen say nothing."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((60, 50)), rng.integers(0, 2, 60)
    found, again = (mine(KEY, x, y, num_steps=300) for _ in range(2))
    assert found.information.low < 0
    np.testing.assert_array_equal(found.statistic, again.statistic)


@pytest.mark.parametrize(
    ("x", "z", "message"),
    [
        (np.zeros((10, 2)), np.zeros(9, int), "10 records of x and 9 of z"),
        (np.zeros((7, 2)), np.zeros(7, int), "7 records of x and 7 of z"),
        (np.full((10, 2), np.nan), np.zeros(10, int), "NaN or infinity"),
    ],
)
def test_mistakes_are_named(x, z, message):
    with pytest.raises(InputError, match=message):
        mine(KEY, x, z)
