"""Lower bounds of epsilon: values of the reference, jax-privacy, sums written out, coverage where epsilon is known."""

import math

import numpy as np
import pytest
from jax_privacy.auditing import CanaryScoreAuditor, Explicit

from diffaudit_jax.metrics import gdp_epsilon, many_runs, many_runs_most, one_run, one_run_fdp
from diffaudit_jax.metrics.epsilon import default_guesses, one_run_epsilon, one_run_p_value
from diffaudit_jax.types import InputError

DELTA = 1e-5
DRAWS = 20_000


def canaries(rng, num, mu):
    """How coins fell, and scores of a Gaussian release of each canary."""
    inside = rng.random(num) < 0.5
    return rng.normal(size=num) + mu * inside, inside


def counted(scores, inside, plus, minus):
    """Rightly guessed of the highest and the lowest, [...] of [..., m]; by a sort, for scores without ties."""
    ordered = np.take_along_axis(inside, np.argsort(scores, axis=-1), -1)
    num = ordered.shape[-1]
    return ordered[..., num - plus :].sum(-1) + (~ordered[..., :minus]).sum(-1)


def answers(num, epsilon, draws, rng):
    """Randomised response, the worst of all private mechanisms: each canary's answer is true with e^eps/(1 + e^eps)."""
    inside = rng.random((draws, num)) < 0.5
    told = inside ^ (rng.random((draws, num)) > 1 / (1 + math.exp(-epsilon)))
    return told + rng.random((draws, num)), inside  # an order within each answer that says nothing


def exceeds(found, truth, level):
    """Whether bounds lie above the truth more often than they may, by three standard errors."""
    return np.mean(found > truth) > 1 - level + 3 * math.sqrt(level * (1 - level) / len(found))


@pytest.mark.parametrize(
    ("num", "guesses", "correct", "bound"),
    [(1000, 1000, 750, 0.976), (1000, 100, 100, 3.465), (1000, 200, 195, 2.899), (5000, 500, 500, 4.978)],
)
def test_bounds_are_those_of_the_reference(num, guesses, correct, bound):
    assert abs(one_run_epsilon(num, guesses, correct, DELTA, 0.05) - bound) <= 5e-4  # half of the last digit


@pytest.mark.parametrize(("num", "guesses", "correct"), [(40, 10, 9), (40, 40, 25), (40, 12, 12), (40, 5, 0)])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-2])
def test_p_values_are_sums_over_binomials(num, guesses, correct, epsilon, delta):
    q = math.exp(epsilon) / (1 + math.exp(epsilon))

    def beta(v):
        return sum(math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(max(v, 0), guesses + 1))

    gains = [(beta(correct - i) - beta(correct)) / i for i in range(1, correct + 1)]
    expected = min(1.0, beta(correct) + 2 * num * delta * max([0.0, *gains]))
    # Fewer than 50 terms of each sum, each rounded a few times; 2 num delta is below 1.
    assert one_run_p_value(num, guesses, correct, epsilon, delta) == pytest.approx(expected, abs=500 * 2**-52)


@pytest.mark.parametrize("bound", ["one_run", "fdp"])
@pytest.mark.parametrize("plus", [10, 60])
def test_bounds_are_jax_privacys_where_it_has_them(bound, plus):
    scores, inside = canaries(np.random.default_rng(1), 200, 2.0)
    auditor = CanaryScoreAuditor(scores[inside], scores[~inside])
    theirs = {"one_run": auditor.epsilon_one_run, "fdp": auditor.epsilon_one_run_fdp}[bound]
    ours = {"one_run": one_run, "fdp": one_run_fdp}[bound](scores, inside, DELTA, guesses=(plus, 0))
    threshold = np.sort(scores)[-plus]
    expected = theirs(0.05, DELTA, threshold_strategy=Explicit(threshold))
    assert ours.epsilon == pytest.approx(expected, abs=2e-6)  # its root is found to 1e-6
    assert ours.epsilon > 0
    assert (ours.guesses, ours.correct) == (plus, inside[scores >= threshold].sum())


def test_the_default_tries_numbers_that_the_count_decides_and_shares_the_error():
    scores, inside = canaries(np.random.default_rng(2), 160, 1.5)
    pairs = default_guesses(160)
    assert pairs == ((40, 40), (10, 10), (20, 0))
    counts = [int(counted(scores, inside, *pair)) for pair in pairs]
    bounds = [one_run_epsilon(160, sum(pair), v, DELTA, 0.1 / 3) for pair, v in zip(pairs, counts, strict=True)]
    found = one_run(scores, inside, DELTA, level=0.9)
    assert found.epsilon == pytest.approx(max(bounds), abs=1e-8)  # its root is found to 1e-9
    assert found.epsilon > 0
    assert (found.guesses, found.correct) == (sum(pairs[np.argmax(bounds)]), counts[np.argmax(bounds)])
    for num in range(1, 300):
        assert all(plus >= 1 and minus >= 0 and plus + minus <= num for plus, minus in default_guesses(num))


