"""Fluctuations of the loss against a slow re-implementation, and what sharing the noise is good for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.access import GrayBox
from diffaudit_jax.attacks import fluctuation, x0_trajectory
from diffaudit_jax.attacks.fluctuation import PUBLISHED_TIMES, STRENGTHS, cropped, fluctuations
from diffaudit_jax.attacks.noise import noise_at
from diffaudit_jax.auditing import audit
from diffaudit_jax.types import InputError, Query, to_signed
from tests.oracles import EPS32, PROCESSES, SHAPE, gaussian, images, pool, signed

PROCESS = PROCESSES["cosine-20"]
KEY = jax.random.key(11)
TIMES = (0.25, 0.5, 0.75)
SHARES = (0.8, 0.5)
MEAN, VAR = 0.2, 0.5


def slow_crop(x, share):
    """The middle, then each output pixel's centre looked up between the nearest pixels, beyond the edge the edge."""
    height, width = x.shape[:2]
    kept_h, kept_w = max(1, int(height * share)), max(1, int(width * share))
    top, left = round((height - kept_h) / 2), round((width - kept_w) / 2)
    middle, out = x[top : top + kept_h, left : left + kept_w], np.empty(x.shape)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * kept_h / height - 0.5, 0), kept_h - 1)
            z = min(max((j + 0.5) * kept_w / width - 0.5, 0), kept_w - 1)
            y0, z0 = int(y), int(z)
            y1, z1 = min(y0 + 1, kept_h - 1), min(z0 + 1, kept_w - 1)
            upper = (1 - (z - z0)) * middle[y0, z0] + (z - z0) * middle[y0, z1]
            lower = (1 - (z - z0)) * middle[y1, z0] + (z - z0) * middle[y1, z1]
            out[i, j] = (1 - (y - y0)) * upper + (y - y0) * lower
    return out


def slow_losses(x, num_noises):
    """[views, times] of the exact model of N(MEAN, VAR): eps' = sigma (x_t - alpha MEAN)/(alpha^2 VAR + sigma^2)."""
    out = []
    for view in [x, *(slow_crop(x, share) for share in SHARES)]:
        row = []
        for t in np.asarray(TIMES, np.float32):
            alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
            losses = []
            for eps in np.float64(noise_at(jax.random.key(0), jnp.asarray(t), num_noises, x.shape)):
                xt = alpha * view + sigma * eps
                eps_hat = sigma * (xt - alpha * MEAN) / (alpha**2 * VAR + sigma**2)
                losses.append(((eps_hat - eps) ** 2).mean())
            row.append(sum(losses) / num_noises)
        out.append(row)
    return out


@functools.cache
def observer(num_noises=1, common_noise=True):
    attack = fluctuation(TIMES, strengths=SHARES, num_noises=num_noises, common_noise=common_noise)
    access = attack.grant(gaussian(PROCESS, MEAN, VAR))
    return jax.jit(lambda evidence, key, x: attack.observe(access, evidence, key, Query(x)))


@pytest.mark.parametrize("share", [*STRENGTHS[::3], 0.5, 0.05])
@pytest.mark.parametrize("shape", [(4, 4, 2), (28, 28, 1), (9, 6, 3), (2, 3, 1)])
def test_crops_are_the_middle_resized_bilinearly(shape, share):
    x = signed(images(1, shape=shape)[0])
    # Weights are a few roundings of a position off, and positions are as large as a side; pixels differ by 2 at most.
    atol = 8 * max(shape) * EPS32
    np.testing.assert_allclose(cropped(jnp.asarray(x, jnp.float32), share), slow_crop(x, share), atol=atol)


def test_a_crop_keeps_the_pixels_that_its_share_says():
    """Outer pixels of a crop that is resized up are the crop's own. 0.29 x 100 in binary is below 29."""
    rows = cropped(jnp.broadcast_to(jnp.arange(100.0)[:, None, None], (100, 100, 1)), 0.29)
    np.testing.assert_allclose(rows[[0, -1], 50, 0], [36, 64], rtol=4 * EPS32)


@pytest.mark.parametrize("num_noises", [1, 3])
def test_losses_and_scores_are_what_the_definition_says(num_noises):
    attack = fluctuation(TIMES, strengths=SHARES, num_noises=num_noises)
    queries = pool(3)
    seen = audit(attack, gaussian(PROCESS, MEAN, VAR), queries, key=KEY, block=8)
    want = np.array([slow_losses(x, num_noises) for x in signed(queries.x)])
    assert seen.features.shape == (3, 1 + len(SHARES), len(TIMES))
    # A few roundings of numbers of size 3 in x0', of which eps' has alpha/sigma < 3.
    np.testing.assert_allclose(seen.features, want, rtol=64 * 3 * EPS32)
    scores = []
    for own, *rest in want:
        deltas = [(loss - base) / base for row in rest for loss, base in zip(row, own, strict=True)]
        scores.append(sum(deltas) / len(deltas))
    # Relative losses are of size 1, and so are their differences.
    np.testing.assert_allclose(seen.scores, scores, atol=4 * 64 * 3 * EPS32)


def test_published_settings_ask_what_is_published():
    assert (len(STRENGTHS), STRENGTHS[0], STRENGTHS[-1]) == (10, 0.95, 0.7)
    np.testing.assert_allclose(np.array(PUBLISHED_TIMES) * 1000 - 1, np.arange(0, 500, 50), atol=1e-9)
    met, whole = fluctuation(), fluctuation(strengths=STRENGTHS)
    assert (met.spec.calls, whole.spec.calls) == (20, 110)
    assert met.spec.config["strengths"] == [STRENGTHS[5]] == [round(0.95 - 5 * 0.25 / 9, 6)]
    assert met.spec.config["times"] == [round(t, 6) for t in PUBLISHED_TIMES]


