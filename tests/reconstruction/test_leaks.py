"""Leaks: gradients written out, images got back exactly, the noise each way back leaves, what carries no signal."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, poisson

from diffaudit_jax.reconstruction.imprint import brightness_quantiles, imprint
from diffaudit_jax.reconstruction.leaks import dense, linear_unit, random_mlp
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, SHAPE

KEY = jax.random.key(4)
D = int(np.prod(SHAPE))
THRESHOLDS = (-0.3, 0.0, 0.4)
LEAKS = {
    "linear": linear_unit(SHAPE),
    "padded": linear_unit(SHAPE, padding=7),
    "dense": dense(random_mlp(KEY, SHAPE, (12, 6, 5), num_silent=3), SHAPE, label=2),
    "logistic": dense(random_mlp(KEY, SHAPE, (5,)), SHAPE),
    "imprint": imprint(KEY, SHAPE, THRESHOLDS),
}
each_leak = pytest.mark.parametrize("name", LEAKS)


def image(seed=0, brightness=0.0):
    """An image in [-1, 1] of about this mean."""
    spread = 0.8 * (1 - abs(brightness))
    return jnp.asarray(np.random.default_rng(seed).uniform(-spread, spread, SHAPE) + brightness, jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def gradient_of(leak, x):
    """Compiled once for all tests of a leak."""
    return leak.gradient(x)


def noisy(gradient, stddev, n, seed=0):
    """The gradient n times, each with noise of its own."""
    rng = np.random.default_rng(seed)
    add = lambda leaf: jnp.asarray(np.asarray(leaf) + stddev * rng.normal(size=(n, *leaf.shape)), jnp.float32)  # noqa: E731
    return jax.tree.map(add, gradient)


def recovered(leak, gradients, stddev):
    """Releases of many gradients, in float64."""
    releases = jax.jit(jax.vmap(leak.image, (0, None)))(gradients, jnp.float32(stddev))
    return np.float64(releases.y), np.float64(releases.sigma)


def slow_dense_gradient(layers, x, label):
    """Backpropagation through a perceptron, in float64."""
    layers = [(np.float64(w), np.float64(b)) for w, b in layers]
    inputs, sums = [np.float64(x).ravel()], []
    for w, b in layers:
        sums.append(w @ inputs[-1] + b)
        inputs.append(np.maximum(sums[-1], 0))
    delta = np.exp(sums[-1] - sums[-1].max())
    delta = delta / delta.sum() - (np.arange(len(delta)) == label)
    gradients = []
    for (w, _), h, before in reversed(list(zip(layers, inputs, [None, *sums], strict=False))):
        gradients.insert(0, (np.outer(delta, h), delta))
        if before is not None:
            delta = (w.T @ delta) * (before > 0)
    return gradients


@pytest.mark.parametrize("padding", [0, 7])
def test_the_gradient_of_a_linear_unit_is_the_image(padding):
    x = image()
    gradient = linear_unit(SHAPE, padding=padding).gradient(x)
    np.testing.assert_array_equal(gradient, np.pad(np.ravel(x), (0, padding)))


@pytest.mark.parametrize(("name", "label"), [("dense", 2), ("logistic", 0)])
def test_the_gradient_of_a_perceptron_is_that_written_out(name, label):
    leak, x = LEAKS[name], image(1)
    want = slow_dense_gradient(leak.params, x, label)
    # Three products of up to 32 terms forwards, three backwards, on weights and numbers of size about 1.
    for ours, theirs in zip(jax.tree.leaves(gradient_of(leak, x)), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=6 * D * EPS32)


@pytest.mark.parametrize("name", ["linear", "padded", "dense", "logistic"])
def test_without_noise_the_image_comes_back(name):
    leak, x = LEAKS[name], image(2)
    release = jax.jit(leak.image)(gradient_of(leak, x), jnp.float32(0))
    # Up to 12 terms of one sign are summed above and below, each of them rounded twice.
    np.testing.assert_allclose(release.y, x, rtol=0 if leak.name == "linear_unit" else 32 * EPS32)
    assert float(release.sigma) == 0


@pytest.mark.parametrize("brightness", [-1.0, -0.6, -0.15, 0.2, 0.7, 1.0])
def test_without_noise_the_image_comes_back_from_each_bin_of_an_imprint(brightness):
    leak, x = LEAKS["imprint"], image(3, brightness)
    gradient = gradient_of(leak, x)
    release = jax.jit(leak.image)(gradient, jnp.float32(0))
    np.testing.assert_allclose(release.y, x, rtol=0, atol=4 * EPS32)  # a product, a product with beta, a quotient
    fires = np.asarray(gradient["b"]) != 0
    np.testing.assert_array_equal(fires, [True, *(float(x.mean()) > np.array(THRESHOLDS)), False])


@each_leak
def test_pictures_are_the_image_but_for_a_factor(name):
    leak, x = LEAKS[name], image(5)
    pictures = np.float64(leak.pictures(gradient_of(leak, x))).reshape(-1, D)
    direction = np.ravel(x) / np.linalg.norm(x)
    left = pictures - np.outer(pictures @ direction, direction)
    assert np.abs(left).max() <= 4 * EPS32 * np.abs(pictures).max()
    assert np.abs(pictures).max() > 0


@each_leak
def test_a_factor_common_to_gradient_and_noise_matters_to_the_linear_unit_alone(name):
    leak, stddev = LEAKS[name], jnp.float32(1e-3)
    gradient = jax.tree.map(lambda leaf: leaf[0], noisy(gradient_of(leak, image(6)), 1e-3, 1))
    whole = leak.image(gradient, stddev)
    half = leak.image(jax.tree.map(lambda leaf: leaf / 2, gradient), stddev / 2)
    scale = 2 if name in ("linear", "padded") else 1  # a power of two: nothing is rounded
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, scale * b), whole, half)


@pytest.mark.parametrize("name", ["padded", "dense", "imprint"])
def test_silent_coordinates_are_zero_on_every_image(name):
    leak = LEAKS[name]
    loud = [jnp.ones(SHAPE), -jnp.ones(SHAPE), image(7)]
    if name == "dense":  # the images on which silent units come nearest to firing
        loud += [jnp.sign(w).reshape(SHAPE) for w in leak.params[0][0]]
    for x in loud:
        np.testing.assert_array_equal(leak.silent(gradient_of(leak, x)), 0)
    count = {"padded": 7, "dense": 3 * (D + 1), "imprint": D + 1}
    assert leak.silent(gradient_of(leak, image())).shape == (count[name],)


def test_units_that_might_fire_are_not_taken_for_silent():
    (w, _), *rest = random_mlp(KEY, SHAPE, (4, 3))
    most = np.abs(np.float64(w)).sum(1)
    bias = jnp.asarray(-most * np.array([0.99, 1.01, 0, 1.01]), jnp.float32)
    silent = dense([(w, bias), *rest], SHAPE).silent
    assert silent is not None
    assert silent([(w, bias), *rest]).shape == (2 * (D + 1),)
    assert LEAKS["logistic"].silent is None


def parts(gradient):
    """The first layer's bias gradients, in float64, without units that never fire."""
    return np.float64(gradient[0][1])[:9]


