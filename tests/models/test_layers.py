"""Layers against loops written from their definitions, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models.layers import (
    Attention,
    Conv3x3,
    GroupNorm,
    depth_to_space,
    downsample,
    space_to_depth,
    time_embedding,
    upsample,
)

EPS32 = float(np.finfo(np.float32).eps)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(module, *inputs, seed=1):
    """Random parameters in place of the initial ones, which hold zeros."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)


def apply(module, params, *inputs):
    return np.asarray(jax.jit(module.apply)({"params": params}, *inputs))


@pytest.mark.parametrize("dim", [2, 8, 64, 7])
@pytest.mark.parametrize("time", [0.0, 1.0, 37.0, 999.0])
def test_time_embedding_is_cosines_and_sines(time, dim):
    half = dim // 2
    freqs = [10_000 ** (-i / half) for i in range(half)]
    want = [np.cos(time * f) for f in freqs] + [np.sin(time * f) for f in freqs] + [0.0] * (dim % 2)
    # An angle up to 999 carries a rounding of its own size, and so does a frequency.
    np.testing.assert_allclose(time_embedding(jnp.float32(time), dim), want, atol=8 * EPS32 * max(time, 1))


@pytest.mark.parametrize(
    ("channels", "groups", "want_groups"), [(8, None, 2), (12, 3, 3), (6, None, 1), (256, None, 32)]
)
@pytest.mark.parametrize(("offset", "spread"), [(0.0, 1.0), (30.0, 1.0), (0.0, 0.01)])
def test_group_norm_of_one_example_is_the_definition(channels, groups, want_groups, offset, spread):
    x = (offset + spread * normal(4, 3, channels) * np.linspace(0.5, 2, channels)).astype(np.float32)
    module = GroupNorm(groups)
    params = filled(module, x)
    want = np.empty(x.shape)
    size = channels // want_groups
    for g in range(want_groups):
        part = x[..., g * size : (g + 1) * size].astype(np.float64)
        want[..., g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    want = want * np.asarray(params["scale"]) + np.asarray(params["bias"])
    # E[x^2] - E[x]^2 in float32 loses the digits that the mean square has beyond the variance.
    atol = 16 * EPS32 * (1 + offset**2) * np.abs(want).max()
    np.testing.assert_allclose(apply(module, params, x), want, atol=atol)


def test_group_norm_of_a_constant_is_its_bias():
    x = np.full((4, 4, 8), 100.0, np.float32)
    params = filled(GroupNorm(), x)
    got = apply(GroupNorm(), params, x)
    assert np.isfinite(got).all()
    # What a float32 mean of 100s leaves is divided by sqrt(1e-5).
    atol = 100 * EPS32 / np.sqrt(1e-5) * np.abs(params["scale"]).max()
    np.testing.assert_allclose(got, np.broadcast_to(params["bias"], x.shape), atol=atol)


def test_vmapped_group_norm_does_not_mix_examples():
    x = normal(5, 4, 4, 8)
    params = filled(GroupNorm(), x[0])
    together = np.asarray(jax.vmap(lambda one: GroupNorm().apply({"params": params}, one))(x))
    np.testing.assert_allclose(together, [apply(GroupNorm(), params, one) for one in x], atol=32 * EPS32)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_pads_with_one_zero_on_each_side(stride):
    x, module = normal(6, 4, 3), Conv3x3(5, stride=stride)
    params = filled(module, x)
    kernel, bias = np.float64(params["conv"]["kernel"]), np.float64(params["conv"]["bias"])
    padded = np.pad(x.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    want = np.empty((6 // stride, 4 // stride, 5))
    for i, j in np.ndindex(want.shape[:2]):
        window = padded[i * stride : i * stride + 3, j * stride : j * stride + 3]
        want[i, j] = np.tensordot(window, kernel, 3) + bias
    np.testing.assert_allclose(apply(module, params, x), want, atol=27 * EPS32 * np.abs(want).max())


def test_zero_init_starts_at_zero():
    x = normal(4, 4, 3)
    params = Conv3x3(5, zero_init=True).init(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["conv"]["kernel"], 0)


@pytest.mark.parametrize("head_channels", [None, 4, 2])
def test_attention_is_softmax_attention(head_channels):
    h, w, c = 3, 2, 8
    x, module = normal(h, w, c), Attention(head_channels)
    params = filled(module, x)
    y = np.float64(apply(GroupNorm(), params["norm"], x)).reshape(h * w, c)
    qkv = y @ np.float64(params["qkv"]["kernel"]) + np.float64(params["qkv"]["bias"])
    d = head_channels or c
    out = np.empty((h * w, c))
    for head in range(c // d):
        q, k, v = (qkv[:, part * c + head * d : part * c + (head + 1) * d] for part in range(3))
        for i in range(h * w):
            logits = np.array([q[i] @ k[j] / np.sqrt(d) for j in range(h * w)])
            weights = np.exp(logits - logits.max())
            out[i, head * d : (head + 1) * d] = weights / weights.sum() @ v
    out = out @ np.float64(params["out"]["kernel"]) + np.float64(params["out"]["bias"])
    want = x + out.reshape(h, w, c)
    # Logits of size 30 are rounded before they are exponentiated, and the values summed over 6 positions.
    np.testing.assert_allclose(apply(module, params, x), want, atol=64 * EPS32 * np.abs(out).max())


def test_attention_survives_logits_beyond_the_exponentials_range():
    x, module = normal(3, 2, 8), Attention()
    params = filled(module, x)
    params["qkv"]["kernel"] *= 100
    got = apply(module, params, x)
    assert np.isfinite(got).all()
    assert (got != x).all()


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_space_to_depth_is_undone_by_depth_to_space(patch):
    x = jnp.asarray(normal(8, 4, 3))
    deep = space_to_depth(x, patch)
    assert deep.shape == (8 // patch, 4 // patch, 3 * patch**2)
    np.testing.assert_array_equal(depth_to_space(deep, patch), x)
    np.testing.assert_array_equal(np.asarray(deep)[1, 0], x[patch : 2 * patch, :patch].ravel())


def test_resampling():
    x = jnp.asarray(normal(4, 6, 3))
    np.testing.assert_array_equal(upsample(x), x.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_allclose(downsample(upsample(x)), x, rtol=2 * EPS32)
    means = [[x[i : i + 2, j : j + 2].mean((0, 1)) for j in (0, 2, 4)] for i in (0, 2)]
    np.testing.assert_allclose(downsample(x), means, atol=4 * EPS32)
