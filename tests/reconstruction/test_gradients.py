"""Denoisers of gradients against posterior means worked out in float64, known risks, and a step that uses them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.importers.callables import from_sampler
from diffaudit_jax.models.precondition import DATA_STD
from diffaudit_jax.reconstruction import gradients
from diffaudit_jax.reconstruction.gradients import Frame, Moments
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.training.dpsgd import Privacy, make_private_step
from diffaudit_jax.training.state import Data, Recipe, init_state
from diffaudit_jax.types import InputError, Network
from tests.oracles import EPS32, PROCESSES, gaussian

SHAPE, CLASSES, CLIP = (2, 3, 1), 4, 2.0
PIXELS, P = 6, 4 * 6 + 4
BATCH, N = 6, 24


def public(num=9, seed=0):
    rng = np.random.default_rng(seed)
    return Data(jnp.asarray(rng.normal(size=(num, PIXELS)), jnp.float32), jnp.asarray(rng.integers(0, CLASSES, num)))


def weights(seed=1):
    rng = np.random.default_rng(seed)
    return {
        "w": jnp.asarray(rng.normal(size=(CLASSES, PIXELS)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=CLASSES), jnp.float32),
    }


def loss(params, key, x, label):
    return -jax.nn.log_softmax(params["w"] @ x + params["b"])[label]


def slow_gradients(params, data):
    """Clipped gradients of softmax regression in float64, biases first, as flat weights are."""
    w, b = (np.asarray(params[name], np.float64) for name in ("w", "b"))
    found = []
    for x, label in zip(np.asarray(data.x, np.float64), np.asarray(data.labels), strict=True):
        logits = w @ x + b
        delta = np.exp(logits - logits.max())
        delta = delta / delta.sum() - np.eye(CLASSES)[label]
        grad = np.concatenate([delta, np.outer(delta, x).ravel()])
        found.append(grad * min(1, CLIP / np.linalg.norm(grad)))
    return np.stack(found)


def slow_moments(grads):
    """Mean, and S = V (1/B + 1/m) + mu mu^T (1 - q)/B."""
    mean, cov = grads.mean(0), np.cov(grads.T)
    return mean, cov * (1 / BATCH + 1 / len(grads)) + np.outer(mean, mean) * (1 - BATCH / N) / BATCH


def test_public_gradients_are_clipped_one_by_one():
    got = gradients.public_gradients(loss, public(), CLIP)(weights())
    want = slow_gradients(weights(), public())
    norms = np.linalg.norm(want, axis=1)
    assert (norms < CLIP * (1 - 1e-6)).any()
    assert (norms > CLIP * (1 - 1e-6)).any()
    # Sums of six products of numbers of size 3, then a softmax, a norm of 28 and two products.
    np.testing.assert_allclose(got, want, rtol=0, atol=64 * EPS32)


def test_moments_are_those_of_a_batch_that_is_drawn():
    """Of batches of populations, less the mean of their public examples: E is 0, and the covariance S with true V."""
    rng, m, reps = np.random.default_rng(0), 5, 40_000
    mean, root = np.array([0.7, -0.4, 0.2]), np.array([[0.5, 0, 0], [0.3, 0.4, 0], [-0.1, 0.2, 0.6]])
    drawn = lambda num: mean + rng.standard_normal((reps, num, 3)) @ root.T  # noqa: E731
    batch = (drawn(N) * (rng.random((reps, N, 1)) < BATCH / N)).sum(1) / BATCH
    error = batch - drawn(m).mean(1)
    want = root @ root.T * (1 / BATCH + 1 / m) + np.outer(mean, mean) * (1 - BATCH / N) / BATCH
    products = error[:, :, None] * error[:, None]
    assert (abs(error.mean(0)) < 4 * error.std(0) / reps**0.5).all()
    assert (abs(products.mean(0) - want) < 4 * products.std(0) / reps**0.5).all()


def test_moments_have_the_covariance_written_out():
    grads = slow_gradients(weights(), public())
    got = gradients.moments(jnp.asarray(grads, jnp.float32), BATCH, N)
    mean, cov = slow_moments(grads)
    assert got.root.shape == (len(grads) + 1, P)
    np.testing.assert_allclose(got.mean, mean, rtol=0, atol=16 * EPS32)
    np.testing.assert_allclose(np.float64(got.root.T) @ np.float64(got.root), cov, rtol=0, atol=16 * EPS32)


@pytest.mark.parametrize("stddev", [0.05, 0.3, 2.0, 50.0])
def test_wiener_is_the_posterior_mean_of_gaussian_gradients(stddev):
    rng = np.random.default_rng(3)
    mean, root, y = rng.normal(size=P), rng.normal(size=(5, P)) / 3, rng.normal(size=P)
    cov = root.T @ root
    want = mean + cov @ np.linalg.solve(cov + stddev**2 * np.eye(P), y - mean)
    known = Moments(jnp.asarray(mean, jnp.float32), jnp.asarray(root, jnp.float32))
    got = gradients.wiener(jnp.asarray(y, jnp.float32), jnp.float32(stddev), known)
    # The system is as ill-conditioned as its greatest eigenvalue is over s^2.
    condition = 1 + np.linalg.eigvalsh(root @ root.T).max() / stddev**2
    np.testing.assert_allclose(got, want, rtol=0, atol=32 * condition * EPS32)


def test_wiener_errs_as_the_posterior_does():
    rng, stddev, reps = np.random.default_rng(4), 0.6, 4000
    mean, root = rng.normal(size=P), rng.normal(size=(5, P)) / 3
    g = mean + rng.standard_normal((reps, 5)) @ root
    y = g + stddev * rng.standard_normal((reps, P))
    known = Moments(*(jnp.asarray(each, jnp.float32) for each in (mean, root)))
    got = jax.vmap(gradients.wiener, (0, None, None))(jnp.asarray(y, jnp.float32), jnp.float32(stddev), known)
    errors = ((np.float64(got) - g) ** 2).sum(1)
    spread = np.linalg.eigvalsh(root @ root.T)
    want = (spread * stddev**2 / (spread + stddev**2)).sum()
    assert abs(errors.mean() - want) < 4 * errors.std() / reps**0.5
    assert errors.mean() < 0.2 * P * stddev**2


def test_james_stein_shrinks_by_the_factor_written_out_and_never_past_zero():
    y = np.array([3.0, -1.0, 2.0, 0.5], np.float32)
    for stddev in (0.1, 1.0, 3.0):
        want = max(0, 1 - 2 * stddev**2 / (y.astype(np.float64) ** 2).sum()) * y
        np.testing.assert_allclose(gradients.james_stein(y, stddev), want, rtol=4 * EPS32)
    assert not gradients.james_stein(y, 3.0).any()
    assert not gradients.james_stein(np.zeros(4, np.float32), 1.0).any()


@pytest.mark.parametrize("length", [0.0, 3.0, 10.0])
def test_james_stein_errs_less_than_the_noisy_row_wherever_the_row_is(length):
    """By (d - 2)^2 s^4 E 1/||y||^2 at least, as Stein's identity has it without the positive part."""
    rng, d, stddev, reps = np.random.default_rng(5), 12, 1.3, 20_000
    g = length * np.eye(d)[0]
    y = g + stddev * rng.standard_normal((reps, d))
    got = np.float64(jax.vmap(gradients.james_stein, (0, None))(jnp.asarray(y, jnp.float32), jnp.float32(stddev)))
    gained = ((y - g) ** 2).sum(1) - ((got - g) ** 2).sum(1)
    least = (d - 2) ** 2 * stddev**4 / (y**2).sum(1)
    over = gained - least
    assert over.mean() > -4 * over.std() / reps**0.5
    assert gained.mean() > 4 * gained.std() / reps**0.5


