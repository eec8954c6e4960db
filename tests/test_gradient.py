"""Gradient norms against central differences, closed forms and loops, on any devices; and the laws of their scores."""

import functools
import gc
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import f as f_distribution

from diffaudit_jax.attacks import gradient_norms
from diffaudit_jax.attacks.gradient import AGGREGATES, STATISTICS, score
from diffaudit_jax.attacks.noise import noise_at
from diffaudit_jax.auditing import audit, observing
from diffaudit_jax.stream import Stream, local_mesh
from diffaudit_jax.types import InputError, Query, to_signed
from tests.oracles import (
    EPS32,
    PROCESSES,
    SHAPE,
    auc,
    conv,
    cosine_betas,
    counted,
    gaussian,
    images,
    memorising,
    null_se,
    pool,
    signed,
)

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(5)
TIMES = (0.1, 0.5, 0.9)
# Gradients of `conv` sum over 4 x 4 positions x 8 channels x 9 taps, in any order.
ROUNDING = np.sqrt(1152) * EPS32
each_aggregate = pytest.mark.parametrize("aggregate", AGGREGATES)


def published(gradients, aggregate):
    """Norms [tensors] of one query, from gradients per tensor [times, ...]: GSA1 averages first, GSA2 afterwards."""
    rows = [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in gradients]
    if aggregate == "loss":
        return np.array([np.linalg.norm(leaf.mean(0)) for leaf in rows])
    return np.array([np.linalg.norm(leaf, axis=1).mean() for leaf in rows])


def slow_convolve(x, kernel):
    """A 3x3 convolution of [..., h, w, c] with zeros around it."""
    h, w = x.shape[-3:-1]
    x = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    return sum(x[..., i : i + h, j : j + w, :] @ kernel[i, j] for i in range(3) for j in range(3))


