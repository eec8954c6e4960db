"""Losses against a slow float64 version written term by term from the papers, and the identities that join them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from diffaudit_jax.losses import Losses, decoder_log_prob, hybrid_loss, losses, prior_term, simple_loss, vlb_term
from diffaudit_jax.process import VARIANCES, ddpm_cosine, ddpm_linear, log_variance
from diffaudit_jax.types import Prediction
from tests.oracles import EPS32, cosine_betas, gaussian, linear_betas

SHAPE = (3, 3, 2)
SCHEDULES = {"linear": (ddpm_linear(50), linear_betas(50)), "cosine": (ddpm_cosine(20), cosine_betas(20))}


def slow(beta, i, x0, eps, x0_hat, eps_hat, u, variance, clip):
    """eps, x0 and vlb at 0-based step i, in float64."""
    abar = np.cumprod(1 - beta)
    before = np.append(1.0, abar[:-1])
    small = (1 - before) / (1 - abar) * beta
    log_small = np.log(np.append(small[1], small[1:]))
    log_large = np.log(beta) if variance == "learned" else np.log(np.append(small[1], beta[1:]))
    log_var = {"fixed_small": log_small[i], "fixed_large": log_large[i]}.get(
        variance, u * log_large[i] + (1 - u) * log_small[i]
    )
    xt = np.sqrt(abar[i]) * x0 + np.sqrt(1 - abar[i]) * eps
    if clip:
        x0_hat = np.clip(x0_hat, -1, 1)
        eps_hat = (xt - np.sqrt(abar[i]) * x0_hat) / np.sqrt(1 - abar[i])

    def mean(x):
        c0 = np.sqrt(before[i]) * beta[i] / (1 - abar[i])
        return c0 * x + np.sqrt(1 - beta[i]) * (1 - before[i]) / (1 - abar[i]) * xt

    var = np.exp(log_var)
    if i:
        nats = 0.5 * (-1 + log_var - np.log(small[i]) + small[i] / var + (mean(x0) - mean(x0_hat)) ** 2 / var)
    else:
        nats = -slow_decoder(x0, mean(x0_hat), np.sqrt(var) * np.ones_like(x0))
    return np.mean((eps_hat - eps) ** 2), np.mean((x0_hat - x0) ** 2), np.mean(nats) / np.log(2)


def slow_decoder(x, mean, std):
    """Ln P of each dimension of a discretised Gaussian, one dimension at a time."""
    cdf = lambda z: 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))  # noqa: E731
    out = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        plus, minus = cdf((x[at] - mean[at] + 1 / 255) / std[at]), cdf((x[at] - mean[at] - 1 / 255) / std[at])
        prob = plus if x[at] < -0.999 else 1 - minus if x[at] > 0.999 else plus - minus
        out[at] = np.log(max(prob, 1e-12))
    return out


def example(seed=0):
    """A clean image with black and white pixels, its noise, an estimate's error, and u beyond [0, 1]."""
    rng = np.random.default_rng(seed)
    x0 = rng.integers(0, 256, SHAPE) / 127.5 - 1
    x0[0, :2], x0[1, 0] = [[-1, 1], [1, -1]], [-1, 1]
    return x0, rng.normal(size=SHAPE), rng.normal(size=SHAPE), rng.uniform(-0.1, 1.1, SHAPE)