def test_the_noise_that_least_squares_leave_is_the_one_stated():
    leak, x, n = LEAKS["dense"], image(8), 3000
    gradient = gradient_of(leak, x)
    delta = parts(gradient)
    s = 2e-3 * np.linalg.norm(delta)
    gradients = noisy(gradient, s, n)
    y, sigma = recovered(leak, gradients, s)
    biases = np.float64(gradients[0][1])[:, :9]
    divisor = (biases**2).sum(1) - 9 * s**2
    scale = biases @ delta / divisor
    residual = (y - scale[:, None, None, None] * np.float64(x)) / sigma[:, None, None, None]
    assert kstest(residual.ravel()[::7], "norm").pvalue > 1e-3
    np.testing.assert_allclose(sigma, s * np.sqrt((biases**2).sum(1)) / divisor, rtol=32 * EPS32)
    # e is -s (m . delta)/|delta|^2 but for terms 2e-3 as large; the spread of n is known to 1/sqrt(2 n).
    assert abs((scale - 1).std() / 2e-3 - 1) < 4 / np.sqrt(2 * n)
    assert abs((scale - 1).mean()) < 4 * 2e-3 / np.sqrt(n)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_noise_in_the_biases_shrinks_the_image_unless_its_size_is_told(share):
    leak, x, n = LEAKS["dense"], image(8), 20_000
    gradient = gradient_of(leak, x)
    delta = parts(gradient)
    s = share * np.linalg.norm(delta)
    rng = np.random.default_rng(2)
    # Only what decides the scale: the biases. Noise in the weights adds none on average.
    (w, b), rest = gradient[0], gradient[1:]
    biases = jnp.asarray(np.asarray(b) + s * rng.normal(size=(n, len(b))), jnp.float32)
    one = lambda bias, stddev: leak.image([(w, bias), *rest], stddev)  # noqa: E731
    run = jax.jit(jax.vmap(one, (0, None)))
    scale = lambda stddev: np.float64(run(biases, jnp.float32(stddev)).y).reshape(n, -1) @ np.ravel(x) / np.sum(x**2)  # noqa: E731
    untold = scale(0.0)
    # E z.theta/|z|^2 of z ~ N(theta, I_k) is |theta|^2 E 1/(k + 2 P), P ~ Poisson(|theta|^2/2).
    count = np.arange(200)
    want = share**-2 * (poisson(share**-2 / 2).pmf(count) / (9 + 2 * count)).sum()
    assert abs(untold.mean() - want) < 4 * untold.std() / np.sqrt(n)
    # Told, numerator and divisor have the same expectation where the divisor is not held up.
    square = (np.float64(biases)[:, :9] ** 2).sum(1)
    divisor = square - 9 * s**2
    numerator = np.float64(biases)[:, :9] @ delta
    difference = numerator - divisor
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(n)
    held = np.maximum(divisor, s**2 * np.sqrt(18))
    np.testing.assert_allclose(scale(s), numerator / held, rtol=0, atol=1e3 * EPS32 * np.abs(numerator / held).max())


