"""Samplers against the ODE and the Gaussian recursions that they discretise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.process import VARIANCES, ddpm_linear, log_variance, posterior
from diffaudit_jax.sampler import ancestral, ddim, ddim_step, grid
from diffaudit_jax.types import InputError, Prediction
from tests.oracles import EPS32, PROCESSES, gaussian, linear_betas, memorising

SHAPE = (2, 2, 1)


def model(target):
    return lambda xt, t: target.network.apply(target.params, xt, t)


@pytest.mark.parametrize("num_steps", [1, 3, 10, 50])
def test_grid_runs_from_one_to_zero_over_the_schedules_own_times(num_steps):
    process = PROCESSES["linear-50"]
    times = grid(process, num_steps)
    assert len(times) == num_steps + 1
    assert (times[0], times[-1]) == (1, 0)
    assert (np.diff(times) < 0).all()
    assert set(times[:-1]) <= set(process.times())


@pytest.mark.parametrize("num_steps", [5, 20])
def test_deterministic_ddim_is_euler_in_the_noise_level(num_steps):
    process = PROCESSES["cosine-20"]
    times, key = grid(process, num_steps), jax.random.key(3)
    members = np.random.default_rng(0).uniform(-1, 1, (5, *SHAPE))
    got = ddim(key, process, model(memorising(process, members)), SHAPE, times, clip=False)

    alpha, sigma = (np.asarray(f(jnp.asarray(times)), np.float64) for f in (process.alpha, process.sigma))
    x = np.asarray(sigma[0] * jax.random.normal(jax.random.split(key)[0], SHAPE), np.float64) / alpha[0]
    level = sigma / alpha
    for here, there in itertools.pairwise(level):
        distance = ((x - members) ** 2).sum((1, 2, 3)) / (2 * here**2)
        weight = np.exp(distance.min() - distance)
        denoised = np.tensordot(weight / weight.sum(), members, 1)
        x = x + (there - here) * (x - denoised) / here
    # x_1 is alpha_1 x, and alpha_1 is a float32: its rounding and those of 2 x 20 updates of numbers near 1.
    np.testing.assert_allclose(got, x, atol=2 * 20 * 4 * EPS32)


def recursion(mean, var, betas, times, variance, u=0.5):
    """Mean and variance of ancestral samples when x0' is the exact, linear denoiser of N(mean, var)."""
    abar = np.append(1, np.cumprod(1 - betas))
    steps = np.round(times * len(betas)).astype(int)
    m, v = 0.0, 1 - abar[steps[0]]
    for j, i in itertools.pairwise(steps):
        a2 = abar[j] / abar[i]
        large = 1 - a2
        small = large * (1 - abar[i]) / (1 - abar[j])
        c0, ct = np.sqrt(abar[i]) * large / (1 - abar[j]), np.sqrt(a2) * (1 - abar[i]) / (1 - abar[j])
        scale = abar[j] * var + 1 - abar[j]
        gain = c0 * var * np.sqrt(abar[j]) / scale + ct
        m = gain * m + c0 * (1 - abar[j]) * mean / scale
        spread = {"fixed_small": small, "fixed_large": large, "learned": large**u * small ** (1 - u)}[variance]
        v = gain**2 * v + (spread if i else 0.0)
    return m, v


@pytest.mark.parametrize("num_steps", [50, 13])
@pytest.mark.parametrize("variance", VARIANCES)
def test_ancestral_samples_have_the_moments_of_the_recursion(variance, num_steps):
    process, mean, var, num = PROCESSES["linear-50"], 0.3, 0.25, 6000
    target, times = gaussian(process, mean, var, SHAPE), grid(PROCESSES["linear-50"], num_steps)

    def denoise(xt, t):
        return model(target)(xt, t)._replace(var_fraction=jnp.full(SHAPE, 0.5))

    draw = lambda key: ancestral(key, process, denoise, SHAPE, times, variance=variance, clip=False)  # noqa: E731
    samples = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), num)), np.float64)
    m, v = recursion(mean, var, linear_betas(50), times, variance)
    count = samples.size
    assert abs(samples.mean() - m) < 4 * np.sqrt(v / count)
    assert abs(samples.var() - v) < 4 * v * np.sqrt(2 / count)
    # Pixels are independent under this model, and so must be the noise that each was given.
    correlation = np.asarray(np.corrcoef(samples.reshape(num, -1).T))
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(num)