def f32(array):
    return jnp.asarray(array, jnp.float32)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_term_at_every_step(name, variance, clip):
    process, beta = SCHEDULES[name]
    x0, eps, error, u = example()
    level = np.sqrt(1 / np.cumprod(1 - beta) - 1)[:, None, None, None]
    x0_hat = x0 + 0.5 * np.minimum(level, 1) * error  # what is left of the noise, as a network would leave it
    eps_hat = eps + (x0 - x0_hat) / level

    def at(t, x0_hat, eps_hat):
        pred = Prediction(eps_hat, x0_hat, f32(u))
        return losses(process, pred, f32(x0), t, f32(eps), variance=variance, clip=clip)

    got = jax.jit(jax.vmap(at))(jnp.asarray(process.times()), f32(x0_hat), f32(eps_hat))
    rows = [slow(beta, i, x0, eps, x0_hat[i], eps_hat[i], u, variance, clip) for i in range(len(beta))]
    want = Losses(*np.transpose(rows))
    # What is scored is what remains of a difference of numbers of size 1: an error left of 1/level in eps' - eps, of c0
    # in mu~ - mu'. A few float32 roundings of the large numbers, squared, are this much of the small one.
    abar, before = np.cumprod(1 - beta), np.append(1, np.cumprod(1 - beta)[:-1])
    c0 = np.sqrt(before) * beta / (1 - abar)
    for loss, remains in {"eps": 1 / (1 + level.ravel()), "x0": np.ones(len(beta)), "vlb": c0}.items():
        wrong = np.abs(getattr(got, loss) / getattr(want, loss) - 1)
        np.testing.assert_array_less(wrong, 16 * EPS32 / remains, err_msg=loss)


def test_hopeless_predictions_reach_the_floor_and_no_further():
    x0 = jnp.array([-1.0, -0.5, 0.5, 1.0])
    log_prob = decoder_log_prob(x0, -2 * jnp.sign(x0), jnp.log(jnp.float32(1e-4)))
    np.testing.assert_allclose(log_prob, np.log(1e-12), rtol=2 * EPS32)


@pytest.mark.parametrize("mean", [-1.2, -0.3, 0.0, 0.77, 1.0])
@pytest.mark.parametrize("std", [0.01, 0.3])
def test_decoder_is_a_distribution_over_256_levels(mean, std):
    levels = f32(np.arange(256) / 127.5 - 1)
    total = jnp.exp(decoder_log_prob(levels, jnp.float32(mean), jnp.float32(2 * np.log(std)))).sum()
    # A telescoping sum of 256 cdf values, each rounded once near 1.
    np.testing.assert_allclose(total, 1, atol=256 * EPS32)


@pytest.mark.parametrize("name", SCHEDULES)
def test_prior_term_is_the_closed_kl(name):
    process, beta = SCHEDULES[name]
    x0, *_ = example()
    abar = np.prod(1 - beta)
    nats = 0.5 * (1 - abar + abar * x0**2 - 1 - np.log(1 - abar))
    # -1 and sigma^2 cancel; what remains is abar.
    np.testing.assert_allclose(prior_term(process, f32(x0)), nats.mean() / np.log(2), atol=2 * EPS32)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_three_losses_are_one_residual(name):
    process, _ = SCHEDULES[name]
    x0, eps, error, _ = map(f32, example())

    def at(t):
        eps_hat = eps + 0.3 * error
        x0_hat = (process.corrupt(x0, t, eps) - process.sigma(t) * eps_hat) / process.alpha(t)
        got = losses(process, Prediction(eps_hat, x0_hat), x0, t, eps, variance="fixed_small", clip=False)
        snr = [1 / process.noise_level(u) ** 2 for u in (process.before(t), t)]
        return got, process.noise_level(t) ** 2 * got.eps, 0.5 * (snr[0] - snr[1]) * got.x0 / np.log(2)

    got, x0_loss, vlb = jax.jit(jax.vmap(at))(jnp.asarray(process.times()))
    level = np.asarray(jax.vmap(process.noise_level)(jnp.asarray(process.times())))
    np.testing.assert_array_less(np.abs(got.x0 / x0_loss - 1), 32 * EPS32 * (1 + 1 / level))
    # The difference of two SNRs loses as many digits as they share; the first term is the decoder's.
    shared = np.abs(1 / (1 - (level[:-1] / level[1:]) ** 2))
    np.testing.assert_array_less(
        np.abs(got.vlb / vlb - 1)[1:], 32 * EPS32 * (1 + shared) * (1 + level[1:] + 1 / level[1:])
    )


