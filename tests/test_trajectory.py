"""Loss trajectories: statistics against naive loops, noise by (key, time), and an oracle with a known AUC."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import f as f_distribution

from diffaudit_jax.access import GrayBox
from diffaudit_jax.attacks import gradient_norms, likelihood, loss_trajectory, x0_trajectory
from diffaudit_jax.attacks.noise import keys_at, noise_at
from diffaudit_jax.attacks.statistics import LOSSES, STATISTICS, Errors, score
from diffaudit_jax.auditing import audit
from diffaudit_jax.losses import Losses
from diffaudit_jax.types import InputError, Query, to_signed
from tests.oracles import EPS32, PROCESSES, SHAPE, auc, gaussian, images, pool, signed

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(4)
GRID = [0.1, 0.25, 0.5, 0.75, 1.0]


def stored(n=7, noises=3):
    """A stored pass with losses that are not monotone in time."""
    rng = np.random.default_rng(6)
    return Losses(*(jnp.asarray(rng.gamma(2, size=(n, len(GRID), noises)), jnp.float32) for _ in LOSSES))


def slow_score(features, loss, statistic, kept):
    """One query at a time; `kept` says which of its (time, value) pairs count."""
    out = []
    for trajectory in getattr(features, loss):
        values = [sum(float(v) for v in draws) / len(draws) for draws in trajectory]
        values = [value for _, value in kept(list(zip(GRID, values, strict=True)))]
        middle = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
        out.append(
            -{
                "sum": sum(values),
                "mean": sum(values) / len(values),
                "median": sum(middle) / 2,
                "min": min(values),
                "max": max(values),
            }[statistic]
        )
    return out


TRUNCATIONS = {
    "none": ({}, lambda pairs: pairs),
    "time .6": ({"truncate": 0.6}, lambda pairs: [pair for pair in pairs if pair[0] <= 0.6]),
    "time at a grid point": ({"truncate": 0.1}, lambda pairs: pairs[:1]),
    "value .4": ({"truncate": 0.4, "by": "value"}, lambda pairs: sorted(pairs, key=lambda pair: pair[1])[:3]),
    "value .5": ({"truncate": 0.5, "by": "value"}, lambda pairs: sorted(pairs, key=lambda pair: pair[1])[:3]),
    "value 0": ({"truncate": 0.0, "by": "value"}, lambda pairs: pairs),
}


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_score_of_one_stored_pass(loss, statistic, truncation):
    options, kept = TRUNCATIONS[truncation]
    features = stored()
    got = score(GRID, loss=loss, statistic=statistic, **options)(features)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, slow_score(features, loss, statistic, kept), rtol=1e-12)
    attack = loss_trajectory(GRID, loss=loss, statistic=statistic, **options)
    np.testing.assert_array_equal(attack.score(features), got)


@pytest.mark.parametrize("num", [10, 50, 100, 1000])
def test_a_dropped_fraction_is_not_lost_to_rounding(num):
    times = np.arange(1, num + 1) / num
    features = Losses(*np.broadcast_to(np.arange(1.0, num + 1)[None, :, None], (3, 1, num, 1)))
    for percent in range(0, 100, 10 if num == 10 else 2 if num == 50 else 1):
        kept = -score(times, statistic="max", truncate=percent / 100, by="value")(features)
        assert kept == num - num * percent // 100


@functools.cache
def observer(times=tuple(GRID), **options):
    """An attack as one program of (params, evidence, key, queries), for any Gaussian model."""
    attack = loss_trajectory(times, num_noises=2, **options)
    target = gaussian(PROCESS)

    def one(params, evidence, key, query):
        access = attack.grant(replace(target, params=params))
        return attack.observe(access, evidence, jax.random.fold_in(key, query.row), query)

    return jax.jit(jax.vmap(one, (None, None, None, 0)))


def seen(queries, mean=0.2, noise_key=None, key=KEY, **options):
    """Features of [n, times, noises] under the exact model of N(mean, 1/2)."""
    noise_key = jax.random.key(0) if noise_key is None else noise_key
    query = Query(to_signed(queries.x), None, jnp.asarray(queries.row))
    params = {"mean": jnp.full(SHAPE, mean), "var": jnp.float32(0.5)}
    return jax.tree.map(np.asarray, observer(**options)(params, noise_key, key, query))


def test_losses_are_what_the_definitions_say():
    queries = pool(3)
    got = seen(queries, clip=False)
    assert got.eps.shape == (3, len(GRID), 2)
    for j, t in enumerate(np.asarray(GRID, np.float32)):
        alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
        noise = np.float64(noise_at(jax.random.key(0), jnp.asarray(t), 2, SHAPE))
        x0 = signed(queries.x)[:, None]
        xt = alpha * x0 + sigma * noise
        x0_hat = (sigma**2 * 0.2 + 0.5 * alpha * xt) / (alpha**2 * 0.5 + sigma**2)
        eps_hat = (xt - alpha * x0_hat) / sigma
        # A few roundings of numbers of size 3; eps' - eps is alpha/sigma of what they leave of x0' - x0.
        for loss, want, rtol in (("x0", x0_hat - x0, 64), ("eps", eps_hat - noise, 64 * max(1, (sigma / alpha) ** 2))):
            np.testing.assert_allclose(
                getattr(got, loss)[:, j], (want**2).mean((2, 3, 4)), rtol=rtol * EPS32, err_msg=f"{loss} at {t}"
            )


def test_noise_depends_on_key_time_and_draw_alone():
    t = jnp.float32(0.3)
    two, three = noise_at(KEY, t, 2, SHAPE), noise_at(KEY, t, 3, SHAPE)
    np.testing.assert_array_equal(two, three[:2])
    others = [noise_at(jax.random.key(5), t, 2, SHAPE), noise_at(KEY, jnp.float32(0.31), 2, SHAPE), two[::-1]]
    for other in others:
        assert (np.asarray(other) != two).all()
    draws = np.asarray(noise_at(KEY, t, 4000, SHAPE), np.float64)
    assert abs(draws.mean()) < 4 / np.sqrt(draws.size)
    assert abs(draws.var() - 1) < 4 * np.sqrt(2 / draws.size)


def test_common_noise_is_shared_and_own_noise_is_not():
    twice = Query(np.repeat(images(1), 2, axis=0), None, np.array([3, 8]))
    for shared, own in zip(seen(twice, clip=False), seen(twice, clip=False, common_noise=False), strict=True):
        np.testing.assert_array_equal(shared[0], shared[1])
        assert (own[0] != own[1]).all()
        assert (own[:, :, 0] != own[:, :, 1]).all()


def test_evidence_keys_common_noise_and_the_audits_key_ones_own():
    queries, other = pool(4), jax.random.key(99)
    for common, matters, ignored in ((True, "noise_key", "key"), (False, "key", "noise_key")):
        options: dict[str, Any] = {"common_noise": common, "clip": False}
        base = seen(queries, **options)
        np.testing.assert_array_equal(base.eps, seen(queries, **{**options, ignored: other}).eps)
        assert (base.eps != seen(queries, **{**options, matters: other}).eps).all()


def test_grids_share_their_values_at_the_times_they_share():
    queries = pool(5)
    full, part = seen(queries, clip=False), seen(queries, clip=False, times=(0.25, 0.75))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[:, [1, 3]], rtol=8 * EPS32), part, full)


def test_clipping_bounds_the_losses():
    clipped, free = (seen(pool(4), mean=5.0, clip=clip) for clip in (True, False))
    assert clipped.x0.max() <= 4
    assert free.x0[:, -1].min() > 9
    assert clipped.eps[:, -1].max() < free.eps[:, -1].min()


def fits(num_fits, n, d, num_others, seed):
    """Members [fits, n, d], others [fits, num_others, d], all N(0, 1), and each fit's mean of its members."""
    rng = np.random.default_rng(seed)
    members, others = rng.normal(size=(num_fits, n, d)), rng.normal(size=(num_fits, num_others, d))
    return members, others, members.mean(1)


