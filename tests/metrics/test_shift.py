"""A divergence from two denoising curves: Gaussians, whose curves and divergences are known."""

import numpy as np
import pytest

from diffaudit_jax.metrics.shift import curve_gap
from diffaudit_jax.types import InputError

CASES = [(0.0, 0.25, 0.5, 0.25), (0.1, 0.25, -0.2, 0.4), (0.0, 0.3, 0.0, 0.05), (0.2, 0.2, 0.2, 0.2)]


def kl(m, v, m_q, v_q, sigma):
    """Of N(m, v + sigma^2) from N(m_q, v_q + sigma^2)."""
    a, b = v + sigma**2, v_q + sigma**2
    return 0.5 * (a / b - 1 + np.log(b / a) + (m - m_q) ** 2 / b)


def errors(m, v, m_q, v_q, sigma):
    """Mean squared error of E_Q[x|y] for x from N(m, v)."""
    w = v_q / (v_q + sigma**2)
    return (1 - w) ** 2 * (v + (m - m_q) ** 2) + w**2 * sigma**2


def gap(case, per_decade, dims=3, low=0.01, high=10.0):
    sigmas = np.geomspace(low, high, round(per_decade * np.log10(high / low)) + 1)
    m, v, _, _ = case
    return curve_gap(sigmas, errors(*case, sigmas), errors(m, v, m, v, sigmas), dims)


@pytest.mark.parametrize("case", CASES)
def test_gaussian_curves_integrate_to_the_divergence(case):
    """The trapezoid rule errs as the square of its step: extrapolated from two steps it errs as the fourth power."""
    coarse, fine = gap(case, 20), gap(case, 40)
    exact = 3 * (kl(*case, fine.sigmas) - kl(*case, fine.sigmas[0]))
    better = (4 * fine.divergence[::2] - coarse.divergence) / 3
    np.testing.assert_allclose(better, exact[::2], atol=(np.log(10) / 20) ** 4 * exact[-1])
    assert np.abs(coarse.divergence - exact[::2])[-1] <= (np.log(10) / 20) ** 2 / 3 * exact[-1] + 1e-15


@pytest.mark.parametrize("case", CASES)
def test_what_is_left_out_is_what_lies_above_the_grid(case):
    """To the share that the largest noise leaves of either spread, here a hundredth."""
    above = 3 * kl(*case, 10.0)
    np.testing.assert_allclose(gap(case, 20).left_out, above, rtol=0.02, atol=3 * 0.4**2 / 10**4)


def test_any_order_and_many_curves_at_once():
    sigmas = np.geomspace(0.1, 5.0, 9)
    matched = errors(0, 0.25, 0, 0.25, sigmas)
    curves = np.stack([errors(0, 0.25, m, 0.3, sigmas) for m in (0.0, 0.4)])
    shuffled = np.random.default_rng(0).permutation(9)
    both = curve_gap(sigmas[shuffled], curves[:, shuffled], matched[shuffled], 12)
    assert both.divergence.shape == (2, 9)
    np.testing.assert_array_equal(both.sigmas, sigmas[::-1])
    for i in range(2):
        alone = curve_gap(sigmas, curves[i], matched, 12)
        np.testing.assert_array_equal(both.divergence[i], alone.divergence)
        assert both.left_out[i] == alone.left_out
    assert (both.divergence[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curve_gap([1.0], [0.1], [0.1], 3), r"sigmas has shape \(1,\)"),
        (lambda: curve_gap([1.0, 1.0], [0.1, 0.1], [0.1, 0.1], 3), "2 distinct"),
        (lambda: curve_gap([0.0, 1.0], [0.1, 0.1], [0.1, 0.1], 3), "least noise level is 0"),
        (lambda: curve_gap([0.5, 1.0], [0.1], [0.1, 0.1], 3), r"a curve has shape \(1,\)"),
        (lambda: curve_gap([0.5, 1.0], [0.1, np.nan], [0.1, 0.1], 3), "finite errors"),
        (lambda: curve_gap([0.5, 1.0], [0.1, 0.1], [0.1, 0.1], 0), "dims is 0"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
