"""The prior's error curve on Gaussian data, where it is known: the MMSE of a perfect prior, more of any other."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.importers.callables import from_sampler
from diffaudit_jax.reconstruction.curve import Curve, denoising_curve, error_at
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, PROCESSES, counted, gaussian

SHAPE, KEY = (4, 4, 2), jax.random.key(8)
MEAN, VAR = 0.1, 0.04  # 4 deviations inside [-1, 1]
SIGMAS = (0.05, 0.3, 1.4, 5.5)


def prior(name, mean=MEAN, var=VAR, clip=False):
    target = gaussian(PROCESSES[name], mean, var, SHAPE)
    return replace(target, config={**target.config, "clip": clip})


def images(n, seed=0):
    drawn = MEAN + np.sqrt(VAR) * np.random.default_rng(seed).standard_normal((n, *SHAPE))
    return np.clip(drawn, -1, 1).astype(np.float32)


def asked_level(process, sigma):
    t = process.time_at(jnp.float32(sigma))
    return float(process.noise_level(t))


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(("mean", "var"), [(MEAN, VAR), (0.3, 0.1)])
def test_the_curve_is_the_mmse_and_what_a_wrong_prior_adds(name, mean, var):
    curve = denoising_curve(KEY, prior(name, mean, var), images(64), SIGMAS, num_noises=2)
    for sigma, error, se in zip(SIGMAS, curve.mean, curve.se, strict=True):
        # A discrete process is asked at its nearest level, so its gain is that of another noise.
        level = asked_level(PROCESSES[name], sigma)
        gain = var / (var + level**2)
        want = (1 - gain) ** 2 * (VAR + (mean - MEAN) ** 2) + gain**2 * sigma**2
        assert abs(error - want) < 4 * se
        assert want >= VAR * sigma**2 / (VAR + sigma**2) * (1 - 4 * EPS32)
    if name == "edm" and var == VAR:
        np.testing.assert_allclose(want, VAR * 5.5**2 / (VAR + 5.5**2), rtol=1e-5)


def test_errors_are_those_of_shared_noise_and_their_spread_is_over_images():
    x, num = images(5), 3
    curve = denoising_curve(KEY, prior("ve"), x, SIGMAS, num_noises=num, block=2)
    for i in range(5):
        key = jax.random.fold_in(KEY, i)
        noise = np.float64([jax.random.normal(jax.random.fold_in(key, k), SHAPE) for k in range(num)])
        for j, sigma in enumerate(SIGMAS):
            gain = VAR / (VAR + sigma**2)
            error = (1 - gain) * (MEAN - x[i].astype(np.float64)) + gain * sigma * noise
            # D and x are rounded, a few times, before they are subtracted: relative to their difference.
            rounding = 16 * EPS32 * max(1, sigma) / np.sqrt((error**2).mean())
            np.testing.assert_allclose(curve.errors[i, j], (error**2).mean(), rtol=2 * rounding + 64 * EPS32)
    np.testing.assert_array_equal(curve.mean, curve.errors.mean(0))
    spread = np.sqrt(((curve.errors - curve.mean) ** 2).sum(0) / 4 / 5)
    np.testing.assert_allclose(curve.se, spread, rtol=1e-12)


def test_clipping_never_adds_error_to_images_in_range():
    x = images(20)
    free, clipped = (
        denoising_curve(KEY, prior("vp", 0.9, 1.0, clip), x, SIGMAS, num_noises=1) for clip in (False, True)
    )
    # Roundings of estimates near 1, squared errors near 1.
    assert (clipped.errors <= free.errors + 16 * EPS32).all()
    assert clipped.mean[2] < free.mean[2]


def test_uint8_images_are_images_too():
    bits = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    one, other = (
        denoising_curve(KEY, prior("ve"), x, SIGMAS, num_noises=1) for x in (bits, np.float32(bits / 127.5 - 1))
    )
    np.testing.assert_allclose(one.errors, other.errors, rtol=64 * EPS32)


def test_network_calls_are_counted():
    target, calls = counted(gaussian(PROCESSES["ve"], MEAN, VAR, SHAPE))
    devices = jax.local_device_count()
    denoising_curve(KEY, target, images(devices), SIGMAS, num_noises=3, block=devices)
    jax.effects_barrier()
    assert len(calls) == devices * len(SIGMAS) * 3


def exact(sigmas):
    return VAR * np.square(sigmas) / (VAR + np.square(sigmas))


def test_between_its_points_the_curve_is_read_within_the_stated_factor():
    sigmas = np.geomspace(0.02, 40, 12)
    mean = exact(sigmas)
    curve = Curve(sigmas, np.stack([mean, mean]), mean, 0 * mean)
    asked = np.geomspace(0.02, 40, 500).reshape(4, 125)
    ratio = exact(asked) / error_at(curve, asked)
    assert ratio.shape == (4, 125)
    step = np.log(sigmas[1] / sigmas[0])
    assert ratio.min() >= 1 - 1e-12
    assert 1.01 < ratio.max() <= np.exp(step**2 / 8)
    np.testing.assert_allclose(error_at(curve, sigmas), mean, rtol=1e-12)
    power = Curve(sigmas, np.stack([sigmas**2] * 2), sigmas**2, 0 * sigmas)
    np.testing.assert_allclose(error_at(power, asked), asked**2, rtol=1e-12)


def test_a_curve_that_reaches_zero_can_be_read():
    curve = Curve(np.array([0.1, 1.0]), np.zeros((2, 2)), np.array([0.0, 0.5]), np.zeros(2))
    assert 0 <= float(error_at(curve, 0.1)) < 1e-300
    assert np.isfinite(error_at(curve, 0.5))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"images": np.zeros((3, 2, 2, 1))}, r"images have shape \(3, 2, 2, 1\): the prior needs at least 2 of shape"),
        ({"images": images(1)}, "at least 2"),
        ({"images": 2 * np.ones((2, *SHAPE))}, r"lie in \[-1, 1\], got 2 to 2"),
        ({"images": np.full((2, *SHAPE), np.nan)}, r"lie in \[-1, 1\], got nan"),
        ({"sigmas": ()}, "a row of positive, increasing numbers"),
        ({"sigmas": (0.3, 0.1)}, "increasing numbers, got .0.3 0.1."),
        ({"sigmas": (0.0, 0.1)}, "positive"),
        ({"sigmas": (0.1, np.inf)}, "finite"),
        ({"num_noises": 0}, "num_noises=0"),
        ({"cond": np.zeros(3, int)}, r"has its class, got classes of shape \(3,\) for 2"),
        ({"target": from_sampler(lambda num, cond: np.zeros((num, *SHAPE)), SHAPE, name="gan")}, "samples only"),
    ],
)
def test_bad_input_is_refused(settings, says):
    with pytest.raises(InputError, match=says):
        denoising_curve(KEY, **{"target": prior("ve"), "images": images(2), "sigmas": SIGMAS, **settings})


@pytest.mark.parametrize("sigma", [0.01, 2.0, np.nan])
def test_outside_its_range_the_curve_is_not_read(sigma):
    curve = Curve(np.array([0.1, 1.0]), np.ones((2, 2)), np.ones(2), np.zeros(2))
    with pytest.raises(InputError, match=r"from sigma = 0.1 to 1 and was read at"):
        error_at(curve, np.array([0.5, sigma]))
