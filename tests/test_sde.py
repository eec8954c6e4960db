"""The reverse SDE's samplers against the linear recursions they are on Gaussian data, and against NumPy loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.sampler import euler_maruyama, grid, predictor_corrector
from diffaudit_jax.sampler.sde import coefficients
from diffaudit_jax.types import InputError, Prediction
from tests.oracles import EPS32, PROCESSES, counted, gaussian

SHAPE = (2, 2, 1)
MEAN, VAR = 0.3, 0.25
KEYS = jax.random.split(jax.random.key(1), 4000)
# Programs here take seconds to optimise, and milliseconds to run without.
QUICK = {"xla_backend_optimization_level": 0}
CONTINUOUS = ("vp", "sub-vp", "ve", "edm")


def model(target):
    return lambda xt, t: target.network.apply(target.params, xt, t)


def samples(sample, process, times, *, shape=SHAPE, keys=KEYS, **options):
    """An example for each key, of the exact model of N(MEAN, VAR), as float64."""
    denoise = model(gaussian(process, MEAN, VAR, shape))
    draw = lambda key: sample(key, process, denoise, shape, times, **options)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(draw), compiler_options=QUICK)(keys), np.float64)


def scales(process, times):
    """The process's alpha and sigma at each time, as float64."""
    times = jnp.asarray(times, jnp.float32)
    return (np.asarray(jax.vmap(f)(times), np.float64) for f in (process.alpha, process.sigma))


def published(name, t):
    """F and g^2 as the papers write them, float64."""
    big, beta = 0.1 * t + 19.9 * t**2 / 2, 0.1 + 19.9 * t
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    level, rise = low + t * (high - low), np.log(100 / 0.02)
    return {
        "vp": (-beta / 2, beta),
        "sub-vp": (-beta / 2, beta * (1 - np.exp(-2 * big))),
        "ve": (0.0, 2 * rise * (0.02 * np.exp(rise * t)) ** 2),
        "edm": (0.0, 2 * 7 * (high - low) * level**13),
    }[name]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_coefficients_are_the_published_ones(name):
    times = np.array([1e-3, 0.1, 0.5, 0.9, 1.0], np.float32)
    f, g2 = jax.jit(jax.vmap(functools.partial(coefficients, PROCESSES[name])))(times)
    want = [published(name, t) for t in times.astype(np.float64)]
    # Powers up to the 13th and exponents up to 17 multiply the rounding of t; float32 chains have some ten steps more.
    np.testing.assert_allclose(f, [row[0] for row in want], rtol=32 * EPS32)
    np.testing.assert_allclose(g2, [row[1] for row in want], rtol=64 * EPS32)


def moments(process, times, gains, variances):
    """Mean and variance after x <- gain x + shift + noise, all for x = alpha mean + deviation, and x0_hat at the end.

    `gains` are pairs (on x, on score); of N(MEAN, VAR) the score is -(x - alpha MEAN)/(alpha^2 VAR + sigma^2).
    """
    alpha, sigma = scales(process, times)
    m, v = 0.0, alpha[0] ** 2 + sigma[0] ** 2
    for i, ((on_x, on_score), var) in enumerate(zip(gains, variances, strict=True)):
        total = alpha[i] ** 2 * VAR + sigma[i] ** 2
        m, v = on_x * m - on_score * (m - alpha[i] * MEAN) / total, (on_x - on_score / total) ** 2 * v + var
    total = alpha[-2] ** 2 * VAR + sigma[-2] ** 2
    gain = alpha[-2] * VAR / total
    return MEAN + gain * (m - alpha[-2] * MEAN), gain**2 * v