def test_frames_tell_where_rows_are_and_how_far_from_there():
    grads = slow_gradients(weights(), public())
    mean, cov = slow_moments(grads)
    rows, var = mean[CLASSES:].reshape(CLASSES, PIXELS), np.diag(cov)[CLASSES:].reshape(CLASSES, PIXELS)
    known = gradients.moments(jnp.asarray(grads, jnp.float32), BATCH, N)
    for centred, center in ((False, 0 * rows), (True, rows)):
        got = gradients.frame(known, weights(), "w", centred=centred)
        np.testing.assert_allclose(got.center, center, rtol=0, atol=16 * EPS32)
        np.testing.assert_allclose(got.scale, np.sqrt(((rows - center) ** 2 + var).mean(1)), rtol=64 * EPS32)
        # What is a scale away from the center is as far out as a prior's data are.
        at = gradients.framed(got.center + got.scale[:, None], got)
        np.testing.assert_allclose(at, np.full(rows.shape, DATA_STD), rtol=64 * EPS32)


def prior(name, mean=0.1, var=0.3):
    target = gaussian(PROCESSES[name], mean, var, SHAPE)
    return replace(target, config={**target.config, "clip": False})


@pytest.mark.parametrize("name", ["edm", "ve", "vp"])
def test_diffusion_is_the_posterior_mean_of_rows_that_are_gaussian_in_their_frame(name):
    """X ~ N(mean, var) in the frame: x' = mean + var/(var + level^2) (x - mean), level the noise there."""
    rng, stddev = np.random.default_rng(6), 0.02
    y = 0.03 * rng.normal(size=(3, PIXELS))
    center, scale = 0.01 * rng.normal(size=(3, PIXELS)), np.array([0.004, 0.03, 0.2])
    level = DATA_STD * stddev / scale[:, None]
    x = DATA_STD * (y - center) / scale[:, None]
    want = center + scale[:, None] / DATA_STD * (0.1 + 0.3 / (0.3 + level**2) * (x - 0.1))
    at = Frame(jnp.asarray(center, jnp.float32), jnp.asarray(scale, jnp.float32))
    got = gradients.diffused(prior(name), jnp.asarray(y, jnp.float32), jnp.float32(stddev), at)
    # Continuous times are exact to rounding, which a level raised to the power 7 multiplies.
    np.testing.assert_allclose(got, want, rtol=0, atol=256 * EPS32 * np.abs(y).max())


