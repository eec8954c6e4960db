"""What no attack can beat: closed forms against tables, riskcal, quadrature and simulation."""

import math

import dp_accounting
import numpy as np
import pytest
import riskcal
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.integrate import quad
from scipy.special import log_ndtr
from scipy.stats import binom, norm

from diffaudit_jax.metrics.bounds import candidate_success, prior_kappa, rero
from diffaudit_jax.metrics.gdp import gdp_delta, gdp_epsilon, gdp_mu
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.metrics.subsampled import BLOCK, log_ratios, rero_subsampled
from diffaudit_jax.types import InputError

MUS = [0.5, 1.0, 2.0, 5.0, 10.0]
KAPPAS = [0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6]
SURE = 1 - 1e-4  # level of intervals that are all to hold: of the 60 here, one fails in 170 choices of the seed


@pytest.mark.parametrize(
    ("mu", "kappa", "gamma", "digits"),
    [
        (1, 0.1, 0.389, 3),
        (1, 0.01, 0.0924, 4),
        (2, 0.1, 0.764, 3),
        (2, 0.01, 0.372, 3),
        (2, 1e-4, 0.0428, 4),
        (5, 0.1, 0.9999, 4),
        (5, 0.01, 0.9962, 4),
        (5, 1e-4, 0.8999, 4),
        (5, 1e-6, 0.5974, 4),
    ],
)
def test_rero_is_the_published_form(mu, kappa, gamma, digits):
    assert round(float(rero(kappa, mu)), digits) == gamma


def test_rero_in_the_far_tail():
    """Phi^-1(1e-12) = -7.0344838253011319 (tables of 20 digits); the lower tail is math.erfc's."""
    for mu in (1e-3, 0.5, 3.0):
        expected = 0.5 * math.erfc((7.0344838253011319 - mu) / math.sqrt(2))
        # One rounding of an argument near 7 moves the tail by 7 x 7 of its own roundings.
        np.testing.assert_allclose(rero(1e-12, mu), expected, rtol=200 * np.finfo(float).eps)
    np.testing.assert_allclose(rero(1e-300, 1e-12), 1e-300, rtol=1e-9)  # mu/kappa dkappa/dz is 4e-11


def test_rero_broadcasts_and_counts_releases_as_mu_times_their_root():
    grid = rero(np.array(KAPPAS)[:, None], MUS, 4)
    assert grid.shape == (6, 5)
    np.testing.assert_allclose(grid, rero(np.array(KAPPAS)[:, None], 2 * np.array(MUS)), rtol=1e-15)
    assert (grid > np.array(KAPPAS)[:, None]).all()


@pytest.mark.parametrize("mu", MUS)
def test_rero_is_riskcals_trade_off(mu):
    beta = riskcal.analysis.get_beta_from_gdp(mu, np.array(KAPPAS))
    np.testing.assert_allclose(1 - rero(KAPPAS, mu), beta, rtol=1e-9, atol=4 * np.finfo(float).eps)


@pytest.mark.parametrize(
    ("kappa", "num_steps", "num_draws"), [(0.1, 4, 20_000), (0.01, 4, 20_000), (1e-3, 1, 40_000), (1e-4, 1, 150_000)]
)
@pytest.mark.parametrize("mu", MUS)
def test_simulation_without_sampling_is_the_closed_form(mu, kappa, num_steps, num_draws):
    gamma = rero_subsampled(kappa, mu / num_steps**0.5, 1.0, num_steps, num_draws=num_draws, level=SURE)
    assert gamma.low <= rero(kappa, mu) <= gamma.high
    assert gamma.low <= gamma.value <= gamma.high


def test_the_interval_is_about_as_short_as_both_errors_allow():
    """The standard errors of the threshold, times the slope of gamma in kappa, and of the share that passes it."""
    kappa, mu, n = 0.01, 2.0, 100_000
    g, z = rero(kappa, mu), norm.ppf(kappa)
    errors = norm.pdf(z + mu) / norm.pdf(z) * (kappa / n) ** 0.5, (g * (1 - g) / n) ** 0.5
    gamma = rero_subsampled(kappa, mu, 1.0, 1, num_draws=n)
    # One half of the error each: both limits at 2.24 standard errors, added where a root of squares would be 1.96.
    assert 2 * 1.96 * np.hypot(*errors) < gamma.high - gamma.low < 1.05 * 2 * 2.24 * sum(errors)


@pytest.mark.parametrize(("mu", "q", "kappa"), [(1.0, 0.1, 0.01), (5.0, 0.5, 0.01), (10.0, 0.01, 0.1)])
def test_simulation_of_one_sampled_step_is_its_mixture(mu, q, kappa):
    """One step rejects for large z whatever q is: gamma = (1 - q) kappa + q Phi(Phi^-1(kappa) + mu)."""
    gamma = rero_subsampled(kappa, mu, q, 1, level=SURE)
    assert gamma.low <= (1 - q) * kappa + q * rero(kappa, mu) <= gamma.high


