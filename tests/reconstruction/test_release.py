"""Releases against DP-SGD's own step, the law of their error, and what the attacker who is told less makes of them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import gammainc
from scipy.stats import chi2, kstest

from diffaudit_jax.reconstruction.estimate import measured_factor, signal_free_std, wavelet_std
from diffaudit_jax.reconstruction.imprint import imprint
from diffaudit_jax.reconstruction.leaks import dense, linear_unit, random_mlp
from diffaudit_jax.reconstruction.release import Knowledge, at_mu, attacked, misbelieved, privatised, release
from diffaudit_jax.reconstruction.released import Release
from diffaudit_jax.stream import local_mesh, stream
from diffaudit_jax.training.batches import step_keys
from diffaudit_jax.training.dpsgd import Privacy, make_private_step
from diffaudit_jax.training.state import Data, Recipe, init_state
from diffaudit_jax.types import InputError, Network
from tests.oracles import EPS32, SHAPE, images, pool, signed

KEY = jax.random.key(6)
X = signed(images(1))[0]
D, NORM = X.size, float(np.linalg.norm(X))
LEAKS = {
    "linear": linear_unit(SHAPE, padding=50),
    "dense": dense(random_mlp(KEY, SHAPE, (12, 6, 5), num_silent=3), SHAPE),
    "imprint": imprint(KEY, SHAPE),
}
each_leak = pytest.mark.parametrize("name", LEAKS)


@partial(jax.jit, static_argnums=(1, 2, 3))
def noised(key, leak, privacy, num_releases=1):
    """The noisy gradient of one image, and the factor of clipping."""
    return privatised(key, leak.gradient(jnp.asarray(X)), privacy, num_releases=num_releases)


def many(n, mu, clip=1.0, x=X, seed=0, **options):
    """Releases of one image by a linear unit, each with noise of its own."""
    one = partial(release, x0=jnp.asarray(x), leak=linear_unit(x.shape), privacy=at_mu(mu, clip), **options)
    return jax.jit(jax.vmap(lambda key: one(key)))(jax.random.split(jax.random.key(seed), n))


@pytest.mark.parametrize("mu", [0.5, 5.0, 100.0])
def test_under_clipping_the_error_is_that_of_the_uninformed_bound(mu):
    n, s = 3000, NORM / mu
    releases = many(n, mu)
    np.testing.assert_allclose(releases.sigma, s, rtol=(D + 8) * EPS32)
    error = ((np.float64(releases.y) - np.float64(X)) ** 2).reshape(n, -1).mean(1)
    assert abs(error.mean() / s**2 - 1) < 4 * np.sqrt(2 / D / n)
    # P(MSE <= m) = Preg(d/2, d m/(2 s^2)); y is rounded at the size of the image, far below the noise.
    assert kstest(error, lambda m: gammainc(D / 2, D * m / (2 * s**2))).pvalue > 1e-3


def test_a_gradient_below_the_clip_keeps_its_scale():
    clip = 1.01 * NORM
    releases = many(2000, 10.0, clip)
    np.testing.assert_allclose(releases.sigma, clip / 10, rtol=2 * EPS32)
    square = (((np.float64(releases.y) - X) * 10 / clip) ** 2).sum()
    assert abs(square / (2000 * D) - 1) < 4 * np.sqrt(2 / (2000 * D))


def test_without_noise_the_image_comes_back():
    exact = release(KEY, jnp.asarray(X), linear_unit(SHAPE), at_mu(float("inf"), 0.5))
    np.testing.assert_allclose(exact.y, X, rtol=4 * EPS32)
    assert float(exact.sigma) == 0


def test_what_is_released_is_the_gradient_of_a_private_step():
    leak, clip = LEAKS["dense"], 0.1
    privacy = Privacy(noise_multiplier=0.3, l2_clip_norm=clip)
    recipe = Recipe(batch_size=1, warmup_steps=0, ema_decay=0)
    network = Network(lambda key: jax.tree.map(jnp.copy, leak.params), lambda *_: None)  # pyright: ignore
    loss = lambda params, key, x, label: leak.loss(params, x)  # noqa: E731
    state = init_state(KEY, network, recipe)
    key_noise = step_keys(state.key, state.step)[2]
    want, factor = noised(key_noise, leak, privacy)
    step = make_private_step(loss, recipe, privacy, mesh=local_mesh(1), looped=False)
    state, info = step(state, Data(jnp.asarray(X)[None], None))
    moment = optax.tree.get(state.opt_state, "mu")  # after one step a tenth of the gradient that AdamW saw
    # Gradients come from another program: products of up to 32 terms, on numbers of size 1.
    for ours, theirs in zip(jax.tree.leaves(want), jax.tree.leaves(moment), strict=True):
        np.testing.assert_allclose(ours, np.float64(theirs) / 0.1, rtol=0, atol=8 * D * EPS32)
    np.testing.assert_allclose(factor, clip / float(info.grad_norm), rtol=8 * D * EPS32)
    assert float(info.clipped) == 1


def test_releases_are_averaged():
    leak, privacy = LEAKS["linear"], at_mu(3.0)
    mean, _ = noised(KEY, leak, privacy, 3)
    each = [noised(key, leak, privacy)[0] for key in jax.random.split(KEY, 3)]
    np.testing.assert_allclose(mean, np.mean(np.float64(each), axis=0), rtol=0, atol=16 * EPS32)
    assert np.abs(np.subtract(*each[:2])).min() > 0


def test_of_many_releases_mu_grows_by_the_root_of_their_number():
    n, rounds = 1000, 9
    averaged = many(n, 4.0, num_releases=rounds)
    np.testing.assert_allclose(averaged.sigma, NORM / (4 * 3), rtol=(D + 8) * EPS32)
    square = (((np.float64(averaged.y) - X) / np.float64(averaged.sigma)[:, None, None, None]) ** 2).sum()
    assert min(chi2(n * D).cdf(square), chi2(n * D).sf(square)) > 1e-4


@pytest.mark.parametrize(("shape", "channels"), [((28, 28, 1), 1), ((32, 32, 3), 3), ((256, 256, 3), 3)])
def test_images_of_the_usual_sizes_are_released(shape, channels):
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    releases = many(2, 50.0, x=x, knowledge=Knowledge(noise="wavelet"))
    sigma = np.linalg.norm(x) / 50
    error = (np.float64(releases.y) - x) / sigma
    for square in (error**2).reshape(2, -1).sum(1):
        assert min(chi2(x.size).cdf(square), chi2(x.size).sf(square)) > 1e-4
    assert releases.y.shape == (2, *shape)
    # HH of this image, half a sum of four uniforms, has the variance 1/3; with the noise's it is nearly normal.
    wide = np.sqrt(sigma**2 + 1 / 3)
    exact = np.abs((np.float64(releases.sigma) / wide) - 1)
    assert (exact < 5 * 2.33 / np.sqrt(x.size) + 0.05).all()


@each_leak
def test_one_by_one_or_together_in_either_number_format(name):
    leak, privacy = LEAKS[name], at_mu(1000.0)
    x, keys = images(3), jax.random.split(KEY, 3)
    run = lambda params, key, x: release(key, x, replace(leak, params=params), privacy)  # noqa: E731
    together = jax.jit(jax.vmap(run, (None, 0, 0)))(leak.params, keys, jnp.asarray(signed(x)))
    one = jax.jit(run)
    alone = [one(leak.params, key, jnp.asarray(row)) for key, row in zip(keys, x, strict=True)]
    # A gradient of sums of up to 32 terms; the scale is as exact as a difference of biases.
    np.testing.assert_allclose(together.y, [r.y for r in alone], rtol=0, atol=64 * D * EPS32)
    np.testing.assert_allclose(together.sigma, [r.sigma for r in alone], rtol=64 * D * EPS32)


@pytest.mark.parametrize(("num_releases", "shared"), [(1, True), (3, True), (1, False)])
def test_a_stream_releases_what_one_call_does_on_any_devices(num_releases, shared):
    """Whether the leak's parameters are told to the stream, or closed over."""
    leak, queries, key = LEAKS["linear"], pool(5), jax.random.key(1)
    options = {"privacy": at_mu(5.0), "num_releases": num_releases}
    held = lambda params: replace(leak, params=params) if shared else leak  # noqa: E731
    one = lambda params, key, query: release(key, query.x, held(params), **options)  # noqa: E731
    streamed = stream(one, leak.params if shared else (), key, queries, block=8)
    for i, row in enumerate(queries.row):
        alone = release(jax.random.fold_in(key, row), jnp.asarray(queries.x[i]), leak, **options)
        # In numbers as large as the noise, 0.2 ||x|| times 5 at most: scaled, added, divided.
        np.testing.assert_allclose(streamed.y[i], alone.y, rtol=0, atol=16 * NORM * EPS32)
        np.testing.assert_allclose(streamed.sigma[i], alone.sigma, rtol=(D + 8) * EPS32)


