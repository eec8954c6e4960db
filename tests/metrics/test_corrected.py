"""Proportions behind a discriminator that errs: algebra, simulated coverage with rates that are estimated too."""

import numpy as np
import pytest

from diffaudit_jax.metrics.corrected import Rates, conditional, rogan_gladen, unmixed
from diffaudit_jax.types import InputError


def test_perfect_counts_give_the_proportion_back():
    """The share that is called positive is .3 * .9 + .7 * .2."""
    found = rogan_gladen(410, 1000, Rates(900, 1000, 200, 1000))
    assert found.estimate.value == found.unclipped == pytest.approx(0.3)
    assert found.raw.value == 0.41
    assert found.estimate.low < 0.3 < found.estimate.high
    assert found.informative


@pytest.mark.parametrize(
    ("p", "tpr", "fpr"), [(0.0, 0.9, 0.1), (0.1, 0.95, 0.02), (0.5, 0.8, 0.3), (0.9, 0.6, 0.4), (1.0, 1.0, 0.0)]
)
@pytest.mark.parametrize(("n", "labelled"), [(200, 50), (60, 400)])
def test_the_interval_covers_with_rates_that_are_estimated(p, tpr, fpr, n, labelled):
    rng, runs = np.random.default_rng(3), 400
    q = p * tpr + (1 - p) * fpr
    covered = 0
    for k, tp, fp in zip(
        rng.binomial(n, q, runs), rng.binomial(labelled, tpr, runs), rng.binomial(labelled, fpr, runs), strict=True
    ):
        low, high = rogan_gladen(int(k), n, Rates(int(tp), labelled, int(fp), labelled)).estimate[1:]
        covered += low <= p <= high
    assert covered / runs >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)


def test_who_stops_when_it_looks_well_is_covered_too():
    """The rule that misleads most: stop as soon as an interval of a fixed n leaves the truth out."""
    rng, runs, n, p, tpr, fpr = np.random.default_rng(6), 80, 400, 0.3, 0.95, 0.05
    looks = np.arange(10, n + 1, 10)
    covered = {True: 0, False: 0}
    for _ in range(runs):
        calls = (rng.random(n) < p * tpr + (1 - p) * fpr).cumsum()
        rates = Rates(int(rng.binomial(2000, tpr)), 2000, int(rng.binomial(2000, fpr)), 2000)
        for stopped in covered:
            found = [rogan_gladen(int(calls[m - 1]), int(m), rates, 0.6, stopped=stopped).estimate for m in looks]
            covered[stopped] += all(each.low <= p <= each.high for each in found)
    assert covered[True] / runs >= 0.6
    # The box of three intervals is cautious, so that a fixed n is not far below its level even so.
    assert (covered[True] - covered[False]) / runs > 3 * np.sqrt(0.25 / runs)


def test_more_images_narrow_the_interval_and_a_blind_discriminator_tells_nothing():
    widths = [
        np.subtract(*rogan_gladen(120 * m, 300 * m, Rates(90 * m, 100 * m, 5 * m, 100 * m)).estimate[:0:-1])
        for m in (1, 4, 16)
    ]
    assert widths[0] > 1.8 * widths[1] > 3.2 * widths[2]
    blind = rogan_gladen(50, 100, Rates(50, 100, 50, 100))
    assert blind.estimate[1:] == (0.0, 1.0)
    assert not blind.informative
    assert np.isnan(blind.unclipped)
    assert (
        rogan_gladen(0, 100, Rates(99, 100, 20, 100)).unclipped
        < 0
        == rogan_gladen(0, 100, Rates(99, 100, 20, 100)).estimate.value
    )


def test_errors_that_go_with_the_label_are_corrected_by_label():
    label = np.repeat([0, 1], [1000, 500])
    has = np.concatenate([np.arange(1000) < 280, np.arange(500) < 250])
    found = conditional(has, label, {0: Rates(90, 100, 10, 100), 1: Rates(80, 100, 20, 100)})
    assert found[0].estimate.value == pytest.approx((0.28 - 0.1) / 0.8)
    assert found[1].estimate.value == pytest.approx((0.5 - 0.2) / 0.6)


def test_values_are_unmixed_and_their_intervals_cover():
    truth, confusion = np.array([0.6, 0.3, 0.1]), np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.05, 0.15, 0.8]])
    exact = unmixed(10_000 * truth @ confusion, 1000 * confusion, num_resamples=100)
    np.testing.assert_allclose([each.value for each in exact], truth, atol=1e-6)
    rng, runs = np.random.default_rng(4), 80
    covered = np.zeros(3)
    for seed in range(runs):
        counts = rng.multinomial(300, truth @ confusion)
        table = np.stack([rng.multinomial(150, row) for row in confusion])
        found = unmixed(counts, table, seed=seed, num_resamples=200)
        covered += [each.low <= p <= each.high for each, p in zip(found, truth, strict=True)]
        assert sum(each.value for each in found) == pytest.approx(1)
    assert (covered / runs >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rogan_gladen(1, 2, Rates(0, 0, 1, 2)), "got 0 and 2"),
        (lambda: rogan_gladen(3, 2, Rates(1, 2, 1, 2)), "3 successes in 2 trials"),
        (lambda: rogan_gladen(1, 2, Rates(3, 2, 1, 2)), "3 successes in 2 trials"),
        (lambda: unmixed([1, 2], [[1, 2, 3]]), r"confusion \(1, 3\)"),
        (lambda: unmixed([0, 0], [[1, 0], [0, 1]]), "no sample was called"),
        (lambda: unmixed([1, 1], [[1, 0], [0, 0]]), "value 1 has no image"),
        (lambda: conditional([True], np.array([0]), {1: Rates(1, 1, 0, 1)}), "0 successes in 0 trials"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