@pytest.mark.parametrize(("mu", "q", "num_steps"), [(0.5, 0.5, 8), (1.0, 0.1, 30), (5.0, 0.05, 10), (10.0, 0.01, 10)])
def test_simulation_of_many_sampled_steps_is_riskcals(mu, q, num_steps):
    """At small kappa, where riskcal's curve is that of removing a record; elsewhere it is the worse of both ways."""
    step = pld.from_gaussian_mechanism(1 / mu, sampling_prob=q, value_discretization_interval=1e-3)
    composed = step.self_compose(num_steps)
    for kappa in (0.01, 0.001):
        gamma = rero_subsampled(kappa, mu, q, num_steps, num_draws=20_000, level=SURE)
        theirs = 1 - riskcal.analysis.get_beta_from_pld(composed, alpha=kappa)
        assert gamma.low <= theirs <= gamma.high


def test_interval_covers_both_stages():
    """A threshold placed by 20 draws: the binomial interval of the second stage alone does not cover."""
    kappa, mu, repeats, num_draws = 0.02, 1.5, 300, 1000
    truth = rero(kappa, mu)
    found = [rero_subsampled(kappa, mu, 1.0, 1, num_draws=num_draws, seed=seed) for seed in range(repeats)]
    alone = [clopper_pearson(round(gamma.value * num_draws), num_draws) for gamma in found]
    both, second = (np.mean([low <= truth <= high for _, low, high in intervals]) for intervals in (found, alone))
    assert both >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert second < 0.7


def test_ratios_are_summed_step_by_step_across_blocks():
    """Slow and naive, from the same draws; E_nu[r] = 1 and E_m[1/r] = 1."""
    mu, q, num_steps, n = 0.7, 0.3, 3, BLOCK + 5
    rng, expected = np.random.default_rng(3), []
    for size in (BLOCK, 5):
        total = np.zeros(size)
        for _ in range(num_steps):
            z = rng.standard_normal(size)
            z = z + mu * (rng.random(size) < q)
            total += np.log(1 - q + q * np.exp(mu * z - mu * mu / 2))
        expected.append(total)
    ours = log_ratios(np.random.default_rng(3), mu, q, num_steps, n, within=True)
    # A step's logarithm is of a number of order 1, rounded about ten times.
    np.testing.assert_allclose(ours, np.concatenate(expected), atol=num_steps * 20 * np.finfo(float).eps)
    without = np.exp(log_ratios(np.random.default_rng(4), mu, q, num_steps, n, within=False))
    for mean_one in (without, np.exp(-ours)):
        assert abs(mean_one.mean() - 1) < 4 * mean_one.std() / np.sqrt(n)


def test_large_steps_do_not_overflow():
    ratios = log_ratios(np.random.default_rng(0), 60.0, 1e-3, 5, 1000, within=True)
    assert np.isfinite(ratios).all()
    assert ratios.max() > 1000


@pytest.mark.parametrize(("kappa", "level"), [(0.01, 0.95), (1e-3, 0.99)])
def test_too_few_draws_are_refused_and_the_number_named_suffices(kappa, level):
    with pytest.raises(InputError, match=f"cannot place the threshold of kappa {kappa}: take") as raised:
        rero_subsampled(kappa, 1.0, 0.5, 1, num_draws=50, level=level)
    needed = int(str(raised.value).split()[-3])
    assert rero_subsampled(kappa, 5.0, 1.0, 1, num_draws=needed, level=level).low > 0
    with pytest.raises(InputError):
        rero_subsampled(kappa, 5.0, 1.0, 1, num_draws=needed - 1, level=level)


@pytest.mark.parametrize("num_candidates", [2, 10, 10**6, 10**12])
@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0, 20.0])
def test_candidates_in_closed_form_and_by_another_rule(num_candidates, mu):
    """The trapezoid rule, which errs by exp(-(2 pi/step)^2/2) on integrands as smooth as this."""
    z = np.linspace(mu - 12, mu + 12, 20_001)
    expected = np.trapezoid(norm.pdf(z - mu) * np.exp((num_candidates - 1) * log_ndtr(z)), z)
    ours = candidate_success(num_candidates, mu)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    if num_candidates == 2:
        np.testing.assert_allclose(ours, norm.cdf(mu / 2**0.5), atol=1e-14)
    assert ours <= rero(1 / num_candidates, mu) + 1e-12


def test_kappa_is_that_of_a_guess_known_to_be_right_so_often():
    """Targets on a circle of 8 places, uneven: the best of all guesses is the commonest place."""
    rng, places = np.random.default_rng(0), np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    held, repeats = 0, 300
    for seed in range(repeats):
        targets = rng.choice(8, size=200, p=places)
        kappa = prior_kappa(np.arange(8)[:, None] != targets, 0.5, seed=seed)
        held += kappa.low <= 0.3 <= kappa.high
    assert held / repeats >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)


