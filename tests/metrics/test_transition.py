"""Where a metric crosses half way: known curves, naive isotonic regression, coverage over targets."""

import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression

from diffaudit_jax.metrics.transition import crossings, isotonic, transition
from diffaudit_jax.types import InputError

MU = np.array([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0])
# A curve of progress that is linear on log mu between the grid's points, so that the place is known exactly.
PROGRESS = np.array([0.0, 0.02, 0.2, 0.6, 0.9, 1.0, 1.0])
PLACE = float(np.exp(np.interp(0.5, PROGRESS[2:4], np.log(MU[2:4]))))


@pytest.mark.parametrize(("floor", "top"), [(0.1, 0.9), (0.6, 0.02), (-3.0, 20.0)])
@pytest.mark.parametrize("known", [True, False])
def test_a_curve_without_noise(floor, top, known):
    """Metrics that rise and that fall; a level that is given, and the plateau's."""
    found = transition(MU, np.tile(floor + (top - floor) * PROGRESS, (4, 1)), floor, best=top if known else None)
    np.testing.assert_allclose(found.mu, [PLACE] * 3, rtol=1e-12)
    np.testing.assert_allclose(found.half, (floor + top) / 2)
    np.testing.assert_allclose(found.progress, PROGRESS, atol=1e-14)
    assert found.reason == ""


def test_best_and_plateau_are_different_questions():
    """A metric that ends at .6 of the way to a perfect copy is half way to it later than half way to its end."""
    values = np.tile(0.6 * PROGRESS, (4, 1))
    assert transition(MU, values, 0.0).mu.value == pytest.approx(PLACE)
    further = transition(MU, values, 0.0, best=1.0).mu.value
    assert further == pytest.approx(np.exp(np.interp(0.5 / 0.6, PROGRESS[3:5], np.log(MU[3:5]))))


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_isotonic_is_scikit_learns(k):
    rows = np.random.default_rng(k).normal(size=(30, k)) + 0.3 * np.arange(k)
    # Means of at most k numbers of order 1.
    np.testing.assert_allclose(isotonic(rows), [isotonic_regression(row) for row in rows], atol=4 * k * 2**-52)


def test_crossings_of_steps_flats_and_ends():
    x = np.array([0.0, 1.0, 3.0])
    rows = np.array([[-1, 1, 1], [-1, -1, 1], [-2, 0, 0], [0, 1, 2], [1, 1, 1], [-3, -2, -1], [-1, -1, 0.0]])
    np.testing.assert_array_equal(crossings(x, rows), [0.5, 2.0, 1.0, -np.inf, -np.inf, np.inf, 3.0])


def simulate(n, unrelated, repeats=300):
    """Targets that differ in level and in place, heavy-tailed noise, and a baseline of their own."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(repeats):
        level = rng.exponential(size=(n, 1))  # of mean 1: scales each target's curve about the floor
        noise = 0.2 * rng.standard_t(4, size=(n, len(MU)))
        floors = 0.3 + 0.2 * rng.standard_normal(n)
        values = 0.3 + 0.6 * level * PROGRESS + noise + (floors - 0.3)[:, None] * (1 - PROGRESS)
        base = floors if unrelated == "own" else 0.3
        found = transition(MU, values, base, seed=seed, num_resamples=400).mu
        held += found is not None and found.low <= PLACE <= found.high
    return held / repeats


@pytest.mark.parametrize("unrelated", ["own", "known"])
@pytest.mark.parametrize("n", [20, 64])
def test_interval_covers(n, unrelated):
    assert simulate(n, unrelated) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_what_the_grid_does_not_hold_is_said():
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.normal(size=(16, len(MU)))
    nothing = transition(MU, noise, 0.0)
    assert nothing.mu is None
    assert "at mu = 100 the metric is not clearly better than that of unrelated images" in nothing.reason
    early = transition(MU[3:], PROGRESS[3:] + noise[:, 3:], 0.0)
    assert early.mu is None
    assert "past half way at mu = 10 already: add smaller" in early.reason
    late = transition(MU[:3], PROGRESS[:3] + noise[:, :3], 0.0, best=1.0)
    assert late.mu is None
    assert "not half way at mu = 5 yet: add larger" in late.reason


def test_an_interval_that_leaves_the_grid_is_open():
    """Of 8 targets 4 are seen from mu = 2 on and 4 never: some resamples are half way from the start, or never."""
    seen = np.array([[0.0, 1.0], [0.0, 0.1]]).repeat(4, axis=0)
    found = transition([1.0, 2.0], seen, 0.0, best=1.0)
    assert found.mu.value == pytest.approx(2 ** (0.5 / 0.55))
    assert found.mu.high == np.inf
    started = transition([1.0, 2.0], np.array([[0.9, 1.0], [0.0, 1.0]]).repeat(4, axis=0), 0.0)
    assert started.mu.low == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transition([1.0], np.zeros((3, 1)), 0.0), r"mu is \[1.0\]: give 2 increasing"),
        (lambda: transition([2.0, 1.0], np.zeros((3, 2)), 0.0), "increasing"),
        (lambda: transition([0.0, 1.0], np.zeros((3, 2)), 0.0), "mu is 0"),
        (lambda: transition([1.0, 2.0], np.zeros((3, 3)), 0.0), r"values has shape \(3, 3\)"),
        (lambda: transition([1.0, 2.0], [[0.0, np.nan]] * 3, 0.0), "finite numbers"),
        (lambda: transition([1.0, 2.0], np.zeros((3, 2)), np.zeros(4)), r"unrelated has shape \(4,\)"),
        (lambda: transition([1.0, 2.0], np.zeros((1, 2)), 0.0), "there is 1 target"),
        (lambda: transition([1.0, 2.0], np.zeros((3, 2)), 0.0, num_resamples=10), "num_resamples is 10"),
        (lambda: transition([1.0, 2.0], np.zeros((3, 2)), 0.0, level=95), "level is 95"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