def slow_losses(params, x0, eps, steps):
    """The eps-MSE of the network `conv` at 0-based steps of the cosine schedule, in float64: [times]."""
    abar = np.cumprod(1 - cosine_betas(20))[steps][:, None, None, None, None]
    xt = np.sqrt(abar) * x0 + np.sqrt(1 - abar) * eps
    y = slow_convolve(xt, params["first"])
    grouped = y.reshape(*y.shape[:-3], -1, 2, y.shape[-1] // 2)
    centred = grouped - grouped.mean((-3, -1), keepdims=True)
    grouped = centred / np.sqrt((centred**2).mean((-3, -1), keepdims=True) + 1e-5)
    y = grouped.reshape(y.shape) + (steps + 1)[:, None, None, None, None] / 20
    return ((slow_convolve(y / (1 + np.exp(-y)), params["second"]) - eps) ** 2).mean((1, 2, 3, 4))


def central_differences(losses, params, step=1e-5):
    """Gradients of losses [times] by moving one weight at a time; their error is step^2 and eps64/step, 1e-10."""
    gradients = []
    for name, leaf in params.items():
        gradient = np.empty((len(TIMES), *leaf.shape))
        for at in np.ndindex(leaf.shape):
            moved = np.zeros_like(leaf)
            moved[at] = step
            ahead, behind = (losses({**params, name: leaf + sign * moved}) for sign in (1, -1))
            gradient[:, *at] = (ahead - behind) / (2 * step)
        gradients.append(gradient)
    return gradients


@functools.cache
def slow_gradients(row):
    """Of one query of `pool(2)`, with noise of its own: per tensor [times, ...]."""
    queries, steps = pool(2), np.round(np.asarray(TIMES) * 20).astype(int) - 1
    key = jax.random.fold_in(KEY, queries.row[row])
    eps = np.stack([np.float64(noise_at(key, jnp.float32(t), 2, SHAPE)) for t in TIMES])
    params = {name: np.float64(leaf) for name, leaf in conv(PROCESS).params.items()}
    return central_differences(lambda params: slow_losses(params, signed(queries.x)[row], eps, steps), params)


@each_aggregate
def test_norms_are_those_of_central_differences_in_float64(aggregate):
    attack = gradient_norms(TIMES, aggregate=aggregate, num_noises=2, common_noise=False)
    got = audit(attack, conv(PROCESS), pool(2), key=KEY, block=8).features
    assert (got.shape, got.dtype) == ((2, 2), np.float32)
    want = [published(slow_gradients(row), aggregate) for row in range(2)]
    np.testing.assert_allclose(got, want, rtol=ROUNDING)


@functools.cache
def looped_gradients():
    """Per query of `pool(11)` and per tensor [times, ...]: one program of one query at one time, called in a loop."""
    target, queries = conv(PROCESS), pool(11)

    def loss(params, x, t, eps):
        pred = target.network.apply(params, PROCESS.corrupt(x, t, eps), t)
        return ((pred.eps - eps) ** 2).mean()

    grad = jax.jit(jax.grad(loss))
    noise = [(jnp.float32(t), noise_at(jax.random.key(0), jnp.float32(t), 1, SHAPE)[0]) for t in TIMES]
    per_query = [[jax.tree.leaves(grad(target.params, x, t, eps)) for t, eps in noise] for x in to_signed(queries.x)]
    return [[np.stack(leaf) for leaf in zip(*per_time, strict=True)] for per_time in per_query]


@each_aggregate
@pytest.mark.parametrize(("devices", "block"), [(1, 4), (8, 16)])
def test_norms_are_each_querys_own_on_any_devices(aggregate, devices, block):
    attack = gradient_norms(TIMES, aggregate=aggregate)
    seen = audit(attack, conv(PROCESS), pool(11), key=KEY, block=block, mesh=local_mesh(devices))
    want = np.stack([published(gradients, aggregate) for gradients in looped_gradients()])
    np.testing.assert_allclose(seen.features, want, rtol=ROUNDING)
    assert len(np.unique(np.round(want[:, 0], 5))) == 11


@pytest.mark.parametrize("name", ["ncsn-50", "vp"])
def test_norms_of_an_exact_model_are_its_closed_form(name):
    process, queries, mean, var = PROCESSES[name], pool(5), 0.2, 0.5
    seen = {
        aggregate: audit(gradient_norms(TIMES, aggregate=aggregate), gaussian(process, mean, var), queries, key=KEY)
        for aggregate in AGGREGATES
    }
    by_mean, by_var = [], []
    for t in np.asarray(TIMES, np.float32):
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        eps = np.float64(noise_at(jax.random.key(0), jnp.asarray(t), 1, SHAPE)[0])
        scale, offset = alpha**2 * var + sigma**2, alpha * (signed(queries.x) - mean) + sigma * eps
        pull = 2 * (sigma * offset / scale - eps) / eps.size
        by_mean.append(-pull * sigma * alpha / scale)
        by_var.append((-pull * sigma * offset * alpha**2 / scale**2).sum((1, 2, 3))[:, None])
    for aggregate, one in seen.items():
        want = [published([np.stack(leaf)[:, i] for leaf in (by_mean, by_var)], aggregate) for i in range(5)]
        # What eps_hat leaves of eps is alpha/scale of numbers of size 3, each rounded a few times; then 32 are summed.
        np.testing.assert_allclose(one.features, want, rtol=64 * 32 * EPS32)


def test_one_time_makes_the_two_attacks_one_and_more_order_them():
    def seen(times, aggregate):
        attack = gradient_norms(times, aggregate=aggregate)
        return audit(attack, gaussian(PROCESS, 0.2), pool(8), key=KEY, block=8).features

    # A residual is rounded a few times, and 32 are summed.
    np.testing.assert_allclose(seen([0.3], "loss"), seen([0.3], "gradient"), rtol=32 * 4 * EPS32)
    # The norm of a mean is less than the mean of the norms, unless the gradients all point one way.
    assert (seen(TIMES, "loss")[:, 0] < seen(TIMES, "gradient")[:, 0]).all()


def test_common_noise_is_shared_and_own_noise_is_not():
    twice = Query(np.repeat(images(1), 2, axis=0), None, np.array([3, 8]))
    shared, own, rekeyed = (
        audit(gradient_norms([0.3], **options), gaussian(PROCESS, 0.2), twice, key=KEY).features
        for options in ({}, {"common_noise": False}, {"noise_key": jax.random.key(1)})
    )
    np.testing.assert_array_equal(shared[0], shared[1])
    assert (own[0] != own[1]).all()
    assert (shared != rekeyed).all()


def test_gsa2_keeps_the_contract_of_gsa1():
    attack = gradient_norms([0.1, 0.5], aggregate="gradient")
    target, calls = counted(conv(PROCESS))
    access, query = attack.grant(target), Query(to_signed(images(1)[0]), None, 0)
    jax.jit(lambda query: attack.observe(access, attack.evidence, KEY, query))(query)
    jax.effects_barrier()
    assert len(calls) == attack.spec.calls == 2
    queries = pool(24)
    scores = audit(attack, memorising(PROCESS, signed(queries.x[:12])), queries, key=KEY, block=24).scores
    assert auc(scores[:12], scores[12:]) == 1
    scores = audit(attack, gaussian(PROCESS), pool(600), key=KEY, block=600).scores
    assert abs(auc(scores[:300], scores[300:]) - 0.5) < 4 * null_se(300, 300)


def test_the_published_grid_is_the_default():
    spec = gradient_norms().spec
    assert [round(1000 * t) - 1 for t in spec.config["times"]] == list(range(99, 1000, 100))
    assert spec.calls == 10
    assert gradient_norms(num_noises=3).spec.calls == 30


def test_device_memory_does_not_grow_with_the_number_of_queries():
    target, attack = conv(PROCESS), gradient_norms(TIMES, aggregate="gradient")
    run = Stream(observing(attack, target), block=16)

    def live():
        return sum(array.nbytes for array in jax.live_arrays() if len(array.devices()) == jax.device_count())

    def peak(n):
        gc.collect()
        before = live()
        return max(live() - before for _ in run((target.params, attack.evidence), KEY, pool(n)))

    # Parameters, two keys, and a norm per query and tensor of two blocks: no gradient leaves the program.
    replicated = sum(leaf.nbytes for leaf in jax.tree.leaves(target.params)) + 2 * jax.random.key_data(KEY).nbytes
    assert peak(64) == peak(256) == 2 * 16 * 2 * 4 + replicated
    assert run.num_compiles == 1


N, D, OTHERS, FITS = 8, 64, 24, 150


def test_auc_on_a_fitted_gaussian_is_the_closed_form():
    """A mean of N members is pulled at by sigma (x - mean) - alpha eps, of variance 1 -+ sigma^2/N: AUC = F_{D,D}."""
    t, shape, rng = 0.6, (D, 1, 1), np.random.default_rng(8)
    attack, target = gradient_norms([t], common_noise=False), gaussian(PROCESS, shape=shape)

    def one(mean, x, row):
        access = attack.grant(replace(target, params={"mean": mean.reshape(shape), "var": jnp.float32(1)}))
        query = Query(x.reshape(shape), None, row)
        return attack.observe(access, attack.evidence, jax.random.fold_in(KEY, row), query)

    x = rng.normal(size=(FITS, N + OTHERS, D))
    means, rows = x[:, :N].mean(1), np.arange(FITS * (N + OTHERS)).reshape(FITS, -1)
    seen = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0))))(jnp.float32(means), jnp.float32(x), rows)
    scores = -np.asarray(seen)[:, :, 0]
    aucs = np.array([auc(of_fit[:N], of_fit[N:]) for of_fit in scores])
    share, se = float(PROCESS.sigma(jnp.float32(t))) ** 2 / N, aucs.std() / np.sqrt(FITS)
    assert abs(aucs.mean() - f_distribution.cdf((1 + share) / (1 - share), D, D)) < 4 * se
    assert aucs.mean() > 0.5 + 4 * se