def test_choosing_the_best_guess_on_the_targets_it_is_tried_on_would_not_do():
    """A thousand guesses, each right once in a hundred: the best of them looks right far more often."""
    distances = np.random.default_rng(0).random((1000, 100)) > 0.01
    assert (distances < 0.5).mean(axis=1).max() >= 0.05
    assert prior_kappa(distances, 0.5).low <= 0.01


def test_no_guess_that_hits_leaves_an_upper_limit():
    kappa = prior_kappa(np.full((5, 400), 2.0), 1.0)
    assert kappa[:2] == (0.0, 0.0)
    np.testing.assert_allclose(binom.cdf(0, 200, kappa.high), 0.025, rtol=1e-12)  # 3.7/200
    assert prior_kappa(np.full((1, 400), 2.0), 1.0).high < kappa.high  # one guess: all targets count
    assert prior_kappa(np.ones((1, 10)), 1.0).value == 1.0  # within means at most


@pytest.mark.parametrize(
    ("mu", "epsilon"), [(0.5, 1.99), (1, 4.38), (2, 10.0), (5, 33.1), (10, 91.8), (20, 284.0), (100, None), (1e3, None)]
)
def test_epsilon_beside_mu(mu, epsilon):
    ours = float(gdp_epsilon(mu, 1e-5))
    if epsilon:
        assert float(f"{ours:.3g}") == epsilon
        # Theirs is sought to 1e-12 of what it overestimates.
        np.testing.assert_allclose(ours, dp_accounting.get_epsilon_gaussian(1 / mu, 1e-5), rtol=1e-9)
    # delta moves by at most (epsilon/mu) of epsilon's relative error times epsilon.
    np.testing.assert_allclose(gdp_delta(mu, ours), 1e-5, rtol=1e-12 * (1 + ours * (ours / mu + mu)))


@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.1, 0.9])
def test_mu_epsilon_and_delta_invert_each_other(delta):
    mu = np.array([0.01, 0.3, 1.0, 7.0, 50.0])
    epsilon = gdp_epsilon(mu, delta)
    private = epsilon > 0
    np.testing.assert_allclose(gdp_mu(epsilon, delta)[private], mu[private], rtol=1e-9)
    smallest = 2 * norm.ppf((1 + delta) / 2)
    # At epsilon 0 delta is the area between -mu/2 and mu/2, and any smaller mu is (0, delta)-private too.
    np.testing.assert_allclose(gdp_mu(0.0, delta), smallest, rtol=1e-11 + 1e-15 / smallest)
    assert (mu[~private] <= smallest).all()


def test_delta_by_quadrature():
    """By definition: the integral of max(0, p - exp(epsilon) q) over the two Gaussians."""
    for mu, epsilon in ((0.5, 0.0), (1.0, 1.0), (3.0, 4.0), (6.0, 20.0)):
        start = epsilon / mu + mu / 2
        area = quad(lambda z, m=mu, e=epsilon: norm.pdf(z - m) - np.exp(e) * norm.pdf(z), start, start + 12)[0]
        np.testing.assert_allclose(gdp_delta(mu, epsilon), area, rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rero(0.0, 1.0), "kappa is 0"),
        (lambda: rero([0.1, 1.0], 1.0), "kappa is 1"),
        (lambda: rero(float("nan"), 1.0), "kappa is nan"),
        (lambda: rero(0.1, 0.0), "mu is 0"),
        (lambda: rero(0.1, [1.0, -2.0]), "mu is -2"),
        (lambda: rero(0.1, float("inf")), "mu is inf"),
        (lambda: rero(0.1, 1.0, 0), "num_releases is 0"),
        (lambda: rero(0.1, 1.0, 1.5), "num_releases is 1.5"),
        (lambda: rero_subsampled(0.1, 1.0, 0.0, 1), "sampling_prob is 0"),
        (lambda: rero_subsampled(0.1, 1.0, 1.1, 1), "sampling_prob is 1.1"),
        (lambda: rero_subsampled(0.1, 1.0, 0.5, 0), "num_steps is 0"),
        (lambda: rero_subsampled(0.1, 1.0, 0.5, 1, num_draws=0), "num_draws is 0"),
        (lambda: rero_subsampled(0.1, 1.0, 0.5, 1, level=95), "level is 95"),
        (lambda: candidate_success(1, 1.0), "num_candidates is 1: give a whole number of 2"),
        (lambda: prior_kappa([1.0, 2.0], 1.0), r"distances has shape \(2,\)"),
        (lambda: prior_kappa([[1.0, float("nan")]], 1.0), "finite"),
        (lambda: prior_kappa([[1.0, 2.0]], -1.0), "eta is -1"),
        (lambda: gdp_epsilon(1.0, 0.0), "delta is 0"),
        (lambda: gdp_epsilon(-1.0, 1e-5), "mu is -1"),
        (lambda: gdp_mu(-1.0, 1e-5), "epsilon is -1"),
        (lambda: gdp_delta(1.0, float("inf")), "epsilon is inf"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
