"""What SecMI, PIA, PIAN and SimA have in common: what they share in one pass, an API's noise, and a known AUC."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import f as f_distribution

from diffaudit_jax.access import GrayBox
from diffaudit_jax.attack import together
from diffaudit_jax.attacks import clean_query, proximal, step_error
from diffaudit_jax.types import Query
from tests.oracles import PROCESSES, auc, conv, counted, gaussian, images, seen_in_float64, signed

KEY = jax.random.key(6)
LINEAR = PROCESSES["linear-1000"]
ATTACKS = {
    "secmi": step_error(),
    "pia": proximal(),
    "pian": proximal([0.101, 0.001], normalised=True),
    "sima": clean_query([0.001, 0.101]),
}
UNION = together(ATTACKS)
each_attack = pytest.mark.parametrize("name", ATTACKS)


def query(cond=None):
    return Query(jnp.asarray(signed(images(1))[0], jnp.float32), cond, jnp.asarray(0))


def noisy(attack):
    """The attack on an API that adds noise of its own to every answer."""

    def grant(target):
        access = attack.grant(target)

        def denoise(key, xt, t, cond):
            return access.denoise(key, xt, t, cond) + 0.1 * jax.random.normal(key, xt.shape)

        return GrayBox(access.process, denoise)

    return replace(attack, grant=grant)


@functools.cache
def seen(name, seed=6):
    attack = UNION if name == "union" else ATTACKS[name]
    return seen_in_float64(noisy(attack), conv(LINEAR), signed(images(1))[0], jax.random.key(seed))


@each_attack
def test_each_sees_the_same_of_a_random_api_alone_and_together(name):
    # Float64 throughout: two programs may differ in roundings, and sigma = 0.01 magnifies them a hundredfold.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), seen("union")[name], seen(name))


@each_attack
def test_an_apis_randomness_is_that_of_the_querys_key(name):
    for a, b in zip(jax.tree.leaves(seen(name)), jax.tree.leaves(seen(name, seed=7)), strict=True):
        assert (a != b).all()


@each_attack
def test_every_question_of_an_attack_has_a_key_of_its_own_and_the_querys_class(name):
    asked, classes = [], []

    def denoise(key, xt, t, cond):
        jax.debug.callback(lambda key: asked.append(tuple(np.asarray(key))), jax.random.key_data(key))
        jax.debug.callback(lambda cond: classes.append(int(cond)), cond)
        return 0.5 * xt

    access = GrayBox(LINEAR, denoise)
    observe = jax.jit(lambda query: ATTACKS[name].observe(access, None, KEY, query))
    jax.block_until_ready(observe(query(jnp.asarray(3))))
    jax.effects_barrier()
    assert classes == [3] * ATTACKS[name].spec.calls
    assert len(asked) == len(set(asked)) == ATTACKS[name].spec.calls


def test_one_pass_makes_the_calls_of_the_union():
    """Four attacks of 11 + 2 + 3 + 2 calls show the query itself at 0.001, and three of these calls are saved."""
    assert UNION.spec.calls == 15
    target, calls = counted(conv(LINEAR))
    access = UNION.grant(target)
    jax.block_until_ready(jax.jit(lambda query: UNION.observe(access, UNION.evidence, KEY, query))(query()))
    jax.effects_barrier()
    assert len(calls) == 15


N, D, OTHERS, FITS = 8, 64, 24, 150


def levels(process, t):
    return float(process.alpha(jnp.float32(t))), float(process.sigma(jnp.float32(t)))


def kept_of_mean(name, process):
    """The c for which an attack's score is a multiple of -||x - c mean||^2 under the exact model of N(mean, I)."""
    (alpha, sigma), (alpha_t, sigma_t) = levels(process, 0.001), levels(process, 0.201)
    # eps(x, t) = sigma_t (x - alpha_t mean); PIA's e0 - eps(x_t, t) is alpha_t times a x - b mean.
    a, b = alpha_t * sigma - sigma_t, alpha_t * sigma * alpha - sigma_t
    return {"sima": 1.0 if process is PROCESSES["ve"] else alpha, "secmi": alpha, "pia": b / a}[name]


@pytest.mark.parametrize(
    ("name", "attack", "process"),
    [
        ("sima", clean_query([0.3], p=2), PROCESSES["ve"]),
        ("sima", clean_query([0.001], p=2), LINEAR),
        ("secmi", step_error(), LINEAR),
        ("pia", proximal(p=2), LINEAR),
    ],
)
def test_auc_on_a_fitted_gaussian_is_the_closed_form(name, attack, process):
    """Members' x - c mean has variance 1 - (2c - c^2)/N, others' 1 + c^2/N: AUC = F_{D,D} of the ratio.

    At c = 1 that is F((N + 1)/(N - 1)), the best any attack can do.
    """
    shape, rng = (D, 1, 1), np.random.default_rng(8)
    x = rng.normal(size=(FITS, N + OTHERS, *shape)).astype(np.float32)
    target = gaussian(process, shape=shape)

    def one(mean, x):
        access = attack.grant(replace(target, params={"mean": mean, "var": jnp.float32(1)}))
        return attack.observe(access, attack.evidence, KEY, Query(x, None, 0))

    means = x[:, :N].mean(1)
    features = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(one, (None, 0))))(means, x))
    scores = [attack.score(jax.tree.map(lambda leaf, fit=fit: leaf[fit], features)) for fit in range(FITS)]
    aucs = np.array([auc(s[:N], s[N:]) for s in scores])
    c = kept_of_mean(name, process)
    want = f_distribution.cdf((1 + c**2 / N) / (1 - (2 * c - c**2) / N), D, D)
    assert want == pytest.approx(f_distribution.cdf((N + 1) / (N - 1), D, D), abs=1e-3)
    se = aucs.std() / np.sqrt(FITS)
    assert abs(aucs.mean() - want) < 4 * se
    assert aucs.mean() > 0.5 + 4 * se
