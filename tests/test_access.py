"""Threat models: each grants exactly its record, and the record works."""

import json
from dataclasses import FrozenInstanceError, fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import black_box, gray_box, white_box
from diffaudit_jax.sampler import ddim, grid
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import InputError, Network, Prediction
from tests.oracles import EPS32, PROCESSES, SHAPE, conv, gaussian, stub

PROCESS = PROCESSES["cosine-20"]
FIELDS = {
    black_box: {"sample"},
    gray_box: {"process", "denoise"},
    white_box: {"diffusion", "predict_at", "params", "process"},
}


@pytest.mark.parametrize(("grant", "names"), FIELDS.items(), ids=["black", "gray", "white"])
def test_a_grant_holds_its_record_and_nothing_else(grant, names):
    access = grant(gaussian(PROCESS))
    assert {field.name for field in fields(access)} == names
    assert {name for name in dir(access) if not name.startswith("_")} == names
    with pytest.raises(FrozenInstanceError):
        access.params = 0


@pytest.mark.parametrize("name", ["params", "network", "process", "denoise", "predict_at"])
def test_a_black_box_refuses_all_but_samples(name):
    with pytest.raises(AttributeError):
        getattr(black_box(gaussian(PROCESS)), name)


def test_every_grant_agrees_with_the_network_it_narrows():
    target, t = conv(PROCESS), jnp.float32(0.5)
    assert target.network is not None
    xt = jax.random.normal(jax.random.key(0), SHAPE)
    want = target.network.apply(target.params, xt, t)
    got = white_box(target).predict_at(target.params, xt, t, None)
    np.testing.assert_array_equal(got.eps, want.eps)
    np.testing.assert_array_equal(gray_box(target).denoise(jax.random.key(1), xt, t, None), want.x0)
    key = jax.random.key(2)
    np.testing.assert_array_equal(black_box(target).sample(key, None), target.sample(target.params, key, None))


def test_a_gray_box_lets_no_gradient_through():
    target, t = conv(PROCESS), jnp.float32(0.5)
    xt = jax.random.normal(jax.random.key(0), SHAPE)
    denoise, predict = gray_box(target).denoise, white_box(target).predict_at
    np.testing.assert_array_equal(jax.grad(lambda x: denoise(jax.random.key(0), x, t, None).sum())(xt), 0)
    assert np.abs(jax.grad(lambda x: predict(target.params, x, t, None).x0.sum())(xt)).min() > 0


def test_samples_of_a_diffusion_model_are_deterministic_ddim():
    target, key = conv(PROCESS), jax.random.key(3)
    assert target.network is not None
    apply = target.network.apply
    want = ddim(key, PROCESS, lambda xt, t: apply(target.params, xt, t), SHAPE, grid(PROCESS, 4))
    got = stub(black_box(target)).sample(key, None)
    assert got.shape == target.shape == SHAPE
    np.testing.assert_array_equal(got, want)


def test_samples_cost_the_steps_asked_for_and_no_more_than_the_schedule_has():
    calls = []

    def apply(params, xt, t, cond=None, *, key=None):
        jax.debug.callback(lambda _: calls.append(1), xt)
        return Prediction(xt, xt)

    network = Network(lambda key: {}, apply)
    for asked, made in ((3, 3), (20, 20), (50, 20)):
        calls.clear()
        diffusion_target({}, network, PROCESS, SHAPE, sample_steps=asked).sample({}, jax.random.key(0), None)
        jax.effects_barrier()
        assert len(calls) == made


@pytest.mark.parametrize(("grant", "name"), [(gray_box, "gray-box"), (white_box, "white-box")])
def test_a_target_without_a_process_is_refused(grant, name):
    target = Target({}, SHAPE, lambda params, key, cond: jnp.zeros(SHAPE))
    with pytest.raises(InputError, match=f"{name} access needs a diffusion model, and this target offers samples only"):
        grant(target)
    np.testing.assert_array_equal(black_box(target).sample(jax.random.key(0), None), 0)


def test_conditions_reach_the_network():
    def apply(params, xt, t, cond=None, *, key=None):
        x0 = jnp.full(SHAPE, -0.5 if cond is None else cond)
        return Prediction((xt - PROCESS.alpha(t) * x0) / PROCESS.sigma(t), x0)

    target = diffusion_target({}, Network(lambda key: {}, apply), PROCESS, SHAPE, sample_steps=2)
    for cond, value in ((None, -0.5), (0.25, 0.25)):
        np.testing.assert_allclose(black_box(target).sample(jax.random.key(0), cond), value, atol=1e-6)
        np.testing.assert_array_equal(
            gray_box(target).denoise(jax.random.key(0), jnp.zeros(SHAPE), jnp.float32(0.5), cond), value
        )


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
@pytest.mark.parametrize(("clip", "want"), [(True, 1.0), (False, 3.0)])
def test_a_target_clips_what_its_sampler_clips(sampler, clip, want):
    def apply(params, xt, t, cond=None, *, key=None):
        return Prediction((xt - 3 * PROCESS.alpha(t)) / PROCESS.sigma(t), jnp.full(SHAPE, 3.0))

    network = Network(lambda key: {}, apply)
    target = diffusion_target({}, network, PROCESS, SHAPE, sampler=sampler, sample_steps=5, clip=clip)
    np.testing.assert_allclose(target.sample({}, jax.random.key(0), None), want, rtol=4 * EPS32)


def test_config_tells_targets_of_the_same_parameters_apart():
    network = Network(lambda key: {}, lambda params, xt, t, cond=None, *, key=None: Prediction(xt, xt))
    configs = [
        diffusion_target({}, network, process, SHAPE, config=config, sample_steps=steps, clip=clip).config
        for process, config, steps, clip in (
            (PROCESS, None, 4, True),
            (PROCESS, {"model": "toy"}, 4, True),
            (PROCESSES["linear-50"], None, 4, True),
            (PROCESS, None, 5, True),
            (PROCESS, None, 5, False),
        )
    ]
    assert len({json.dumps(config, sort_keys=True) for config in configs}) == 5
    assert configs[1]["model"] == "toy"