def test_whoever_ties_with_one_not_guessed_at_is_not_either():
    """Members come first in every split: an order of rows that broke ties would tell them."""
    inside = np.arange(100) < 50
    assert one_run(np.zeros(100), inside, DELTA).guesses == 0
    scores = np.where(np.arange(100) % 10 < 4, 1.0, 0.0)  # 40 of 100, as many of either side
    assert one_run(scores, inside, DELTA, guesses=(40, 0))[4:6] == (40, 20)
    assert one_run(scores, inside, DELTA, guesses=(39, 0)).guesses == 0
    assert one_run(scores, inside, DELTA, guesses=(0, 59)).guesses == 0
    assert one_run(scores, inside, DELTA, guesses=(40, 60))[4:6] == (100, 50)
    rounded = np.round(scores + np.random.default_rng(0).normal(size=100) + inside, 1)
    order = np.random.default_rng(1).permutation(100)
    assert one_run(rounded, inside, DELTA) == one_run(rounded[order], inside[order], DELTA)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 1.5])
def test_one_run_holds_for_the_worst_mechanism(epsilon):
    num = 64
    scores, inside = answers(num, epsilon, DRAWS, np.random.default_rng(3))
    pairs = default_guesses(num)
    found = np.zeros(DRAWS)
    for pair in pairs:
        bounds = [one_run_epsilon(num, sum(pair), v, 0.0, 0.05 / len(pairs)) for v in range(sum(pair) + 1)]
        found = np.maximum(found, np.take(bounds, counted(scores, inside, *pair)))
    assert not exceeds(found, epsilon, 0.95)
    # One pair alone has all of the error, and spends what whole counts let it.
    bounds = np.array([one_run_epsilon(num, 32, v, 0.0, 0.05) for v in range(33)])
    share = np.mean(bounds[counted(scores, inside, 16, 16)] > epsilon)
    assert share > 0.01
    assert not exceeds(bounds[counted(scores, inside, 16, 16)], epsilon, 0.95)


@pytest.mark.parametrize("mu", [0.5, 2.0])
@pytest.mark.parametrize("bound", [one_run, one_run_fdp])
def test_bounds_lie_below_the_epsilon_of_a_gaussian_release(bound, mu):
    num, pair = 64, (8, 8)
    rng = np.random.default_rng(4)
    inside = rng.random((DRAWS, num)) < 0.5
    right = counted(rng.normal(size=inside.shape) + mu * inside, inside, *pair)
    bounds = [bound(np.arange(num), guessed(num, v, pair), DELTA, guesses=pair).epsilon for v in range(17)]
    assert bounds == sorted(bounds)
    found = np.take(bounds, right)
    assert not exceeds(found, float(gdp_epsilon(mu, DELTA)), 0.95)
    if mu == 2.0:
        assert np.mean(found > 0) > 0.5


def guessed(num, correct, pair):
    """Truth by which `correct` guesses at scores 0, 1, 2, ... are right: those called in first."""
    inside = np.arange(num) % 2 == 0
    wanted = np.arange(sum(pair)) < correct
    inside[num - pair[0] :] = wanted[: pair[0]]
    inside[: pair[1]] = ~wanted[pair[0] :]
    return inside


@pytest.mark.parametrize(("bound", "share"), [(one_run, 0.4), (one_run_fdp, 0.5)])
def test_many_canaries_show_much_of_the_truth(bound, share):
    scores, inside = canaries(np.random.default_rng(5), 4000, 1.0)
    assert bound(scores, inside, DELTA, guesses=(250, 250)).epsilon > share * gdp_epsilon(1.0, DELTA)


def test_a_perfect_attack_on_few_canaries_shows_a_finite_epsilon():
    inside = np.arange(8) % 2 == 0
    bounds = [one_run_fdp(inside + 0.01 * np.arange(8), inside, DELTA, guesses=pair) for pair in ((4, 4), (4, 3))]
    assert bounds[0].correct == 8
    assert 0 < bounds[1].epsilon <= bounds[0].epsilon < math.inf


@pytest.mark.parametrize(("mu", "num"), [(0.0, 60), (1.0, 200), (2.0, 400)])
def test_many_runs_hold(mu, num):
    rng = np.random.default_rng(6)
    truth = float(gdp_epsilon(mu, DELTA)) if mu else 0.0
    delta = DELTA if mu else 0.0
    found = np.array([many_runs(*canaries(rng, num, mu), delta).epsilon for _ in range(600)])
    assert not exceeds(found, truth, 0.95)
    if mu == 2.0:
        assert np.mean(found > 0) > 0.9