N, D, OTHERS, FITS, TIMES = 8, 64, 24, 150, (0.25, 0.6, 1.0)


@functools.cache
def features_of_fits(common_noise):
    """What a trajectory sees of many exact models N(mean of N members, I), each asked about its own N + OTHERS."""
    shape = (D, 1, 1)
    attack = loss_trajectory(TIMES, num_noises=2, common_noise=common_noise, clip=False)
    target = gaussian(PROCESS, shape=shape)

    def one(mean, x, row):
        access = attack.grant(replace(target, params={"mean": mean.reshape(shape), "var": jnp.float32(1)}))
        key = jax.random.fold_in(KEY, row)
        return attack.observe(access, attack.evidence, key, Query(x.reshape(shape), None, row))

    members, others, means = fits(FITS, N, D, OTHERS, seed=8)
    x = np.concatenate([members, others], axis=1).astype(np.float32)
    rows = np.arange(FITS * (N + OTHERS)).reshape(FITS, -1)
    seen = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0))))(means.astype(np.float32), x, rows)
    return jax.tree.map(np.asarray, seen)


def aucs_of_fits(features, rule):
    scores = [rule(jax.tree.map(lambda leaf, fit=fit: leaf[fit], features)) for fit in range(FITS)]
    return np.array([auc(s[:N], s[N:]) for s in scores])


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("loss", LOSSES)
def test_auc_on_a_fitted_gaussian_is_the_closed_form(loss, t):
    """The residual sigma (x - mean) - alpha eps has variance 1 -+ sigma^2/N, so AUC = F_{D,D}(ratio of the two)."""
    j = TIMES.index(t)
    one_draw = jax.tree.map(lambda leaf: leaf[:, :, j : j + 1, :1], features_of_fits(False))
    aucs = aucs_of_fits(one_draw, score([t], loss=loss))
    share = float(PROCESS.sigma(jnp.float32(t))) ** 2 / N
    want = f_distribution.cdf((1 + share) / (1 - share), D, D)
    se = aucs.std() / np.sqrt(FITS)
    assert abs(aucs.mean() - want) < 4 * se
    assert aucs.mean() > 0.5 + 4 * se