@pytest.mark.parametrize("clip", [1.0, 100.0])
def test_a_guessed_factor_scales_image_and_noise(clip):
    leak, privacy, typical = LEAKS["linear"], at_mu(5.0, clip), 0.8 * NORM
    noisy, factor = noised(KEY, leak, privacy)
    told = attacked(noisy, factor, leak, privacy)
    guesses = {
        "typical": min(1, clip / typical),
        "measured": float(measured_factor(noisy, jnp.float32(clip / 5), typical)),
    }
    for rule, guess in guesses.items():
        # The factor itself is not looked at: with NaN for it, all would be NaN.
        got = attacked(noisy, jnp.float32(np.nan), leak, privacy, knowledge=Knowledge(rule, "known", typical))
        np.testing.assert_allclose(got.y, np.float64(told.y) * float(factor) / guess, rtol=16 * EPS32)
        np.testing.assert_allclose(got.sigma, float(told.sigma) * float(factor) / guess, rtol=16 * EPS32)


@pytest.mark.parametrize("name", ["dense", "imprint"])
def test_ratios_of_gradients_need_no_factor(name):
    leak, privacy = LEAKS[name], at_mu(1e4, 1e4)
    noisy, factor = noised(KEY, leak, privacy)
    told, guessed = (
        attacked(noisy, factor, leak, privacy, knowledge=known)
        for known in (Knowledge(), Knowledge("typical", "known", 1e6))
    )
    # A division by the factor, and as many terms as there are units, above and below.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=64 * EPS32), told, guessed)


