"""The bound as an attack: exact on a linear VAE, near certain on one that over-fits, blind on one that saw nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffaudit_jax.access import bound_box
from diffaudit_jax.attacks.elbo import TERMS, elbo, score
from diffaudit_jax.auditing import audit
from diffaudit_jax.data import Pool
from diffaudit_jax.models.vae import bound_terms, vae
from diffaudit_jax.stream import local_mesh
from diffaudit_jax.target import BoundTerms, Target
from diffaudit_jax.training import Recipe
from diffaudit_jax.training.generators import fit_vae
from diffaudit_jax.types import InputError, Query
from tests.oracles import EPS32, PROCESSES, auc, gaussian, images, null_se, pool, signed

KEY = jax.random.key(5)
SHAPE = (4, 4, 1)
W, S = 1.5, 0.5  # p(x) = N(0, S^2 + W^2 on the first pixel): one code, one pixel


def linear(spread=1.0):
    """A VAE of one code for the first pixel, with the posterior's variance times `spread` in its encoder."""
    v = 1 / (1 + W**2 / S**2)

    def bound(params, key, x, cond):
        mean, log_var = (v * W / S**2 * x.reshape(-1)[0]).reshape(1), jnp.log(jnp.full(1, v * spread))
        eps = jax.random.normal(key, (1,))
        z = mean + jnp.exp(log_var / 2) * eps
        decoded = jnp.zeros(x.size).at[0].set(params * z[0]).reshape(x.shape)
        return bound_terms(x, decoded, jnp.float32(2 * np.log(S)), mean, log_var, eps)

    return Target(jnp.float32(W), SHAPE, lambda params, key, cond: jnp.zeros(SHAPE), bound=bound)


def log_likelihood(x):
    variance = np.full(16, S**2)
    variance[0] += W**2
    return multivariate_normal(np.zeros(16), np.diag(variance)).logpdf(signed(x).reshape(len(x), 16))


def test_an_exact_encoder_gives_the_log_likelihood_at_every_draw():
    queries = pool(6, shape=SHAPE)
    exact = log_likelihood(queries.x)
    # Sums of 20 squares up to 40 of a number in all.
    rounding = 30 * 40 * EPS32
    for statistic in ("mean", "max", "iwae"):
        found = audit(elbo(3, term="weight", statistic=statistic), linear(), queries, key=KEY, block=8).scores
        np.testing.assert_allclose(found, exact, rtol=0, atol=rounding)
    wide = audit(elbo(2000, term="weight"), linear(2.0), queries, key=KEY, block=8)
    bound = -np.asarray(wide.features.reconstruction + wide.features.ratio, np.float64)
    error = bound.std(axis=1, ddof=1) / np.sqrt(2000)
    gap = 0.5 * (2 - 1 - np.log(2))  # KL of the encoder to the posterior
    assert (np.abs(exact - gap - wide.scores) < 4 * error + rounding).all()
    iwae = score(2000, term="weight", statistic="iwae")(wide.features)
    assert (np.abs(iwae - exact) < np.abs(wide.scores - exact)).all()


SETTINGS = [
    {"term": term, "statistic": statistic, "truncate": truncate, "drop": drop}
    for term in TERMS
    for statistic in ("mean", "median", "min", "max", "sum", "iwae")
    for truncate, drop in ((None, "largest"), (0.29, "largest"), (0.29, "smallest"), (0.0, "smallest"))
]


def test_scores_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(3, 4, 100)) * 3
    features = BoundTerms(*draws.astype(np.float32))
    for setting in SETTINGS:
        for i, found in enumerate(score(100, **setting)(features)):
            r, kl, ratio = (np.float64(np.float32(leaf[i])) for leaf in draws)
            values = {"elbo": r + kl, "reconstruction": r, "kl": kl, "weight": r + ratio}[setting["term"]]
            kept = sorted(values)
            if setting["truncate"]:
                kept = kept[:71] if setting["drop"] == "largest" else kept[29:]
            slow = {
                "mean": lambda v: -sum(v) / len(v),
                "sum": lambda v: -sum(v),
                "median": lambda v: -np.median(v),
                "min": lambda v: -v[0],
                "max": lambda v: -v[-1],
                "iwae": lambda v: np.log(sum(np.exp(-x) for x in v) / len(v)),
            }
            expected = slow[setting["statistic"]](kept)
            # Sums of 100 numbers of size 10.
            assert found == pytest.approx(expected, abs=100 * 1000 * np.finfo(float).eps), setting


@pytest.fixture(scope="module")
def overfitted():
    """A VAE with room for its 16 images of noise, members first, and as it was before training."""
    x = images(64, 3, SHAPE)
    members = Pool(x[:16], np.arange(16), "noise")
    recipe = Recipe(num_steps=400, batch_size=16, learning_rate=1e-2, warmup_steps=10)
    model = vae(SHAPE, channels=16, mults=(1,), latent=8)
    trained = fit_vae(KEY, model, members, recipe).target
    fresh = fit_vae(KEY, model, members, replace(recipe, num_steps=0)).target
    return trained, fresh, Query(x, None, np.arange(64))


def test_members_of_an_over_fitted_vae_are_found_and_none_of_a_fresh_one(overfitted):
    trained, fresh, queries = overfitted
    attack = elbo(8)
    known, unknown = (audit(attack, target, queries, key=KEY, block=64) for target in (trained, fresh))
    assert auc(known.scores[:16], known.scores[16:]) == 1
    assert abs(auc(unknown.scores[:16], unknown.scores[16:]) - 0.5) < 4 * null_se(16, 48)
    assert auc(known.scores[:16], known.scores[16:]) == auc(
        *np.split(score(8, term="reconstruction", statistic="median", truncate=0.25)(known.features), [16])
    )


def test_a_score_depends_on_its_query_alone_and_on_the_noise_as_said():
    target, queries = linear(2.0), pool(7, shape=SHAPE)
    whole = audit(elbo(4, noise_key=KEY), target, queries, key=KEY, block=8).features
    part = jax.tree.map(lambda leaf: leaf[::-2], queries)
    found = audit(elbo(4, noise_key=KEY), target, part, key=KEY, block=2, mesh=local_mesh(1)).features
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[::-2], b, rtol=100 * EPS32), whole, found)
    # The encoder's spread is the same everywhere, so that the ratio tells the draws apart, not the queries.
    more = audit(elbo(6, noise_key=KEY), target, queries, key=jax.random.key(1), block=8).features
    np.testing.assert_array_equal(more.ratio[:, :4], whole.ratio)
    own = [
        audit(elbo(4, common_noise=False), target, queries, key=jax.random.key(seed), block=8).features.ratio
        for seed in (1, 2)
    ]
    assert not np.isclose(*own).any()


def test_an_encoder_is_granted_by_a_vae_alone():
    access = bound_box(linear())
    assert set(vars(access)) == {"terms"}
    with pytest.raises(InputError, match="need a VAE, and this target is none"):
        bound_box(gaussian(PROCESSES["cosine-20"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "at least 1 draw of the code is needed, got num_draws=0"),
        ({"truncate": 1.0}, "truncate is the share of draws that is dropped, from 0 to below 1, got 1.0"),
        ({"term": "eps"}, "unknown term 'eps'"),
        ({"statistic": "men"}, "unknown statistic 'men'"),
        ({"drop": "all"}, "unknown side 'all'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError, match=message):
        elbo(**options)
