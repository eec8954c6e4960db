"""The bound's terms where they are known exactly, and the VAE's networks as functions of one example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffaudit_jax.models.generators import generator, generator_from_config, generator_target
from diffaudit_jax.models.vae import LEAST_LOG_VARIANCE, bound_terms, vae
from diffaudit_jax.types import InputError

KEY = jax.random.key(3)
EPS64 = np.finfo(np.float64).eps


def linear(draws, d=5, latent=2, s=0.7):
    """X = W z + b + s eps with orthogonal columns in W, whose posterior N(mu, diag v) is therefore diagonal."""
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(d, latent)))[0] * np.array([1.5, 0.4])
    b, x, eps = rng.normal(size=d), rng.normal(size=d), rng.normal(size=(draws, latent))
    v = 1 / (1 + (w**2).sum(0) / s**2)
    mu = v * (w.T @ (x - b)) / s**2
    evidence = -multivariate_normal(b, w @ w.T + s**2 * np.eye(d)).logpdf(x)
    return w, b, x, s, mu, v, eps, evidence


def terms(w, b, x, s, mu, v, eps):
    """The terms in float64, whatever JAX's own default is."""
    with jax.enable_x64(True):
        decoded = w @ (mu + np.sqrt(v) * eps) + b
        found = bound_terms(x, decoded, jnp.asarray(2 * np.log(s)), jnp.asarray(mu), jnp.asarray(np.log(v)), eps)
        return tuple(np.asarray(leaf) for leaf in found)


def test_where_the_posterior_is_exact_every_draw_is_the_log_likelihood():
    *model, noises, evidence = linear(20)
    for eps in noises:
        reconstruction, _, ratio = terms(*model, eps)
        # Some 50 sums and products of numbers below 10.
        np.testing.assert_allclose(reconstruction + ratio, evidence, rtol=0, atol=500 * EPS64)


@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (0.5, 1.0), (0.0, 3.0), (-1.0, 0.2)])
def test_the_bound_exceeds_the_log_likelihood_by_the_kl_to_the_posterior(shift, stretch):
    w, b, x, s, mu, v, _, evidence = linear(0)
    q_mean, q_var = mu + shift, v * stretch
    # Reconstruction is quadratic in eps: these 2d points have its mean and covariance, so their mean is exact.
    corners = np.concatenate([np.eye(2), -np.eye(2)]) * np.sqrt(2)
    found = [terms(w, b, x, s, q_mean, q_var, eps) for eps in corners]
    bound = np.mean([each[0] for each in found]) + found[0][1]
    gap = 0.5 * np.sum(stretch + shift**2 / v - 1 - np.log(stretch))
    assert bound >= evidence - 500 * EPS64
    np.testing.assert_allclose(bound - evidence, gap, rtol=0, atol=500 * EPS64)
    assert np.ptp([each[1] for each in found]) == 0


def test_kl_is_that_of_two_gaussians_and_the_mean_of_the_ratio():
    rng = np.random.default_rng(1)
    mu, v, eps = rng.normal(size=3), rng.uniform(0.2, 3, 3), rng.normal(size=(4000, 3))
    w, b, x = np.ones((2, 3)), np.zeros(2), np.zeros(2)
    kl = sum(np.log(1 / np.sqrt(v)) + (v + mu**2) / 2 - 0.5)
    with jax.enable_x64(True):
        one = lambda eps: bound_terms(x, w @ eps, jnp.zeros(()), jnp.asarray(mu), jnp.asarray(np.log(v)), eps)  # noqa: E731
        ratio = np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(eps)).ratio)
    assert terms(w, b, x, 1.0, mu, v, eps[0])[1] == pytest.approx(kl, abs=50 * EPS64)
    assert abs(ratio.mean() - kl) < 4 * ratio.std() / np.sqrt(len(eps))


@pytest.mark.parametrize("shape", [(28, 28, 1), (10, 6, 3)])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_one_example_goes_in_and_comes_out(shape, num_classes):
    model = generator("vae", shape, size="tiny", num_classes=num_classes)
    assert generator_from_config(model.config) == model
    cond = None if num_classes is None else jnp.int32(2)
    params = jax.eval_shape(model.init, KEY)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    mean, log_var = jax.eval_shape(model.encode, params, x, cond)
    assert mean.shape == log_var.shape == (8,)
    assert jax.eval_shape(model.decode, params, mean, cond).shape == shape
    found = jax.eval_shape(model.terms, params, KEY, x, cond)
    assert [leaf.shape for leaf in found] == [()] * 3


def test_the_learned_scale_has_a_floor_and_a_fixed_one_none():
    learned, fixed = (vae((4, 4, 1), channels=4, mults=(1,), latent=2, deviation=s) for s in (None, 0.001))
    assert "log_variance" not in jax.eval_shape(fixed.init, KEY)
    assert learned.log_variance({"log_variance": jnp.float32(-1e6)}) == LEAST_LOG_VARIANCE
    # softplus(y) is y but for exp(-y), and exp(-8) is not nothing.
    found = learned.log_variance({"log_variance": jnp.zeros(())})
    assert found == pytest.approx(np.log1p(np.exp(LEAST_LOG_VARIANCE)), abs=8 * 2**-23)
    assert fixed.log_variance({}) == pytest.approx(2 * np.log(0.001), rel=2**-22)


def test_classes_reach_code_and_picture():
    model = vae((4, 4, 1), channels=4, mults=(1,), latent=2, num_classes=2)
    params = jax.jit(model.init)(KEY)

    @jax.jit
    def asked(params, label):
        return model.sample(params, KEY, label), model.encode(params, jnp.zeros((4, 4, 1)), label)[0]

    draws = [asked(params, jnp.int32(label)) for label in (0, 1, 1)]
    jax.tree.map(np.testing.assert_array_equal, draws[1], draws[2])
    for first, second in zip(*draws[:2], strict=True):
        assert not np.array_equal(first, second)
    with pytest.raises(InputError, match="this model has classes 0 to 1 and none for no class"):
        model.sample(params, KEY)
    target = generator_target(model, params)
    assert (target.process, target.network, target.num_classes) == (None, None, 2)
    np.testing.assert_array_equal(jax.jit(target.sample)(target.params, KEY, 1), draws[1][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent must be positive, got 0"),
        ({"mults": ()}, "mults must be positive, got 0"),
        ({"deviation": 0.0}, "deviation must be above 0"),
        ({"num_classes": 0}, "num_classes must be positive"),
        ({"attention": 3}, "unknown option of vae 'attention'"),
        ({"size": "huge"}, "unknown size 'huge'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError, match=message):
        generator("vae", (8, 8, 1), **options)
