"""TabDDPM: its noising against enumeration, its losses against their definitions, its samples against known tables."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_ndtr, logsumexp

from diffaudit_jax import attacks, data, training
from diffaudit_jax.auditing import audit
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.diffusion import mixed, table_losses
from diffaudit_jax.models.tabular import SIZES, tabddpm, tabddpm_from_config
from diffaudit_jax.process import ddpm_cosine, ddpm_linear
from diffaudit_jax.process.mixed import BOUND, Blocks, Mixed, gumbel
from diffaudit_jax.sampler.mixed import mixed_ancestral
from diffaudit_jax.types import InputError, Prediction, Query

SHAPES = [(2, 3, 5), (2,), (7, 2, 2, 9, 3), ()]
STEPS = 100


@pytest.mark.parametrize("sizes", SHAPES)
def test_columns_are_taken_apart_and_joined(sizes):
    blocks, v = Blocks(sizes), jnp.asarray(np.random.default_rng(0).normal(size=sum(sizes)), jnp.float32)
    np.testing.assert_array_equal(blocks.join(blocks.split(v)), v)
    ends = np.cumsum([0, *sizes])
    for a, b in itertools.pairwise(ends):
        of = np.asarray(v[a:b], np.float64)
        np.testing.assert_allclose(blocks.log_softmax(v)[a:b], of - logsumexp(of), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(blocks.greatest(v)[a:b], np.eye(b - a)[of.argmax()])
        np.testing.assert_allclose(blocks.uniform()[a:b], 1 / (b - a), rtol=1e-6)
    np.testing.assert_allclose(
        np.sort(blocks.sums(v)),
        np.sort([float(v[a:b].sum()) for a, b in itertools.pairwise(ends)]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_gumbel_noise_is_gumbel_far_into_both_tails():
    eps = np.array([-7.0, -3.7, -0.5, 1.3, 4.0, 6.0, 8.0])
    np.testing.assert_allclose(gumbel(jnp.asarray(eps, jnp.float32)), -np.log(-log_ndtr(eps)), rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(("s", "t"), [(0, 1), (1, 2), (40, 70), (99, 100)])
def test_the_posterior_is_bayes_rule_over_all_paths(size, s, t):
    """q(x_s | x_t, x0) ~ q(x_t | x_s) q(x_s | x0), each a product of the one-step kernels (1 - b) I + b/K."""
    kernels = [(1 - b) * np.eye(size) + b / size for b in np.linspace(1e-3, 2e-1, STEPS)]
    path = lambda a, b: functools.reduce(np.matmul, kernels[a:b], np.eye(size))  # noqa: E731
    process = Mixed(ddpm_linear(STEPS), 0, Blocks((size,)))
    times = jnp.float32(s / STEPS), jnp.float32(t / STEPS)
    for x0, xt in itertools.product(range(size), repeat=2):
        expected = path(s, t)[:, xt] * path(0, s)[x0]
        got = process.log_posterior(jnp.eye(size)[x0], jnp.eye(size)[xt], *times)
        np.testing.assert_allclose(np.exp(got), expected / expected.sum(), rtol=2e-5, atol=1e-7)
        np.testing.assert_allclose(process.marginal(jnp.eye(size)[x0], times[1]), path(0, t)[x0], rtol=1e-5)


def test_corrupted_categories_have_the_probabilities_of_the_marginal():
    process, n, t = Mixed(ddpm_linear(STEPS), 1, Blocks((3, 2))), 20_000, jnp.float32(0.3)
    x0 = jnp.asarray([0.5, 0, 1, 0, 1, 0])
    xt = jax.vmap(lambda eps: process.corrupt(x0, t, eps))(jax.random.normal(jax.random.key(0), (n, 6)))
    expected = np.asarray(process.marginal(x0[1:], t), np.float64)
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(np.asarray(xt[:, 1:], np.float64).mean(0) - expected) < 4 * error).all()
    mean, std = float(process.schedule.alpha(t)) * 0.5, float(process.schedule.sigma(t))
    assert abs(float(xt[:, 0].mean()) - mean) < 4 * std / np.sqrt(n)


def naive_losses(x0, xt, eps, pred, i, num_numeric, sizes):
    """The losses by their definitions, float64, step i from 1."""
    beta = np.linspace(1e-3, 2e-1, STEPS)
    abars = np.append(1.0, np.cumprod(1 - beta))
    numeric = ((pred.eps[:num_numeric] - eps[:num_numeric]) ** 2).mean() if num_numeric else 0.0
    nats, prior, at = 0.0, 0.0, num_numeric
    for size in sizes:
        part = slice(at, at + size)
        posterior = lambda of, part=part, size=size: (  # noqa: E731
            lambda v: v / v.sum()
        )(((1 - beta[i - 1]) * xt[part] + beta[i - 1] / size) * (abars[i - 1] * of + (1 - abars[i - 1]) / size))
        if i == 1:
            nats -= np.log(pred.x0[part][x0[part].argmax()])
        else:
            q, p = posterior(x0[part]), posterior(pred.x0[part])
            nats += (q * np.log(q / p)).sum()
        end = abars[-1] * x0[part] + (1 - abars[-1]) / size
        prior += (end * np.log(end * size)).sum()
        at += size
    small = beta[1] * (1 - abars[1]) / (1 - abars[2]) if i == 1 else beta[i - 1] * (1 - abars[i - 1]) / (1 - abars[i])
    off = x0[:num_numeric] - pred.x0[:num_numeric]
    if i == 1:
        density = 0.5 * (off**2 / small + np.log(2 * np.pi * small)).sum()
    else:
        c0 = np.sqrt(abars[i - 1]) * beta[i - 1] / (1 - abars[i])
        density = 0.5 * ((c0 * off) ** 2 / small).sum()
    categorical = (STEPS * nats + prior) / max(len(sizes), 1)
    return {
        "eps": numeric + categorical,
        "x0": ((pred.x0 - x0) ** 2).mean(),
        "vlb": (density + nats) / (num_numeric + len(sizes)) / np.log(2),
        "numeric": numeric,
        "categorical": categorical,
    }


@pytest.mark.parametrize(("num_numeric", "sizes"), [(3, (2, 5, 3)), (0, (4, 2)), (3, ())])
@pytest.mark.parametrize("i", [1, 2, 60, 100])
def test_losses_are_their_definitions(num_numeric, sizes, i):
    rng, dim = np.random.default_rng(i), num_numeric + sum(sizes)
    process, t = Mixed(ddpm_linear(STEPS), num_numeric, Blocks(sizes)), jnp.float32(i / STEPS)
    onehots = [np.eye(size)[rng.integers(size)] for size in sizes]
    x0 = np.concatenate([rng.normal(size=num_numeric), *onehots])
    eps = rng.normal(size=dim)
    xt = np.asarray(process.corrupt(jnp.asarray(x0, jnp.float32), t, jnp.asarray(eps, jnp.float32)), np.float64)
    probs = [rng.dirichlet(np.ones(size)) for size in sizes]
    estimate = np.concatenate([x0[:num_numeric] + 0.1 * rng.normal(size=num_numeric), *probs])
    guess = np.concatenate([rng.normal(size=num_numeric), *map(np.log, probs)])
    naive = naive_losses(x0, xt, eps, Prediction(guess, estimate), i, num_numeric, sizes)
    pred = Prediction(jnp.asarray(guess, jnp.float32), jnp.asarray(estimate, jnp.float32))
    got = table_losses(process, pred, jnp.asarray(x0, jnp.float32), t, jnp.asarray(eps, jnp.float32))
    for name, value in naive.items():
        np.testing.assert_allclose(getattr(got, name), value, rtol=3e-4, atol=1e-5, err_msg=name)


def test_a_perfect_estimate_costs_nothing_but_the_prior_and_the_density():
    process = Mixed(ddpm_cosine(STEPS), 2, Blocks((3, 4)))
    x0, eps = jnp.asarray([0.3, -1.0, 0, 1, 0, 0, 0, 0, 1.0]), jax.random.normal(jax.random.key(1), (9,))
    for t in (0.01, 0.5, 1.0):
        found = table_losses(process, Prediction(eps, x0), x0, jnp.float32(t), eps)
        assert float(found.numeric) == float(found.x0) == 0
        assert 0 <= float(found.categorical) < 1e-3


def test_samples_of_the_exact_network_are_the_table():
    """Two records, known: the network that knows their posterior draws each as often as it occurs, and nothing else."""
    process = Mixed(ddpm_cosine(100), 1, Blocks((2, 3)))
    table = jnp.asarray([[1.5, 1, 0, 1, 0, 0], [-1.5, 0, 1, 0, 0, 1]])
    weights = jnp.asarray([0.3, 0.7])

    def denoise(xt, t):
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        number = -0.5 * ((xt[0] - alpha * table[:, 0]) / sigma) ** 2
        categories = jax.vmap(lambda row: (xt[1:] * jnp.log(process.marginal(row[1:], t))).sum())(table)
        x0 = jax.nn.softmax(jnp.log(weights) + number + categories) @ table
        return Prediction(jnp.zeros(6), x0)

    n = 2000
    drawn = jax.jit(jax.vmap(lambda key: mixed_ancestral(key, process, denoise)))(
        jax.random.split(jax.random.key(0), n)
    )
    first = np.abs(np.asarray(drawn) - np.asarray(table[0])).max(1) < 0.1
    second = np.abs(np.asarray(drawn) - np.asarray(table[1])).max(1) < 0.1
    # The estimate of x0 is a mean over both records, so that a category may still be drawn of the other at the end.
    assert (first | second).mean() > 0.97
    assert abs(first.mean() - 0.3) < 4 * np.sqrt(0.21 / n) + 0.02


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    kind = np.where(rng.random(200) < 0.9, label, 1 - label)
    number = rng.normal(size=200) * 0.3 + np.where(label, 1.0, -1.0)
    x = np.column_stack([number, np.eye(2)[kind], np.eye(3)[rng.integers(0, 3, 200)]]).astype(np.float32)
    return data.Pool(x, np.arange(200), "records", labels=label.astype(np.int32))


MODEL = tabddpm(1, (2, 3), num_classes=2, **SIZES["tiny"])
RECIPE = training.Recipe(num_steps=600, batch_size=64, learning_rate=3e-3, ema_decay=0.99, anneal=True)


@pytest.fixture(scope="module")
def run(records):
    return training.fit_table(jax.random.key(0), MODEL, records, RECIPE)


def test_it_learns_the_table(run, records):
    n = 1000
    told = np.arange(n) % 2
    drawn = draw_bank(jax.random.key(1), run.target, n, labels=told, block=500)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn[:, 1:3].sum(1), 1)
    np.testing.assert_array_equal(drawn[:, 3:].sum(1), 1)
    for label in (0, 1):
        real, made = records.x[records.labels == label], drawn[told == label]
        assert abs(real[:, 0].mean() - made[:, 0].mean()) < 0.15
        assert np.abs(real[:, 1:].mean(0) - made[:, 1:].mean(0)).max() < 0.12


def test_a_run_on_disk_is_the_run(run, records, tmp_path):
    recipe = replace(RECIPE, num_steps=6)
    whole = training.fit_table(jax.random.key(0), MODEL, records, recipe, out=tmp_path / "a", checkpoint_every=3)
    loaded = training.load_run(tmp_path / "a")
    assert loaded.model.config == tabddpm_from_config(MODEL.config).config == dict(MODEL.config)
    jax.tree.map(np.testing.assert_array_equal, loaded.target.params, whole.target.params)


WHITE = {
    "eps": attacks.loss_trajectory([0.25, 0.5], loss="eps"),
    "categorical": attacks.loss_trajectory([0.25, 0.5], loss="categorical"),
    "gsa": attacks.gradient_norms([0.25, 0.5]),
}


@pytest.mark.parametrize("name", WHITE)
def test_white_box_attacks_ask_about_records(run, records, name):
    asked = Query(records.x[:7], records.labels[:7], records.rows[:7])
    seen = audit(WHITE[name], run.target, asked, key=jax.random.key(0), block=4)
    assert np.isfinite(seen.scores).all()
    again = audit(WHITE[name], run.target, asked, key=jax.random.key(0), block=3)
    np.testing.assert_allclose(seen.scores, again.scores, rtol=1e-5)


def test_a_trajectory_holds_the_losses_by_name(run, records):
    attack, t = WHITE["eps"], jnp.float32(0.25)
    asked = Query(records.x[:3], records.labels[:3], records.rows[:3])
    seen = audit(attack, run.target, asked, key=jax.random.key(0))
    eps = attacks.noise.noise_at(attack.evidence, t, 1, MODEL.shape)[0]
    x0 = jnp.asarray(records.x[1])
    pred = MODEL.network.apply(run.target.params, MODEL.process.corrupt(x0, t, eps), t, records.labels[1])
    found = mixed(MODEL.process).losses(pred, x0, t, eps)
    for name in found._fields:
        np.testing.assert_allclose(getattr(seen.features, name)[1, 0, 0], getattr(found, name), rtol=1e-4)


def test_black_box_attacks_compare_records(run, records):
    bank = draw_bank(jax.random.key(1), run.target, 50, labels=np.arange(50) % 2)
    seen = audit(attacks.nearest(bank), run.target, Query(records.x, None, records.rows), key=jax.random.key(0))
    expected = np.linalg.norm(records.x[:, None].astype(np.float64) - bank[None], axis=-1).min(1)
    np.testing.assert_allclose(-seen.scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("attack", "says"),
    [(attacks.proximal([0.2]), "white-box or black-box"), (attacks.x0_trajectory([0.2]), "white-box or black-box")],
)
def test_gray_box_attacks_say_why_not(run, records, attack, says):
    with pytest.raises(InputError, match=says):
        audit(attack, run.target, Query(records.x, records.labels, records.rows), key=jax.random.key(0))


def test_private_steps_clip_what_one_record_adds(records):
    privacy = training.Privacy(noise_multiplier=1.0, delta=1e-3)
    recipe = replace(RECIPE, num_steps=2, batch_size=20)
    run = training.fit_table(None, MODEL, records, recipe, privacy=privacy)
    assert run.ledger is not None
    assert training.guarantee(run.ledger).epsilon > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.target.params))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tabddpm(0, ()), "at least one column"),
        (lambda: tabddpm(1, (1,)), "at least 2 categories"),
        (lambda: tabddpm(1, (2,), dim=3), "dim is even"),
        (lambda: tabddpm(1, (2,), dropout=1.0), "from 0 to below 1"),
        (lambda: tabddpm(1, (2,), schedule="ddpm-cosin"), "did you mean 'ddpm-cosine'"),
    ],
)
def test_mistakes_are_named(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_estimates_of_numbers_stay_within_scores_that_records_have():
    """A network that errs in the noise by a tenth, which the first step of a cosine schedule makes an error of 3."""
    process = Mixed(ddpm_cosine(50), 4, Blocks(()))

    def denoise(xt, t):
        eps = xt * process.schedule.sigma(t) + 0.1  # of N(0, 1) data exactly, but for the error
        return Prediction(eps, (xt - process.schedule.sigma(t) * eps) / process.schedule.alpha(t))

    drawn = jax.vmap(lambda key: mixed_ancestral(key, process, denoise))(jax.random.split(jax.random.key(0), 200))
    assert np.abs(drawn).max() <= BOUND