def test_the_recursion_reaches_the_data_and_small_variance_is_below_large():
    process = PROCESSES["linear-1000"]
    times = grid(process, 1000)
    by = {variance: recursion(0.3, 0.25, linear_betas(1000), times, variance) for variance in VARIANCES}
    for m, v in by.values():
        assert m == pytest.approx(0.3, rel=1e-3)
        assert v == pytest.approx(0.25, rel=0.02)
    assert by["fixed_small"][1] < by["learned"][1] < by["fixed_large"][1]


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("num_steps", [50, 7])
def test_stochastic_ddim_is_ancestral_sampling(num_steps, clip):
    process, key = PROCESSES["linear-50"], jax.random.key(5)
    denoise, times = model(gaussian(process, 0.2, 0.5, SHAPE)), grid(PROCESSES["linear-50"], num_steps)
    one = ancestral(key, process, denoise, SHAPE, times, variance="fixed_small", clip=clip)
    other = ddim(key, process, denoise, SHAPE, times, eta=1.0, clip=clip)
    # The same draws through two forms of one update of numbers near 1: a few roundings a step.
    np.testing.assert_allclose(one, other, atol=4 * EPS32 * len(times))


@pytest.mark.parametrize(("s", "t"), [(0.2, 0.4), (0.0, 0.1), (0.78, 0.8)])
def test_one_stochastic_step_has_the_posteriors_coefficients(s, t):
    process = PROCESSES["linear-50"]
    s, t = jnp.float32(s), jnp.float32(t)
    x0, xt, z = jnp.float32(0.4), jnp.float32(-0.9), jnp.float32(1.3)
    pred = Prediction((xt - process.alpha(t) * x0) / process.sigma(t), x0)
    got = ddim_step(process, pred, xt, t, s, z, eta=1.0, clip=False)
    q = posterior(process, s, t)
    np.testing.assert_allclose(got, q.c0 * x0 + q.ct * xt + jnp.sqrt(q.var) * z, atol=16 * EPS32)


def test_inversion_and_back_returns():
    process = PROCESSES["linear-1000"]
    target = gaussian(process, 0.0, 0.25, SHAPE)
    x = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
    errors = []
    for stride in (20, 10, 5):
        up = np.arange(100, 301, stride) / np.float32(1000)

        def walk(xt, times):
            def step(xt, pair):
                t, s = pair
                return ddim_step(process, model(target)(xt, t), xt, t, s, jnp.zeros(SHAPE), eta=0.0, clip=False), None

            return jax.lax.scan(step, xt, (jnp.float32(times[:-1]), jnp.float32(times[1:])))[0]

        errors.append(float(jnp.abs(walk(walk(x, up), up[::-1]) - x).max()))
    # Euler is of first order: half the stride, half the error of the round trip.
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2, rtol=0.1)


def test_the_variance_asked_for_is_the_variance_used():
    process, times = ddpm_linear(50), np.array([0.5, 0.3, 0.0], np.float32)
    t, s = jnp.float32(times[0]), jnp.float32(times[1])
    pred = Prediction(jnp.zeros(SHAPE), jnp.zeros(SHAPE), jnp.full(SHAPE, 0.25))
    # With x0' = 0 throughout, the sample is ct' (ct x_1 + std z): linear in std.
    key = jax.random.key(0)
    key_init, key_steps = jax.random.split(key)
    x1 = process.sigma(t) * jax.random.normal(key_init, SHAPE)
    z = jax.random.normal(jax.random.split(key_steps, 2)[0], SHAPE)
    for variance in VARIANCES:
        xs = posterior(process, s, t).ct * x1 + jnp.exp(0.5 * log_variance(process, pred, s, t, variance)) * z
        want = posterior(process, jnp.float32(0), s).ct * xs
        got = ancestral(key, process, lambda xt, t: pred, SHAPE, times, variance=variance)
        np.testing.assert_allclose(got, want, atol=8 * EPS32)


def test_clipping_keeps_samples_in_range():
    process = PROCESSES["cosine-20"]
    loud = lambda xt, t: Prediction((xt - 3 * process.alpha(t)) / process.sigma(t), jnp.full(SHAPE, 3.0))  # noqa: E731
    for sample in (ancestral, ddim):
        # The last mean is c0 x0', and c0 = v/sigma^2 is 1 up to the rounding of a quotient.
        for clip, want in ((True, 1.0), (False, 3.0)):
            got = sample(jax.random.key(0), process, loud, SHAPE, grid(process, 5), clip=clip)
            np.testing.assert_allclose(got, want, rtol=4 * EPS32)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda process: grid(process, 0), "1 to 50 times, got 0"),
        (lambda process: grid(process, 51), "1 to 50 times, got 51"),
        (
            lambda process: ddim(jax.random.key(0), process, Prediction, SHAPE, grid(process, 5), eta=-0.1),
            "eta is 0 .deterministic. or more, got -0.1",
        ),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call(PROCESSES["linear-50"])
