"""Scale-free success: naive enumeration, and coverage by simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from diffaudit_jax.metrics.retrieval import relative_error, retrieval
from diffaudit_jax.types import InputError


def naive_top1(distances, size):
    """Every choice of others, and ties broken by equal shares."""
    n, hits = len(distances), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for chosen in combinations(others, size - 1):
            nearer = sum(distances[i, j] < distances[i, i] for j in chosen)
            ties = sum(distances[i, j] == distances[i, i] for j in chosen)
            hits.append(0 if nearer else 1 / (1 + ties))
    return np.mean(hits)


@pytest.mark.parametrize("decimals", [8, 0])
@pytest.mark.parametrize("size", [2, 3, 5, 7])
def test_top1_among_some_is_the_mean_over_every_choice(size, decimals):
    rng = np.random.default_rng(size)
    distances = np.round(3 * rng.random((7, 7)) + 0.7 * (1 - np.eye(7)), decimals)
    found = retrieval(distances, size)
    np.testing.assert_allclose(found.top1.value, naive_top1(distances, size), rtol=1e-13)
    assert found.top1.low <= found.top1.value <= found.top1.high
    assert found[1:] == (size, 1 / size)


def test_ends():
    n = 50
    assert retrieval(1 - np.eye(n)).top1.value == 1.0
    assert retrieval(np.eye(n)).top1.value == 0.0
    np.testing.assert_allclose(retrieval(np.zeros((n, n))).top1.value, 1 / n)  # all alike: chance
    large = retrieval(np.arange(3000.0)[None] + 3000 * (1 - np.eye(3000)), 1500)
    np.testing.assert_allclose(large.top1.value, 1.0)


def test_intervals_cover_over_releases_of_given_targets():
    """Targets that are told apart unequally well; the mean chance from many releases."""
    rng, n = np.random.default_rng(0), 40
    targets = rng.normal(size=(n, 4)) * rng.gamma(2.0, size=(n, 1))

    def release():
        return cdist(targets + 0.8 * rng.normal(size=targets.shape), targets)

    tables = [release() for _ in range(1000)]
    truth = np.mean([retrieval(table).top1.value for table in tables])
    assert 0.2 < truth < 0.8
    found = [retrieval(table).top1 for table in tables[:300]]
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_relative_error_is_the_ratio_of_means():
    rng = np.random.default_rng(0)
    targets, noise = rng.normal(size=(9, 5)), 0.3 * rng.normal(size=(9, 5))
    between, errors = cdist(targets, targets, "sqeuclidean"), (noise**2).sum(axis=1)
    pairs = [between[i, j] for i in range(9) for j in range(9) if i != j]
    found = relative_error(errors, between + 99 * np.eye(9))
    np.testing.assert_allclose(found.value, errors.mean() / np.mean(pairs), rtol=1e-14)
    assert found.low < found.value < found.high


def test_unrelated_images_have_a_relative_error_of_one_and_the_interval_covers():
    rng, n, repeats, held = np.random.default_rng(0), 40, 300, 0
    for seed in range(repeats):
        targets, others = (rng.normal(size=(n, 6)) * rng.gamma(4.0, size=(n, 1)) / 4 for _ in range(2))
        errors = ((targets - others) ** 2).sum(axis=1)
        found = relative_error(errors, cdist(targets, targets, "sqeuclidean"), seed=seed, num_resamples=400)
        held += found.low <= 1.0 <= found.high
    # A percentile interval of a ratio, of skewed errors: .93 of 1,500 such.
    assert held / repeats >= 0.93 - 3 * np.sqrt(0.93 * 0.07 / repeats)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval(np.zeros((3, 4))), r"distances has shape \(3, 4\)"),
        (lambda: retrieval(np.zeros((1, 1))), r"shape \(1, 1\)"),
        (lambda: retrieval([[0.0, np.nan], [1.0, 0.0]]), "numbers"),
        (lambda: retrieval(np.zeros((3, 3)), 1), "among is 1: with 3 targets"),
        (lambda: retrieval(np.zeros((3, 3)), 4), "among is 4"),
        (lambda: relative_error(np.zeros(3), np.ones((4, 4))), r"errors has shape \(3,\) and between \(4, 4\)"),
        (lambda: relative_error([np.inf, 1.0], np.ones((2, 2))), "give finite"),
        (lambda: relative_error(np.ones(2), [[0.0, np.nan], [1.0, 0.0]]), "not finite"),
        (lambda: relative_error(np.ones(3), np.zeros((3, 3))), "all targets are the same"),
        (lambda: relative_error(np.ones(1), np.zeros((1, 1))), "there is 1 target"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_few_targets_that_are_all_but_restored_have_an_upper_limit():
    """Of four, every 64th resample is of one target alone, and has no pair to be relative to."""
    between = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    found = relative_error(np.full(4, 1e-3), between)
    assert found.low < found.value < found.high < 1e-2
