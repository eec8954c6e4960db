"""Noising processes against float64 loops over their definitions, and the numbers that papers quote."""

import functools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.process import VARIANCES, ddpm_cosine, ddpm_linear, discrete, from_config, log_variance, posterior
from diffaudit_jax.types import InputError, Prediction
from tests.oracles import EPS32, PROCESSES, cosine_betas, linear_betas

SCHEDULES = {"linear": (ddpm_linear, linear_betas), "cosine": (ddpm_cosine, cosine_betas)}
TABLES = [("linear", n) for n in (21, 1000, 4000)] + [("cosine", n) for n in (2, 20, 1000)]
each_table = pytest.mark.parametrize(("name", "num_steps"), TABLES)


@functools.cache
def computed(name, num_steps):
    """Everything a process says about each of its steps, from one program."""
    process = SCHEDULES[name][0](num_steps)

    @jax.vmap
    def at(t):
        s = process.before(t)
        u = Prediction(jnp.zeros(()), jnp.zeros(()), jnp.float32(0.25))
        return {
            "t": t,
            "step": process.step(t),
            "before": s,
            "alpha": process.alpha(t),
            "sigma": process.sigma(t),
            "beta": process.transition_var(s, t),
            "posterior": posterior(process, s, t),
            "log_variance": {variance: log_variance(process, u, s, t, variance) for variance in VARIANCES},
            "found": process.time_at(process.noise_level(t)),
        }

    return SimpleNamespace(**jax.tree.map(np.asarray, jax.jit(at)(jnp.asarray(process.times()))))


def naive(name, num_steps):
    """Betas and the running products abar, with abar = 1 for clean data in front, all float64."""
    betas, abar = SCHEDULES[name][1](num_steps), [1.0]
    for beta in betas:
        abar.append(abar[-1] * (1 - beta))
    return betas, np.asarray(abar)


@each_table
def test_tables_follow_the_definition(name, num_steps):
    got, (beta, abar) = computed(name, num_steps), naive(name, num_steps)
    np.testing.assert_array_equal(got.t, np.arange(1, num_steps + 1, dtype=np.float32) / np.float32(num_steps))
    np.testing.assert_allclose(got.alpha, np.sqrt(abar[1:]), rtol=EPS32)
    np.testing.assert_allclose(got.sigma, np.sqrt(1 - abar[1:]), rtol=EPS32)
    np.testing.assert_allclose(got.beta, beta, rtol=EPS32)
    np.testing.assert_allclose(got.alpha**2 + got.sigma**2, 1, rtol=4 * EPS32)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_time_zero_is_clean_data(process):
    assert (process.alpha(jnp.float32(0)), process.sigma(jnp.float32(0))) == (1, 0)


@each_table
def test_one_step_posterior_is_the_published_one(name, num_steps):
    q, (beta, abar) = computed(name, num_steps).posterior, naive(name, num_steps)
    now, then = abar[1:], abar[:-1]
    np.testing.assert_allclose(q.c0, np.sqrt(then) * beta / (1 - now), rtol=8 * EPS32)
    np.testing.assert_allclose(q.ct, np.sqrt(1 - beta) * (1 - then) / (1 - now), rtol=8 * EPS32)
    np.testing.assert_allclose(q.var, (1 - then) / (1 - now) * beta, rtol=8 * EPS32)


@each_table
def test_reverse_variances_are_the_published_ones(name, num_steps):
    got, (beta, abar) = computed(name, num_steps).log_variance, naive(name, num_steps)
    small = (1 - abar[:-1]) / (1 - abar[1:]) * beta
    small[0] = small[1]
    large = np.append(small[1], beta[1:])
    # Errors of the logs' arguments, and half a unit in the last place of a float32 near log 1e-7 = -16.
    for variance, var in {"fixed_small": small, "fixed_large": large, "learned": beta**0.25 * small**0.75}.items():
        np.testing.assert_allclose(got[variance], np.log(var), atol=(8 + 16) * EPS32)


@each_table
def test_noise_level_finds_its_time_again(name, num_steps):
    got = computed(name, num_steps)
    np.testing.assert_array_equal(got.found, got.t)


@each_table
def test_steps_are_found_by_rounding(name, num_steps):
    got, steps = computed(name, num_steps), np.arange(1, num_steps + 1)
    np.testing.assert_array_equal(got.step, steps)
    np.testing.assert_array_equal(got.before, (steps - 1).astype(np.float32) / np.float32(num_steps))


