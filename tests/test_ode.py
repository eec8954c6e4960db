"""The probability-flow ODE against its exact solution on Gaussian data, and the recursions that its solvers are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.sampler import ddim, edm_grid, heun, log_likelihood
from diffaudit_jax.stream import stream
from diffaudit_jax.types import InputError, Prediction, Query
from tests.oracles import EPS32, PROCESSES, counted, gaussian

SHAPE = (2, 2, 1)
KEY = jax.random.key(0)
X = jnp.asarray([[[0.3], [-1.2]], [[0.7], [0.1]]])
# Programs here take seconds to optimise, and milliseconds to run without.
QUICK = {"xla_backend_optimization_level": 0}
MEAN, VAR = 0.3, 0.25
CONTINUOUS = ("vp", "sub-vp", "ve", "edm")
EACH = (*CONTINUOUS, "linear-1000", "ncsn-50")


def model(target):
    return lambda xt, t: target.network.apply(target.params, xt, t)


def levels_of(process, times):
    """The noise level at each time, as float64."""
    scales = jax.jit(jax.vmap(lambda t: (process.alpha(t), process.sigma(t))))(jnp.asarray(times, jnp.float32))
    return np.float64(scales[1]) / np.float64(scales[0])


def slope(level, var=VAR):
    """Of N(mean, var), eps is this times xbar - mean."""
    return level / (var + level**2)


def heun_gain(level, there, var=VAR):
    """The factor on xbar - mean of a Heun step."""
    euler = 1 + (there - level) * slope(level, var)
    return 1 + (there - level) * (slope(level, var) + euler * slope(there, var)) / 2


def heun_gains(levels):
    """The factors of each step of EDM's sampler, the last one (into 0) by Euler."""
    return [heun_gain(*pair) for pair in itertools.pairwise(levels[:-1])] + [1 - levels[-2] * slope(levels[-2])]


@functools.cache
def drawn(sample, name, num_steps):
    """Start and end of one example, in unscaled coordinates."""
    process, denoise = PROCESSES[name], model(gaussian(PROCESSES[name], MEAN, VAR, SHAPE))
    times = edm_grid(process, num_steps, least=0.02)
    got = jax.jit(lambda key: sample(key, process, denoise, SHAPE, times), compiler_options=QUICK)(KEY)
    start = np.float64(jax.random.normal(jax.random.split(KEY)[0], SHAPE))
    return start * np.sqrt(1 + levels_of(process, times)[0] ** 2), np.float64(got)


euler = functools.partial(ddim, clip=False)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_a_grid_spreads_noise_levels_by_the_power_rho(name, rho):
    process = PROCESSES[name]
    times = edm_grid(process, 20, rho, least=0.05)
    assert times.dtype == np.float32
    assert (times[0], times[-1]) == (1, 0)
    greatest = levels_of(process, [1.0])[0]
    want = np.linspace(greatest ** (1 / rho), 0.05 ** (1 / rho), 20) ** rho
    # d ln level/dt is at most 10 on VP, sub-VP and VE where the level is 0.05 and more, and 7/0.41 x 1.46 on EDM.
    np.testing.assert_allclose(levels_of(process, times[:-1]), want, rtol=32 * 25 * EPS32)


def test_the_grid_of_edm_is_even_in_its_own_time():
    times = edm_grid(PROCESSES["edm"], 18)
    np.testing.assert_allclose(times[:-1], np.linspace(1, 1e-5, 18), atol=64 * EPS32)


@pytest.mark.parametrize("name", EACH)
def test_a_grid_reaches_the_least_level_of_its_process(name):
    process = PROCESSES[name]
    times = jnp.asarray(edm_grid(process, 30))
    first = 1e-5 if process.num_steps is None else 1 / process.num_steps
    np.testing.assert_allclose(times[-2], first, rtol=1e-3)
    assert (np.diff(times) < 0).all()
    if process.num_steps is not None:
        assert set(np.asarray(times)[:-1].tolist()) <= set(process.times().tolist())


def test_a_grid_can_be_made_while_tracing():
    process, seen = PROCESSES["vp"], []
    jax.jit(jax.vmap(lambda x: seen.append(edm_grid(process, 5)) or x))(jnp.zeros(3))
    np.testing.assert_array_equal(seen[0], edm_grid(process, 5))


@pytest.mark.parametrize("name", EACH)
def test_heun_is_its_recursion(name):
    process, num_steps = PROCESSES[name], 32
    start, got = drawn(heun, name, num_steps)
    gains = heun_gains(levels_of(process, edm_grid(process, num_steps, least=0.02)))
    want = MEAN + np.prod(gains) * (start - MEAN)
    # A step rounds numbers of size |xbar| some 20 times, and contracts all alike on the way to the end.
    np.testing.assert_allclose(got, want, atol=20 * num_steps * EPS32 * np.abs(want - MEAN).max() + 20 * EPS32)


