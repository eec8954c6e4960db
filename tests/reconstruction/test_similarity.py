"""Metrics of one pair: scikit-image in float64, and their own laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffaudit_jax.reconstruction.similarity import BEST, Similarity, mse, ncc, psnr, similarity, ssim

SHAPES = [(28, 28, 1), (32, 32, 3), (8, 9, 1)]
EPS = np.finfo(np.float32).eps


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(0.2, 0.5, shape), -1, 1).astype(np.float32)
    return x, np.clip(x + rng.normal(0, 0.3, shape), -1, 1).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_metrics_are_scikit_images(shape):
    x, y = pair(shape)
    a, b = x.astype(np.float64), y.astype(np.float64)
    ours = similarity(jnp.asarray(x), jnp.asarray(y))
    # Sums of n numbers in float32, by pairs: log2 n roundings, and a few of the terms.
    rtol = (np.log2(x.size) + 4) * EPS
    np.testing.assert_allclose(ours.mse, ((a - b) ** 2).mean(), rtol=rtol)
    np.testing.assert_allclose(ours.psnr, peak_signal_noise_ratio(a, b, data_range=2.0), atol=10 * rtol)
    np.testing.assert_allclose(ours.ncc, np.corrcoef(a.ravel(), b.ravel())[0, 1], atol=4 * rtol)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_ssim_is_scikit_images_where_its_window_fits(shape):
    """In units of [0, 1]; theirs pads and ours does not, so theirs is read where the window lies inside."""
    x, y = pair(shape)
    a, b = ((image.astype(np.float64) + 1) / 2 for image in (x, y))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    _, image = structural_similarity(a, b, channel_axis=2, full=True, **settings)
    inside = image[5:-5, 5:-5].mean()
    # Variances are differences of numbers of order 1, over constants of order 1e-3.
    np.testing.assert_allclose(ssim(jnp.asarray(x), jnp.asarray(y)), inside, atol=20 * EPS / 1e-3)


def test_an_image_and_itself():
    x = jnp.asarray(pair((28, 28, 1))[0])
    same = similarity(x, x)
    assert same.mse == BEST["mse"] == 0
    assert same.psnr == np.inf
    assert abs(same.ssim - BEST["ssim"]) <= 4 * EPS
    assert abs(same.ncc - BEST["ncc"]) <= 4 * EPS
    assert set(BEST) < set(Similarity._fields)


@pytest.mark.parametrize("seed", range(3))
def test_ncc_knows_no_scale_or_offset_and_turns_with_the_sign(seed):
    x, y = map(jnp.asarray, pair((12, 12, 3), seed))
    rtol = 40 * EPS
    np.testing.assert_allclose(ncc(0.2 * x + 0.5, y), ncc(x, y), atol=rtol)
    np.testing.assert_allclose(ncc(-x, y), -ncc(x, y), atol=rtol)
    assert ncc(jnp.ones_like(x), y) == 0  # a flat image is like nothing
    assert ncc(x, jnp.full_like(y, -1)) == 0


def test_worst_case_of_the_range():
    black, white = -jnp.ones((16, 16, 1)), jnp.ones((16, 16, 1))
    assert mse(black, white) == 4
    assert psnr(black, white) == 0


def test_one_pair_batched_at_the_edge():
    pairs = [pair((16, 16, 1), seed) for seed in range(4)]
    x, y = (jnp.stack(side) for side in zip(*pairs, strict=True))
    together = jax.jit(jax.vmap(similarity))(x, y)
    for i in range(4):
        for one, of_all in zip(similarity(x[i], y[i]), together, strict=True):
            np.testing.assert_allclose(of_all[i], one, rtol=100 * EPS)
