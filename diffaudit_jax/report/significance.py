"""Whether chance explains what an attack does: two tests of each, with the error shared among all of them (Holm).

auc      two-sided, whether the AUC is 1/2
surest   one-sided, whether members crowd among the records that the attack is surest about
"""

import math
from typing import Any

from scipy import stats

from diffaudit_jax.metrics import Estimate
from diffaudit_jax.metrics.multiple import auc_p_value, holm

TESTS_PER_ATTACK = 2
POWER = 0.8


def adjusted_tests(attacks: list[dict[str, Any]], level: float) -> dict[str, Any]:
    """Returns the document's tests: attack -> test -> `p_value`, and `adjusted` for all tests of all attacks.

    Args:
      attacks: The document's attacks.
      level: Confidence level of their AUC.
    """
    tests = {
        attack["name"]: {
            "auc": {"p_value": auc_p_value(Estimate(**attack["auc"]), level)},
            "surest": {"p_value": attack["surest"]["p_value"]},
        }
        for attack in attacks
    }
    every = [test for both in tests.values() for test in both.values()]
    for test, adjusted in zip(every, holm([test["p_value"] for test in every]).tolist(), strict=True):
        test["adjusted"] = adjusted
    return tests


def on_average(attack: dict[str, Any], tests: dict[str, Any], alpha: float) -> bool:
    """Whether an attack ranks members above non-members, further than chance explains."""
    return tests[attack["name"]]["auc"]["adjusted"] <= alpha and attack["auc"]["value"] > 0.5


def wrong_way(attack: dict[str, Any], tests: dict[str, Any], alpha: float) -> bool:
    """Whether an attack ranks members below non-members, further than chance explains."""
    return tests[attack["name"]]["auc"]["adjusted"] <= alpha and attack["auc"]["value"] < 0.5


def detects(attack: dict[str, Any], tests: dict[str, Any], alpha: float) -> bool:
    """Whether an attack beats guessing: on average, or among the records it is surest about."""
    return on_average(attack, tests, alpha) or tests[attack["name"]]["surest"]["adjusted"] <= alpha


def shared_level(level: float, num_tests: int) -> float:
    """Returns the level of each test at which all of them together keep `level` (Bonferroni)."""
    return 1 - (1 - level) / num_tests


def noticeable_auc(num_members: int, num_nonmembers: int, alpha: float) -> float:
    """Returns the AUC that a two-sided test at `alpha` notices four times in five.

    AUC = 1/2 + (z_{1 - alpha/2} + z_{0.8}) sqrt((m + n + 1) / (12 m n)), the normal approximation to the
    Mann-Whitney statistic, with its spread under the null.

    Args:
      num_members: m.
      num_nonmembers: n.
      alpha: Error of one test, i.e. already shared among all of them.
    """
    spread = math.sqrt((num_members + num_nonmembers + 1) / (12 * num_members * num_nonmembers))
    return float(min(1.0, 0.5 + (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(POWER)) * spread))
