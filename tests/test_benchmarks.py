"""The naive layers still stand in for ours: they take the place of layers by name, which nothing else would notice."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import naive, throughput, timing
from diffaudit_jax import models
from diffaudit_jax.models import layers
from diffaudit_jax.process import ddpm_linear
from tests.oracles import EPS32


def shapes(options=None):
    """Shapes of the parameters and of the answer of the U-Net that is measured."""
    model = models.unet((16, 16, 3), channels=16, mults=(1, 2), num_blocks=1, attention=(8,), **(options or {}))
    network = models.from_linen(model, ddpm_linear(1000))
    params = jax.eval_shape(network.init, jax.random.key(0))
    out = jax.eval_shape(network.apply, params, jnp.zeros((16, 16, 3)), jnp.float32(0.5))
    return jax.tree.map(lambda leaf: leaf.shape, (jax.tree.leaves(params), out))


def test_a_network_of_naive_layers_has_the_parameters_and_answers_of_ours():
    ours = shapes()
    with throughput._naive_layers():
        theirs = shapes()
    assert theirs[1] == ours[1]
    assert sum(map(np.prod, theirs[0])) == sum(map(np.prod, ours[0]))


def test_naive_group_norm_and_upsampling_compute_the_same():
    x = jax.random.normal(jax.random.key(0), (4, 6, 8))
    params = layers.GroupNorm().init(jax.random.key(1), x)
    got, want = (module().apply(params, x) for module in (naive.GroupNorm, layers.GroupNorm))
    np.testing.assert_allclose(got, want, atol=8 * EPS32 * float(jnp.abs(want).max()))
    np.testing.assert_array_equal(naive.upsample(x), layers.upsample(x))


def test_results_are_saved_with_the_hardware(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "results")
    seconds = timing.by_turns({"product": timing.matmul(16, jnp.dtype("float32"))[0]}, repeats=3)
    saved = json.loads(timing.save("trial", seconds).read_text())
    assert saved["product"] > 0
    assert {"cpu", "cores", "jax", "python", "commit"} <= set(saved["hardware"])
