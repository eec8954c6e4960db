"""NCSN++: its filters are their definition, its options run and survive JSON, and mistakes are named."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models import from_config, from_linen, ncsnpp
from diffaudit_jax.models.fir import fir_downsample, fir_upsample
from diffaudit_jax.models.layers import FourierFeatures
from diffaudit_jax.process import ve_sde
from diffaudit_jax.types import InputError

SHAPE = (8, 8, 1)
EPS32 = float(np.finfo(np.float32).eps)
TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filtered(x):
    """The definition: each position's 4x4 neighbourhood, weighted."""
    h, w, c = x.shape
    out = np.zeros((h - 3, w - 3, c))
    for i, j in np.ndindex(h - 3, w - 3):
        out[i, j] = np.tensordot(TAPS, x[i : i + 4, j : j + 4].astype(np.float64), 2)
    return out


@pytest.mark.parametrize("shape", [(6, 4, 3), (2, 2, 1)])
def test_downsampling_filters_and_takes_every_second(shape):
    x = normal(*shape)
    want = filtered(np.pad(x, ((1, 1), (1, 1), (0, 0))))[::2, ::2]
    np.testing.assert_allclose(fir_downsample(jnp.asarray(x)), want, atol=16 * EPS32 * np.abs(x).max())


@pytest.mark.parametrize("shape", [(3, 5, 3), (1, 1, 1)])
def test_upsampling_inserts_zeros_and_filters(shape):
    x = normal(*shape)
    spread = np.zeros((2 * shape[0], 2 * shape[1], shape[2]), np.float32)
    spread[::2, ::2] = x
    want = 4 * filtered(np.pad(spread, ((2, 1), (2, 1), (0, 0))))
    np.testing.assert_allclose(fir_upsample(jnp.asarray(x)), want, atol=16 * EPS32 * np.abs(x).max())


def test_upsampling_is_four_times_the_transpose_of_downsampling():
    x, y = jnp.asarray(normal(3, 2, 2)), jnp.asarray(normal(6, 4, 2, seed=1))
    _, transposed = jax.vjp(fir_downsample, y)
    np.testing.assert_allclose(fir_upsample(x), 4 * transposed(x)[0], atol=16 * EPS32 * np.abs(x).max())


def shapes(**options):
    model = ncsnpp(SHAPE, **{"channels": 8, "mults": (1, 1), "num_blocks": 1, **options})
    network = from_linen(model, ve_sde())
    params = jax.eval_shape(network.init, jax.random.key(0))
    pred = jax.eval_shape(network.apply, params, jnp.zeros(SHAPE), jnp.float32(1), jnp.int32(0))
    assert pred.eps.shape == SHAPE
    assert pred.eps.dtype == jnp.float32
    return params


@pytest.mark.parametrize(
    ("options", "added", "removed"),
    [
        ({"attention": (4,)}, {"down1_0_attention", "up1_attention"}, set()),
        ({"attention": (4,), "attention_up": (8,)}, {"down1_0_attention", "up0_attention"}, set()),
        ({"num_classes": 3}, {"label"}, set()),
        ({"middle_attention": False}, set(), {"middle_attend"}),
        ({"embedding": "ddpm", "told": "step"}, set(), {"fourier"}),
        ({"num_blocks": 2}, {"down0_1", "down1_1", "up0_2", "up1_2"}, set()),
        ({"bfloat16": True, "scale_shift": True, "dropout": 0.1, "center": True, "middle_groups": 0}, set(), set()),
    ],
)
def test_options_add_the_layers_they_name(options, added, removed):
    plain, other = set(shapes()), set(shapes(**options))
    assert (other - plain, plain - other) == (added, removed)


def test_every_level_below_the_finest_adds_to_both_pyramids():
    found = shapes(mults=(1, 2, 2))
    assert {name for name in found if "pyramid" in name} == {
        *("down0_pyramid", "down1_pyramid"),
        *("up1_pyramid", "up1_pyramid_norm", "up2_pyramid", "up2_pyramid_norm"),
    }
    assert found["down1_pyramid"]["kernel"].shape == (1, 16)  # from the image's one channel
    assert found["up2_pyramid"]["conv"]["kernel"].shape == (3, 3, 16, 1)


def test_frequencies_are_not_trained():
    module = FourierFeatures(8)
    params = module.init(jax.random.key(0), jnp.float32(1))
    slope = jax.grad(lambda params: module.apply(params, jnp.float32(1)).sum())(params)
    np.testing.assert_array_equal(slope["params"]["frequencies"], np.zeros(4))


@pytest.mark.parametrize(
    "options", [{}, {"attention": (8,), "mults": (1, 1.5), "groups": 4, "attention_groups": 8, "num_classes": 2}]
)
def test_config_makes_the_model_again_through_json(options):
    model = ncsnpp((16, 16, 3), **{"channels": 16, **options})
    assert from_config(json.loads(json.dumps(model.config))) == replace(model, config=model.config)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"channels": 0}, "sizes must be positive.*channels=0"),
        ({"mults": (1, 2, 2, 2, 2)}, "images of 8x8 do not divide into cells of 16"),
        ({"attention": (5,)}, "no level has a grid of side 5"),
        ({"groups": 7}, r"groups=7 must divide every width \[128, 256\]"),
        (
            {"channels": 48, "attention": (4,), "attention_groups": 32},
            r"attention_groups=32 must divide .* \[48, 96, 96\]",
        ),
        ({"head_channels": 96}, r"head_channels=96 must divide every width \[256\]"),
        ({"embedding": "fourir"}, "unknown embedding 'fourir': did you mean 'fourier'"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"middle_scale": 0.0}, r"middle_scale must be positive, got 0\.0"),
    ],
)
def test_bad_architectures_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        ncsnpp(SHAPE, **options)