@pytest.mark.parametrize("common_noise", [True, False])
def test_auc_of_a_whole_trajectory_is_that_of_a_simulation(common_noise):
    aucs = aucs_of_fits(features_of_fits(common_noise), score(TIMES))
    rng, simulated = np.random.default_rng(9), []
    members, others, means = fits(1000, N, D, OTHERS, seed=10)
    alpha, sigma = (np.array([float(f(jnp.float32(t))) for t in TIMES]) for f in (PROCESS.alpha, PROCESS.sigma))
    for fit in range(1000):
        x = np.concatenate([members[fit], others[fit]]) - means[fit]
        eps = rng.normal(size=(1 if common_noise else len(x), len(TIMES), 2, D))
        residual = (alpha * sigma)[:, None, None] * x[:, None, None] - (alpha**2)[:, None, None] * eps
        scores = -(residual**2).mean((1, 2, 3))
        simulated.append(auc(scores[:N], scores[N:]))
    se = np.sqrt(aucs.var() / FITS + np.var(simulated) / 1000)
    assert abs(aucs.mean() - np.mean(simulated)) < 4 * se
    assert aucs.mean() > 0.5 + 4 * se


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": []}, r"times lie in \(0, 1\], got none"),
        (
            {"times": [0.0, 0.5]},
            r"times lie in \(0, 1\], got 0 to 0.5; a published 0-based step i of T is \(i \+ 1\)/T",
        ),
        ({"times": [0.5, 1.5]}, "got 0.5 to 1.5"),
        ({"times": [50, 100]}, "got 50 to 100"),
        ({"times": [np.nan]}, "got nan"),
        ({"truncate": 0.05}, "truncate=0.05 by time keeps none of the 5 times from 0.1 on"),
        ({"truncate": np.nan}, "truncate is a time or a share, from 0 to 1, got nan"),
        ({"truncate": 1.0, "by": "value"}, "truncate=1.0 by value keeps none"),
        ({"truncate": -0.2, "by": "value"}, "from 0 to 1, got -0.2"),
        ({"truncate": np.nan, "by": "value"}, "from 0 to 1, got nan"),
        ({"truncate": np.inf, "by": "value"}, "from 0 to 1, got inf"),
        ({"num_noises": 0}, "at least 1 noise draw per time is needed, got num_noises=0"),
        ({"variance": "learnd"}, "unknown variance 'learnd': did you mean 'learned'"),
        ({"loss": "esp"}, "unknown loss 'esp': did you mean 'eps'"),
        ({"statistic": "avg"}, "unknown statistic 'avg'"),
        ({"by": "times"}, "unknown truncation 'times': did you mean 'time'"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        loss_trajectory(**{"times": GRID, **arguments})


@pytest.mark.parametrize("make", [loss_trajectory, x0_trajectory, gradient_norms, likelihood])
@pytest.mark.parametrize(("times", "steps"), [([0.01, 0.3], r"\[0, 6\]"), ([0.3, 0.31], r"\[6\]")])
def test_times_that_a_coarse_schedule_takes_for_clean_or_for_one_another_are_refused(make, times, steps):
    with pytest.raises(InputError, match=rf"2 times from .* fall on the steps {steps} of a schedule of 20"):
        audit(make(times), gaussian(PROCESSES["cosine-20"]), pool(2), key=jax.random.key(0))


def test_times_that_differ_are_two_audits():
    assert x0_trajectory([1e-5]).spec.config != x0_trajectory([1.04e-5]).spec.config


@pytest.mark.parametrize(("clip", "common_noise"), [(True, True), (False, False)])
def test_an_api_of_x0_estimates_gives_the_x0_part_of_a_loss_trajectory(clip, common_noise):
    options: dict[str, Any] = {"num_noises": 2, "clip": clip, "common_noise": common_noise}
    target = gaussian(PROCESS, 0.9, 0.5)
    white = audit(loss_trajectory(GRID, loss="x0", truncate=0.5, **options), target, pool(5), key=KEY, block=8)
    gray = audit(x0_trajectory(GRID, truncate=0.5, **options), target, pool(5), key=KEY, block=8)
    # Two programs may round x_t and the estimate once each in another place.
    np.testing.assert_allclose(gray.features.x0, white.features.x0, rtol=16 * EPS32, atol=16 * EPS32)
    np.testing.assert_allclose(gray.scores, white.scores, rtol=16 * EPS32, atol=16 * EPS32)
    assert gray.features._fields == ("x0",)


def test_the_scores_of_an_api_trajectory_are_those_of_its_stored_errors():
    x0 = stored().x0
    attack = x0_trajectory(GRID, statistic="max", truncate=0.4, by="value")
    np.testing.assert_array_equal(
        attack.score(Errors(x0)), score(GRID, loss="x0", statistic="max", truncate=0.4, by="value")(stored())
    )
    with pytest.raises(InputError, match=r"unknown loss 'eps'.*There are x0"):
        score(GRID)(Errors(x0))


def test_a_noisy_api_answers_each_question_with_its_own_key_and_never_with_the_queries_noise():
    """The API's answer is its key's own draw: the errors are then the squares of what it drew, minus the query."""
    attack = x0_trajectory(GRID, num_noises=2, common_noise=False, clip=False)
    asked = GrayBox(PROCESS, lambda key, xt, t, cond: jax.random.normal(key, SHAPE))
    query = Query(jnp.zeros(SHAPE), None, jnp.int32(0))
    observe = jax.jit(lambda key: attack.observe(asked, attack.evidence, key, query).x0)
    errors = np.asarray(observe(KEY))
    assert len(np.unique(errors)) == errors.size
    assert (errors != np.asarray(observe(jax.random.key(9)))).all()
    for j, t in enumerate(np.asarray(GRID, np.float32)):
        own = jax.vmap(lambda key: jax.random.normal(key, SHAPE))(keys_at(KEY, jnp.asarray(t), 2))
        np.testing.assert_array_equal(own, noise_at(KEY, jnp.asarray(t), 2, SHAPE))
        assert (np.abs(errors[j] - np.mean(np.square(own), (1, 2, 3))) > 64 * EPS32).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": [0.0]}, r"times lie in \(0, 1\], got 0 to 0"),
        ({"num_noises": 0}, "at least 1 noise draw per time is needed, got num_noises=0"),
        ({"truncate": 0.05}, "truncate=0.05 by time keeps none"),
        ({"statistic": "avg"}, "unknown statistic 'avg'"),
        ({"by": "times"}, "unknown truncation 'times'"),
    ],
)
def test_bad_input_of_an_api_trajectory_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        x0_trajectory(**{"times": GRID, **arguments})