def test_all_terms_together_are_the_bound_of_a_gaussian_model():
    """E over noise of sum_t vlb_t + prior, against its closed form for the exact denoiser of N(mean, var)."""
    process, beta = SCHEDULES["linear"]
    mean, var, num = 0.1, 0.3**2, 4000
    x0 = np.round(127.5 * (1 + np.random.default_rng(2).normal(mean, 0.3, SHAPE))) / 127.5 - 1
    target = gaussian(process, mean, var, SHAPE)
    assert target.network is not None
    predict = target.network.apply

    def at(t, key):
        eps = jax.random.normal(key, SHAPE)
        pred = predict(target.params, process.corrupt(f32(x0), t, eps), t)
        return losses(process, pred, f32(x0), t, eps, variance="fixed_small", clip=False).vlb

    def bound(key):
        keys = jax.random.split(key, len(beta))
        return jax.vmap(at)(jnp.asarray(process.times()), keys).sum() + prior_term(process, f32(x0))

    draws = np.asarray(jax.jit(jax.vmap(bound))(jax.random.split(jax.random.key(0), num)), np.float64)

    abar, before = np.cumprod(1 - beta), np.append(1, np.cumprod(1 - beta)[:-1])
    scale = abar * var + 1 - abar
    # x0' - x0 = (sigma^2 (mean - x0) + var alpha sigma eps)/scale
    off = (1 - abar[:, None]) * (mean - x0.ravel()) / scale[:, None]
    spread = var * np.sqrt(abar * (1 - abar)) / scale
    square = (off**2).mean(1) + spread**2
    middle = 0.5 * (before[1:] / (1 - before[1:]) - abar[1:] / (1 - abar[1:])) * square[1:]
    std = np.sqrt((1 - abar[0]) / (1 - abar[1]) * beta[1])
    nodes, weights = hermegauss(41)
    decoder = sum(
        weight
        / np.sqrt(2 * np.pi)
        * -slow_decoder(x0.ravel(), x0.ravel() + off[0] + spread[0] * node, std + 0 * off[0])
        for node, weight in zip(nodes, weights, strict=True)
    )
    prior = 0.5 * (1 - abar[-1] + abar[-1] * x0**2 - 1 - np.log(1 - abar[-1])).mean()
    exact = (middle.sum() + np.mean(decoder) + prior) / np.log(2)
    assert abs(draws.mean() - exact) < 4 * draws.std() / np.sqrt(num)
    assert draws.std() / np.sqrt(num) < 0.01 * exact


def test_hybrid_loss_trains_the_mean_by_eps_and_the_variance_by_the_bound():
    process, _ = SCHEDULES["cosine"]
    x0, eps, error, u = map(f32, example())
    t, weight = jnp.float32(0.4), 0.7
    pred = Prediction(eps + error, x0 + error, u)
    got = jax.grad(lambda pred: hybrid_loss(process, pred, x0, t, eps, weight=weight))(pred)

    def bound(u):
        log_var = log_variance(process, pred._replace(var_fraction=u), process.before(t), t, "learned")
        return vlb_term(process, x0, pred.x0, t, log_var)

    np.testing.assert_array_equal(got.x0, 0)
    np.testing.assert_array_equal(got.eps, jax.grad(lambda e: simple_loss(pred._replace(eps=e), eps))(pred.eps))
    want = jax.grad(lambda u: weight * bound(u))(u)
    np.testing.assert_allclose(got.var_fraction, want, atol=4 * EPS32 * np.abs(want).max())
    assert np.abs(got.var_fraction).min() > 0
    np.testing.assert_allclose(
        hybrid_loss(process, pred, x0, t, eps, weight=weight),
        simple_loss(pred, eps) + weight * bound(u),
        rtol=4 * EPS32,
    )


@pytest.mark.parametrize("t", [0.05, 0.1, 1.0])
def test_gradients_are_finite_where_the_first_step_differs(t):
    process, _ = SCHEDULES["cosine"]
    x0, eps, error, u = map(f32, example())
    pred = Prediction(eps + error, x0 + error, u)
    grads = jax.grad(lambda pred: hybrid_loss(process, pred, x0, jnp.float32(t), eps, weight=1.0))(pred)
    assert all(np.isfinite(leaf).all() for leaf in grads)