def test_of_a_row_that_public_examples_leave_without_gradient_nothing_is_believed():
    at = Frame(jnp.zeros((2, PIXELS)), jnp.array([0.0, 1.0]))
    got = gradients.diffused(prior("edm"), jnp.ones((2, PIXELS)), jnp.float32(0.5), at)
    assert np.abs(got[0]).max() < 1e-5
    assert np.abs(got[1]).min() > 0.1


MADE = ("james-stein", "wiener", "diffusion", "centred")


def made(name):
    examples = gradients.public_gradients(loss, public(), CLIP)
    if name == "james-stein":
        return gradients.by_james_stein("w")
    if name == "wiener":
        return gradients.by_wiener(examples, BATCH, N)
    return gradients.by_diffusion(prior("edm"), "w", examples, BATCH, N, centred=name == "centred")


@pytest.mark.parametrize("name", MADE)
def test_denoisers_of_gradients_are_these_functions_at_the_weights_of_the_step(name):
    rng, stddev = np.random.default_rng(7), jnp.float32(0.1)
    noisy = {"w": jnp.asarray(rng.normal(size=(CLASSES, PIXELS)), jnp.float32), "b": jnp.ones(CLASSES)}
    denoise, params = made(name), weights()
    got = denoise(params, noisy, stddev)
    known = gradients.moments(gradients.public_gradients(loss, public(), CLIP)(params), BATCH, N)
    if name == "wiener":
        flat = gradients.wiener(jnp.concatenate([noisy["b"], noisy["w"].ravel()]), stddev, known)
        want = {"b": flat[:CLASSES], "w": flat[CLASSES:].reshape(CLASSES, PIXELS)}
    elif name == "james-stein":
        want = {**noisy, "w": jnp.stack([gradients.james_stein(row, stddev) for row in noisy["w"]])}
    else:
        at = gradients.frame(known, params, "w", centred=name == "centred")
        want = {**noisy, "w": gradients.diffused(prior("edm"), noisy["w"], stddev, at)}
    # Compiled in one program or in several: a rounding of each of about a hundred sums of numbers of size 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=128 * EPS32), got, want)
    assert np.abs(got["w"] - noisy["w"]).max() > 0.01
    other = denoise({**params, "w": 2 * params["w"]}, noisy, stddev)
    assert (name == "james-stein") == bool((other["w"] == got["w"]).all())


@pytest.mark.parametrize("name", MADE)
def test_a_private_step_takes_every_denoiser(name):
    recipe = Recipe(batch_size=BATCH, learning_rate=1e-2, warmup_steps=0)
    settings = {"mesh": local_mesh(1), "looped": False, "denoise": made(name)}
    step = make_private_step(loss, recipe, Privacy(1.0, CLIP, microbatch=8), **settings)
    start = Network(lambda key: weights(), lambda *_: None)  # pyright: ignore
    state, _ = step(init_state(jax.random.key(0), start, recipe), public(N, 1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert int(state.step) == 1
    plain = make_private_step(loss, recipe, Privacy(1.0, CLIP, microbatch=8), **{**settings, "denoise": None})
    other, _ = plain(init_state(jax.random.key(0), start, recipe), public(N, 1))
    away = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state.params, other.params)), strict=True)]
    assert max(away) > 1e-4


def test_priors_that_cannot_be_are_refused():
    clipping = gaussian(PROCESSES["edm"], shape=SHAPE)
    samples = from_sampler(lambda num, cond: np.zeros((num, *SHAPE)), SHAPE, name="gan")
    examples = gradients.public_gradients(loss, public(), CLIP)
    with pytest.raises(InputError, match="must not clip"):
        gradients.by_diffusion(clipping, "w", examples, BATCH, N)
    with pytest.raises(InputError, match="offers samples only"):
        gradients.by_diffusion(samples, "w", examples, BATCH, N)
