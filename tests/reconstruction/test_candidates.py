"""The attack that attains the bound: its success against a one-dimensional integral, and its rule against distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from diffaudit_jax.metrics.bounds import candidate_success, rero
from diffaudit_jax.reconstruction.candidates import candidate_attack
from diffaudit_jax.types import InputError

REPEATS = 2000


def success(key, candidates, mu, bound=3.0, target=None):
    """Share of releases of random candidates that the attack names rightly."""
    lengths = jnp.linalg.norm(candidates, axis=1, keepdims=True)
    clipped = candidates * jnp.minimum(1.0, bound / lengths)

    def attempt(key):
        key_target, key_noise = jax.random.split(key)
        j = jax.random.randint(key_target, (), 0, len(candidates)) if target is None else target
        g = clipped[j] + bound / mu * jax.random.normal(key_noise, candidates.shape[1:])
        return candidate_attack(g, candidates, bound) == j

    return float(jax.jit(jax.vmap(attempt))(jax.random.split(key, REPEATS)).mean())


def error(p):
    return np.sqrt(p * (1 - p) / REPEATS)


@pytest.mark.parametrize(("num_candidates", "mu"), [(10, 1.0), (10, 3.0), (64, 1.0), (64, 4.0)])
def test_orthogonal_candidates_succeed_as_often_as_the_integral_says(num_candidates, mu):
    candidates = 7.0 * jnp.eye(num_candidates, 64)
    rate, expected = success(jax.random.key(0), candidates, mu), candidate_success(num_candidates, mu)
    assert abs(rate - expected) < 4 * error(expected)
    bound = rero(1 / num_candidates, mu)
    assert expected < bound
    assert expected > 0.75 * bound


@pytest.mark.parametrize("mu", [1.0, 3.0])
def test_random_images_stay_below_the_bound(mu):
    """Directions of images are near orthogonal; all are clipped."""
    candidates = jax.random.uniform(jax.random.key(5), (100, 192), minval=-1.0, maxval=1.0)
    rate, bound = success(jax.random.key(1), candidates, mu), rero(0.01, mu)
    assert rate < bound + 4 * error(bound)
    assert rate > 0.6 * bound


def test_two_candidates_are_told_by_their_distance():
    """P = Phi(||c_1 - c_2||/(2 sigma)) for candidates of any length, clipped or not, and any angle."""
    candidates = jnp.array([[9.0, 0.0, 0.0], [0.5, 1.0, 0.0]])
    clipped = np.array([[3.0, 0.0, 0.0], [0.5, 1.0, 0.0]])
    expected = norm.cdf(np.linalg.norm(clipped[0] - clipped[1]) / (2 * 3.0 / 1.5))
    assert abs(success(jax.random.key(2), candidates, 1.5) - expected) < 4 * error(expected)
    for target in (0, 1):  # neither of them is favoured, as the longer would be by the product alone
        assert abs(success(jax.random.key(3), candidates, 1.5, target=target) - expected) < 4 * error(expected)


def test_the_likeliest_is_the_nearest_over_a_tree_of_gradients():
    """Naive and in float64: the clipped candidate at the least distance."""
    rng, m, bound = np.random.default_rng(0), 20, 2.0
    shapes = {"conv": (3, 3, 2), "bias": (2,), "scale": ()}
    candidates = {name: rng.normal(size=(m, *shape)) for name, shape in shapes.items()}
    candidates = {
        name: leaf * rng.uniform(0.05, 1, m).reshape(m, *[1] * (leaf.ndim - 1)) for name, leaf in candidates.items()
    }
    flat = np.concatenate([candidates[name].reshape(m, -1) for name in shapes], axis=1)
    clipped = flat * np.minimum(1, bound / np.linalg.norm(flat, axis=1))[:, None]
    assert 0 < (np.linalg.norm(flat, axis=1) > bound).sum() < m
    tree, picked = jax.tree.map(jnp.asarray, candidates), set()
    attack = jax.jit(lambda g: candidate_attack(g, tree, bound))
    for _ in range(30):
        g = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        distances = ((np.concatenate([g[name].ravel() for name in shapes]) - clipped) ** 2).sum(axis=1)
        ours = int(attack(jax.tree.map(jnp.asarray, g)))
        assert ours == distances.argmin()
        picked.add(ours)
    assert len(picked) > 3


@pytest.mark.parametrize(
    ("g", "candidates", "bound", "message"),
    [
        (jnp.zeros(3), jnp.zeros((5, 3)), 0.0, "l2_clip_norm is 0"),
        (
            jnp.zeros(3),
            jnp.zeros((5, 4)),
            1.0,
            r"gradient of the candidates is \(5, 4\): for this release it is \(5, 3\)",
        ),
        ({"w": jnp.zeros(3)}, {"b": jnp.zeros((5, 3))}, 1.0, r"gradient\['w'\] of the candidates is None"),
        ({"w": jnp.zeros(3)}, {"w": jnp.zeros((5, 3)), "b": jnp.zeros((5, 1))}, 1.0, r"gradient\['b'\].* it is None"),
        (jnp.zeros(()), jnp.zeros(()), 1.0, r"gradient of the candidates is \(\): for this release it is \(1,\)"),
    ],
)
def test_mistakes_are_named(g, candidates, bound, message):
    with pytest.raises(InputError, match=message):
        candidate_attack(g, candidates, bound)