def test_the_noise_that_an_imprint_leaves_is_the_one_stated():
    leak, x, n = LEAKS["imprint"], image(9, 0.2), 2000
    beta = np.sqrt(D) / 2
    gradient = gradient_of(leak, x)
    delta = float(gradient["b"][2]) / beta  # thresholds -1.5, -0.3, 0 are passed: the last unit to fire is the third
    s = 1e-3 * abs(delta)
    gradients = noisy(gradient, s, n)
    y, sigma = recovered(leak, gradients, s)
    difference = np.float64(gradients["b"][:, 2]) - np.float64(gradients["b"][:, 3])
    scale = beta * delta / difference
    residual = (y - scale[:, None, None, None] * np.float64(x)) / sigma[:, None, None, None]
    assert kstest(residual.ravel()[::7], "norm").pvalue > 1e-3
    np.testing.assert_allclose(sigma, np.sqrt(2) * beta * s / np.abs(difference), rtol=8 * EPS32)
    assert abs((1 / scale - 1).std() / (np.sqrt(2) * 1e-3 / beta) - 1) < 4 / np.sqrt(2 * n)


@pytest.mark.parametrize(("brightness", "fire"), [(-0.6, 1), (0.2, 3)])
def test_the_imprint_is_all_but_a_hundredth_of_the_norm(brightness, fire):
    x = image(10, brightness)
    gradient = gradient_of(LEAKS["imprint"], x)
    square = {
        name: sum(np.sum(np.float64(leaf) ** 2) for leaf in jax.tree.leaves(part)) for name, part in gradient.items()
    }
    whole, beta = sum(square.values()), np.sqrt(D) / 2
    assert np.sqrt((square["network"] + square["v"]) / whole) < 0.01
    delta = float(gradient["b"][0]) / beta
    np.testing.assert_allclose(
        square["w"] + square["b"], fire * delta**2 * (np.sum(np.float64(x) ** 2) + beta**2), rtol=64 * EPS32
    )


def test_bins_hold_equal_numbers_of_public_images():
    rng = np.random.default_rng(0)
    public = rng.integers(0, 256, (400, 4, 4, 1), np.uint8) // rng.integers(1, 9, (400, 1, 1, 1), np.uint8)
    thresholds = brightness_quantiles(public, 8)
    means = public.reshape(400, -1).mean(1) / 127.5 - 1
    counts = np.bincount(np.searchsorted(thresholds, means), minlength=8)
    assert len(thresholds) == 7
    assert abs(counts - 50).max() <= 1 + 2 * np.unique(means, return_counts=True)[1].max()
    signed = brightness_quantiles(np.float32(public) / 127.5 - 1, 8)
    np.testing.assert_allclose(thresholds, signed, rtol=0, atol=4 * EPS32)


MISTAKES = {
    "padding": (lambda: linear_unit(SHAPE, padding=-1), "padding must be 0 or more, got -1"),
    "layers": (lambda: dense(random_mlp(KEY, (3, 3, 1)), SHAPE), r"must have weights \[\(64, 32\)"),
    "no layers": (lambda: dense([], SHAPE), "must have weights"),
    "class": (lambda: dense(random_mlp(KEY, SHAPE), SHAPE, label=10), "label 10 .* from 0 to 9"),
    "all silent": (lambda: random_mlp(KEY, SHAPE, (4, 2), num_silent=4), "num_silent 4"),
    "widths": (lambda: random_mlp(KEY, SHAPE, ()), r"widths \[\]"),
    "silent classes": (lambda: random_mlp(KEY, SHAPE, (4,), num_silent=1), "a second layer"),
    "flat": (lambda: imprint(KEY, (32,)), r"got shape \(32,\)"),
    "order": (lambda: imprint(KEY, SHAPE, (0.2, 0.1)), r"must increase .* got \[0.2, 0.1\]"),
    "range": (lambda: imprint(KEY, SHAPE, (0.2, 1.0)), r"within \(-1, 1\)"),
    "imprint's class": (lambda: imprint(KEY, SHAPE, label=-1), "label -1"),
    "beta": (lambda: imprint(KEY, SHAPE, bias_input=0), "bias_input must be above 0"),
    "bins": (lambda: brightness_quantiles(np.zeros((3, *SHAPE)), 4), r"number of images \(3\), got 4"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name):
    make, message = MISTAKES[name]
    with pytest.raises(InputError, match=message):
        make()
