"""Denoising by the exact prior of Gaussian data against recursions and closed forms, over every process."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.importers import from_callable
from diffaudit_jax.importers.callables import from_sampler
from diffaudit_jax.models.precondition import DATA_STD
from diffaudit_jax.process.continuous import FIRST_TIME
from diffaudit_jax.reconstruction.denoise import denoised, descending, reconstruct, started
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.types import InputError, Network, Prediction
from tests.oracles import EPS32, PROCESSES, counted, gaussian

SHAPE, KEY = (2, 2, 1), jax.random.key(3)
MEAN, VAR = 0.2, 0.3
SIGMAS = (0.05, 0.3, 1.4, 5.5, 27.0)
each_process = pytest.mark.parametrize("name", PROCESSES)
with_consistency = pytest.mark.parametrize(
    ("name", "consistency"),
    [*((name, False) for name in PROCESSES), ("linear-50", True), ("sub-vp", True), ("edm", True)],
)


def unclipped(target):
    return replace(target, config={**target.config, "clip": False})


def prior(name, mean=MEAN, var=VAR):
    return unclipped(gaussian(PROCESSES[name], mean, var, SHAPE))


def level_at(process, t):
    """Noise level at float32 times, float64."""
    t = jnp.asarray(t, jnp.float32)
    return np.asarray(process.sigma(t), np.float64) / np.asarray(process.alpha(t), np.float64)


def known_levels(name):
    """SIGMAS moved to levels that the process has, float32."""
    process = PROCESSES[name]
    levels = level_at(process, jax.vmap(process.time_at)(jnp.asarray(SIGMAS, jnp.float32)))
    return levels.astype(np.float32)


def noisy(sigmas, seed=0):
    """A release at each noise level, of one image drawn from the data."""
    rng = np.random.default_rng(seed)
    x = MEAN + np.sqrt(VAR) * rng.standard_normal((len(sigmas), *SHAPE))
    y = x + np.asarray(sigmas)[:, None, None, None] * rng.standard_normal(x.shape)
    return y.astype(np.float32)


def run(target, y, sigmas, **settings):
    one = lambda y, sigma: denoised(KEY, target, y, sigma, **settings)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(y), jnp.asarray(sigmas, jnp.float32)), np.float64)


def slow_grid(process, t, steps):
    """Times from t to 0, rounded half up to the steps of a discrete process, none of them repeated."""
    if process.num_steps is None:
        return [max(t * k / steps, FIRST_TIME) for k in range(steps, 0, -1)] + [0.0]
    step, steps = round(t * process.num_steps), min(steps, process.num_steps)
    index = [max(int(np.floor(step * k / steps + 0.5)), 1) for k in range(steps, 0, -1)]
    return [i / process.num_steps for i in dict.fromkeys(index)] + [0.0]


def slow_moments(process, y, sigma, steps, *, eta=0.0, mean=MEAN, var=VAR, consistency=False):
    """Mean and variance of DDIM from a release, float64: every step is linear when x0_hat is."""
    t = float(process.time_at(jnp.float32(sigma)))
    times = np.asarray(slow_grid(process, t, steps), np.float32)
    alpha, noise = (np.asarray(f(jnp.asarray(times)), np.float64) for f in (process.alpha, process.sigma))
    m, v = alpha[0] * np.asarray(y, np.float64), 0.0
    for i in range(len(times) - 1):
        a, s, a_next, s_next = alpha[i], noise[i], alpha[i + 1], noise[i + 1]
        slope = var * a / (a**2 * var + s**2)
        offset = s**2 * mean / (a**2 * var + s**2)
        if consistency:
            r2 = 1 / ((a / s) ** 2 + 1 / DATA_STD**2)
            w = (1 / sigma**2) / (1 / r2 + 1 / sigma**2)
            slope, offset = (1 - w) * slope, (1 - w) * offset + w * np.asarray(y, np.float64)
        kept = eta**2 * (s**2 - (a / a_next) ** 2 * s_next**2) * s_next**2 / s**2
        along = np.sqrt(s_next**2 - kept)
        gain = a_next * slope + along * (1 - a * slope) / s
        m, v = gain * m + (a_next - along * a / s) * offset, gain**2 * v + kept
    return m, v


def least2(process):
    """Square of the least noise level that is asked."""
    return float(level_at(process, FIRST_TIME if process.num_steps is None else 1 / process.num_steps)) ** 2


def wiener(y, level2, mean=MEAN, var=VAR):
    return mean + var / (var + level2) * (np.asarray(y, np.float64) - mean)


@each_process
def test_a_release_starts_at_its_noise_level(name):
    process, levels = PROCESSES[name], known_levels(name)
    times, xts = jax.jit(jax.vmap(lambda level: started(process, jnp.ones(SHAPE), level)))(jnp.asarray(levels))
    # The level has 2 roundings and, of VP, those of exp(B/2) with B up to 10; time_at as many again, over its slope.
    np.testing.assert_allclose(level_at(process, times), levels, rtol=32 * EPS32 / np.asarray(times).min())
    np.testing.assert_allclose(xts[:, 0, 0, 0], jax.vmap(process.alpha)(times), rtol=32 * EPS32)
    if process.num_steps is not None:
        others = np.log(level_at(process, process.times()))[None] - np.log(SIGMAS)[:, None]
        np.testing.assert_allclose(np.abs(np.log(levels / SIGMAS)), np.abs(others).min(1), atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 50])
@each_process
def test_times_descend_from_the_release_to_clean_data(name, steps):
    process = PROCESSES[name]
    for t in np.asarray(process.times())[[0, 1, 10, -1]]:
        times = np.asarray(jax.jit(lambda t: descending(process, t, steps))(jnp.float32(t)))
        assert len(times) == min(steps, process.num_steps or steps) + 1
        assert (times[0], times[-1]) == (t, 0)
        assert (np.diff(times) <= 0).all()
        assert times[-2] >= (FIRST_TIME if process.num_steps is None else np.float32(1 / process.num_steps))
        want = np.asarray(slow_grid(process, float(t), steps), np.float32)
        # Continuous times are a product of two roundings; steps are whole.
        np.testing.assert_allclose(list(dict.fromkeys(times)), want, rtol=2 * EPS32)


@with_consistency
def test_deterministic_ddim_is_the_recursion(name, consistency):
    process, sigmas, steps = PROCESSES[name], known_levels(name), 10
    y = noisy(sigmas)
    got = run(prior(name), y, sigmas, steps=steps, consistency=consistency)
    for one, sigma, x in zip(y, sigmas, got, strict=True):
        want, spread = slow_moments(process, one, float(sigma), steps, consistency=consistency)
        assert spread == 0
        # 8 roundings a step of numbers of the size of y; no step enlarges what came before (as x_t/alpha).
        np.testing.assert_allclose(x, want, atol=8 * steps * EPS32 * (1 + np.abs(one).max()))


@pytest.mark.parametrize("name", ["vp", "sub-vp", "ve", "edm"])
def test_the_limit_of_ddim_is_the_probability_flow(name):
    process, sigmas = PROCESSES[name], known_levels(name)[1:4]
    y, flow = noisy(sigmas), np.sqrt(VAR / (VAR + sigmas.astype(np.float64)[:, None, None, None] ** 2))
    # From the least level on, 0.02 of VE, one step is left, which takes the posterior mean.
    flow *= np.sqrt(VAR / (VAR + least2(process)))
    want = MEAN + flow * (y - MEAN)
    coarse, fine = (np.abs(run(prior(name), y, sigmas, steps=steps) - want).max((1, 2, 3)) for steps in (100, 200))
    # Euler's method is of first order: half the step, half the error, and the next order is a step's share of that.
    np.testing.assert_allclose(coarse / fine, 2, rtol=0.1)


@with_consistency
def test_the_posterior_mean_is_wieners(name, consistency):
    sigmas, var = known_levels(name), DATA_STD**2
    y = noisy(sigmas)
    got = run(prior(name, var=var), y, sigmas, method="posterior-mean", consistency=consistency)
    # Data of deviation DATA_STD, whose y counts twice: the posterior mean at half the noise variance.
    level2 = sigmas.astype(np.float64)[:, None, None, None] ** 2 / (2 if consistency else 1)
    # 10 roundings, of y and of the level, which alpha^2 var + sigma^2 has from alpha: 1/alpha is up to 30 there.
    np.testing.assert_allclose(got, wiener(y, level2, var=var), atol=40 * EPS32 * (1 + np.abs(y).max()))


@pytest.mark.parametrize("name", ["linear-1000", "sub-vp", "ve", "edm"])
def test_stochastic_ddim_draws_from_the_posterior(name):
    process, sigma, num = PROCESSES[name], float(known_levels(name)[2]), 3000
    y, target = jnp.asarray(noisy([sigma])[0]), prior(name)
    moments = {steps: slow_moments(process, y, sigma, steps, eta=1.0) for steps in (50, 100, 200, 400)}

    draw = lambda key: denoised(key, target, y, jnp.float32(sigma), eta=1.0, steps=100)  # noqa: E731
    drawn = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(KEY, num)), np.float64)
    mean, var = moments[100]
    assert (np.abs(drawn.mean(0) - mean) < 4 * np.sqrt(var / num)).all()
    pooled = ((drawn - drawn.mean(0)) ** 2).sum() / ((num - 1) * y.size)
    assert abs(pooled - var) < 4 * var * np.sqrt(2 / (num * y.size))

    # Variance is short of the posterior's by that of x given the least level, whose mean the last step takes, and by
    # the steps. These count in first order: what twice as many change is what they leave, so it bounds the rest.
    short = VAR * sigma**2 / (VAR + sigma**2) - VAR * least2(process) / (VAR + least2(process))
    # A schedule of 1,000 steps has only the 320 from here to clean data, so it stays short.
    for steps in (50, 100, 200) if process.num_steps is None else ():
        (m, v), (m_twice, v_twice) = moments[steps], moments[2 * steps]
        assert np.abs(m_twice - wiener(y, sigma**2)).max() < 1.1 * np.abs(m_twice - m).max() + 8 * EPS32
        assert 0 < short - v_twice < 1.1 * (v_twice - v)


def test_noise_outside_the_range_of_a_prior():
    process = PROCESSES["edm"]
    y = noisy([1.0])
    far, above = run(prior("edm"), y, [800.0]), run(prior("edm"), y / 10, [80.0])
    np.testing.assert_array_equal(far, above)  # scaled by 80/800, which is exact here up to the rounding of y / 10
    below = run(prior("edm"), y, [1e-5], steps=1)
    # One step of the posterior mean at the least level: y, but for a share sigma_min^2/v of the way to the mean.
    share = 0.002**2 / VAR
    np.testing.assert_allclose(below, y, atol=share * np.abs(y - MEAN).max() + 8 * EPS32 * np.abs(y).max())
    assert float(started(process, jnp.asarray(y[0]), jnp.float32(800))[0]) == 1


@pytest.mark.parametrize(("steps", "sigma"), [(1, 1.4), (7, 1.4), (50, 1.4), (50, 0.05), (80, 1.4)])
def test_network_calls_are_counted(steps, sigma):
    target, calls = counted(gaussian(PROCESSES["linear-50"], MEAN, VAR, SHAPE))
    y = jnp.asarray(noisy([sigma])[0])
    for method, want in (("ddim", min(steps, 50)), ("posterior-mean", 1)):
        calls.clear()
        x = jax.jit(lambda y, m=method: denoised(KEY, target, y, jnp.float32(sigma), steps=steps, method=m))(y)
        assert np.isfinite(x).all()
        jax.effects_barrier()
        assert len(calls) == want


def test_answers_between_coinciding_times_are_not_used():
    process = PROCESSES["linear-50"]
    # eps and x0 that contradict each other, so that no step leaves x_t as it is.
    network = Network(lambda key: (), lambda params, xt, t, cond=None, *, key=None: Prediction(xt, xt / 2))
    target = diffusion_target((), network, process, SHAPE, clip=False)
    y, first = noisy([0.05]), float(process.alpha(jnp.float32(1 / 50)))
    sigma = level_at(process, 1 / 50)
    np.testing.assert_allclose(run(target, y, [sigma]), first * y / 2, rtol=4 * EPS32)


@pytest.mark.parametrize("settings", [{"eta": 1.0, "steps": 7}, {"method": "posterior-mean"}])
def test_estimates_are_clipped_where_the_priors_sampler_clips(settings):
    loud = gaussian(PROCESSES["vp"], 3.0, 0.01, SHAPE)
    y, sigmas = noisy([1.4]) + 2.8, [1.4]
    assert np.abs(run(loud, y, sigmas, **settings)).max() <= 1 + 8 * EPS32
    assert run(unclipped(loud), y, sigmas, **settings).min() > 2


def test_reconstructions_have_addresses():
    target, sigmas = prior("linear-50", var=4.0), [0.3, 1.4, 5.5]
    releases = Release(noisy(sigmas), np.asarray(sigmas))
    got = reconstruct(KEY, target, releases, num=3, eta=1.0, steps=5, block=8)
    assert got.shape == (3, 3, *SHAPE)
    assert got.dtype == np.float32
    assert np.abs(got).max() == 1  # this prior goes beyond
    keys = jax.vmap(lambda i: jax.vmap(lambda j: jax.random.fold_in(jax.random.fold_in(KEY, i), j))(jnp.arange(3)))
    one = lambda key, y, sigma: denoised(key, target, y, sigma, eta=1.0, steps=5)  # noqa: E731
    alone = jax.jit(jax.vmap(jax.vmap(one, (0, None, None))))(keys(jnp.arange(3)), releases.y, jnp.float32(sigmas))
    # The same sums, fused otherwise: 8 roundings a step of numbers of the size of y.
    rounding = 40 * EPS32 * np.abs(releases.y).max()
    np.testing.assert_allclose(got, np.clip(alone, -1, 1), atol=rounding)
    fewer = Release(releases.y[:2], releases.sigma[:2])
    same = reconstruct(KEY, target, fewer, num=2, eta=1.0, steps=5, block=8)
    np.testing.assert_allclose(same, got[:2, :2], atol=rounding)
    assert len(np.unique(got[:, :, 0, 0, 0])) == 9


def test_a_python_prior_takes_the_host_path():
    process, sigmas = PROCESSES["ve"], [0.3, 1.4]
    compiled = gaussian(process, MEAN, VAR, SHAPE)

    def denoise(xt, t, cond):
        alpha, sigma = (np.asarray(f(jnp.asarray(t)))[:, None, None, None] for f in (process.alpha, process.sigma))
        return (sigma**2 * MEAN + VAR * alpha * xt) / (alpha**2 * VAR + sigma**2)

    python = from_callable(denoise, process, SHAPE, name="gaussian")
    releases = Release(noisy(sigmas), np.asarray(sigmas))
    one, other = (reconstruct(KEY, target, releases, steps=2) for target in (compiled, python))
    # eps is (xt - alpha x0)/sigma here and in closed form there: roundings of x_t over the least sigma, 0.07.
    np.testing.assert_allclose(one, other, atol=2 * 8 / 0.07 * EPS32 * np.abs(releases.y).max())


def test_each_release_has_its_class():
    process = PROCESSES["ve"]

    def apply(params, xt, t, cond=None, *, key=None):
        x0 = params * (cond - 1) + jnp.zeros(SHAPE)
        return Prediction((xt - x0) / process.sigma(t), x0)

    network = Network(lambda key: jnp.float32(0.5), apply)
    target = diffusion_target(jnp.float32(0.5), network, process, SHAPE, num_classes=3)
    releases = Release(noisy([1.4] * 3), np.full(3, 1.4))
    for method in ("ddim", "posterior-mean"):
        got = reconstruct(KEY, target, releases, cond=np.array([2, 0, 1]), method=method, steps=3)
        # The last DDIM step is x0 itself, plus 0 times eps.
        np.testing.assert_allclose(got[:, 0, 0, 0, 0], [0.5, -0.5, 0], atol=EPS32)


GOOD = Release(noisy([1.4, 1.4]), np.array([1.4, 1.4]))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"releases": Release(np.zeros((2, 3, 3, 1)), np.ones(2))},
            "of the prior's shape, got float64 of shape .2, 3, 3, 1.",
        ),
        ({"releases": Release(np.zeros((2, *SHAPE), np.uint8), np.ones(2))}, "got uint8 of shape"),
        ({"releases": Release(GOOD.y, np.ones(3))}, "its sigma, got sigma of shape .3,. for 2"),
        ({"releases": GOOD, "cond": np.zeros(3, int)}, "its class, got classes of shape .3,. for 2"),
        ({"releases": Release(np.full((2, *SHAPE), np.nan), np.ones(2))}, "NaN or infinity"),
        ({"releases": Release(GOOD.y, np.array([1.0, 0.0]))}, "positive and finite, got sigma from 0.0 to 1.0"),
        ({"num": 0}, "at least once, got num=0"),
        ({"num": 2}, "2 reconstructions by ddim with eta=0.0 are all the same: ask for ddim with eta=1"),
        ({"num": 2, "eta": 1.0, "method": "posterior-mean"}, "by posterior-mean with eta=1.0 are all the same"),
        ({"eta": -0.5}, "0 .deterministic. or more, got -0.5"),
        ({"steps": 0}, "at least 1 step to clean data, got steps=0"),
        ({"method": "dim"}, "unknown method 'dim': did you mean 'ddim'"),
        ({"target": from_sampler(lambda num, cond: np.zeros((num, *SHAPE)), SHAPE, name="gan")}, "samples only"),
    ],
)
def test_bad_input_is_refused(settings, says):
    settings = {"target": prior("vp"), "releases": GOOD, **settings}
    with pytest.raises(InputError, match=says):
        reconstruct(KEY, **settings)
