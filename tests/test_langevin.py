"""Annealed Langevin dynamics against its own recursion, in the coordinates that papers print it in."""

import functools

import jax
import numpy as np
import pytest

from diffaudit_jax.process import ddpm_linear, ladder, ncsn, ve_sde
from diffaudit_jax.sampler import annealed_langevin, langevin_step
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, counted, gaussian

SHAPE = (2, 2, 1)
LADDER = ncsn(8, 0.05, 4.0)
# Programs here take seconds to optimise, and milliseconds to run without.
QUICK = {"xla_backend_optimization_level": 0}
KEYS = jax.random.split(jax.random.key(1), 4000)


def model(target):
    return lambda xt, t: target.network.apply(target.params, xt, t)


@functools.cache
def program(num_inner, step_size, final_denoise):
    """One compiled sampler for `KEYS`, of the exact model of N(0.3, 0.25)."""
    denoise = model(gaussian(LADDER, 0.3, 0.25, SHAPE))
    options = {"num_inner": num_inner, "step_size": step_size, "final_denoise": final_denoise}
    draw = lambda key: annealed_langevin(key, LADDER, denoise, SHAPE, **options)  # noqa: E731
    return jax.jit(jax.vmap(draw), compiler_options=QUICK)


def draw(*options, keys=KEYS):
    return np.asarray(program(*options)(keys), np.float64)


def sample(process=LADDER, **options):
    return annealed_langevin(jax.random.key(0), process, model(gaussian(process)), SHAPE, **options)


def recursion(mean, var, levels, num_inner, step_size, final_denoise):
    """Mean and variance of samples in [0, 1] of the exact model of N(mean, var), from uniform noise there."""
    m, v = 0.5, 1 / 12
    for level in sorted(levels, reverse=True):
        step = step_size * (level / min(levels)) ** 2
        gain = 1 - step / (var + level**2)
        for _ in range(num_inner):
            m, v = mean + gain * (m - mean), gain**2 * v + 2 * step
    gain = var / (var + min(levels) ** 2) if final_denoise else 1.0
    return mean + gain * (m - mean), gain**2 * v


@pytest.mark.parametrize(
    ("num_inner", "step_size", "final_denoise"), [(5, 1e-3, True), (5, 1e-3, False), (3, 4e-4, True), (1, None, True)]
)
def test_samples_have_the_moments_of_the_published_recursion(num_inner, step_size, final_denoise):
    samples = draw(num_inner, step_size, final_denoise)

    # Papers' images x' = (x + 1)/2 have half the noise levels, and a quarter of the step.
    published = langevin_step(LADDER, num_inner) if step_size is None else step_size
    levels = np.geomspace(0.05, 4.0, 8) / 2
    m, v = recursion((0.3 + 1) / 2, 0.25 / 4, levels, num_inner, published / 4, final_denoise)
    m, v = 2 * m - 1, 4 * v
    assert abs(samples.mean() - m) < 4 * np.sqrt(v / samples.size)
    # A sum of uniform and Gaussian numbers has at most a Gaussian's fourth moment.
    assert abs(samples.var() - v) < 4 * v * np.sqrt(2 / samples.size)
    correlation = np.asarray(np.corrcoef(samples.reshape(len(KEYS), -1).T))
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(len(KEYS))


def test_more_updates_come_nearer_the_data():
    off = [abs(recursion(0.3, 0.04, np.geomspace(0.01, 50, 232), num, 6.2e-6, True)[1] - 0.04) for num in (5, 20, 100)]
    assert off[0] > 2 * off[1] > 4 * off[2]
    assert off[2] < 0.01 * 0.04


def test_it_starts_from_uniform_noise():
    start = np.sort(draw(1, 1e-20, False).ravel())
    assert start[0] >= -1
    assert start[-1] < 1
    # Kolmogorov-Smirnov: the distance exceeds 2/sqrt(n) with probability 0.0007.
    assert np.abs(start - np.linspace(-1, 1, start.size)).max() / 2 < 2 / np.sqrt(start.size)


def test_the_last_denoising_is_one_step_along_the_score():
    noised, denoised = draw(5, 1e-3, False), draw(5, 1e-3, True)
    score = -(noised - 0.3) / (0.25 + 0.05**2)
    # Two programs of 40 updates of numbers of at most 4 sigma = 16, and then a subtraction.
    np.testing.assert_allclose(denoised, noised + 0.05**2 * score, atol=40 * 16 * EPS32)


def test_a_sample_does_not_depend_on_those_drawn_beside_it():
    np.testing.assert_allclose(draw(5, 1e-3, True, keys=KEYS[::-1]), draw(5, 1e-3, True)[::-1], atol=40 * 16 * EPS32)


@pytest.mark.parametrize(
    ("sigma_max", "num_levels", "num_inner", "published"),
    [(50, 232, 5, "6.2e-06"), (90, 500, 5, "3.3e-06"), (190, 1086, 3, "1.8e-06"), (348, 2311, 3, "8.9e-07")],
)
def test_the_step_chosen_is_the_published_one(sigma_max, num_levels, num_inner, published):
    process = ncsn(num_levels, 2 * 0.01, 2 * sigma_max)
    # CIFAR-10, CelebA, bedrooms, faces (printed as 9e-7): two digits are printed, for images in [0, 1].
    assert f"{langevin_step(process, num_inner) / 4:.1e}" == published


@pytest.mark.parametrize("num_inner", [1, 5, 100])
@pytest.mark.parametrize("ratio", [1.01, 1.5, 10.0])
def test_the_step_chosen_leaves_least_variance(ratio, num_inner):
    levels = 0.1 * ratio ** np.arange(4)
    step = np.append(langevin_step(ladder(levels, {}), num_inner), np.geomspace(1e-5, 0.999, 20_000) * 0.01)
    left = np.full(step.shape, ratio**2)
    for _ in range(num_inner):
        left = (1 - step / 0.01) ** 2 * left + 2 * step / 0.01
    assert left.min() > 1
    # Levels are float32, and the minimum is flat: a relative error of EPS32 in gamma^2 moves it by as much.
    assert left[0] <= left.min() * (1 + 8 * EPS32)


@pytest.mark.parametrize(("final_denoise", "more"), [(True, 1), (False, 0)])
def test_it_asks_the_network_so_often(final_denoise, more):
    process = ncsn(4, 0.05, 4.0)
    target, calls = counted(gaussian(process, 0.3, 0.25, SHAPE))
    options = {"num_inner": 3, "final_denoise": final_denoise}
    draw = lambda key: annealed_langevin(key, process, model(target), SHAPE, **options)  # noqa: E731
    jax.jit(draw, compiler_options=QUICK)(KEYS[0])
    jax.effects_barrier()
    assert len(calls) == 4 * 3 + more


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sample(ve_sde()), "'ve-sde' is continuous: use process.ncsn"),
        (lambda: sample(ddpm_linear(50)), "'ddpm-linear' shrinks to"),
        (lambda: sample(num_inner=0), "num_inner=0"),
        (lambda: sample(step_size=-1.0), "step_size=-1.0"),
        (lambda: langevin_step(ladder([0.1], {}), 5), "2 or more levels .* got 1 and 5"),
        (lambda: langevin_step(LADDER, 0), "got 8 and 0"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