def test_a_part_of_the_map_is_the_map_of_that_part():
    queries, target = pool(3), gaussian(PROCESS, MEAN, VAR)
    one = audit(fluctuation([0.5], strengths=[0.5]), target, queries, key=KEY, block=8)
    whole = audit(fluctuation(TIMES, strengths=SHARES), target, queries, key=KEY, block=8)
    np.testing.assert_allclose(one.features[:, :, 0], whole.features[:, [0, 2], 1], rtol=64 * 3 * EPS32)
    np.testing.assert_allclose(one.scores, fluctuations(whole.features)[:, 1, 1], atol=4 * 64 * 3 * EPS32)


@pytest.mark.parametrize("common_noise", [True, False])
def test_a_query_and_its_crops_are_asked_about_with_the_same_noise(common_noise):
    """Crops of a black image are the image itself, so nothing but the noise could tell its losses apart."""
    losses = np.asarray(observer(2, common_noise)(jax.random.key(0), KEY, jnp.zeros(SHAPE)))
    np.testing.assert_array_equal(losses, np.broadcast_to(losses[:1], losses.shape))
    assert len(np.unique(losses)) == len(TIMES)


def test_sharing_the_noise_takes_variance_from_the_fluctuation():
    draws = 2000
    x = to_signed(images(1)[0])
    run = jax.vmap(observer(), (0, None, None))
    keys = jax.vmap(jax.random.key)(jnp.arange(2 * draws))
    first, second = np.split(np.float64(run(keys, KEY, x)), 2)
    shared = fluctuations(first)[:, 0, 0]
    apart = fluctuations(np.concatenate([first[:, :1], second[:, 1:]], axis=1))[:, 0, 0]
    squares = (apart - apart.mean()) ** 2 - (shared - shared.mean()) ** 2
    assert squares.mean() > 4 * squares.std() / np.sqrt(draws)
    assert shared.var() < apart.var() / 2


def test_evidence_keys_common_noise_and_the_querys_key_its_own():
    x, other = to_signed(images(1)[0]), jax.random.key(99)
    for common, changes in ((True, (False, True)), (False, (True, False))):
        run = observer(1, common)
        base = run(jax.random.key(0), KEY, x)
        for changed, again in zip(changes, (run(jax.random.key(0), other, x), run(other, KEY, x)), strict=True):
            assert (np.asarray(base != again).all(), np.asarray(base == again).all()) == (changed, not changed)


def test_a_random_api_is_asked_with_a_key_of_each_question_and_those_of_other_attacks():
    """The API answers with its key's own draw, so two questions with one key would have one loss."""
    process, shape = PROCESS, (16, 16, 1)
    asked = GrayBox(process, lambda key, xt, t, cond: jax.random.normal(key, shape))
    query = Query(jnp.zeros(shape), None, jnp.int32(0))
    attack = fluctuation(TIMES, strengths=SHARES, num_noises=2)
    losses = np.asarray(attack.observe(asked, attack.evidence, KEY, query))
    assert len(np.unique(losses)) == losses.size
    # Of a black image, alpha^2/sigma^2 times the x0 error is the eps error's square less what the noise shifts it by.
    other = x0_trajectory(TIMES, num_noises=2, clip=False)
    errors = np.asarray(other.observe(asked, other.evidence, KEY, query).x0).mean(1)
    ratio = np.array([float(process.alpha(jnp.float32(t)) / process.sigma(jnp.float32(t))) ** 2 for t in TIMES])
    np.testing.assert_allclose(losses[0], ratio * errors, rtol=64 * 3 * EPS32)


def test_a_query_without_loss_has_a_finite_score():
    losses = np.array([[[0.0, 1.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 2.0]]])
    scores = fluctuation(TIMES).score(losses)
    assert scores[0] == 0.5
    assert np.isfinite(scores[1])
    assert scores[1] > 1e30


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": [0.0, 0.5]}, r"times lie in \(0, 1\], got 0 to 0.5"),
        ({"times": []}, "got none"),
        ({"num_noises": 0}, "at least 1 noise draw per time is needed, got num_noises=0"),
        ({"strengths": []}, r"strengths are shares of an image's sides, in \(0, 1\), got \[\]"),
        ({"strengths": [0.8, 1.0]}, r"in \(0, 1\), got \[0.8, 1.0\]"),
        ({"strengths": [0.0]}, r"in \(0, 1\), got \[0.0\]"),
        ({"strengths": [float("nan")]}, r"in \(0, 1\), got \[nan\]"),
    ],
)
def test_bad_input_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        fluctuation(**arguments)


@pytest.mark.parametrize(
    ("times", "shape", "says"),
    [
        (None, SHAPE, r"10 times from 0.001 to 0.451 fall on the steps \[0, 1, .*\] of a schedule of 20"),
        ([0.5], (3,), r"only images \(height, width, channels\) of 2 x 2 pixels or more are cropped, got \(3,\)"),
        ([0.5], (1, 4, 2), r"are cropped, got \(1, 4, 2\)"),
    ],
)
def test_what_a_target_cannot_be_asked_is_refused(times, shape, says):
    with pytest.raises(InputError, match=says):
        audit(fluctuation(times), gaussian(PROCESS, shape=shape), pool(2, shape=shape), key=KEY)
