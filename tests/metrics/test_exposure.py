"""Exposure by group: numbers are those of the parts, intervals of gaps cover, and p-values of nothing are uniform."""

import numpy as np
import pytest
from scipy.stats import norm

from diffaudit_jax.metrics import Estimate, auc, clopper_pearson, tpr_at_fpr
from diffaudit_jax.metrics.exposure import exposure, strata_codes, widest
from diffaudit_jax.metrics.intervals import difference
from diffaudit_jax.metrics.shuffles import shuffled, spread_of_areas, spread_of_rates
from diffaudit_jax.types import InputError


def audit(seed, shifts=(1.0, 1.0), m=40, n=60, decimals=8, harder=(0.0, 0.0)):
    """Members and others of every group; members score `shifts` higher, and all of a group's scores lie `harder` up."""
    rng, k = np.random.default_rng(seed), len(shifts)
    strata = np.repeat(np.arange(k), m + n)
    member = np.tile(np.arange(m + n) < m, k)
    scores = rng.normal(size=len(strata)) + np.asarray(shifts)[strata] * member + np.resize(harder, k)[strata]
    return np.round(scores, decimals), member, strata


@pytest.mark.parametrize("decimals", [8, 0])
def test_numbers_are_those_of_the_parts(decimals):
    scores, member, strata = audit(0, (2.0, 1.0, 0.0), decimals=decimals)
    found = exposure(scores, member, strata, fprs=(0.1, 0.01), level=0.9)
    assert [group.name for group in found.groups] == ["0", "1", "2"]
    for i, (point, fpr) in enumerate(zip(found.thresholds, (0.1, 0.01), strict=True)):
        pooled = tpr_at_fpr(scores, member, fpr)
        assert (point.target_fpr, point.resolvable) == (fpr, pooled.resolvable)
        hit = scores >= point.score
        assert pooled.fpr == hit[~member].mean() <= fpr
        for g, group in enumerate(found.groups):
            inside = strata == g
            for rate, side in ((group.tprs[i], member), (group.fprs[i], ~member)):
                assert rate == clopper_pearson(int(hit[inside & side].sum()), int((inside & side).sum()), 0.9)
    for g, group in enumerate(found.groups):
        assert (group.num_members, group.num_nonmembers) == (40, 60)
        assert group.auc == auc(scores[strata == g], member[strata == g], level=0.9)
    for gap, values in (
        (found.auc_gap, [group.auc.value for group in found.groups]),
        (found.tpr_gaps[0], [group.tprs[0].value for group in found.groups]),
    ):
        assert (gap.most, gap.least) == (str(np.argmax(values)), str(np.argmin(values)))
        assert gap.size.value == pytest.approx(max(values) - min(values), rel=1e-12)


def test_a_gap_of_two_is_their_difference_and_never_below_nothing():
    a, b = Estimate(0.8, 0.7, 0.85), Estimate(0.6, 0.5, 0.72)
    np.testing.assert_allclose(widest(lambda level: [b, a], 0.95), difference(a, b), rtol=1e-12)
    same = widest(lambda level: [a, a, a], 0.95)
    assert same.value == same.low == 0.0 < same.high
    levels = []
    widest(lambda level: levels.append(level) or [a, b, a, b], 0.95)
    assert levels == pytest.approx([0.95, 1 - 0.05 / 6])  # of four groups six pairs


def covered(found, truth):
    return np.mean([gap.size.low <= truth <= gap.size.high for gap in found])


REPEATS = 120
ERROR = 3 * np.sqrt(0.05 * 0.95 / REPEATS)


@pytest.mark.parametrize(
    ("shifts", "m", "n"),
    [
        ((1.0, 1.0), 20, 30),
        ((2.0, 1.0), 20, 30),
        ((1.0,) * 5, 15, 15),
        ((1.5, 1.0, 0.0), 15, 60),
        ((4.0, 4.0), 12, 12),
        ((5.0, 0.0), 30, 30),
    ],
)
def test_intervals_of_gaps_cover(shifts, m, n):
    """The gap in AUC in closed form; that in members found at the very threshold that was set, given the threshold."""
    areas = norm.cdf(np.array(shifts) / 2**0.5)
    found, rates = [], []
    for seed in range(REPEATS):
        result = exposure(*audit(seed, shifts, m, n), fprs=(0.1,), num_permutations=1)
        tprs = norm.sf(result.thresholds[0].score - np.array(shifts))
        found.append(result.auc_gap)
        size = result.tpr_gaps[0].size
        rates.append(size.low <= tprs.max() - tprs.min() <= size.high)
    assert covered(found, areas.max() - areas.min()) >= 0.95 - ERROR
    assert np.mean(rates) >= 0.95 - ERROR


