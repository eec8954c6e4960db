import numpy as np
import pytest

from diffaudit_jax.metrics import auc, decision, membership_stats, roc, tpr_at_fpr, transfer
from diffaudit_jax.types import InputError

MEMBER = np.arange(300) < 60
SCORES = np.random.default_rng(0).normal(size=300) + 2.0 * MEMBER


def test_stats_are_those_of_the_parts():
    stats = membership_stats(SCORES, MEMBER, fprs=(0.2, 0.001), level=0.9, seed=4)
    assert (stats.num_members, stats.num_nonmembers, stats.level) == (60, 240, 0.9)
    assert stats.auc == auc(SCORES, MEMBER, level=0.9)
    assert stats.points == tuple(tpr_at_fpr(SCORES, MEMBER, fpr, level=0.9) for fpr in (0.2, 0.001))
    assert stats.transfers == tuple(transfer(SCORES, MEMBER, fpr, level=0.9, seed=4) for fpr in (0.2, 0.001))
    assert stats.decision == decision(SCORES, MEMBER, level=0.9, seed=4)
    for ours, theirs in zip(stats.roc, roc(SCORES, MEMBER), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_defaults_ask_ten_one_and_a_tenth_of_a_percent():
    stats = membership_stats(SCORES, MEMBER)
    assert [(p.target_fpr, p.resolvable) for p in stats.points] == [(0.1, "yes"), (0.01, "weak"), (0.001, "no")]
    assert [t.resolvable for t in stats.transfers] == ["yes", "weak", "no"]


def test_row_order_and_precision_do_not_matter_where_nothing_is_split():
    order = np.random.default_rng(1).permutation(300)
    stats, shuffled = membership_stats(SCORES, MEMBER), membership_stats(SCORES[order], MEMBER[order].astype(int))
    np.testing.assert_allclose(stats.auc, shuffled.auc, rtol=1e-12)
    assert stats.points == shuffled.points
    single = SCORES.astype(np.float32)
    assert membership_stats(single, MEMBER).auc == membership_stats(single.astype(np.float64), MEMBER).auc


def test_same_seed_same_split():
    assert membership_stats(SCORES, MEMBER, seed=1).decision == membership_stats(SCORES, MEMBER, seed=1).decision
    assert membership_stats(SCORES, MEMBER, seed=1).decision != membership_stats(SCORES, MEMBER, seed=2).decision


@pytest.mark.parametrize(
    ("scores", "member", "options", "message"),
    [
        (np.where(np.arange(300) == 7, np.nan, SCORES), MEMBER, {}, "row 7 is nan"),
        (SCORES[1:], MEMBER, {}, r"\[299\].*300 rows"),
        (SCORES, ~(MEMBER | True), {}, "non-members only"),
        (SCORES, np.arange(300) < 9, {}, "9 members are too few.*at least 10"),
        (SCORES, np.arange(300) >= 3, {}, "3 non-members are too few"),
        (SCORES, MEMBER, {"level": 95}, "level is 95"),
        (SCORES, MEMBER, {"fprs": (0.1, 1)}, "false positive rate is 1:"),
    ],
)
def test_mistakes_are_named(scores, member, options, message):
    with pytest.raises(InputError, match=message):
        membership_stats(scores, member, **options)