def test_many_runs_show_more_with_more_of_them_in_either_direction():
    rng = np.random.default_rng(7)
    scores, inside = canaries(rng, 40_000, 1.0)
    found = many_runs(scores, inside, DELTA)
    assert 0.4 * gdp_epsilon(1.0, DELTA) < found.epsilon < gdp_epsilon(1.0, DELTA)
    # Of a release that shows who is out, the reverse: 1 of 10 without the canary has a score that none has with it.
    inside = np.arange(2000) < 1000
    scores = np.where(~inside & (np.arange(2000) % 20 < 2), -1.0, rng.random(2000))
    assert many_runs(scores, inside, 0.0).epsilon > 1.5
    assert many_runs(-scores, ~inside, 0.0).epsilon > 1.5


def test_many_runs_are_two_exact_binomial_limits():
    """Four of four found, p^4 = .25 at the limit; none of four accused, (1 - p)^4 = .25. The other half chose."""
    scores = np.array([9, 2, 9, 2, 9, 2, 9, 2, 0, 1, 0, 1, 0, 1, 0, 1], float)
    inside = np.arange(16) < 8
    found = many_runs(np.minimum(scores, 2), inside, 0.1, level=0.5)
    limit = 0.25**0.25
    assert found.epsilon == pytest.approx(math.log((limit - 0.1) / (1 - limit)), rel=1e-12)
    assert found[3:] == (16, 8, 8, "many-runs")
    # Whoever chooses sees its own half alone: a threshold of 9, which none of the other half reaches.
    assert many_runs(scores, inside, 0.1, level=0.5).epsilon == 0


@pytest.mark.parametrize(("each", "told"), [(8, 0.0), (16, 0.53), (32, 1.35)])
def test_few_runs_can_show_little_however_good_an_attack_is(each, told):
    """Of n that decide all are found, p^n = .025 at the limit, and none accused, (1 - p)^n = .025."""
    inside, limit = np.arange(2 * each) < each, 0.025 ** (2 / each)
    most = many_runs_most(each, each, DELTA)
    assert most == pytest.approx(max(0.0, math.log((limit - DELTA) / (1 - limit))), rel=1e-12)
    assert abs(most - told) <= 5e-3  # half of the last digit
    assert many_runs(inside, inside, DELTA).epsilon == most
    # Of sides that differ the better of both inequalities.
    low, high = (0.025 ** (2 / num) for num in (each, 3 * each))
    both = math.log((low - DELTA) / (1 - high)), math.log((high - DELTA) / (1 - low))
    assert many_runs_most(each, 3 * each, DELTA) == pytest.approx(max(0.0, *both), rel=1e-12)


SCORES, INSIDE = canaries(np.random.default_rng(8), 20, 1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: one_run(SCORES, INSIDE, DELTA, coin=None), "a fixed number of members makes their outcomes dependent"),
        (lambda: one_run_fdp(SCORES, INSIDE, DELTA, coin=0.3), "with probability 0.3: a bound asks for fair ones"),
        (lambda: one_run(SCORES, INSIDE, DELTA, guesses=(12, 9)), r"guesses=\(12, 9\) of 20 canaries"),
        (lambda: one_run(SCORES, INSIDE, DELTA, guesses=(0, 0)), "together from 1 to 20"),
        (lambda: one_run(SCORES, INSIDE, DELTA, guesses=(-1, 4)), "together from 1 to 20"),
        (lambda: one_run(SCORES, INSIDE, 1.0), "delta is 1: it lies between 0 and 1"),
        (lambda: one_run(SCORES, INSIDE, math.nan), "delta is nan"),
        (lambda: one_run_fdp(SCORES, INSIDE, 0.0), "delta is 0: no Gaussian release"),
        (lambda: one_run(SCORES, INSIDE, DELTA, level=1.0), "level is 1"),
        (lambda: one_run(SCORES[1:], INSIDE, DELTA), "20 rows of member"),
        (lambda: one_run(SCORES, np.ones(20), DELTA), "members only"),
        (lambda: many_runs(np.zeros((20, 3)), INSIDE, DELTA), "canaries of one model share its training"),
        (lambda: many_runs(SCORES, np.arange(20) < 1, DELTA), "1 models with the canary and 19 without"),
        (lambda: many_runs(SCORES, INSIDE, -0.1), "delta is -0.1"),
        (lambda: many_runs_most(8, 1, DELTA), "8 models with the canary and 1 without"),
    ],
)  # fmt: skip
def test_what_bounds_nothing_is_refused_with_the_reason(call, says):
    with pytest.raises(InputError, match=says):
        call()
