"""Denoising without a prior: closed forms, noise of every size, and what is fitted on public images."""

import numpy as np
import pytest

from diffaudit_jax.reconstruction.baselines import (
    BASELINES,
    TV_FACTORS,
    TV_LEVELS,
    Public,
    clipped,
    fit_baselines,
    non_local_means,
    total_variation,
    wiener,
)
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.types import InputError


def blocks(n, side=16, channels=1, seed=0):
    """uint8 images of flat 4 x 4 squares: what total variation and non-local means are made for."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, side // 4, side // 4, channels), dtype=np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


def signed(x):
    return x.astype(np.float64) / 127.5 - 1


def noised(x, sigma, seed=1):
    noise = np.random.default_rng(seed).standard_normal(x.shape)
    return Release((signed(x) + sigma * noise).astype(np.float32), np.full(len(x), sigma, np.float32))


def errors(found, x):
    return ((found - signed(x)) ** 2).reshape(len(x), -1).mean(1)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 27.0])
def test_wiener_has_the_mmse_of_gaussian_pixels(sigma):
    rng, mean, var = np.random.default_rng(0), np.linspace(-0.5, 0.5, 8).reshape(2, 2, 2), np.linspace(0, 1, 8)
    var = var.reshape(2, 2, 2)
    x = mean + np.sqrt(var) * rng.standard_normal((5000, 2, 2, 2))
    y = x + sigma * rng.standard_normal(x.shape)
    error = (wiener(y, np.full(len(y), sigma), mean, var) - x) ** 2
    want = var * sigma**2 / (var + sigma**2)
    # Squares of Gaussians: their deviation is sqrt(2) times their mean.
    assert (np.abs(error.mean(0) - want) <= 5 * want * np.sqrt(2 / len(x))).all()
    np.testing.assert_array_equal(wiener(y, sigma, mean, var), wiener(y, np.full(len(y), sigma), mean, var))


def test_wiener_takes_each_images_noise():
    y = np.ones((3, 2, 2, 1))
    np.testing.assert_allclose(wiener(y, np.array([0.5, 1, 2]), 0.0, 1.0)[:, 0, 0, 0], [0.8, 0.5, 0.2], rtol=1e-15)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (4, 4, 2)])
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_stands_noise_of_every_size(name, shape):
    some = signed(blocks(4, shape[0], shape[2]))
    public = Public(some.mean(0), some.var(0), np.array([0.5, 1.0, 1.0, 2.0]))
    x = blocks(4, shape[0], shape[2], seed=5)
    rng = np.random.default_rng(2)
    sigma = np.array([1e-3, 0.3, 2.8, 27.0], np.float32)
    y = signed(x) + sigma[:, None, None, None] * rng.standard_normal(x.shape)
    found = BASELINES[name](y.astype(np.float32), sigma, public)
    assert found.shape == x.shape
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
    alone = BASELINES[name](y[1:2].astype(np.float32), sigma[1:2], public)
    np.testing.assert_array_equal(alone[0], found[1])


def test_total_variation_moves_an_edge_as_its_weight_says():
    # Halves of k columns at -1 and 1: each moves by d, at k d^2/w and -2 d a row in all, least at d = w/k.
    k, weight = 4, 0.8
    y = np.concatenate([-np.ones((6, k, 1)), np.ones((6, k, 1))], axis=1)
    found = total_variation(y[None], np.array([weight]))[0]
    moved = 1 - np.abs(found).mean()
    # The iteration stops short of the minimum; half or twice the weight would be a factor of 2 off.
    assert abs(np.log2(moved / (weight / k))) < 0.5
    np.testing.assert_allclose(found.mean(), 0, atol=1e-12)
    assert np.abs(total_variation(y[None], np.array([1e-6]))[0] - y).max() < 1e-5
    flat = total_variation(y[None], np.array([1e3]))[0]
    assert np.ptp(flat) < 0.1 * np.ptp(y)  # in the limit it is their mean


@pytest.fixture(scope="module")
def fitted():
    return fit_baselines(blocks(30, seed=9))


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_neighbours_help_on_flat_images(sigma, fitted):
    x, public = blocks(16), fitted
    releases = noised(x, sigma)
    by = {name: errors(baseline(*releases, public), x) for name, baseline in BASELINES.items()}
    for name in ("total-variation", "non-local-means", "wiener"):
        gain = by["clipped"] - by[name]
        if sigma == 1.0 or name != "wiener":
            assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain)), name
    gain = by["wiener"] - by["total-variation"]
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain))


def test_channels_and_constants_are_left_alone():
    flat = np.broadcast_to(np.array([0.3, -0.8]), (2, 8, 8, 2))
    for found in (total_variation(flat, np.array([0.1, 9])), non_local_means(flat, np.array([0.1, 9]))):
        np.testing.assert_allclose(found, flat, atol=1e-12)
    np.testing.assert_array_equal(clipped(4 * flat), np.broadcast_to(np.array([1.0, -1]), flat.shape))


def test_public_images_give_moments_and_the_best_weight(fitted):
    images = blocks(30, seed=9)
    x = signed(images)
    # to_signed computes in float32.
    np.testing.assert_allclose(fitted.mean, x.mean(0), atol=1e-7)
    np.testing.assert_allclose(fitted.var, x.var(0, ddof=1), atol=1e-6)
    noise = np.random.default_rng(0).standard_normal((4, *x.shape[1:]))
    for sigma, factor in zip(TV_LEVELS, fitted.tv_factors, strict=True):
        neighbours = [c for c in TV_FACTORS if 0.4 < c / factor < 2.5]
        found = [clipped(total_variation(x[:4] + sigma * noise, [c * sigma] * 4)) for c in neighbours]
        assert factor == neighbours[int(np.argmin([errors(one, images[:4]).mean() for one in found]))]


def test_the_weight_is_fitted_in_the_middle_and_read_between_levels():
    images = blocks(2, side=32)
    # Around them pixels without any neighbourhood, which smoothing only harms.
    framed = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1), dtype=np.uint8)
    framed[:, 32:64, 32:64] = images
    np.testing.assert_array_equal(fit_baselines(framed).tv_factors, fit_baselines(images).tv_factors)
    known = Public(np.zeros(1), np.ones(1), np.array([0.5, 2.0, 1.0, 2.0]))
    y = noised(images[:1], 1.0).y
    for sigma, factor in ((0.01, 0.5), (np.sqrt(0.05), 1.0), (0.5, 2.0), (99.0, 2.0)):
        got = BASELINES["total-variation"](y, np.array([sigma]), known)
        np.testing.assert_allclose(got, clipped(total_variation(y, [factor * sigma])), atol=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit_baselines(np.zeros((1, 8, 8, 1), np.uint8)), "2 or more images"),
        (lambda: fit_baselines(np.zeros((9, 8), np.float32)), r"got shape \(9, 8\)"),
        (lambda: total_variation(np.zeros((2, 9)), np.ones(2)), "use wiener"),
        (lambda: non_local_means(np.zeros((2, 9)), np.ones(2)), "use wiener"),
        (lambda: wiener(np.zeros((2, 9)), np.zeros(2), 0.0, 1.0), "noise is above 0, got .*=1, .*=0"),
        (lambda: wiener(np.zeros((2, 9)), np.ones(2), 0.0, -1.0), "variances are 0 or more"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call()