@pytest.mark.parametrize(
    ("sample", "name", "order"), [*((heun, name, 2) for name in CONTINUOUS), (euler, "vp", 1), (euler, "edm", 1)]
)
def test_heun_converges_at_second_order_and_euler_at_first(sample, name, order):
    # The exact map down to level 0.02, and one Euler step from there into 0.
    greatest = levels_of(PROCESSES[name], [1.0])[0]
    exact = np.sqrt((VAR + 0.02**2) / (VAR + greatest**2)) * (1 - 0.02 * slope(0.02))
    ends = [drawn(sample, name, num_steps) for num_steps in (32, 64)]
    coarse, fine = (np.abs(got - MEAN - exact * (start - MEAN)).max() for start, got in ends)
    # Between two orders lies 1, and a grid of 32 steps is not yet its limit.
    assert order - 0.3 < np.log2(coarse / fine) < order + 0.3


@pytest.mark.parametrize(("name", "churn"), [("sub-vp", 1.5), ("edm", 20.0)])
def test_churn_has_the_moments_of_its_recursion(name, churn):
    process, options = PROCESSES[name], {"churn": churn, "churn_min": 0.1, "churn_max": 20.0, "churn_noise": 1.2}
    denoise, times = model(gaussian(process, MEAN, VAR, SHAPE)), edm_grid(process, 10, least=0.02)
    draw = lambda key: heun(key, process, denoise, SHAPE, times, **options)  # noqa: E731
    keys = jax.random.split(jax.random.key(5), 4000)
    samples = np.asarray(jax.jit(jax.vmap(draw), compiler_options=QUICK)(keys), np.float64)

    levels = levels_of(process, times)
    m, v = -MEAN, 1 + levels[0] ** 2
    for i, level in enumerate(levels[:-1]):
        raised = level * (1 + min(churn / 10, np.sqrt(2) - 1)) if 0.1 <= level <= 20 else level
        v += 1.2**2 * (raised**2 - level**2)
        gain = heun_gain(raised, levels[i + 1]) if i < 9 else 1 - raised * slope(raised)
        m, v = gain * m, gain**2 * v
    assert abs(samples.mean() - (MEAN + m)) < 4 * np.sqrt(v / samples.size)
    assert abs(samples.var() - v) < 4 * v * np.sqrt(2 / samples.size)


def test_churn_stays_within_the_levels_of_its_process():
    process = PROCESSES["edm"]
    denoise, seen = model(gaussian(process, MEAN, VAR, SHAPE)), []

    def watched(xt, t):
        jax.debug.callback(seen.append, t)
        return denoise(xt, t)

    times = edm_grid(process, 3)
    jax.jit(lambda key: heun(key, process, watched, SHAPE, times, churn=30.0), compiler_options=QUICK)(KEY)
    jax.effects_barrier()
    # The first level is the greatest, and is left; the later two are raised to sqrt(2) of theirs.
    first, *later = levels_of(process, times)[:-1]
    want = [first, *later, *(np.sqrt(2) * level for level in later)]
    np.testing.assert_allclose(np.sort(list(levels_of(process, seen))), np.sort(want), rtol=32 * 25 * EPS32)


@functools.cache
def program(name, num_steps):
    """Log densities of the rows of x0, by the exact model with the parameters given."""
    process, target = PROCESSES[name], gaussian(PROCESSES[name], shape=SHAPE)
    times = edm_grid(process, num_steps, least=0.02)

    def run(params, key, x0):
        denoise = lambda xt, t: target.network.apply(params, xt, t)  # noqa: E731
        return log_likelihood(key, process, denoise, x0, times)

    return jax.jit(jax.vmap(run, (None, 0, 0)), compiler_options=QUICK)


def likelihood(name, mean, var, x0, num_steps):
    params = gaussian(PROCESSES[name], mean, var, SHAPE).params
    return np.asarray(program(name, num_steps)(params, jax.random.split(KEY, len(x0)), jnp.float32(x0)), np.float64)