def test_a_bootstrap_of_the_gap_does_not_cover():
    """What `widest` is there for: of two groups alike the widest gap of every resample is above nothing."""
    rng, hits = np.random.default_rng(0), 0
    for seed in range(20):
        scores, member, strata = audit(seed, (1.0, 1.0), 20, 30)
        x, y = ([scores[(strata == g) & side] for g in (0, 1)] for side in (member, ~member))
        gaps = []
        for _ in range(200):
            drawn = [(rng.choice(x[g], 20), rng.choice(y[g], 30)) for g in (0, 1)]
            first, second = (np.mean(a[:, None] > b) for a, b in drawn)
            gaps.append(abs(first - second))
        hits += np.quantile(gaps, 0.025) <= 0.0
    assert hits == 0


@pytest.mark.parametrize(("harder", "sizes"), [((0.0, 0.0), (30, 30)), ((0.0, 2.0), (12, 100))])
def test_shares_wrongly_accused_cover_although_they_set_the_threshold(harder, sizes):
    hits, repeats = np.zeros(2), 150
    for seed in range(repeats):
        scores, member, strata = audit(seed, (1.0, 1.0), 10, max(sizes), harder=harder)
        keep = member | (np.arange(len(scores)) % (10 + max(sizes)) < 10 + np.array(sizes)[strata])
        found = exposure(scores[keep], member[keep], strata[keep], fprs=(0.1,), num_permutations=1)
        truths = norm.sf(found.thresholds[0].score - np.array(harder))
        hits += [g.fprs[0].low <= truth <= g.fprs[0].high for g, truth in zip(found.groups, truths, strict=True)]
    assert (hits / repeats >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)).all()


@pytest.mark.parametrize("decimals", [8, 0])
def test_p_values_of_no_difference_are_uniform(decimals):
    """P[p <= alpha] <= alpha at every tenth, and near alpha where ties do not forbid it, up to 4 standard errors."""
    p = []
    for seed in range(REPEATS):
        found = exposure(*audit(seed, (1.0, 1.0, 1.0), 20, 20, decimals), fprs=(0.1,), num_permutations=39, seed=seed)
        p.append([found.auc_gap.p_value, found.tpr_gaps[0].p_value])
    p = np.array(p)
    for alpha in (0.05, 0.1, 0.3, 0.5, 0.7, 0.9):
        error = 4 * np.sqrt(alpha * (1 - alpha) / REPEATS)
        assert ((p <= alpha).mean(axis=0) <= alpha + error).all()
        assert (p[:, 0] <= alpha).mean() >= alpha - error - 0.025  # the AUC's: 1/40 is the step of p


def test_gaps_are_found_and_harder_groups_alone_are_none():
    found = [exposure(*audit(seed, (2.0, 0.5)), fprs=(0.1,), num_permutations=99, seed=seed) for seed in range(40)]
    assert np.mean([result.auc_gap.p_value <= 0.05 for result in found]) > 0.9
    assert np.mean([result.tpr_gaps[0].p_value <= 0.05 for result in found]) > 0.9
    # Scores of one group all lie higher: within each the attack does as well, but at one threshold it finds more.
    lifted = [
        exposure(*audit(seed, harder=(1.5, 0.0)), fprs=(0.1,), num_permutations=99, seed=seed) for seed in range(40)
    ]
    assert np.mean([result.tpr_gaps[0].p_value <= 0.05 for result in lifted]) > 0.9
    assert np.mean([result.groups[0].fprs[0].value for result in lifted]) > 0.15
    assert abs(np.mean([r.groups[0].auc.value - r.groups[1].auc.value for r in lifted])) < 4 * 0.08 / np.sqrt(40)


