"""The adapter: eps and x0 always agree with x_t, configs survive JSON, and mistakes are named."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffaudit_jax.models import Model, from_config, from_linen, from_nnx, guided, unet
from diffaudit_jax.models.precondition import fed, read, weight
from diffaudit_jax.models.precondition import told as tell
from diffaudit_jax.process import ddpm_cosine, ddpm_linear, edm, ve_sde, vp_sde
from diffaudit_jax.types import InputError

SHAPE = (4, 4, 1)
EPS32 = float(np.finfo(np.float32).eps)
PROCESS = ddpm_cosine(20)


class Tell(nn.Module):
    """Answers with what it was told, one number in each row of the image."""

    learn_sigma: bool = False

    @nn.compact
    def __call__(self, x, time, label=None, *, deterministic=True):
        scale = self.param("scale", nn.initializers.ones_init(), ())
        told = [time, -1.0 if label is None else label, deterministic, 0.0]
        out = scale * jnp.broadcast_to(jnp.stack([jnp.float32(v) for v in told])[:, None, None], x.shape)
        return jnp.concatenate([out, out / 10], axis=-1) if self.learn_sigma else out


def telling(**options):
    settings = {"predicts": "eps", "learn_sigma": False, "num_classes": None, **options}
    return Model(Tell(settings["learn_sigma"]), SHAPE, config={}, **settings)


def told(network, t, cond=None, key=None):
    params = network.init(jax.random.key(0))
    return np.asarray(network.apply(params, jnp.zeros(SHAPE), jnp.float32(t), cond, key=key).eps[:, 0, 0])


@pytest.mark.parametrize("num_steps", [20, 1000])
def test_the_module_is_told_the_zero_based_step(num_steps):
    process = ddpm_linear(num_steps) if num_steps > 20 else PROCESS
    network = from_linen(telling(), process)
    for step in (1, 7, num_steps):
        assert told(network, step / num_steps)[0] == step - 1
    rescaled = from_linen(telling(told="step-of-1000"), process)
    assert told(rescaled, 1.0)[0] == (num_steps - 1) * 1000 / num_steps


def test_conditions_and_keys_reach_the_module_that_wants_them():
    classes, none = from_linen(telling(num_classes=3), PROCESS), from_linen(telling(), PROCESS)
    assert told(classes, 0.5, 2)[1] == 2
    assert told(classes, 0.5)[1] == -1
    assert told(none, 0.5, 2)[1] == -1
    assert told(none, 0.5)[2] == 1
    assert told(none, 0.5, key=jax.random.key(0))[2] == 0


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_eps_and_x0_give_xt_back(predicts, t):
    rng = np.random.default_rng(0)
    xt, out = (jnp.asarray(rng.normal(size=SHAPE), jnp.float32) for _ in range(2))
    t = jnp.float32(t)
    alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
    pred = read(predicts, False, PROCESS, out, xt, t)
    largest = max(float(jnp.abs(leaf).max()) for leaf in (pred.eps, pred.x0, xt))
    np.testing.assert_allclose(PROCESS.corrupt(pred.x0, t, pred.eps), xt, atol=4 * EPS32 * largest)
    meant = {"eps": pred.eps, "x0": pred.x0, "v": alpha * pred.eps - sigma * pred.x0}[predicts]
    np.testing.assert_allclose(meant, out, atol=4 * EPS32 * largest)
    assert pred.var_fraction is None


def test_a_learned_variance_is_the_second_half_as_a_fraction():
    model = telling(learn_sigma=True)
    rng = np.random.default_rng(0)
    out = jnp.asarray(rng.normal(size=(4, 4, 2)), jnp.float32)
    pred = read(model.predicts, True, PROCESS, out, jnp.zeros(SHAPE), jnp.float32(0.5))
    np.testing.assert_array_equal(pred.eps, out[..., :1])
    assert pred.var_fraction is not None
    np.testing.assert_allclose(pred.var_fraction, (out[..., 1:] + 1) / 2, rtol=EPS32)
    network = from_linen(model, PROCESS)
    answer = network.apply(network.init(jax.random.key(0)), jnp.zeros(SHAPE), jnp.float32(0.5))
    assert [leaf.shape for leaf in jax.tree.leaves(answer)] == [SHAPE] * 3


CONFIGS = [
    {},
    {"channels": 8, "mults": (1, 2, 2), "attention": (4,), "num_classes": 5, "dropout": 0.1},
    {"channels": 8, "head_channels": 4, "scale_shift": True, "resblock_updown": True, "learn_sigma": True},
    {"channels": 8, "patch": 2, "predicts": "v", "bfloat16": True, "middle_attention": False, "num_blocks": 1},
]


@pytest.mark.parametrize("options", CONFIGS)
def test_config_makes_the_model_again_through_json(options):
    model = unet((16, 16, 3), **options)
    assert from_config(json.loads(json.dumps(model.config))) == replace(model, config=model.config)


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((16, 16, 1), {"predicts": "epsilon"}, "unknown prediction 'epsilon': did you mean 'eps'"),
        ((16, 16, 1), {"channels": 0}, "sizes must be positive.*channels=0"),
        ((16, 16, 1), {"num_blocks": 0}, "sizes must be positive.*num_blocks=0"),
        ((16, 16, 1), {"mults": ()}, r"sizes must be positive.*mults=\(\)"),
        ((16, 16, 1), {"mults": (1, 0)}, r"sizes must be positive.*mults=\(1, 0\)"),
        ((16, 16, 1), {"patch": 0}, "sizes must be positive.*patch=0"),
        ((0, 16, 1), {}, "sizes must be positive"),
        ((16, 16), {}, r"\(height, width, channels\), got \(16, 16\)"),
        ((28, 28, 1), {"mults": (1, 2, 2, 2)}, "images of 28x28 do not divide into cells of 8"),
        ((16, 18, 1), {"patch": 2}, "images of 16x18 do not divide into cells of 4"),
        (
            (16, 16, 1),
            {"channels": 12, "attention": (16,), "head_channels": 8},
            r"head_channels=8 must divide.* \[12, 24\]",
        ),
        ((16, 16, 1), {"head_channels": 0}, "head_channels must be at least 1, got 0"),
        ((16, 16, 1), {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ((16, 16, 1), {"num_classes": 0}, "num_classes must be at least 1, or None"),
    ],
)
def test_bad_architectures_are_refused(shape, options, says):
    with pytest.raises(InputError, match=says):
        unet(shape, **options)


def test_heads_need_to_divide_only_the_widths_that_attend():
    assert unet((16, 16, 1), channels=12, head_channels=8).config["head_channels"] == 8


def test_an_unknown_model_is_refused_by_the_nearest_name():
    with pytest.raises(InputError, match="unknown model 'unte': did you mean 'unet'"):
        from_config({**unet(SHAPE, attention=()).config, "name": "unte"})


LEVELS = (0.002, 0.5, 80.0)


@pytest.mark.parametrize("level", LEVELS)
def test_edm_is_read_as_its_paper_preconditions(level):
    process, rng = edm(), np.random.default_rng(0)
    xt, out = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    t = process.time_at(jnp.float32(level))
    s, d = np.float64(process.noise_level(t)), 0.5
    denoised = d**2 / (s**2 + d**2) * xt + s * d / np.sqrt(s**2 + d**2) * out
    pred = read("edm", False, process, jnp.asarray(out), jnp.asarray(xt), t)
    np.testing.assert_allclose(pred.x0, denoised, rtol=8 * EPS32, atol=8 * EPS32)
    np.testing.assert_allclose(pred.eps, (xt - denoised) / s, rtol=8 * EPS32, atol=8 * EPS32 * (1 + d / s * EPS32))
    np.testing.assert_allclose(fed("edm", process, jnp.asarray(xt), t), xt / np.sqrt(s**2 + d**2), rtol=8 * EPS32)
    np.testing.assert_allclose(tell("edm", process, t), np.log(s) / 4, rtol=1e-5)
    # lambda(s) of the paper weighs x0-MSE, which is s^2 eps-MSE.
    np.testing.assert_allclose(weight("edm", process, t), (s**2 + d**2) / (s * d) ** 2 * s**2, rtol=8 * EPS32)


def test_a_network_of_images_from_zero_to_one_sees_half_the_noise():
    process, t = ve_sde(), jnp.float32(0.4)
    x0, eps = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    sigma = np.float64(process.sigma(t))
    seen = fed("score", process, process.corrupt(x0, t, eps), t, signed=False)
    np.testing.assert_allclose(seen, (x0 + 1) / 2 + sigma / 2 * eps, rtol=8 * EPS32, atol=8 * EPS32 * sigma)
    np.testing.assert_allclose(tell("log-noise", process, t, signed=False), np.log(sigma / 2), rtol=8 * EPS32)
    np.testing.assert_allclose(tell("time", vp_sde(), t), 999 * 0.4, rtol=EPS32)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_goes_from_the_null_class_towards_the_class(scale):
    network = from_linen(telling(num_classes=3), PROCESS)
    params, xt, t = network.init(jax.random.key(0)), jnp.ones(SHAPE), jnp.float32(0.5)
    pred = guided(network, scale, 3).apply(params, xt, t, 1)
    np.testing.assert_allclose(pred.eps[1], 3 + scale * (1 - 3))
    np.testing.assert_allclose(PROCESS.corrupt(pred.x0, t, pred.eps), xt, atol=16 * EPS32)
    null = guided(network, scale, 3).apply(params, xt, t)
    np.testing.assert_array_equal(null.eps, network.apply(params, xt, t, 3).eps)
    assert guided(network, scale, 3).config["guidance"] == scale


def test_guidance_needs_a_null_class():
    network = from_linen(telling(num_classes=3, null_class=False), PROCESS)
    with pytest.raises(InputError, match="needs a null class, and this model has classes 0 to 2 alone"):
        guided(network, 2.0, 3)


class Batched(nn.Module):
    """A user's own module, with flax's GroupNorm, which takes axis 0 for a batch."""

    @nn.compact
    def __call__(self, x, time, label=None, *, deterministic=True):
        return nn.GroupNorm(num_groups=2)(nn.Conv(4, (3, 3))(x)).mean(-1, keepdims=True) + time[:, None, None, None]


def test_a_batched_module_is_called_on_batches_of_one():
    network = from_linen(Model(Batched(), SHAPE, batched=True), PROCESS)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, *SHAPE))
    t = jnp.float32(0.5)
    want = np.asarray(Batched().apply({"params": params}, x, jnp.full(3, 9.0)))
    got = jax.vmap(lambda one: network.apply(params, one, t).eps)(x)
    np.testing.assert_allclose(got, want, atol=64 * EPS32 * 10)


class Affine(nnx.Module):
    """An NNX module of one example."""

    def __init__(self, rngs, rate=0.5):
        self.mix = nnx.Linear(1, 1, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x, time):
        return self.drop(self.mix(x)) + time


def test_an_nnx_module_becomes_pure_functions():
    module = Affine(nnx.Rngs(0))
    network, params = from_nnx(module, Model(None, SHAPE), PROCESS)
    x, t = jax.random.normal(jax.random.key(1), SHAPE), jnp.float32(0.5)
    want = module.mix(x) + 9.0
    np.testing.assert_allclose(jax.jit(network.apply)(params, x, t).eps, want, atol=16 * EPS32 * 10)
    halved = jax.tree.map(lambda leaf: leaf / 2 if leaf.dtype == jnp.float32 else leaf, params)
    np.testing.assert_allclose(network.apply(halved, x, t).eps - 9, (want - 9) / 2, atol=16 * EPS32 * 10)


class Scaled(nn.Module):
    """As `Tell`, with the same parameters and a setting of its own."""

    by: float = 1.0
    activation: Any = None

    @nn.compact
    def __call__(self, x, time, label=None, *, deterministic=True):
        return self.param("scale", nn.initializers.ones_init(), ()) * self.by * x


OTHERS = {
    "class": Model(Tell(), SHAPE),
    "setting": Model(Scaled(2.0), SHAPE),
    "function": Model(Scaled(activation=partial(jax.nn.gelu, approximate=True)), SHAPE),
    "shape": Model(Scaled(), (4, 4, 2)),
    "predicts": Model(Scaled(), SHAPE, predicts="v"),
    "learn_sigma": Model(Scaled(), SHAPE, learn_sigma=True),
    "num_classes": Model(Scaled(), SHAPE, num_classes=3),
    "told": Model(Scaled(), SHAPE, told="time"),
    "signed": Model(Scaled(), SHAPE, signed=False),
    "null_class": Model(Scaled(), SHAPE, null_class=False),
    "batched": Model(Scaled(), SHAPE, batched=True),
    "version": Model(Scaled(), SHAPE, config={"version": 2}),
}


def described(model):
    return json.dumps(from_linen(model, PROCESS).config)


@pytest.mark.parametrize("other", OTHERS)
def test_modules_of_equal_parameters_are_told_apart(other):
    assert described(OTHERS[other]) != described(Model(Scaled(), SHAPE))


def test_a_module_made_again_is_the_same():
    def made():
        def activation(x):
            return x

        return Scaled(activation=partial(activation))

    one, two = made(), made()
    assert repr(one) != repr(two)  # which shows where in memory their functions lie
    assert described(Model(one, SHAPE)) == described(Model(two, SHAPE))


def test_nnx_modules_of_equal_parameters_are_told_apart():
    def config(rate):
        return json.dumps(from_nnx(Affine(nnx.Rngs(0), rate), Model(None, SHAPE), PROCESS)[0].config)

    assert config(0.5) == config(0.5) != config(0.25)


def test_an_nnx_module_is_left_in_its_mode():
    module = Affine(nnx.Rngs(0))
    from_nnx(module, Model(None, SHAPE), PROCESS)
    assert not module.drop.deterministic


@pytest.mark.parametrize(("option", "says"), [("predicts", "prediction 'esp'"), ("told", "way to tell the time 'esp'")])
def test_unknown_ways_to_read_are_refused(option, says):
    with pytest.raises(InputError, match=f"unknown {says}"):
        Model(Tell(), SHAPE, **{option: "esp"})  # pyright: ignore[reportArgumentType]