def normal_log_density(x, mean, var):
    return (-((x - mean) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2).reshape(len(x), -1).sum(-1)


@pytest.mark.parametrize("name", EACH)
def test_likelihood_is_its_recursion(name):
    x0 = np.random.default_rng(0).normal(MEAN, 0.5, (3, *SHAPE)).astype(np.float32)
    got = likelihood(name, MEAN, VAR, x0, 32)
    levels = levels_of(PROCESSES[name], edm_grid(PROCESSES[name], 32, least=0.02))[-2::-1]
    gain, total = 1.0, 0.0
    for level, there in itertools.pairwise(levels):
        gain *= heun_gain(level, there)
        # Signs are exact here, because the derivative is a multiple of the identity.
        total += 4 * (there - level) * (slope(level) + slope(there)) / 2
    want = total + normal_log_density(MEAN + gain * (x0 - MEAN), 0.0, 1 + levels[-1] ** 2)
    # Some 10 roundings a step of a sum that reaches `total`, and of x, on which the density depends through a square.
    np.testing.assert_allclose(got, want, atol=32 * 10 * EPS32 * total)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_likelihood_converges_to_the_exact_density_at_second_order(name):
    x0 = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    # Of N(0, 1) the prior is exact; the first level's noise is part of the density.
    least = levels_of(PROCESSES[name], edm_grid(PROCESSES[name], 5, least=0.02)[-2:-1])[0]
    exact = normal_log_density(x0.astype(np.float64), 0.0, 1 + least**2)
    coarse, fine = (likelihood(name, 0.0, 1.0, x0, num) - exact for num in (16, 32))
    order = np.log2(np.abs(coarse).max() / np.abs(fine).max())
    assert 1.7 < order < 2.5
    # What is left once the error in 1/N^2 is taken out is of a higher order: less than another halving would leave.
    assert np.abs((4 * fine - coarse) / 3).max() < np.abs(fine).max() / 4


@pytest.mark.parametrize("num_probes", [1, 8])
def test_random_signs_estimate_the_divergence_with_the_variance_they_should(num_probes):
    process, rng, num = PROCESSES["edm"], np.random.default_rng(0), 2000
    root = rng.normal(size=(4, 4))
    values, vectors = np.linalg.eigh(root @ root.T / 4)
    to, back = jnp.asarray(vectors, jnp.float32), jnp.asarray(values, jnp.float32)

    def denoise(xt, t):
        s = process.sigma(t)
        return Prediction((to @ (s / (back + s**2) * (to.T @ xt.ravel()))).reshape(SHAPE), xt)

    times = edm_grid(process, 12, least=0.02)
    run = lambda key: log_likelihood(key, process, denoise, X, times, num_probes=num_probes)  # noqa: E731
    got = np.asarray(
        jax.jit(jax.vmap(run), compiler_options=QUICK)(jax.random.split(jax.random.key(8), num)), np.float64
    )

    levels = levels_of(process, times)[-2::-1]
    gains, integral = np.ones(4), np.zeros(4)
    for level, there in itertools.pairwise(levels):
        gains *= heun_gain(level, there, values)
        integral += (there - level) * (slope(level, values) + slope(there, values)) / 2
    end = vectors @ (gains * (vectors.T @ np.float64(X).ravel()))
    want = integral.sum() + normal_log_density(end[None], 0.0, 1 + levels[-1] ** 2)[0]
    # v' M v of signs has the variance 2 sum of M_ij^2 off the diagonal, if the signs are the same all along the path.
    matrix = vectors * integral @ vectors.T
    var = 2 * (matrix**2 - np.diag(np.diag(matrix)) ** 2).sum() / num_probes
    assert abs(got.mean() - want) < 4 * np.sqrt(var / num)
    fourth = ((got - got.mean()) ** 4).mean()
    assert abs(got.var() - var) < 4 * np.sqrt((fourth - var**2) / num)


@pytest.mark.parametrize("num_steps", [1, 4])
def test_calls_are_counted(num_steps):
    process = PROCESSES["vp"]
    target, calls = counted(gaussian(process, MEAN, VAR, SHAPE))
    times = edm_grid(process, num_steps)
    jax.jit(lambda key: heun(key, process, model(target), SHAPE, times), compiler_options=QUICK)(KEY)
    jax.effects_barrier()
    assert len(calls) == 2 * num_steps - 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda process: edm_grid(process, 0), "num_steps=0"),
        (lambda process: edm_grid(process, 5, rho=-1.0), "rho=-1.0"),
        (lambda process: edm_grid(process, 5, least=1e4), "below this process's greatest, 157, got least=10000"),
        (lambda process: heun(KEY, process, Prediction, SHAPE, edm_grid(process, 5), churn=-1.0), "more, got -1.0"),
        (lambda process: heun(KEY, process, Prediction, SHAPE, edm_grid(process, 5), churn=1.0), "the 1000 steps of"),
        (lambda process: log_likelihood(KEY, process, Prediction, X, [1.0, 0.0]), "2 or more times above 0 .* got 1"),
        (lambda process: log_likelihood(KEY, process, Prediction, X, [0.5, 1.0], num_probes=0), "num_probes=0"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call(PROCESSES["linear-1000"])


def test_streamed_over_devices_or_on_the_host_all_is_the_same():
    process, target = PROCESSES["vp"], gaussian(PROCESSES["vp"], MEAN, VAR, SHAPE)
    times = edm_grid(process, 3, least=0.02)

    def ask(params, key, query):
        denoise = lambda xt, t: target.network.apply(params, xt, t)  # noqa: E731
        single = heun(key, process, denoise, SHAPE, np.array([1.0, 0.0]))
        return single, log_likelihood(key, process, denoise, query.x, times)

    x0 = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
    asked = Query(x0, None, np.arange(8))
    on_devices, on_host = (stream(ask, target.params, KEY, asked, block=8, host=host) for host in (False, True))
    for one, other in zip(on_devices, on_host, strict=True):
        # A step from the greatest level takes the difference of numbers of 4 times its size.
        np.testing.assert_allclose(one, other, atol=4 * 4 * EPS32 * levels_of(process, [1.0])[0])
