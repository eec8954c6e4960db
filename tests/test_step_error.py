"""SecMI against the published code, step by step, and against the closed form of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.attack import with_score
from diffaudit_jax.attacks import step_error
from diffaudit_jax.attacks.step_error import PUBLISHED, StepError
from diffaudit_jax.auditing import audit
from diffaudit_jax.process import ddpm_linear, ncsn
from diffaudit_jax.types import InputError
from tests.oracles import EPS32, PROCESSES, SHAPE, conv, gaussian, images, pool, published, seen_in_float64, signed

KEY = jax.random.key(3)
LINEAR = PROCESSES["linear-1000"]
TARGETS = {"gaussian": gaussian(LINEAR, 0.2, 0.5), "conv": conv(LINEAR)}


def slow(target, x, steps):
    """Up through the 0-based `steps` to the last but one, then one up and one down: x' - x there."""
    eps, alpha, sigma = published(target, 1000)

    def move(x, i, j):
        e = eps(x, i)
        return alpha[j] * (x - sigma[i] * e) / alpha[i] + sigma[j] * e

    here = steps[0]
    for step in steps[1:-1]:
        x, here = move(x, here, step), step
    return move(move(x, here, steps[-1]), steps[-1], here) - x


@pytest.mark.parametrize("steps", [range(0, 101, 10), (40, 90), (3, 4, 250)])
@pytest.mark.parametrize("name", TARGETS)
def test_the_error_is_that_of_the_published_code(name, steps):
    attack, x = step_error([(i + 1) / 1000 for i in steps]), signed(images(1))[0]
    got, want = seen_in_float64(attack, TARGETS[name], x, KEY), slow(TARGETS[name], x, list(steps))
    # Of float64's 16 digits sigma = 0.01 costs 2 and the difference of two nearly equal images 4 more.
    np.testing.assert_allclose(got.difference, np.abs(want), rtol=0, atol=1e-9 * np.abs(want).max())
    np.testing.assert_allclose(got.error, (want**2).sum(), rtol=1e-9)


def test_the_default_is_the_published_grid_of_eleven_calls():
    spec = step_error().spec
    assert spec.config["times"] == [0.001, 0.011, 0.021, 0.031, 0.041, 0.051, 0.061, 0.071, 0.081, 0.091, 0.101]
    assert (spec.calls, spec.clean) == (11, (float(np.float32(0.001)),))
    assert spec.config["times"] == [round(t, 6) for t in PUBLISHED]


def test_the_error_vanishes_with_the_fourth_power_of_the_stride():
    """On N(0, I) a step turns by the angle between two noise levels, and keeps its cosine of the image.

    Up and down again leave cos^2, so the error is sin^4 of the last stride times |x|^2 at its foot: halve the strides,
    and a sixteenth is left.
    """
    process, x = PROCESSES["vp"], signed(images(1))[0]
    for strides in (4, 8, 16, 32):
        angles = np.linspace(0.1, 0.9, strides + 1)
        times = np.array([process.time_at(jnp.float32(np.tan(angle))) for angle in angles])
        got = seen_in_float64(step_error(times), gaussian(process), x, KEY)
        stored = [float(np.arctan2(process.sigma(t), process.alpha(t))) for t in times]
        turns = np.diff(stored)
        foot = (x**2).sum() * np.prod(np.cos(turns[:-1]) ** 2)
        # The two cosines come out of 4 products of 2 rounded numbers each, and of angles rounded as they are.
        assert abs(got.error / (np.sin(turns[-1]) ** 4 * foot) - 1) < 32 * EPS32 / np.sin(turns[-1]) ** 2
        assert got.error < (0.8 / strides) ** 4 * (x**2).sum()


def test_the_score_is_minus_the_stored_error_and_a_scorer_may_read_the_image_of_it():
    attack, queries = step_error([0.1, 0.2, 0.3]), pool(5)
    seen = audit(attack, TARGETS["conv"], queries, key=KEY, block=8)
    assert seen.features.difference.shape == (5, *SHAPE)
    assert (seen.features.difference >= 0).all()
    np.testing.assert_array_equal(seen.scores, -np.float64(seen.features.error))
    # 32 squares are summed.
    squares = (np.float64(seen.features.difference) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(squares, seen.features.error, rtol=32 * EPS32)
    learned = with_score(attack, lambda features: -np.float64(features.difference).max((1, 2, 3)), rule="largest")
    assert learned.score(seen.features).shape == (5,)
    assert attack.score(StepError(np.float32([2, 1]), np.zeros((2, 1)))).tolist() == [-2, -1]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([], r"times lie in \(0, 1\], got none"),
        ([0.0, 0.5], r"times lie in \(0, 1\], got 0 to 0.5"),
        ([0.5, 1.5], "got 0.5 to 1.5"),
        ([0.5], "a step error needs 2 times or more, each later than the one before it, got 0.5"),
        ([0.2, 0.1], "got 0.2, 0.1"),
        ([0.1, 0.2, 0.2, 0.3, 0.4], r"got 0.1, 0.2, 0.2, 0.3, \.\.\."),
    ],
)
def test_bad_input_is_refused(times, says):
    with pytest.raises(InputError, match=says):
        step_error(times)


def test_a_schedule_too_coarse_for_the_times_is_refused_and_can_be_matched():
    ladder = ncsn(10)
    with pytest.raises(
        InputError, match=r"11 times from 0.001 to 0.101 fall on the steps \[0, 1\] of a schedule of 10"
    ):
        audit(step_error(), gaussian(ladder), pool(2), key=KEY)
    with pytest.raises(InputError, match=r"3 times from 0.1 to 0.3 fall on the steps \[1, 3\].* one of its own"):
        audit(step_error([0.1, 0.13, 0.3]), gaussian(ladder), pool(2), key=KEY)
    matched = step_error(ladder.matched(ddpm_linear(), np.float32(PUBLISHED)))
    assert matched.spec.config["times"] == [0.2, 0.3, 0.4]
    assert np.isfinite(audit(matched, gaussian(ladder), pool(2), key=KEY).scores).all()
