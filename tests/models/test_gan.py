"""Spectral norm against singular values, and the GAN's networks as functions of one example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.models.gan import gan, singular, spectrally_normalised
from diffaudit_jax.models.generators import generator, generator_from_config, generator_target
from diffaudit_jax.types import InputError

KEY = jax.random.key(3)
EPS32 = 2.0**-23


def matrices():
    """A convolution and a dense layer whose singular values are 3, 1, 0.5 and a bias."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(rows, 3)))[0] for rows in (18, 3))
    w = (left * [3.0, 1.0, 0.5]) @ right.T
    bias = jnp.arange(3.0)
    return {"conv": {"kernel": jnp.asarray(w.reshape(3, 3, 2, 3), jnp.float32), "bias": bias}, "dense": jnp.asarray(w)}


def estimated(steps):
    params = matrices()
    estimates = singular(KEY, params)
    for _ in range(steps - 1):
        estimates = spectrally_normalised(params, estimates)[1]
    return params, *spectrally_normalised(params, estimates)


def sigma(leaf):
    return np.linalg.svd(np.asarray(leaf, np.float64).reshape(-1, leaf.shape[-1]), compute_uv=False)[0]


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_matrices_come_out_with_norm_one_as_fast_as_power_iteration_promises(steps):
    params, normalised, _ = estimated(steps)
    starts = singular(KEY, params)
    for leaf, start in zip(("conv", "dense"), starts, strict=True):
        before, after = (tree["conv"]["kernel"] if leaf == "conv" else tree["dense"] for tree in (params, normalised))
        right = np.linalg.svd(np.asarray(before, np.float64).reshape(-1, 3))[2][0]
        # tan of the angle to the first singular vector falls by 1/3 with every product, and v is before the last one.
        tangent = np.sqrt(1 / (right @ np.asarray(start, np.float64)) ** 2 - 1) * 3 / 9**steps
        # ||W^T v|| >= sigma cos(angle); sums of 18 and of 3 products, twice.
        rounding = 60 * EPS32
        assert 1 - rounding <= sigma(after) <= np.sqrt(1 + tangent**2) + rounding
    np.testing.assert_array_equal(normalised["conv"]["bias"], params["conv"]["bias"])


def test_the_gradient_passes_through_the_norm():
    _, _, settled = estimated(20)
    # f(W) = <A, W/sigma(W)> does not change along W itself, whatever A.
    params = {"dense": matrices()["dense"]}
    a = jax.random.normal(KEY, (18, 3))
    found = jax.grad(lambda p: jnp.sum(a * spectrally_normalised(p, settled[1:])[0]["dense"]))(params)["dense"]
    assert np.abs(found).max() > 0.1
    size = np.abs(np.asarray(found) * np.asarray(params["dense"])).sum()
    assert abs(np.sum(found * params["dense"])) < 60 * EPS32 * size


@pytest.mark.parametrize(("shape", "size"), [((28, 28, 1), "small"), ((32, 32, 3), "published"), ((12, 8, 1), "tiny")])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_one_example_goes_in_and_comes_out(shape, size, num_classes):
    model = generator("gan", shape, size=size, num_classes=num_classes)
    assert generator_from_config(model.config) == model
    cond = None if num_classes is None else jnp.int32(2)
    makes, judges = jax.eval_shape(model.init, KEY)
    image = jax.eval_shape(model.sample, makes, KEY, cond)
    assert image.shape == shape
    assert jax.eval_shape(model.judge, judges, image, cond).shape == ()


def test_published_networks_have_sngans_size():
    # Residual blocks of 256 and of 128 channels at 32x32: 4,276,739 and 1,053,441 parameters, less the batch norms'.
    makes, judges = jax.eval_shape(generator("gan", (32, 32, 3), size="published").init, KEY)
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    conv = lambda a, b: 9 * a * b + b  # noqa: E731
    dense = lambda a, b: a * b + b  # noqa: E731
    norms = 7 * 2 * 256
    assert count(makes) == dense(128, 4096) + 3 * (2 * conv(256, 256) + dense(256, 256)) + norms + conv(256, 3)
    first = conv(3, 128) + conv(128, 128) + dense(3, 128)
    assert count(judges) == first + 3 * 2 * conv(128, 128) + dense(128, 128) + dense(128, 1)


def test_classes_are_judged_by_an_inner_product():
    model = gan((4, 4, 1), channels=4, levels=1, latent=2, critic_channels=4, halvings=1, flat=1, num_classes=2)
    makes, judges = jax.jit(model.init)(KEY)
    x = jax.random.uniform(KEY, (4, 4, 1))
    judged = jax.jit(lambda params: jax.vmap(lambda label: model.judge(params, x, label))(jnp.arange(2)))
    made = jax.jit(lambda params: jax.vmap(lambda label: model.sample(params, KEY, label))(jnp.arange(2)))
    zero = {**judges, "label": jax.tree.map(jnp.zeros_like, judges["label"])}
    for params, equal in ((judges, False), (zero, True)):
        scores = judged(params)
        assert (scores[0] == scores[1]) == equal
    # No class moves the picture before training has moved the classes' scales apart.
    np.testing.assert_array_equal(*made(makes))
    makes["norm_class"]["embedding"] = makes["norm_class"]["embedding"].at[1].set(1.0)
    assert not np.array_equal(*made(makes))
    assert generator_target(model, makes).bound is None


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((28, 28, 1), {"patch": 4, "halvings": 2}, "images of 28x28 do not divide into the critic's cells of 16"),
        ((28, 28, 1), {"latent": 0}, "latent must be positive, got 0"),
        ((28, 28), {}, "an image's shape is"),
        ((28, 28, 1), {"mults": (1,)}, "unknown option of gan 'mults'"),
    ],
)
def test_mistakes_are_named(shape, options, message):
    with pytest.raises(InputError, match=message):
        generator("gan", shape, **options)
