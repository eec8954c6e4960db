"""Quantile regression on an oracle whose scores' law is a function of the example: it takes the difficulty out."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from diffaudit_jax.auditing import Observations
from diffaudit_jax.shadows import quantile
from diffaudit_jax.types import InputError
from tests.test_shadows import auc_and_se

GAIN = 1.5
"""What membership adds to a score, in units of the spread that such an example has."""
NUM = 600
MEMBER = np.arange(2 * NUM) < NUM


def difficulty(x):
    """Mean and spread of a non-member's score, of records in the unit square."""
    return 4 * np.sin(3 * x[:, 0]), np.exp(2 * x[:, 1])


def drawn(n, seed, member=False, first=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 2))
    mean, spread = difficulty(x)
    luck = rng.normal(size=n) + GAIN * np.asarray(member)
    return Observations((), mean + spread * luck, first + np.arange(n)), x, luck


@pytest.fixture(scope="module")
def population():
    seen, x, _ = drawn(1000, 0, first=10_000)
    return seen, x


def test_it_takes_the_difficulty_out(population):
    seen, x, best = drawn(2 * NUM, 1, MEMBER)
    value, se = auc_and_se(best, member=MEMBER)
    assert abs(value - norm.cdf(GAIN / np.sqrt(2))) < 4 * se
    scores = quantile(seen, x, *population)
    gain, se = auc_and_se(scores, less=seen.scores, member=MEMBER)
    assert gain > 4 * se
    # Half of what the difficulty hid, at the least.
    hidden, _ = auc_and_se(best, less=seen.scores, member=MEMBER)
    assert gain > hidden / 2


@pytest.mark.parametrize("fpr", [0.05, 0.2])
def test_a_score_above_0_has_the_nominal_rate_of_false_positives(population, fpr):
    """The threshold is an order statistic of m exchangeable scores, Beta(m fpr, .), and the count binomial given it."""
    fresh, x, _ = drawn(2000, 2)
    false = (quantile(fresh, x, *population, fpr=fpr) > 0).mean()
    se = np.sqrt(fpr * (1 - fpr) * (1 / len(x) + 1 / len(population[1])))
    assert abs(false - fpr) < 4 * se


def test_records_that_taught_the_quantiles_are_not_judged_by_them(population):
    """In the data that they are fitted on quantiles are too narrow, which is why bags judge what they did not see."""
    seen, x = population
    elsewhere = seen._replace(rows=seen.rows + 5000)  # the very records of the population, by another name
    inside = (quantile(elsewhere, x, *population, bags=4) > 0).sum()
    assert inside < binom.ppf(1e-4, len(x), 0.1)


def test_scores_of_queries_do_not_depend_on_each_other_and_units_do_not_matter(population):
    seen, x, _ = drawn(50, 3)
    scores = quantile(seen, x, *population, bags=2)
    some = [7, 3, 40]
    part = Observations((), seen.scores[some], seen.rows[some])
    np.testing.assert_allclose(quantile(part, x[some], *population, bags=2), scores[some], rtol=1e-12)
    known, known_x = population
    moved = [one._replace(scores=4 * one.scores + 2) for one in (seen, known)]
    np.testing.assert_allclose(quantile(moved[0], x, moved[1], known_x, bags=2), scores, rtol=1e-9, atol=1e-9)


def stripes(contrast, frequency, draws):
    """Images of waves whose phase is anyone's, uint8 [n, 8, 8, 1]."""
    phase = frequency[:, None, None] * np.arange(8) + draws.uniform(0, 2 * np.pi, (len(frequency), 8, 1))
    return np.uint8(128 + contrast[:, None, None] * np.sin(phase))[..., None]


@pytest.mark.parametrize("hard", ["contrast", "roughness"])
def test_images_are_told_by_contrast_and_roughness(hard):
    """Hard images score low, whoever they are; what is left is the gain."""

    def images(member, seed):
        draws = np.random.default_rng(seed)
        level = draws.uniform(size=len(member))
        alike = np.full(len(member), 0.5)
        x = stripes(*((10 + 90 * level, 2 * alike) if hard == "contrast" else (100 * alike, 0.5 + 2 * level)), draws)
        return -12 * level + draws.normal(size=len(member)) + GAIN * member, x

    member = np.arange(400) % 2 == 0
    scores, x = images(member, 5)
    known, known_x = images(np.zeros(400, bool), 6)
    seen = Observations((), scores, np.arange(400))
    found = quantile(seen, x, Observations((), known, np.arange(1000, 1400)), known_x, bags=3)
    gain, se = auc_and_se(found, less=scores, member=member)
    assert gain > 4 * se


SEEN, X, _ = drawn(20, 7)
KNOWN, KNOWN_X, _ = drawn(120, 8, first=100)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((SEEN, X, KNOWN, KNOWN_X), {"fpr": 0.5}, r"fpr is a false-positive rate in \(0, 0.5\), got 0.5"),
        ((SEEN, X, KNOWN, KNOWN_X), {"bags": 1}, "takes at least 2, got 1"),
        ((SEEN, X, KNOWN, KNOWN_X), {"fpr": 0.05}, "at least 200 known non-members, got 120"),
        ((SEEN, X[:19], KNOWN, KNOWN_X), {}, "20 scores of the queries need as many examples, got 19"),
        ((SEEN, X[:, :1], KNOWN, KNOWN_X), {}, r"shape \(1,\) are not like a population of shape \(2,\)"),
        ((SEEN, X, KNOWN, np.where(KNOWN_X < 0.02, np.nan, KNOWN_X)), {}, "of the population holds NaN or infinity"),
        (
            (SEEN._replace(scores=np.full(20, np.inf)), X, KNOWN, KNOWN_X),
            {},
            "row 0 of the queries holds NaN or infinity",
        ),
        ((SEEN, X, KNOWN._replace(rows=np.arange(120)), KNOWN_X), {}, r"row 0 \(of 20 such\) taught the scorer"),
        ((SEEN, X, KNOWN._replace(scores=np.zeros(120)), KNOWN_X), {}, "the population's scores hardly vary"),
    ],
)
def test_what_teaches_nothing_is_refused(arguments, options, says):
    with pytest.raises(InputError, match=says):
        quantile(*arguments, **options)
