"""Exposure by group in a report: the numbers of metrics, all gaps adjusted together, and sentences in plain words."""

import numpy as np
import pytest

from diffaudit_jax.metrics.exposure import exposure
from diffaudit_jax.metrics.groups import one_each
from diffaudit_jax.metrics.multiple import holm
from diffaudit_jax.report import membership_report
from diffaudit_jax.types import InputError

RNG = np.random.default_rng(0)
N = 1200
MEMBER = np.arange(N) < 300
SEX = RNG.choice(["men", "women"], N)
DIGIT = RNG.integers(0, 3, N)
RARE = np.where(np.arange(N) % 160 == 0, "few", SEX)
SCORES = RNG.normal(size=N) + MEMBER * np.where(SEX == "women", 2.5, 0.7)


def report(**options):
    return membership_report(SCORES, MEMBER, **options).document


def plain(section):
    return " ".join(section["sentences"]).replace("\N{NO-BREAK SPACE}", " ")


def test_numbers_are_those_of_metrics_and_all_gaps_are_adjusted_together():
    document = report(strata={"sex": SEX, "digit": DIGIT}, seed=3)
    assert [section["name"] for section in document["exposure"]] == ["sex", "digit"]
    gaps = []
    for section, strata in zip(document["exposure"], (SEX, DIGIT), strict=True):
        found = exposure(SCORES, MEMBER, strata, fprs=(0.1, 0.01), seed=3, num_permutations=1999)
        assert section["attack"] == document["verdict"]["attack"] == "score"
        for shown, group in zip(section["groups"], found.groups, strict=True):
            assert (shown["name"], shown["members"], shown["nonmembers"]) == group[:3]
            assert shown["auc"] == group.auc._asdict()
            assert shown["tprs"] == [rate._asdict() for rate in group.tprs]
            assert shown["fprs"] == [rate._asdict() for rate in group.fprs]
        assert section["thresholds"] == [point._asdict() for point in found.thresholds]
        for shown, gap in zip(
            (section["auc_gap"], *section["tpr_gaps"]), (found.auc_gap, *found.tpr_gaps), strict=True
        ):
            assert (shown["most"], shown["least"], shown["p_value"]) == (gap.most, gap.least, gap.p_value)
            assert shown["size"] == gap.size._asdict()
            gaps.append(shown)
    np.testing.assert_array_equal([gap["adjusted"] for gap in gaps], holm([gap["p_value"] for gap in gaps]))
    assert report(strata={})["exposure"] == report()["exposure"] == []


def test_a_gap_is_said_in_counts_of_a_hundred():
    (section,) = report(strata={"sex": SEX})["exposure"]
    found = {group["name"]: group["tprs"][0 if section["thresholds"][1]["resolvable"] != "yes" else 1]
             for group in section["groups"]}  # fmt: skip
    women, men = (round(100 * found[name]["value"]) for name in ("women", "men"))
    assert women > men + 20
    assert (
        f"which wrongly accuses 10 % of all non-members, members in group women are found in {women} of 100 cases, and "
        f"in group men in {men}: a gap of "
    ) in plain(section)
    assert "more than chance explains (p = 0.003, Holm)" in plain(section)
    areas = {group["name"]: group["auc"]["value"] for group in section["groups"]}
    assert f"ranks a member above a non-member in {round(100 * areas['women'])} of 100 pairs" in plain(section)


def test_no_gap_at_all_is_called_that():
    document = membership_report(np.zeros(N), MEMBER, strata={"sex": SEX}).document
    (section,) = document["exposure"]
    assert "members of every group are found in 0 of 100 cases." in plain(section)
    assert "Within every group the attack ranks a member above a non-member in 50 of 100 pairs." in plain(section)


def test_a_gap_of_chance_is_called_that():
    (section,) = report(strata={"digit": DIGIT})["exposure"]
    assert plain(section).count("which chance alone may give (p = ") == 2
    assert "more than chance" not in plain(section)


def test_groups_too_small_are_named_and_not_dropped():
    (section,) = report(strata={"sex": RARE})["exposure"]
    counts = [int(np.sum((RARE == "few") & side)) for side in (MEMBER, ~MEMBER)]
    assert [(g["name"], g["auc"] is None) for g in section["groups"]] == [
        ("few", True),
        ("men", False),
        ("women", False),
    ]
    said = "Not measurable, with fewer than 10 members or fewer than 10 non-members: few ({} and {}).".format(*counts)
    assert said in plain(section)
    (alone,) = report(strata={"all": np.zeros(N, int)})["exposure"]
    assert plain(alone) == "Fewer than two groups are large enough to be compared."
    (many,) = report(strata={"row": np.arange(N)})["exposure"]
    assert len(many["groups"]) == N
    assert "19 (1 and 0), and 1,180 more." in plain(many)
    assert "Fewer than two groups" in plain(many)


def test_the_strictest_threshold_that_is_resolved_is_told():
    few = np.r_[np.flatnonzero(MEMBER), np.flatnonzero(~MEMBER)[:150]]
    (section,) = membership_report(SCORES[few], MEMBER[few], strata={"sex": SEX[few]}).document["exposure"]
    assert [point["resolvable"] for point in section["thresholds"]] == ["yes", "weak"]
    assert "which wrongly accuses 10 % of all non-members" in plain(section)
    fewer = few[:350]
    (section,) = membership_report(SCORES[fewer], MEMBER[fewer], strata={"sex": SEX[fewer]}).document["exposure"]
    assert [point["resolvable"] for point in section["thresholds"]] == ["weak", "no"]
    assert section["tpr_gaps"][1] is None
    assert "which wrongly accuses 10 % of all non-members" in plain(section)


def test_limits_say_what_exposure_by_group_does_not_prove():
    assert any("Exposure by group is that of one attack" in limit for limit in report(strata={"sex": SEX})["limits"])
    assert not any("Exposure by group" in limit for limit in report()["limits"])


def test_people_count_once_in_their_group():
    person, seed = np.repeat(np.arange(N // 3), 3), 2
    member, sex = MEMBER[::3][person], SEX[::3][person]
    (section,) = membership_report(SCORES, member, groups=person, strata={"sex": sex}, seed=seed).document["exposure"]
    rows = one_each(person, seed)
    counts = [
        [int(np.sum((sex[rows] == name) & side)) for side in (member[rows], ~member[rows])] for name in ("men", "women")
    ]
    assert [[group["members"], group["nonmembers"]] for group in section["groups"]] == counts


@pytest.mark.parametrize(
    ("strata", "says"),
    [
        ({"sex": SEX[1:]}, r"stratification 'sex': strata has shape \[1199\]: give one group for each of the 1200"),
        ({"age": np.where(np.arange(N) == 7, np.nan, 1.0)}, "stratification 'age': strata is nan in row 7: name every"),
        ({1: SEX, "1": DIGIT}, "strata names '1' twice: give every stratification a name of its own"),
        (SEX, "strata is not a mapping: give each stratification a name"),
    ],
)
def test_mistakes_are_named(strata, says):
    with pytest.raises(InputError, match=says):
        report(strata=strata)