def stored(n=9, tensors=6):
    return np.random.default_rng(2).lognormal(-3, 2, (n, tensors)).astype(np.float32)


def test_scores_are_what_the_definitions_say():
    norms = stored()
    np.testing.assert_allclose(score("log")(norms), [-sum(map(np.log, map(float, row))) / 6 for row in norms])
    np.testing.assert_allclose(score("norm")(norms), [-np.linalg.norm(np.float64(row)) for row in norms])
    for statistic in STATISTICS:
        attack = gradient_norms(statistic=statistic)
        np.testing.assert_array_equal(attack.score(norms), score(statistic)(norms))
        assert attack.spec.scoring == {"statistic": statistic}
    assert gradient_norms().spec.scoring == {"statistic": "log"}


def test_the_log_score_does_not_depend_on_the_scale_in_which_a_tensor_is_written():
    norms = stored()
    scaled = norms * np.float32([1, 64, 1, 1, 1 / 32, 1])
    np.testing.assert_allclose(score("log")(scaled) + np.log(64 / 32) / 6, score("log")(norms), rtol=1e-12)
    assert (np.argsort(score("norm")(scaled)) != np.argsort(score("norm")(norms))).any()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_tensor_without_gradient_tells_queries_apart_no_better_or_worse(statistic):
    norms, dead = stored(), np.zeros((9, 1), np.float32)
    with_dead = score(statistic)(np.concatenate([norms, dead], axis=1))
    assert np.isfinite(with_dead).all()
    np.testing.assert_array_equal(np.argsort(with_dead), np.argsort(score(statistic)(norms)))
    assert np.isfinite(score(statistic)(np.zeros((2, 3), np.float32))).all()


def test_a_head_of_zeros_is_scored():
    target = conv(PROCESS)
    target = replace(target, params={**target.params, "second": jnp.zeros_like(target.params["second"])})
    seen = audit(gradient_norms(TIMES), target, pool(5), key=KEY, block=8)
    np.testing.assert_array_equal(seen.features[:, 0], 0)
    assert (seen.features[:, 1] > 0).all()
    assert np.isfinite(seen.scores).all()
    assert len(np.unique(seen.scores)) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": []}, r"times lie in \(0, 1\], got none"),
        ({"times": [0.0, 0.5]}, r"times lie in \(0, 1\], got 0 to 0.5"),
        ({"times": [99, 199]}, "got 99 to 199"),
        ({"num_noises": 0}, "at least 1 noise draw per time is needed, got num_noises=0"),
        ({"aggregate": "gradients"}, "unknown aggregate 'gradients': did you mean 'gradient'"),
        ({"statistic": "norms"}, "unknown statistic 'norms': did you mean 'norm'"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        gradient_norms(**arguments)
