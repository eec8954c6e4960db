"""The likelihood attack against a slow recursion, exact densities, the best AUC there is, and the luck of its signs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import f as f_distribution

from diffaudit_jax.attacks import likelihood
from diffaudit_jax.auditing import audit, observing
from diffaudit_jax.sampler import edm_grid
from diffaudit_jax.target import diffusion_target
from diffaudit_jax.types import InputError, Network, Prediction, Query
from tests.oracles import EPS32, PROCESSES, auc, gaussian, linear_betas, memorising, pool, signed

KEY = jax.random.key(6)
SHAPE = (2, 2, 1)
MEAN, VAR = 0.3, 0.25


def levels_of(process, times):
    """The noise level at each time above 0, increasing, in float64."""
    times = np.unique(np.asarray(times, np.float32))
    times = jnp.asarray(times[times > 0])
    return np.float64(jax.vmap(process.sigma)(times)) / np.float64(jax.vmap(process.alpha)(times))


def bits(nats, num):
    return np.log2(127.5) - nats / (num * np.log(2))


def slow_nats(members, x, levels, signs):
    """One query: Heun steps up the levels under the exact model of the members, all in float64.

    Its estimate m is their mean with weights softmax(-|xbar - m_i|^2/(2 s^2)), whose derivative is their covariance
    over s^2; so d eps/d xbar = (1 - cov/s^2)/s.
    """

    def slope(xbar, s):
        logits = -((xbar - members) ** 2).sum(1) / (2 * s**2)
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        centred = members - weights @ members
        turned = [(v - (weights * (centred @ v)) @ centred / s**2) / s for v in signs]
        return (xbar - weights @ members) / s, np.mean([v @ w for v, w in zip(signs, turned, strict=True)])

    xbar, total = x, 0.0
    for s, there in itertools.pairwise(levels):
        d, div = slope(xbar, s)
        d_there, div_there = slope(xbar + (there - s) * d, there)
        xbar, total = xbar + (there - s) * (d + d_there) / 2, total + (there - s) * (div + div_there) / 2
    var = 1 + levels[-1] ** 2
    return total - (xbar @ xbar) / (2 * var) - len(x) * np.log(2 * np.pi * var) / 2


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("name", ["linear-50", "edm"])
def test_features_are_the_bits_of_a_slow_recursion(name, common):
    process, queries = PROCESSES[name], pool(6)
    times = np.round(np.linspace(0.3, 1, 12) * 50) / 50
    members = signed(queries.x[:3]).reshape(3, -1)
    attack = likelihood(times, num_probes=2, probe_key=jax.random.key(4), common_probes=common)
    seen = audit(attack, memorising(process, signed(queries.x[:3])), queries, key=KEY, block=8)
    assert (seen.features.shape, seen.features.dtype) == ((6,), np.float32)
    np.testing.assert_array_equal(seen.scores, -np.float64(seen.features))

    abar = np.cumprod(1 - linear_betas(50))[np.round(times * 50).astype(int) - 1]
    levels = np.sqrt((1 - abar) / abar) if name == "linear-50" else levels_of(process, times)
    for x, row, got in zip(signed(queries.x).reshape(6, -1), queries.row, seen.features, strict=True):
        key = jax.random.key(4) if common else jax.random.fold_in(KEY, row)
        signs = np.float64(jax.random.rademacher(key, (2, *queries.x.shape[1:]))).reshape(2, -1)
        nats = slow_nats(members, x, levels, signs)
        # A few roundings in each of 22 calls, of terms that reach 100 nats.
        np.testing.assert_allclose(got, bits(nats, 32), atol=22 * 8 * EPS32 * 100 / 32)


def normal_log_density(x, mean, var):
    return (-((x - mean) ** 2) / (2 * var) - np.log(2 * np.pi * var) / 2).sum(1)


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_density_is_exact_up_to_an_error_of_second_order(name):
    process = PROCESSES[name]
    x = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32)
    queries = Query(x.reshape(5, *SHAPE), None, np.arange(5))
    errors = []
    for num in (32, 64):
        times = edm_grid(process, num, least=0.02)
        least, most = levels_of(process, times)[[0, -1]]
        # Where the ODE takes x, and its volume with it; the prior N(0, 1 + s^2) is not quite theirs.
        gain = np.sqrt((VAR + most**2) / (VAR + least**2))
        want = normal_log_density(MEAN + gain * (x - MEAN), 0.0, 1 + most**2) + 4 * np.log(gain)
        seen = audit(likelihood(times), gaussian(process, MEAN, VAR, SHAPE), queries, key=KEY, block=8)
        errors.append(np.abs(seen.features - bits(want, 4)).max())
        # And that is the density of the data with the first level's noise in it, but for what the prior ignores.
        exact, away = normal_log_density(x, MEAN, VAR + least**2), np.abs(x - MEAN)
        ignored = 2 * MEAN * gain * away + MEAN**2 + (1 - VAR) * (1 + away**2 / (VAR + least**2))
        assert (np.abs(exact - want) < ignored.sum(1) / (2 * most**2)).all()
    assert 1.7 < np.log2(errors[0] / errors[1]) < 2.5


N, D, OTHERS, FITS = 8, 64, 24, 150


def test_auc_on_a_fitted_gaussian_is_the_best_there_is():
    """Of N(mean of N members, I), x - mean has variance 1 -+ 1/N, so AUC = F_{D,D}((N + 1)/(N - 1))."""
    process, rng = PROCESSES["edm"], np.random.default_rng(8)
    attack, target = likelihood(edm_grid(process, 12, least=0.05)), gaussian(process, shape=(D, 1, 1))
    observe = observing(attack, target)

    def one(mean, x):
        shared = {"mean": mean.reshape(D, 1, 1), "var": jnp.float32(1)}, attack.evidence
        return observe(shared, KEY, Query(x.reshape(D, 1, 1), None, jnp.int32(0)))

    x = rng.normal(size=(FITS, N + OTHERS, D))
    seen = jax.jit(jax.vmap(jax.vmap(one, (None, 0))))(jnp.float32(x[:, :N].mean(1)), jnp.float32(x))
    aucs = np.array([auc(-of_fit[:N], -of_fit[N:]) for of_fit in np.asarray(seen)])
    assert abs(aucs.mean() - f_distribution.cdf((N + 1) / (N - 1), D, D)) < 4 * aucs.std() / np.sqrt(FITS)


def correlated(process):
    """The exact model of N(0, C) with C far from diagonal: the Jacobian is the same at every query."""
    root = np.random.default_rng(0).normal(size=(4, 4))
    values, vectors = np.linalg.eigh(root @ root.T / 4)
    params = {"to": jnp.asarray(vectors, jnp.float32), "values": jnp.asarray(values, jnp.float32)}

    def apply(params, xt, t, cond=None, *, key=None) -> Prediction:
        alpha, sigma = process.alpha(t), process.sigma(t)
        shrink = sigma / (alpha**2 * params["values"] + sigma**2)
        return Prediction((params["to"] @ (shrink * (params["to"].T @ xt.ravel()))).reshape(SHAPE), xt)

    return diffusion_target(params, Network(lambda key: params, apply), process, SHAPE, sample_steps=4)


@functools.cache
def seen_by(common, seed):
    process = PROCESSES["edm"]
    attack = likelihood(edm_grid(process, 12, least=0.05), probe_key=jax.random.key(seed), common_probes=common)
    return audit(attack, correlated(process), pool(40, shape=SHAPE), key=jax.random.key(seed), block=40).features


def test_the_luck_of_common_signs_cancels_when_queries_are_compared():
    # Bits are sums of some 20 terms of size 10, a few roundings each.
    rounding = 20 * 10 * 4 * EPS32
    luck = {common: seen_by(common, 0) - seen_by(common, 1) for common in (True, False)}
    assert abs(luck[True].mean()) > 100 * rounding
    np.testing.assert_allclose(luck[True], luck[True].mean(), atol=rounding)
    assert luck[False].std() > 100 * rounding


def test_calls_and_settings_are_known_beforehand_and_tell_grids_apart():
    given = likelihood([1.0, 0.3, 0.0, 0.1, 0.3]).spec
    assert given == likelihood([0.1, 0.3, 1.0]).spec
    assert given.calls == 4
    assert given.config["times"] == [0.1, 0.3, 1.0]
    assert likelihood([1.1e-6, 1.0]).spec.config != likelihood([1.2e-6, 1.0]).spec.config
    process = PROCESSES["vp"]
    assert likelihood(edm_grid(process, 32)).spec.calls == 2 * 31


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": []}, r"times lie in \(0, 1\], got none"),
        ({"times": [0.0]}, r"times lie in \(0, 1\], got none"),
        ({"times": [-0.1, 1.0]}, r"got -0.1 to 1; a published"),
        ({"times": [0.5, 1.5]}, "got 0.5 to 1.5"),
        ({"times": [np.nan, 1.0]}, "got nan"),
        ({"times": [0.0, 0.5, 0.5]}, "2 or more times above 0 and 1 probe, got 1, num_probes=1"),
        ({"times": [0.5, 1.0], "num_probes": 0}, "got 2, num_probes=0"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        likelihood(**arguments)