def agree(drawn, m, v):
    assert abs(drawn.mean() - m) < 4 * np.sqrt(v / drawn.size)
    assert abs(drawn.var() - v) < 4 * v * np.sqrt(2 / drawn.size)
    # Pixels are independent under this model, and so must be the noise that each was given.
    correlation = np.corrcoef(drawn.reshape(len(drawn), -1).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / np.sqrt(len(drawn))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_euler_maruyama_has_the_moments_of_its_recursion(name):
    process, times = PROCESSES[name], grid(PROCESSES[name], 25)
    gains, variances = [], []
    for t, s in itertools.pairwise(times[:-1].astype(np.float64)):
        f, g2 = published(name, t)
        gains.append((1 + (s - t) * f, (t - s) * g2))
        variances.append((t - s) * g2)
    agree(samples(euler_maruyama, process, times), *moments(process, times, gains, variances))


@pytest.mark.parametrize("name", ["sub-vp", "ve", "edm", "linear-50"])
def test_predictions_alone_have_the_moments_of_their_recursion(name):
    process, times = PROCESSES[name], grid(PROCESSES[name], 13)
    alpha, sigma = scales(process, times[:-1])
    gains, variances = [], []
    for i in range(len(times) - 2):
        a = alpha[i] / alpha[i + 1]
        v = sigma[i] ** 2 - a**2 * sigma[i + 1] ** 2
        gains.append((2 - a, v))
        variances.append(v)
    agree(samples(predictor_corrector, process, times, num_corrector=0), *moments(process, times, gains, variances))


def corrected(process, times, shape, snr, num_corrector, num, rng):
    """Samples of the exact model by a NumPy loop over one example at a time's worth of pixels, its own draws."""
    alpha, sigma = scales(process, times)
    score = lambda x, i: -(x - alpha[i] * MEAN) / (alpha[i] ** 2 * VAR + sigma[i] ** 2)  # noqa: E731
    x = np.hypot(alpha[0], sigma[0]) * rng.normal(size=(num, *shape))
    for i in range(len(times) - 1):
        a = alpha[i] / alpha[i + 1]
        for _ in range(num_corrector):
            z = rng.normal(size=x.shape)
            noise, slope = (np.sqrt((y**2).sum((1, 2, 3), keepdims=True)) for y in (z, score(x, i)))
            step = 2 * a**2 * (snr * noise / slope) ** 2
            x = x + step * score(x, i) + np.sqrt(2 * step) * z
        if i == len(times) - 2:
            return (x + sigma[i] ** 2 * score(x, i)) / alpha[i]
        v = sigma[i] ** 2 - a**2 * sigma[i + 1] ** 2
        x = (2 - a) * x + v * score(x, i) + np.sqrt(v) * rng.normal(size=x.shape)
    raise AssertionError(times)


@pytest.mark.parametrize("name", ["vp", "ncsn-50"])
def test_corrections_are_those_of_a_numpy_loop(name):
    process, shape, snr = PROCESSES[name], (4, 4, 2), 0.3
    times, keys = grid(process, 6), KEYS[jnp.arange(2001) % 2000]
    got = samples(predictor_corrector, process, times, shape=shape, keys=keys, snr=snr, num_corrector=2)
    # The first example again, with other neighbours: norms are its own, so only the order of sums may differ.
    np.testing.assert_allclose(got[-1], got[0], atol=6 * 3 * 32 * EPS32 * np.abs(got[0]).max())
    want = corrected(process, times, shape, snr, 2, 2000, np.random.default_rng(0))
    for power in (1, 2):
        one, other = ((x[:2000] ** power).mean((1, 2, 3)) for x in (got, want))
        assert abs(one.mean() - other.mean()) < 4 * np.sqrt((one.var() + other.var()) / 2000)


def test_a_score_of_zero_corrects_nothing():
    process = PROCESSES["vp"]
    silent = lambda xt, t: Prediction(jnp.zeros_like(xt), xt / process.alpha(t), None)  # noqa: E731
    times = grid(process, 4)
    plain, with_corrections = (
        predictor_corrector(KEYS[0], process, silent, SHAPE, times, num_corrector=num) for num in (0, 2)
    )
    np.testing.assert_array_equal(with_corrections, plain)


def test_corrections_bring_a_coarse_grid_nearer_the_data():
    shape, times = (4, 4, 2), grid(PROCESSES["ncsn-50"], 6)
    off = [
        abs(corrected(PROCESSES["ncsn-50"], times, shape, 0.3, num, 2000, np.random.default_rng(0)).var() - VAR)
        for num in (0, 8)
    ]
    assert off[1] < off[0] / 2


@pytest.mark.parametrize(("name", "per_time"), [("euler", 1), ("predictor", 1), ("corrector", 3)])
def test_the_last_step_denoises_and_calls_are_counted(name, per_time):
    process = PROCESSES["vp"]
    target, calls = counted(gaussian(process, MEAN, VAR, SHAPE))
    times = grid(process, 4)

    def denoise(xt, t):
        # An x0_hat of 7 at the last time shows whether it is what is returned.
        return model(target)(xt, t)._replace(x0=jnp.where(t == times[-2], 7.0, 0.0) * jnp.ones(SHAPE))

    options = {"euler": {}, "predictor": {"num_corrector": 0}, "corrector": {"num_corrector": 2}}[name]
    sample = euler_maruyama if name == "euler" else predictor_corrector
    run = jax.jit(lambda key: sample(key, process, denoise, SHAPE, times, **options), compiler_options=QUICK)
    got = run(KEYS[0])
    jax.effects_barrier()
    np.testing.assert_array_equal(got, 7.0)
    assert len(calls) == 4 * per_time


@pytest.mark.parametrize(
    ("name", "sample", "options", "says"),
    [
        ("linear-50", euler_maruyama, {}, "'ddpm-linear' has 50 steps: use predictor_corrector"),
        ("vp", predictor_corrector, {"snr": 0.0}, "snr=0.0"),
        ("vp", predictor_corrector, {"num_corrector": -1}, "num_corrector=-1"),
    ],
)
def test_bad_input_is_refused(name, sample, options, says):
    process = PROCESSES[name]
    with pytest.raises(InputError, match=says):
        sample(jax.random.key(0), process, Prediction, SHAPE, grid(process, 4), **options)
