"""What an attack gains over the blind check: its interval covers, and a check with bad luck lends the model nothing."""

import numpy as np
import pytest
from scipy import stats

from diffaudit_jax import metrics
from diffaudit_jax.report.blind import gain

TRIALS = 150


def trial(rng, member, area, shift):
    """Scores with this AUC, and a check's scores of images that differ by `shift` grey levels between the groups."""
    images = rng.integers(0, 200, (len(member), 4, 4, 1))
    check = metrics.blind_scores((images + shift * member[:, None, None, None]).astype(np.uint8), member)
    return rng.normal(size=len(member)) + np.sqrt(2) * stats.norm.ppf(area) * member, check


@pytest.mark.parametrize(("area", "shift"), [(0.5, 0), (0.8, 0), (0.8, 15)], ids=["no leak", "leak", "unfair split"])
def test_the_interval_of_the_gain_covers(area, shift):
    """95 % hold the gain and 2.5 % at most begin above it, up to 3.5 standard errors of so many trials."""
    rng, member = np.random.default_rng(0), np.arange(80) < 30
    drawn = [trial(rng, member, area, shift) for _ in range(TRIALS)]
    # The check's true AUC is 1/2 on a fair split; elsewhere what all trials together say.
    blind = 0.5 if not shift else np.mean([metrics.auc(check, member).value for _, check in drawn])
    truth = area - max(blind, 0.5)
    found = [gain(scores, check, member, 0.95) for scores, check in drawn]
    held = np.mean([estimate.low <= truth <= estimate.high for estimate in found])
    above = np.mean([estimate.low > truth for estimate in found])
    assert held >= 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / TRIALS)
    assert above <= 0.025 + 3.5 * np.sqrt(0.025 * 0.975 / TRIALS)
    values = np.array([estimate.value for estimate in found])
    assert values.mean() <= truth + 3.5 * values.std() / np.sqrt(TRIALS)  # never overstated on average


@pytest.mark.parametrize(("luck", "over"), [(-1.0, "guessing"), (1.0, "the check")])
def test_a_check_with_bad_luck_lends_nothing(luck, over):
    rng, member = np.random.default_rng(1), np.arange(200) < 60
    scores, check = rng.normal(size=200) + 2 * member, rng.normal(size=200) + luck * member
    area, blind = metrics.auc(scores, member).value, metrics.auc(check, member).value
    found = gain(scores, check, member, 0.95)
    assert found.value == pytest.approx(area - (0.5 if over == "guessing" else blind))
    assert found.low < found.value < found.high <= metrics.auc(scores, member).high - 0.5
