"""Clipped sums against a loop and jax-privacy, and by removing examples; the noise; losses that cannot be covered."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_privacy import clipped_grad
from jax_privacy.noise_addition import gaussian_privatizer
from scipy.stats import chi2, ks_2samp, kstest

from diffaudit_jax.losses import simple_loss
from diffaudit_jax.models import Model, from_linen
from diffaudit_jax.process import ddpm_cosine
from diffaudit_jax.training.mechanism import check_separable, clipped_sum, standard_normal
from diffaudit_jax.training.state import Data, Recipe, example_loss
from diffaudit_jax.types import InputError, Network, to_signed
from tests.oracles import EPS32, PROCESSES, conv, images

KEY = jax.random.key(8)
PROCESS = PROCESSES["cosine-20"]
SIZES = {"a": (3, 4), "b": (), "c": (5,)}
# A norm sums at most 18 squares, a sum at most 12 rows, and each number is scaled: all rounded.
ROUNDING = 32 * EPS32


def gradients(n=12, seed=0):
    """Gradients [n, ...] of norms on both sides of 1, one of them zero."""
    rng = np.random.default_rng(seed)
    size = np.where(np.arange(n) == 2, 0, rng.uniform(0.05, 1, n))
    return {name: jnp.asarray((rng.normal(size=(n, *shape)).T * size).T, jnp.float32) for name, shape in SIZES.items()}


def slow_clipped_sum(grads, mask, clip, per_layer):
    """The sum and the norms from their definition, in float64."""
    total, norms = {name: np.zeros(leaf.shape[1:]) for name, leaf in grads.items()}, []
    for i, counts in enumerate(mask):
        one = {name: np.float64(leaf[i]) for name, leaf in grads.items()}
        norms.append(np.sqrt(sum((leaf**2).sum() for leaf in one.values())))
        for name, leaf in one.items():
            norm = np.sqrt((leaf**2).sum()) if per_layer else norms[-1]
            bound = clip / np.sqrt(len(one)) if per_layer else clip
            total[name] += counts * leaf * (min(1, bound / norm) if norm else 1)
    return total, np.array(norms)


each_rule = pytest.mark.parametrize("per_layer", [False, True])


@each_rule
@pytest.mark.parametrize("clip", [0.3, 1.0, 1e6, np.inf])
def test_the_sum_is_that_of_a_loop(clip, per_layer):
    grads, mask = gradients(), np.arange(12) % 5 != 1
    total, norms, clipped = clipped_sum(grads, jnp.asarray(mask), clip, per_layer=per_layer)
    want, want_norms = slow_clipped_sum(grads, mask, clip, per_layer)
    for name in SIZES:
        np.testing.assert_allclose(total[name], want[name], rtol=0, atol=ROUNDING * 12 * min(clip, 5))
    np.testing.assert_allclose(norms, want_norms, rtol=ROUNDING)
    if not per_layer:
        np.testing.assert_array_equal(clipped, mask & (want_norms > clip))


@each_rule
def test_removing_an_example_moves_the_sum_by_no_more_than_the_clip(per_layer):
    grads, clip = gradients(), 0.7
    total = partial(clipped_sum, grads, l2_clip_norm=clip, per_layer=per_layer)
    whole = total(jnp.ones(12, bool))[0]
    moved = []
    for i in range(12):
        without = total(jnp.arange(12) != i)[0]
        difference = {name: np.float64(whole[name]) - np.float64(without[name]) for name in SIZES}
        tensors = [np.linalg.norm(leaf) for leaf in difference.values()]
        moved.append(np.linalg.norm(tensors))
        if per_layer:
            assert max(tensors) <= clip / np.sqrt(3) * (1 + ROUNDING) + 12 * ROUNDING
    assert max(moved) <= clip * (1 + ROUNDING) + 12 * ROUNDING
    if not per_layer:  # the bound is reached by those that are clipped
        assert (np.abs(np.array(moved) - clip) < 12 * ROUNDING).sum() == (
            np.asarray(total(jnp.ones(12, bool))[1]) > clip
        ).sum()


@each_rule
@pytest.mark.parametrize("value", [1.0, np.nan, np.inf, 3e38])
def test_padding_contributes_exactly_zero(value, per_layer):
    grads, mask = gradients(), jnp.arange(12) < 9
    filled = jax.tree.map(lambda leaf: leaf.at[9:].set(value), grads)
    alone = jax.tree.map(lambda leaf: leaf.at[9:].set(0), grads)
    totals = [clipped_sum(given, mask, 0.7, per_layer=per_layer)[0] for given in (filled, alone)]
    jax.tree.map(np.testing.assert_array_equal, *totals)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), clipped_sum(filled, mask & ~mask, 0.7)[0])


@each_rule
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_an_example_whose_gradient_is_not_finite_counts_for_nothing_and_shows(value, per_layer):
    grads, everyone = gradients(), jnp.ones(12, bool)
    broken = {**grads, "a": grads["a"].at[4, 1, 1].set(value)}
    total, norms, _ = clipped_sum(broken, everyone, 0.7, per_layer=per_layer)
    without = clipped_sum(jax.tree.map(lambda leaf: leaf.at[4].set(0), grads), everyone, 0.7, per_layer=per_layer)[0]
    jax.tree.map(np.testing.assert_array_equal, total, without)
    assert not np.isfinite(norms[4])


@pytest.mark.filterwarnings("ignore:optax.global_norm is deprecated")  # jax-privacy 2.0.0 calls it
@pytest.mark.parametrize("clip", [0.5, 5.5, np.inf])
def test_the_sum_is_jax_privacys(clip):
    target, x = conv(PROCESS), to_signed(jnp.asarray(images(6)))
    eps, mask = jax.random.normal(KEY, x.shape), jnp.array([True, True, False, True, True, False])

    def loss(params, x, eps):
        t = jnp.float32(0.5)
        return simple_loss(target.network.apply(params, PROCESS.corrupt(x, t, eps), t), eps)

    theirs = clipped_grad(
        loss, l2_clip_norm=clip, batch_argnums=(1, 2), keep_batch_dim=False, return_grad_norms=True, return_values=True
    )

    @jax.jit
    def both(params):
        grads = jax.vmap(jax.grad(loss), (None, 0, 0))(params, x, eps)
        return clipped_sum(grads, mask, clip), theirs(params, x, eps, is_padding_example=~mask)

    (total, norms, _), (want, shown) = both(target.params)
    np.testing.assert_allclose(norms, shown.grad_norms, rtol=np.sqrt(288) * EPS32)
    assert clip != 5.5 or norms.min() < clip < norms.max(), norms
    for name, leaf in total.items():
        # Norms of 288 numbers, sums of 4 rows.
        np.testing.assert_allclose(leaf, want[name], rtol=0, atol=np.sqrt(288) * EPS32 * np.abs(want[name]).max())


LIKE = {"w": jnp.zeros((100, 200)), "b": jnp.zeros(()), "c": jnp.zeros(5000)}


def test_noise_is_standard_normal_and_independent():
    noise = standard_normal(KEY, LIKE)
    assert jax.tree.map(jnp.shape, noise) == jax.tree.map(jnp.shape, LIKE)
    w, c = np.float64(noise["w"]).ravel(), np.float64(noise["c"])
    for one in (w, c):
        assert chi2.isf(1 - 1e-4, one.size) < (one**2).sum() < chi2.isf(1e-4, one.size)
        assert kstest(one, "norm").pvalue > 1e-4
    for lag in (1, 128, 5001 + 127):  # of neighbours along either axis of a table of 128 rows, and of tensors
        assert abs(w[lag:] @ w[:-lag]) < 4 * np.sqrt(w.size)
    assert abs(w[:5000] @ c) < 4 * np.sqrt(5000)
    assert (noise["b"] != standard_normal(jax.random.key(0), LIKE)["b"]).all()


def test_noise_has_the_law_of_jax_privacys():
    privatizer = gaussian_privatizer(stddev=1.0, prng_key=KEY)
    theirs, _ = jax.jit(lambda: privatizer.update(LIKE, privatizer.init(LIKE)))()
    assert ks_2samp(np.ravel(theirs["w"]), np.ravel(standard_normal(KEY, LIKE)["w"])).pvalue > 1e-4


def test_noise_reaches_twice_as_far_as_one_draw(monkeypatch):
    furthest = jnp.sqrt(2) * jax.lax.erf_inv(jnp.nextafter(jnp.float32(1), jnp.float32(0)))
    assert 5.4 < furthest < 5.5
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: jnp.full(shape, furthest))
    jax.tree.map(
        lambda leaf: np.testing.assert_allclose(leaf, 2 * furthest, rtol=4 * EPS32), standard_normal(KEY, LIKE)
    )


def quadratic(params, key, x, label):
    """A loss of one example."""
    return ((x * params - jax.random.normal(key, x.shape)) ** 2).mean()


@jax.custom_batching.custom_vmap
def centred(x):
    return x


@centred.def_vmap
def _(size, batched, x):
    return x - x.mean(0, keepdims=True), True


def by_rule(params, key, x, label):
    return quadratic(params, key, centred(x), label)


def by_callback(params, key, x, label):
    """A model of another framework, which is given the batch whole."""
    model = lambda x: np.asarray(x) - np.asarray(x).mean(0, keepdims=True)  # noqa: E731
    out = jax.pure_callback(model, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")
    return quadratic(params, key, out, label)


def behind_a_head_of_zeros(params, key, x, label):
    return quadratic(params["head"] * centred(x).mean(), key, x, label)


PARAMS = jnp.ones((4, 4, 2))


def shown(dtype):
    """Three examples, as bytes or as numbers in [-1, 1]."""
    x = jnp.asarray(images(3))
    return Data(x if dtype == np.uint8 else to_signed(x), None)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_loss_of_one_example_passes(dtype):
    data, target = shown(dtype), conv(PROCESS)
    network = Network(lambda key: target.params, target.network.apply)
    check_separable(KEY, example_loss(network, PROCESS, Recipe()), target.params, data)
    check_separable(KEY, quadratic, PARAMS, Data(data.x[:1], None))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("loss", "params"),
    [(by_rule, PARAMS), (by_callback, PARAMS), (behind_a_head_of_zeros, {"head": jnp.zeros((4, 4, 2))})],
)
def test_a_loss_that_reads_other_examples_is_refused(loss, params, dtype):
    signed = lambda params, key, x, label: loss(params, key, to_signed(x), label)  # noqa: E731
    with pytest.raises(InputError, match="this network reads other examples of the batch, as BatchNorm does"):
        check_separable(KEY, signed, params, shown(dtype))


class Normed(nn.Module):
    """A module of batches with a norm over the batch, or over groups of channels."""

    batch_norm: bool

    @nn.compact
    def __call__(self, x, time, label=None, *, deterministic=True):
        norm = nn.BatchNorm(use_running_average=deterministic) if self.batch_norm else nn.GroupNorm(2)
        return nn.Conv(x.shape[-1], (3, 3))(norm(nn.Conv(4, (3, 3))(x)))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_users_module_with_batch_norm_is_refused(batch_norm):
    process = ddpm_cosine(10)
    network = from_linen(Model(Normed(batch_norm), (4, 4, 2), batched=True), process)
    loss, data = example_loss(network, process, Recipe()), Data(jnp.asarray(images(3)), None)
    params = jax.jit(network.init)(KEY)
    if not batch_norm:
        check_separable(KEY, loss, params, data)
        return
    with pytest.raises(InputError, match="this network keeps statistics of the batch, as BatchNorm does"):
        check_separable(KEY, loss, params, data)


def test_other_mistakes_arrive_as_they_are():
    def broken(params, key, x, label):
        raise KeyError("nothing to do with batches")

    with pytest.raises(KeyError, match="nothing to do with batches"):
        check_separable(KEY, broken, PARAMS, Data(jnp.asarray(images(2)), None))
