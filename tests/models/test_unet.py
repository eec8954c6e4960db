"""Every option of the U-Net runs, changes what it should, and nothing else."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models import count_params, unet

SHAPE = (8, 8, 1)
EPS32 = float(np.finfo(np.float32).eps)
OPTIONS = {
    "plain": {},
    "attention": {"attention": (8,), "middle_attention": True, "head_channels": 4},
    "classes": {"num_classes": 3},
    "guided": {"scale_shift": True, "resblock_updown": True, "learn_sigma": True},
    "patch": {"patch": 2},
    "bfloat16": {"bfloat16": True},
    "dropout": {"dropout": 0.5},
}
X = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)


def model(option, **more):
    plain = {"channels": 8, "mults": (1, 2), "num_blocks": 1, "attention": (), "middle_attention": False}
    return unet(SHAPE, **{**plain, **OPTIONS[option], **more})


def params(option, **more):
    """Random parameters: the initial head is zero, and would hide everything before it."""
    module, label = model(option, **more).module, jnp.int32(0) if option == "classes" else None
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(SHAPE), jnp.zeros(()), label)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


@functools.cache
def program(option, **more):
    """One compiled network for three images, at any parameters, times, labels and dropout keys."""
    module = model(option, **more).module

    def one(params, x, time, label, key):
        rngs = None if key is None else {"dropout": key}
        return module.apply({"params": params}, x, time, label, deterministic=key is None, rngs=rngs)

    return jax.jit(jax.vmap(one, (None, 0, None, None, 0)))


def run(option, x=X, time=3.0, label=None, keys=None, at=None, **more):
    at = params(option, **more) if at is None else at
    return np.asarray(program(option, **more)(at, x, jnp.float32(time), label, keys))


def differ(a, b):
    return np.abs(a - b).max() > 1e-3 * np.abs(b).max()


def close(a, b):
    """Equal up to the order of sums over 9 taps x 16 channels, in a handful of layers."""
    np.testing.assert_allclose(a, b, atol=144 * EPS32 * np.abs(b).max())


def parameter_names(option):
    return {path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(params(option))}


@pytest.mark.parametrize("option", ["plain", "attention", "guided", "patch"])
def test_each_image_gets_an_answer_of_its_own_that_depends_on_the_time(option):
    out = run(option)
    assert out.shape == (3, 8, 8, 2 if option == "guided" else 1)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert differ(out[0], out[1])
    assert differ(out, run(option, time=9.0))


@pytest.mark.parametrize("option", OPTIONS)
def test_parameters_are_float32_and_counted(option):
    leaves = jax.tree.leaves(params(option))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert count_params(params(option)) == sum(int(np.prod(leaf.shape)) for leaf in leaves)


@pytest.mark.parametrize(
    ("option", "added"),
    [
        ("attention", {"middle_attend", "down0_0_attention", "up0_0_attention", "up0_1_attention"}),
        ("classes", {"label"}),
        ("guided", set()),
        ("patch", set()),
        ("bfloat16", set()),
        ("dropout", set()),
    ],
)
def test_options_add_the_layers_they_name(option, added):
    assert parameter_names(option) - parameter_names("plain") == added
    assert parameter_names("plain") <= parameter_names(option)


def test_guided_layers_are_residual_blocks_with_a_scale_and_a_shift():
    plain, guided = params("plain"), params("guided")
    assert set(plain["down0_resample"]) == {"conv"}
    assert "norm1" in guided["down0_resample"]
    assert "norm1" in guided["up1_resample"]
    assert guided["down0_0"]["emb"]["bias"].shape[0] == 2 * plain["down0_0"]["emb"]["bias"].shape[0]
    assert guided["head"]["conv"]["bias"].shape[0] == 2 * plain["head"]["conv"]["bias"].shape[0]


def test_classes_change_the_answer_and_none_is_the_null_class():
    small: dict[str, Any] = {"mults": (1,)}
    answers = [run("classes", label=jnp.int32(i), **small) for i in range(4)]
    assert all(differ(answers[i], answers[j]) for i in range(4) for j in range(i))
    close(run("classes", label=None, **small), answers[3])


def test_dropout_needs_a_key_and_each_key_is_another_mask():
    small: dict[str, Any] = {"mults": (1,)}
    keys = jax.random.split(jax.random.key(0), 2)
    same = np.stack([X[0]] * 3)
    close(run("dropout", same, **small), run("plain", same, **small))
    out = run("dropout", same, keys=keys[jnp.array([0, 1, 0])], **small)
    assert differ(out[0], out[1])
    np.testing.assert_array_equal(out[0], out[2])


def test_bfloat16_is_float32_to_its_own_precision():
    small: dict[str, Any] = {"mults": (1,), "middle_attention": True}
    rough, exact = run("bfloat16", **small), run("plain", **small)
    assert rough.dtype == np.float32
    # 8 bits of mantissa, through some ten layers one after the other.
    assert EPS32 < np.abs(rough - exact).max() / np.abs(exact).max() < 10 * 2**-8


def test_middle_attention_is_an_added_branch():
    small: dict[str, Any] = {"mults": (1,)}
    attends: dict[str, Any] = {**small, "middle_attention": True}
    full = params("plain", **attends)
    silent = {
        **full,
        "middle_attend": {**full["middle_attend"], "out": jax.tree.map(jnp.zeros_like, full["middle_attend"]["out"])},
    }
    absent = {name: value for name, value in full.items() if name != "middle_attend"}
    close(run("plain", at=silent, **attends), run("plain", at=absent, **small))
    assert differ(run("plain", at=full, **attends), run("plain", at=absent, **small))
