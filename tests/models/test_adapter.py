"""The adapter: eps and x0 always agree with x_t, configs survive JSON, and mistakes are named."""

import json
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models import Model, from_config, from_linen, unet
from diffaudit_jax.models.precondition import read
from diffaudit_jax.process import ddpm_cosine, ddpm_linear
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
        ((16, 16, 1), {"channels": 12, "head_channels": 8}, r"head_channels=8 must divide every width \[12, 24\]"),
        ((16, 16, 1), {"head_channels": 0}, "head_channels=0 must divide"),
        ((16, 16, 1), {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ((16, 16, 1), {"num_classes": 0}, "num_classes must be at least 1, or None"),
    ],
)
def test_bad_architectures_are_refused(shape, options, says):
    with pytest.raises(InputError, match=says):
        unet(shape, **options)


def test_an_unknown_model_is_refused_by_the_nearest_name():
    with pytest.raises(InputError, match="unknown model 'unte': did you mean 'unet'"):
        from_config({**unet(SHAPE, attention=()).config, "name": "unte"})