@pytest.mark.parametrize("decimals", [8, 0])
def test_all_shuffles_at_once_are_each_on_its_own(decimals, monkeypatch):
    monkeypatch.setattr("diffaudit_jax.metrics.shuffles.CELLS", 700)  # several parts
    scores, member, strata = audit(0, (1.0, 0.0, 2.0), 12, 15, decimals)
    labels = shuffled(strata, member, 20, seed=1)
    areas, rates = spread_of_areas(scores, member, labels), spread_of_rates(scores >= 1, member, labels)
    for row, groups in enumerate(labels):
        each = [auc(scores[groups == g], member[groups == g]).value for g in range(3)]
        assert areas[row] == pytest.approx(max(each) - min(each), abs=1e-12)
        each = [(scores >= 1)[(groups == g) & member].mean() for g in range(3)]
        assert rates[row] == pytest.approx(max(each) - min(each), abs=1e-12)


def test_shuffles_stay_on_their_side():
    _, member, strata = audit(0, (0.0, 0.0, 0.0), 12, 15)
    labels = shuffled(strata, member, 50, seed=1)
    np.testing.assert_array_equal(labels[0], strata)
    for side in (member, ~member):
        assert (np.sort(labels[:, side], axis=1) == np.sort(strata[side])).all()
    assert len(np.unique(labels, axis=0)) == 51
    np.testing.assert_array_equal(labels, shuffled(strata, member, 50, seed=1))


def test_small_groups_are_named_without_numbers():
    scores, member, strata = audit(0, (1.0, 1.0, 1.0), 10, 12)
    keep = ~((strata == 1) & member & (np.cumsum((strata == 1) & member) > 9))  # nine members of group 1
    names = np.array(["a", "b", "c"])[strata[keep]]
    found = exposure(scores[keep], member[keep], names, fprs=(0.1, 0.01))
    assert [(g.name, g.num_members, g.auc is None) for g in found.groups] == [
        ("a", 10, False),
        ("b", 9, True),
        ("c", 10, False),
    ]
    assert found.groups[1].tprs == found.groups[1].fprs == (None, None)
    assert {found.auc_gap.most, found.auc_gap.least} == {"a", "c"}
    # 36 non-members show 1 in 10, and not 1 in 100.
    assert [t.resolvable for t in found.thresholds] == ["weak", "no"]
    assert (found.thresholds[1].score, found.tpr_gaps[1], found.groups[0].tprs[1]) == (None, None, None)
    alone = exposure(scores[keep], member[keep], np.where(names == "a", "a", names), fprs=(0.1,))
    assert alone.auc_gap is not None
    one = exposure(scores[:22], member[:22], names[:22], fprs=(0.1,))
    assert (one.auc_gap, one.tpr_gaps) == (None, (None,))
    assert one.groups[0].auc is not None


def test_what_groups_are_called_changes_nothing():
    scores, member, strata = audit(0, (1.5, 1.0))
    numbers, words = (exposure(scores, member, s) for s in (strata, np.array(["x", "y"])[strata]))
    assert [g[1:] for g in numbers.groups] == [g[1:] for g in words.groups]
    assert numbers.auc_gap[2:] == words.auc_gap[2:]
    assert exposure(scores, member, np.array(["x", "y"], object)[strata]) == words
    assert strata_codes([10, 9, 10], 3)[0] == ["9", "10"]


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        (np.zeros(199, int), r"strata has shape \[199\]: give one group for each of the 200 records"),
        (np.zeros((200, 2), int), r"strata has shape \[200, 2\]"),
        (np.where(np.arange(200) == 7, np.nan, 1.0), "strata is nan in row 7: name every record's group"),
        ([None if i == 3 else "a" for i in range(200)], "strata is None in row 3: name every record's group"),
        ([float("nan") if i == 5 else "a" for i in range(200)], "strata is nan in row 5"),
        (np.full(200, 0.5), "strata is 0.5 in row 0: name every record's group by an integer or a string"),
        ([("a",) if i else 1 for i in range(200)], r"strata is \('a',\) in row 1"),
    ],
)
def test_mistakes_are_named(strata, message):
    scores, member, _ = audit(0)
    with pytest.raises(InputError, match=message):
        exposure(scores, member, strata)


@pytest.mark.parametrize("options", [{"level": 95}, {"fprs": (0.1, 1.0)}])
def test_bad_options_are_named(options):
    with pytest.raises(InputError, match=r"level is 95|false positive rate is 1\.0"):
        exposure(*audit(0), **options)
