"""Variations of exact Gaussian models in closed form, the service that makes them, and structural similarity."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import Variation, variation_box
from diffaudit_jax.attacks import variation
from diffaudit_jax.attacks.noise import api_keys
from diffaudit_jax.attacks.variation import Likeness, score, ssim
from diffaudit_jax.auditing import audit
from diffaudit_jax.target import Target, diffusion_target
from diffaudit_jax.types import InputError, Network, Prediction, Query, to_signed
from tests.oracles import EPS32, PROCESSES, SHAPE, gaussian, images, pool, signed

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(12)
MEAN, VAR = 0.2, 0.5


def scales(process, t):
    """(alpha, sigma, alpha^2 VAR + sigma^2) at t; t = 0 is clean data."""
    alpha, sigma = float(process.alpha(jnp.float32(t))), float(process.sigma(jnp.float32(t)))
    return alpha, sigma, alpha**2 * VAR + sigma**2


def shrunk(process, times):
    """What DDIM makes of u_t = x_t - alpha_t MEAN from times[0] to clean data, as a factor.

    x0' - MEAN = VAR alpha_t u_t/D_t,  eps' = sigma_t u_t/D_t,  so u_s = (alpha_s alpha_t VAR + sigma_s sigma_t)/D_t u_t
    """
    factor = 1.0
    for t, s in itertools.pairwise(times):
        (alpha, sigma, total), (alpha_s, sigma_s, _) = scales(process, t), scales(process, s)
        factor *= (alpha_s * alpha * VAR + sigma_s * sigma) / total
    return factor


# (process, t, steps, the times that lead to clean data)
DESCENTS = {
    "linear-50": (0.4, 3, np.array([20, 13, 7, 0]) / 50),
    "cosine-20": (0.21, 2, np.array([4, 2, 0]) / 20),
    "cosine-1000": (0.3, 1, np.array([300, 0]) / 1000),
    "ncsn-50": (0.2, 10, np.arange(10, -1, -1) / 50),
    "vp": (0.3, 4, np.array([0.3, 0.225, 0.15, 0.075, 0])),
    "sub-vp": (0.3, 2, np.array([0.3, 0.15, 0])),
    "ve": (0.5, 4, np.array([0.5, 0.375, 0.25, 0.125, 0])),
    "edm": (0.3, 3, np.array([0.3, 0.2, 0.1, 0])),
}


@pytest.mark.parametrize("name", DESCENTS)
def test_a_variation_is_affine_in_the_query_as_derived(name):
    process, (t, num_steps, times) = PROCESSES[name], DESCENTS[name]
    vary = variation_box(num_steps, clip=False)(gaussian(process, MEAN, VAR)).vary
    x = to_signed(images(1)[0])
    got = jax.jit(lambda key: vary(key, x, t, None))(KEY)
    alpha, sigma, _ = scales(process, times[0])
    ut = alpha * (np.float64(x) - MEAN) + sigma * np.float64(jax.random.normal(KEY, SHAPE))
    # Each step rounds numbers of the size of x_t some eight times, and so does the estimate that it is made of.
    size = 1 + np.abs(ut).max()
    np.testing.assert_allclose(got, MEAN + shrunk(process, times) * ut, atol=16 * num_steps * size * EPS32)


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_fine_steps_tend_to_the_flow_at_first_order(name):
    """The flow carries N(alpha MEAN, D) to N(MEAN, VAR), so it scales u_t by sqrt(VAR/D); DDIM is its Euler method."""
    process, t = PROCESSES[name], 0.3
    target, x = gaussian(process, MEAN, VAR), jnp.full(SHAPE, 0.7)
    alpha, sigma, total = scales(process, t)
    ut = alpha * (0.7 - MEAN) + sigma * np.float64(jax.random.normal(KEY, SHAPE))
    errors = []
    for num_steps in (5, 10, 20, 40):
        vary = variation_box(num_steps, clip=False)(target).vary
        got = np.float64(jax.jit(lambda key, vary=vary: vary(key, x, t, None))(KEY))
        errors.append(np.abs(got - MEAN - np.sqrt(VAR / total) * ut).max())
    falls = np.array(errors[:-1]) / np.array(errors[1:])
    # First order halves the error: nearer to 2 than to 1 (no convergence) or 4 (second order).
    assert ((falls > np.sqrt(2)) & (falls < np.sqrt(8))).all()


@pytest.mark.parametrize("num_variations", [1, 5])
def test_the_distance_is_on_average_the_closed_form_and_variations_are_independent(num_variations):
    """Mean of (xbar - x)^2: (C alpha - 1)^2 (x - MEAN)^2 and, of n independent draws, C^2 sigma^2/n."""
    n, t, process = 400, 0.4, PROCESSES["linear-50"]
    queries = Query(np.repeat(images(1), n, axis=0), None, np.arange(n))
    attack = variation(t, num_variations=num_variations, num_steps=3, clip=False)
    seen = audit(attack, gaussian(process, MEAN, VAR), queries, key=KEY, block=n)
    alpha, sigma, _ = scales(process, t)
    factor = shrunk(process, DESCENTS["linear-50"][2])
    bias = ((factor * alpha - 1) ** 2 * (signed(queries.x[0]) - MEAN) ** 2).mean()
    want = bias + (factor * sigma) ** 2 / num_variations
    mse = np.float64(seen.features.mse)
    assert len(np.unique(mse)) == n
    assert abs(mse.mean() - want) < 4 * mse.std() / np.sqrt(n)
    np.testing.assert_array_equal(seen.scores, -mse)


def test_a_service_asks_the_network_once_a_step_at_the_steps_of_the_schedule():
    times = []

    def apply(params, xt, t, cond=None, *, key=None):
        jax.debug.callback(lambda t, _: times.append(float(t)), t, xt)
        return Prediction(xt, xt * cond)

    process = PROCESSES["linear-50"]
    target = diffusion_target({}, Network(lambda key: {}, apply), process, SHAPE, sample_steps=4)
    vary = variation_box(3)(target).vary
    got = vary(KEY, jnp.ones(SHAPE), 0.4, jnp.float32(0))
    jax.effects_barrier()
    np.testing.assert_allclose(times, np.array([20, 13, 7]) / 50, rtol=EPS32)
    np.testing.assert_array_equal(got, 0)  # the condition says so


def test_a_clipping_service_answers_in_range_and_without_gradients():
    target = gaussian(PROCESS, 3.0, VAR)
    x = to_signed(images(1)[0])
    clipped, free = (variation_box(2, clip=clip)(target).vary for clip in (True, False))
    assert jnp.abs(clipped(KEY, x, 0.5)).max() <= 1
    assert jnp.abs(free(KEY, x, 0.5)).max() > 1
    np.testing.assert_array_equal(jax.grad(lambda x: free(KEY, x, 0.5).sum())(x), 0)
    assert type(variation_box()(target)) is Variation


def slow_similarity(x, y):
    """Wang et al. 2004 over every window that fits, channel by channel; and the least denominator of a window."""
    x, y = (x + 1) / 2, (y + 1) / 2
    side, c1, c2 = min(11, *x.shape[:2]), 0.01**2, 0.03**2
    offsets = np.arange(side) - (side - 1) / 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values, least = [], np.inf
    for i in range(x.shape[0] - side + 1):
        for j in range(x.shape[1] - side + 1):
            for c in range(x.shape[2]):
                a, b = x[i : i + side, j : j + side, c], y[i : i + side, j : j + side, c]
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                both = (weights * (a - mean_a) * (b - mean_b)).sum()
                low = (mean_a**2 + mean_b**2 + c1, var_a + var_b + c2)
                values.append((2 * mean_a * mean_b + c1) * (2 * both + c2) / (low[0] * low[1]))
                least = min(least, *low)
    return np.mean(values), least


@pytest.mark.parametrize("shape", [(4, 4, 2), (16, 13, 3), (11, 12, 1), (28, 5, 1)])
def test_similarity_is_the_published_one(shape):
    x, y = signed(images(2, shape=shape))
    measured = jax.jit(ssim)
    for other in (y, 0.7 * x + 0.3 * y):
        want, least = slow_similarity(x, other)
        got = measured(jnp.asarray(x, jnp.float32), jnp.asarray(other, jnp.float32))
        # Moments of numbers in [0, 1] are some sixteen roundings off, variances twice, divided by what they are of.
        np.testing.assert_allclose(got, want, atol=64 * EPS32 / least)
    np.testing.assert_allclose(measured(jnp.asarray(x, jnp.float32), jnp.asarray(x, jnp.float32)), 1, rtol=4 * EPS32)


def test_features_are_both_distances_of_the_mean_of_what_the_service_draws():
    attack, asked = variation(0.3, num_variations=3, num_steps=2), []
    x, cond = to_signed(images(1)[0]), jnp.int32(3)

    def vary(key, x, t, cond):
        asked.append((t, cond))
        return 0.5 * x + 0.1 * jax.random.normal(key, ())

    got = attack.observe(Variation(vary), (), KEY, Query(x, cond, 0))
    assert asked == [(np.float32(0.3), cond)]
    drawn = jax.vmap(lambda key: jax.random.normal(key, ()))(api_keys(KEY, jnp.float32(0.3), 3))
    mean = 0.5 * np.float64(x) + 0.1 * np.float64(drawn).mean()
    np.testing.assert_allclose(got.mse, ((mean - np.float64(x)) ** 2).mean(), rtol=16 * EPS32)
    want, least = slow_similarity(np.float64(x), mean)
    np.testing.assert_allclose(got.ssim, want, atol=64 * EPS32 / least)


def test_both_distances_are_scores_of_one_pass():
    seen = Likeness(np.float32([0.25, 0.5]), np.float32([0.75, -0.5]))
    for distance, want in (("mse", [-0.25, -0.5]), ("ssim", [-0.25, -1.5])):
        attack = variation(distance=distance)
        np.testing.assert_array_equal(attack.score(seen), want)
        np.testing.assert_array_equal(score(distance)(seen), want)
        assert attack.score(seen).dtype == np.float64
        assert (attack.spec.calls, attack.spec.scoring) == (50, {"distance": distance})
    assert variation(distance="ssim").spec.config == variation().spec.config


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"t": 0.0}, r"times lie in \(0, 1\], got 0 to 0"),
        ({"t": 200}, "got 200 to 200"),
        ({"num_variations": 0}, "at least 1 variation of each query is needed, got num_variations=0"),
        ({"num_steps": 0}, "a variation takes at least 1 step, got num_steps=0"),
        ({"distance": "sim"}, "unknown distance 'sim': did you mean 'ssim'"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        variation(**arguments)


def test_what_a_target_cannot_be_asked_is_refused():
    with pytest.raises(InputError, match=r"t = 0.1 is step 2 of 20, and 5 steps are to lead from there to clean data"):
        audit(variation(0.1, num_steps=5), gaussian(PROCESS), pool(2), key=KEY)
    with pytest.raises(InputError, match=r"compared as images \(height, width, channels\), got \(3,\)"):
        audit(variation(0.3, num_steps=1), gaussian(PROCESS, shape=(3,)), pool(2, shape=(3,)), key=KEY)
    samples_only = Target({}, SHAPE, lambda params, key, cond: jnp.zeros(SHAPE))
    with pytest.raises(InputError, match="image-to-image access needs a diffusion model"):
        variation_box()(samples_only)
