import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from diffaudit_jax.metrics import clopper_pearson, decision, transfer
from diffaudit_jax.metrics.intervals import difference, scaled
from diffaudit_jax.metrics.transfer import halves
from diffaudit_jax.types import InputError


def sample(m, n, shift, seed=0):
    member = np.arange(m + n) < m
    return np.random.default_rng(seed).normal(size=m + n) + shift * member, member


@pytest.mark.parametrize(("m", "n"), [(2, 2), (64, 1000), (7, 5)])
def test_halves_split_each_class(m, n):
    member = np.random.default_rng(0).permutation(np.arange(m + n) < m)
    first = halves(member, 0)
    assert first[member].sum() == m // 2
    assert first[~member].sum() == n // 2


def test_halves_are_random_and_repeatable():
    member = np.arange(200) < 100
    np.testing.assert_array_equal(halves(member, 3), halves(member, np.random.default_rng(3)))
    share = np.mean([halves(member, seed) for seed in range(400)], axis=0)
    assert np.abs(share - 0.5).max() < 4.5 * np.sqrt(0.25 / 400)
    assert np.unique([halves(member, seed) for seed in range(10)], axis=0).shape[0] == 10


@pytest.mark.parametrize("decimals", [8, 0])
@pytest.mark.parametrize("fpr", [0.1, 0.02])
def test_transfer_sets_on_one_half_and_counts_on_the_other(fpr, decimals):
    scores, member = sample(60, 400, 1.5)
    scores = np.round(scores, decimals)
    found, first = transfer(scores, member, fpr, seed=5), halves(member, 5)
    candidates = [s for s in scores[first] if np.mean(scores[first & ~member] >= s) <= fpr]
    assert found.threshold == min(candidates)
    hit = scores >= found.threshold
    assert found.fpr.value == pytest.approx(hit[~first & ~member].mean(), abs=1e-15)
    assert found.tpr.value == pytest.approx(hit[~first & member].mean(), abs=1e-15)
    assert (found.num_members, found.num_nonmembers) == (30, 200)


@pytest.mark.parametrize(("n", "verdict"), [(198, "no"), (200, "weak"), (2000, "yes")])
def test_half_the_nonmembers_decide_what_is_resolvable(n, verdict):
    found = transfer(*sample(20, n, 1.0), 0.01)
    assert found.resolvable == verdict
    assert (found.threshold is None) == (found.fpr is None) == (found.tpr is None) == (verdict == "no")
    assert ("half" in found.reason) == (verdict != "yes")


REPEATS = 600
ERROR = 3 * np.sqrt(0.95 * 0.05 / REPEATS)


@pytest.mark.parametrize(("m", "n", "fpr"), [(64, 1000, 0.01), (100, 100, 0.1)])
def test_transferred_rates_cover_those_of_the_threshold(m, n, fpr):
    """The truth differs from split to split: it is the rate of the threshold that half A happened to give."""
    hits = np.zeros(2)
    for seed in range(REPEATS):
        found = transfer(*sample(m, n, 2.0, seed), fpr, seed=seed)
        truths = norm.sf(found.threshold), norm.sf(found.threshold - 2.0)
        hits += [e.low <= truth <= e.high for e, truth in zip((found.fpr, found.tpr), truths, strict=True)]
    assert (hits / REPEATS >= 0.95 - ERROR).all()


@pytest.mark.parametrize("shift", [0.0, 1.0, 99.0])
@pytest.mark.parametrize(("m", "n"), [(64, 1000), (51, 50)])
def test_decision_is_scikit_learns_on_the_test_half(m, n, shift):
    scores, member = sample(m, n, shift)
    found, test = decision(scores, member, seed=2), ~halves(member, 2)
    guess, truth = scores[test] >= found.threshold, member[test]
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(truth, guess), abs=1e-12)
    assert found.accuracy.value == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    assert found.f1.value == pytest.approx(f1_score(truth, guess), abs=1e-12)
    assert found.prevalence == truth.mean()
    for estimate in (found.balanced_accuracy, found.accuracy, found.f1):
        assert 0 <= estimate.low < estimate.value <= estimate.high <= 1


def test_decision_threshold_is_the_best_of_the_other_half():
    scores, member = sample(100, 100, 1.0)
    first = halves(member, 0)
    accuracy = {s: balanced_accuracy_score(member[first], scores[first] >= s) for s in scores[first]}
    assert accuracy[decision(scores, member, seed=0).threshold] == pytest.approx(max(accuracy.values()), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
@pytest.mark.parametrize(("m", "n"), [(64, 1000), (20, 20), (200, 200)])
def test_decision_intervals_cover(m, n, shift):
    hits = np.zeros(3)
    for seed in range(REPEATS):
        found = decision(*sample(m, n, shift, seed), seed=seed)
        p, tpr, fpr = found.prevalence, norm.sf(found.threshold - shift), norm.sf(found.threshold)
        truths = (tpr + 1 - fpr) / 2, p * tpr + (1 - p) * (1 - fpr), 2 * p * tpr / (p * tpr + p + (1 - p) * fpr)
        found = found.balanced_accuracy, found.accuracy, found.f1
        hits += [e.low <= truth <= e.high for e, truth in zip(found, truths, strict=True)]
    assert (hits / REPEATS >= 0.95 - ERROR).all()


@pytest.mark.parametrize(("m", "n"), [(10, 10), (10, 40), (32, 64)])
@pytest.mark.parametrize("by_prevalence", [False, True])
def test_accuracy_intervals_cover_at_every_pair_of_rates(m, n, by_prevalence):
    """Enumerated, not simulated: every pair of counts, its chance, and whether its interval holds the truth."""
    weight = m / (m + n) if by_prevalence else 0.5
    intervals = np.array(
        [
            [difference(scaled(weight, clopper_pearson(i, m)), scaled(1 - weight, clopper_pearson(j, n)))[1:]]
            for i in range(m + 1)
            for j in range(n + 1)
        ]
    ).reshape(m + 1, n + 1, 2)
    for tpr in np.linspace(0.02, 0.98, 25):
        for fpr in np.linspace(0.02, 0.98, 25):
            truth = weight * tpr - (1 - weight) * fpr
            holds = (intervals[..., 0] <= truth + 1e-12) & (truth - 1e-12 <= intervals[..., 1])
            assert binom.pmf(np.arange(m + 1), m, tpr) @ holds @ binom.pmf(np.arange(n + 1), n, fpr) >= 0.95


def test_one_half_for_both_would_flatter_and_two_do_not():
    """Without a signal the best balanced accuracy in hindsight is well above one half; on fresh records it is not."""
    honest, hindsight = [], []
    for seed in range(REPEATS):
        scores, member = sample(40, 40, 0.0, seed)
        honest.append(decision(scores, member, seed=seed).balanced_accuracy.value)
        hindsight.append(_balanced(scores, member).max())
    error = np.std(honest) / np.sqrt(REPEATS)
    assert abs(np.mean(honest) - 0.5) < 4 * error
    assert np.mean(hindsight) > 0.55


def _balanced(scores, member):
    hit = scores >= scores[:, None]
    return (hit[:, member].mean(axis=1) + 1 - hit[:, ~member].mean(axis=1)) / 2


def test_a_single_record_cannot_be_split():
    with pytest.raises(InputError, match="1 members cannot be split"):
        decision([1.0, 0.0, 0.0], [True, False, False])
    with pytest.raises(InputError, match="1 non-members cannot be split"):
        transfer([1.0, 0.0, 0.0], [True, True, False], 0.1)