@each_leak
@pytest.mark.parametrize("noise", ["wavelet", "silent"])
def test_unknown_noise_is_estimated_from_the_gradient(name, noise):
    leak, privacy = LEAKS[name], at_mu(1e4, 1e4)
    noisy, factor = noised(KEY, leak, privacy)
    estimate = wavelet_std(leak.pictures(noisy)) if noise == "wavelet" else signal_free_std(leak.silent(noisy))
    # The noise that is added is not looked at: neither it nor C is what the attacker is told here.
    got = attacked(noisy, factor, leak, at_mu(1.0), knowledge=Knowledge(noise=noise))
    want = leak.image(jax.tree.map(lambda leaf: leaf / factor, noisy), estimate / factor)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    if noise == "silent":
        assert abs(float(estimate) - 1) < 4 / np.sqrt(2 * leak.silent(noisy).size)  # the noise that was added


def test_a_belief_that_is_off_is_off_by_what_was_said():
    truth = Release(jnp.asarray(X), jnp.float32(0.5))
    wrong = misbelieved(truth, sigma_factor=0.8, scale_factor=1.25)
    np.testing.assert_allclose(wrong.y, 1.25 * X, rtol=2 * EPS32)
    np.testing.assert_allclose(wrong.sigma, 0.5, rtol=2 * EPS32)


@pytest.mark.parametrize("mu", [0.1, 1.0, 20.0])
def test_mu_is_one_over_the_noise_multiplier(mu):
    assert at_mu(mu, 3.0) == Privacy(noise_multiplier=1 / mu, l2_clip_norm=3.0)


MISTAKES = {
    "mu": (lambda: at_mu(0.0), "mu must be above 0, got 0.0"),
    "not a number": (lambda: at_mu(float("nan")), "mu must be above 0, got nan"),
    "clip": (lambda: at_mu(1.0, -1.0), "l2_clip_norm must be positive"),
    "rounds": (lambda: many(1, 1.0, num_releases=0), "num_releases must be at least 1, got 0"),
    "shape": (
        lambda: release(KEY, jnp.zeros((4, 4, 1)), LEAKS["linear"], at_mu(1.0)),
        r"shape \(4, 4, 1\), the leak \(4, 4, 2\)",
    ),
    "layers": (lambda: privatised(KEY, jnp.zeros(3), Privacy(1.0, per_layer=True)), "per_layer=False"),
    "no typical norm": (lambda: Knowledge("typical"), "got None with clip='typical'"),
    "idle typical norm": (lambda: Knowledge(typical_norm=3.0), "got 3.0 with clip='known'"),
    "negative norm": (lambda: Knowledge("measured", typical_norm=-3.0), "typical_norm must be above 0"),
    "unknown clip": (lambda: Knowledge("typica", typical_norm=3.0), "did you mean 'typical'"),  # pyright: ignore
    "unknown noise": (lambda: Knowledge(noise="wave"), "did you mean 'wavelet'"),  # pyright: ignore
    "no silent coordinates": (
        lambda: many(1, 1.0, knowledge=Knowledge(noise="silent")),
        "carry no signal, and this linear_unit has none: give it some with `padding`, or use 'wavelet'",
    ),
    "not an image": (
        lambda: many(1, 1.0, x=np.ones(9, np.float32), knowledge=Knowledge(noise="wavelet")),
        r"needs images .* got \[1, 9\]",
    ),
    "belief": (lambda: misbelieved(Release(jnp.ones(3), jnp.ones(())), sigma_factor=0), "sigma_factor 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name):
    make, message = MISTAKES[name]
    with pytest.raises(InputError, match=message):
        make()