def test_floor_would_miss_steps_of_a_thousand():
    t = ddpm_linear(1000).times()
    assert (np.floor(t * np.float32(1000)) != np.arange(1, 1001)).sum() == 5


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize(("s", "t"), [(0.1, 0.2), (0.1, 1.0), (0.5, 0.95), (0.0, 0.3)])
def test_strided_posterior_is_gaussian_conditioning(process, s, t):
    s, t = jnp.float32(s), jnp.float32(t)
    alpha_s, alpha_t, sigma_s, sigma_t = (np.float64(f(u)) for f in (process.alpha, process.sigma) for u in (s, t))
    # Given x0, (x_s, x_t) is Gaussian with covariance a sigma_s^2, because x_t = a x_s + independent noise.
    covariance = alpha_t / alpha_s * sigma_s**2
    ct = covariance / sigma_t**2
    q = posterior(process, s, t)
    # v comes from a difference of two float32 logs of abar, or of noise levels.
    v = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    logs = 1 - 2 * np.log(alpha_t) + 2 * np.abs(np.log(np.array([sigma_t, sigma_s or 1.0]))).max()
    rtol = 8 * EPS32 * logs * max(1, sigma_t**2 / v)
    np.testing.assert_allclose(q.ct, ct, rtol=8 * EPS32)
    np.testing.assert_allclose(q.c0, alpha_s - ct * alpha_t, rtol=rtol)
    np.testing.assert_allclose(q.var, sigma_s**2 - ct * covariance, rtol=rtol)


def test_noise_levels_between_steps_go_to_the_nearest_in_log():
    process = ddpm_linear(50)
    low, high = (float(process.noise_level(jnp.float32(i / 50))) for i in (10, 11))
    for share, step in ((0.45, 10), (0.55, 11)):
        level = jnp.float32(low ** (1 - share) * high**share)
        assert float(process.time_at(level)) == np.float32(step / 50)


@pytest.mark.parametrize(
    ("process", "levels"),
    [
        (
            ddpm_linear(1000),
            {1: 0.010, 50: 0.173, 100: 0.339, 200: 0.719, 300: 1.23, 500: 3.42, 700: 11.9, 900: 60.3, 1000: 157},
        ),
        (ddpm_cosine(1000), {100: 0.169, 500: 1.01, 900: 6.36}),
    ],
    ids=["linear", "cosine"],
)
def test_quoted_noise_levels(process, levels):
    for step, level in levels.items():
        assert float(f"{float(process.noise_level(jnp.float32(step / 1000))):.3g}") == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("num", [1, 7, 20, 33, 50])
def test_a_strided_grid_is_a_subset_that_ends_at_one(num):
    process = ddpm_linear(50)
    grid = process.times(num)
    assert grid.dtype == np.float32
    assert len(grid) == num
    assert grid[-1] == 1
    assert (np.diff(grid) > 0).all()
    assert set(grid) <= set(process.times())
    np.testing.assert_allclose(grid, np.arange(1, num + 1) / num, atol=0.5 / 50 + EPS32)


def test_corrupt_mixes_signal_and_noise():
    process, t = ddpm_cosine(20), jnp.float32(0.4)
    x0, eps = jnp.asarray([[1.0, -0.5]]), jnp.asarray([[0.25, 2.0]])
    expected = float(process.alpha(t)) * np.asarray(x0) + float(process.sigma(t)) * np.asarray(eps)
    np.testing.assert_allclose(process.corrupt(x0, t, eps), expected, rtol=2 * EPS32)


@pytest.mark.parametrize("process", [ddpm_linear(30, beta_max=0.01), ddpm_cosine(12, offset=0.02, beta_max=0.9)])
def test_config_makes_the_process_again_through_json(process):
    again = from_config(json.loads(json.dumps(process.config)))
    assert again.config == process.config
    for of in ("alpha", "sigma"):
        t = jnp.asarray(process.times())
        np.testing.assert_array_equal(getattr(again, of)(t), getattr(process, of)(t))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ddpm_linear(1), "at least 2 steps, got num_steps=1"),
        (lambda: ddpm_cosine(0), "at least 2 steps, got num_steps=0"),
        (lambda: ddpm_linear(20), "use more steps than 20, or the cosine schedule"),
        (lambda: ddpm_linear(100, beta_min=0.03), "must rise inside"),
        (lambda: ddpm_linear(100, beta_min=0.0), "must rise inside"),
        (lambda: ddpm_cosine(10, beta_max=1.0), r"betas inside \(0, 1\), got 0.0\d+ to 1 of"),
        (lambda: discrete(np.array([0.1, np.nan]), {}), r"betas inside \(0, 1\), got"),
        (lambda: discrete(np.array([]), {}), r"betas inside \(0, 1\), got none"),
        (lambda: from_config({"name": "ddpm-linaer", "num_steps": 50}), "did you mean 'ddpm-linear'"),
        (lambda: ddpm_linear(50).times(0), "has 1 to 50 times, got 0"),
        (lambda: ddpm_linear(50).times(51), "has 1 to 50 times, got 51"),
    ],
)
def test_bad_input_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_a_learned_variance_must_be_there():
    pred = Prediction(jnp.zeros(()), jnp.zeros(()))
    with pytest.raises(ValueError, match="variance='learned' needs a network with learned sigma"):
        log_variance(ddpm_cosine(10), pred, jnp.float32(0.1), jnp.float32(0.2), "learned")
