"""The verdict: which evidence leads to which level, how often it is wrong, and the words it may not use."""

import itertools
import re

import numpy as np
import pytest
from scipy import stats

from diffaudit_jax import metrics
from diffaudit_jax.metrics.multiple import holm
from diffaudit_jax.report.curves import surest
from diffaudit_jax.report.limits import limits
from diffaudit_jax.report.significance import adjusted_tests, detects, noticeable_auc, wrong_way
from diffaudit_jax.report.verdict import frequencies, verdict

COUNTS = {"members": 64, "nonmembers": 1000}


def attack(name="a", low=0.4, value=0.55, high=0.7, p_value=0.5, points=((0.1, "yes", 0.9), (0.01, "yes", 0.62))):
    """The parts of a document's attack that the verdict reads."""
    auc = {"value": value, "low": low, "high": high}
    tprs = [t and {"value": t, "low": t - 0.1, "high": t + 0.05} for _, _, t in points]
    return {
        "name": name,
        "auc": auc,
        "surest": {"k": 11, "members": 8, "expected": 0.66, "p_value": p_value},
        "operating_points": [
            {"target_fpr": fpr, "resolvable": kind, "tpr": tpr, "fpr": fpr, "reason": ""}
            for (fpr, kind, _), tpr in zip(points, tprs, strict=True)
        ],
    }


def concludes(attacks, baseline, counts, level=0.95, people=False, picked=()):
    """The verdict, where an interval that leaves 1/2 out stands for a p-value of .001 and any other for .9."""
    areas = [attack["auc"] for attack in attacks]
    p = [0.001 if auc["low"] > 0.5 or auc["high"] < 0.5 else 0.9 for auc in areas]
    adjusted = holm(p + [attack["surest"]["p_value"] for attack in attacks])
    tests = {
        attack["name"]: {"auc": {"adjusted": adjusted[i]}, "surest": {"adjusted": adjusted[i + len(attacks)]}}
        for i, attack in enumerate(attacks)
    }
    return verdict(attacks, tests, baseline, counts, level, people, picked)


def blind(leaks, advantage_low=0.1, p_value=None):
    auc = {"value": 0.8, "low": 0.7, "high": 0.9} if leaks else {"value": 0.5, "low": 0.4, "high": 0.6}
    gain = {"value": 0.2, "low": advantage_low, "high": 0.3}
    return {
        "auc": auc,
        "leaks": leaks,
        "p_value": p_value or (0.002 if leaks else 0.5),
        "num_permutations": 499,
        "advantage": {"a": gain, "b": gain},
    }


REVERSED = attack(value=0.2, high=0.3, low=0.1)


@pytest.mark.parametrize(
    ("level", "attacks", "baseline", "counts", "says"),
    [
        ("detected", [attack(low=0.51)], None, COUNTS, "in 55 of 100 pairs (51 to 70"),
        ("detected", [attack(), attack("b", low=0.51)], blind(False), COUNTS, "strongest attack, b, ranks"),
        ("detected", [attack("b", low=0.6), attack("a", low=0.7)], None, COUNTS, "b beats guessing too."),
        ("detected", [attack(p_value=0.02)], None, COUNTS, "of the 11 records it is surest about, 8 are training"),
        # Of four tests the strongest leaves three to share the error: .016 x 3 is below .05, .016 x 4 would not be.
        ("detected", [attack("a", low=0.6), attack("b", p_value=0.016)], None, COUNTS, "b beats guessing too."),
        ("not-detected", [attack("a"), attack("b", p_value=0.016)], None, COUNTS, "a weaker leak can easily be missed"),
        ("not-detected", [attack(p_value=0.03)], None, COUNTS, "AUC of 0.61 would be noticed"),
        ("not-detected", [attack(p_value=0.02), attack("b")], None, COUNTS, "a weaker leak can easily be missed"),
        ("wrong-way", [attack(value=0.3, high=0.45, low=0.2)], None, COUNTS, "a (AUC 0.30 [0.20, 0.45]) ranks members"),
        ("wrong-way", [REVERSED, attack("b")], None, COUNTS, "Until that is settled this report says nothing"),
        ("wrong-way", [REVERSED], None, {"members": 12, "nonmembers": 12}, "a (AUC 0.20 [0.10, 0.30]) ranks members"),
        ("detected", [REVERSED, attack("b", low=0.6)], None, COUNTS, "a (AUC 0.20 [0.10, 0.30]) ranks members below"),
        ("split-leaks", [REVERSED], blind(True), COUNTS, "a (AUC 0.20 [0.10, 0.30]) ranks members below"),
        ("not-detected", [attack(value=0.4, high=0.5, low=0.3)], None, COUNTS, "0.40 [0.30, 0.50]; 0.50 is guessing"),
        ("too-small", [attack()], None, {"members": 12, "nonmembers": 12}, "12 members and 12 non-members"),
        ("split-leaks", [attack(low=0.9)], blind(True), COUNTS, "part of what was found does come from the model"),
        ("split-leaks", [attack(low=0.9)], blind(True), COUNTS, "an attack finds more than that difference explains"),
        ("split-leaks", [attack(low=0.9)], blind(True, -0.1), COUNTS, "not shown to come from the model"),
        ("split-leaks", [attack(low=0.9)], blind(True, -0.1), COUNTS, "so the attacks overstate what the model"),
        ("split-leaks", [attack()], blind(True), COUNTS, "so the attacks overstate what the model reveals"),
        ("detected", [attack(low=0.6)], blind(False, p_value=0.02), COUNTS, "worth a look at how the two groups were"),
        ("detected", [attack(low=0.6)], blind(False, p_value=0.02), COUNTS, "as well on one fair split in 50"),
        ("not-detected", [attack()], blind(False, p_value=0.052), COUNTS, "0.60] (p = 0.052), no better than guessing"),
        ("split-leaks", [attack()], blind(True), {"members": 12, "nonmembers": 12}, "(p = 0.002)"),
    ],
)
def test_evidence_decides_the_level(level, attacks, baseline, counts, says):
    concluded = concludes(attacks, baseline, counts, 0.95)
    text = " ".join([concluded["headline"], *concluded["sentences"], *concluded["split"]])
    assert concluded["level"] == level
    assert says in text
    assert not re.search(r"\b(safe|secure|anonymous|compliant|proves?)\b", text, re.IGNORECASE)


def test_without_a_blind_check_the_verdict_says_so():
    assert "could not be checked" in " ".join(concludes([attack(low=0.6)], None, COUNTS, 0.95)["sentences"])
    assert "could not be checked" not in " ".join(concludes([attack(low=0.6)], blind(False), COUNTS, 0.95)["sentences"])


def test_the_wrong_way_round_is_said_first():
    concluded = concludes([REVERSED, attack("b")], blind(False), COUNTS, 0.95)
    assert concluded["label"] == "Scores rank the wrong way round"
    assert concluded["headline"].endswith("Check the sign of the scores.")
    assert concluded["sentences"][0].startswith("a (AUC 0.20 [0.10, 0.30]) ranks members below non-members")
    assert concluded["detected"] == []
    both = concludes([REVERSED, REVERSED | {"name": "b"}], None, COUNTS, 0.95)["sentences"][0]
    assert both.startswith("a (AUC 0.20 [0.10, 0.30]) and b (AUC 0.20 [0.10, 0.30]) rank members below")


@pytest.mark.parametrize("people", [True, False])
def test_counts_restate_the_operating_point(people):
    concluded = concludes([attack(low=0.6)], None, COUNTS, 0.95, people)
    text, unit = " ".join(concluded["sentences"]), "people" if people else "records"
    assert f"At a strict threshold, of 1,000 {unit} not in the training data about 10 would be wrongly accused" in text
    assert f"of 100 {unit} in it, about 62 would be identified (52 to 67 with 95 % confidence)" in text
    accusations = " ".join(limits([attack(low=0.6)], concluded, None, False, people))
    assert f"If 100 of 10,000 {unit} tested" in accusations
    # 62 of 100 members found; 1 % of 9,900 others accused: 99 of 161 accusations are false.
    assert "99 of 161 accusations would be false" in accusations
    assert people == bool(re.search(r"\b(people|person)\b", text + accusations))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            "weak",
            "At a loose threshold (too few non-members to measure 1 % well), of 1,000 records not in the training",
        ),
        ("no", "At a loose threshold (too few non-members to measure 1 %), of 1,000 records not in the training"),
    ],
)
def test_one_in_ten_is_not_called_strict(kind, says):
    one = attack(low=0.6, points=((0.1, "yes", 0.9), (0.01, kind, None)))
    text = " ".join(concludes([one], None, COUNTS, 0.95)["sentences"])
    assert says in text
    assert "about 100 would be wrongly accused" in text
    assert "strict" not in text


@pytest.mark.parametrize("baseline", [None, blind(False), blind(False, p_value=0.02), blind(True), blind(True, -0.1)])
@pytest.mark.parametrize("low", [0.4, 0.6])
def test_the_verdict_speaks_without_statistics(low, baseline):
    concluded = concludes([attack(low=low), attack("b", low=low)], baseline, COUNTS, 0.95)
    text = " ".join([concluded["label"], concluded["headline"], *concluded["sentences"]])
    assert not re.search(r"Bonferroni|\bp =|p-value|people", text)
    assert ("picked as the strongest of 2 with the answers in view" in text) == (concluded["level"] != "split-leaks")


@pytest.mark.parametrize("leaks", [True, False])
def test_the_blind_check_is_explained(leaks):
    said = " ".join(concludes([attack(low=0.6)], blind(leaks), COUNTS, 0.95)["split"])
    for part in ("ridge classifier", "100 principal components", "Of 5 parts", "499 shuffles", "(p = 0."):
        assert part in said
    assert ("With 64 members its interval is wide: groups that differ enough for an AUC of 0.60" in said) != leaks


@pytest.mark.parametrize(("high", "little"), [(0.6, True), (0.51, True), (0.49, False)])
def test_a_wide_check_is_said_to_say_little(high, little):
    baseline = blind(False) | {"auc": {"value": 0.45, "low": 0.4, "high": high}}
    concluded = concludes([attack(low=0.6)], baseline, COUNTS, 0.95)
    assert ("which with 64 members says little" in " ".join(concluded["sentences"])) == little
    assert ("is wide" in " ".join(concluded["split"])) == little


@pytest.mark.parametrize(
    ("points", "target"),
    [
        (((0.1, "yes", 0.9), (0.01, "yes", 0.5), (0.001, "weak", 0.2)), 0.01),
        (((0.1, "yes", 0.9), (0.01, "weak", 0.5), (0.001, "no", None)), 0.1),
        (((0.1, "yes", 0.9), (0.01, "yes", 0.5), (0.001, "yes", 0.2)), 0.01),
        (((0.001, "yes", 0.2),), 0.001),
        (((0.1, "weak", 0.9), (0.01, "no", None)), None),
    ],
)
def test_a_crowd_is_counted_only_where_the_sample_resolves(points, target):
    counted = frequencies(attack(points=points))
    assert (counted and counted["target_fpr"]) == target


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (("yes", "yes"), None),
        (("yes", "weak"), "at 1 % wrongly accused rests on fewer than ten non-members"),
        (("weak", "no"), "at 1 % wrongly accused cannot be measured at all"),
        (("no", "no"), "at 10 % and 1 % wrongly accused cannot be measured at all"),
    ],
)
def test_limits_name_what_is_not_resolved(kinds, says):
    points = tuple((fpr, kind, None) for fpr, kind in zip((0.1, 0.01), kinds, strict=True))
    one = attack(points=points)
    text = " ".join(limits([one], concludes([one], None, COUNTS, 0.95), None, False))
    assert says in text if says else "wrongly accused" not in text


def test_the_spread_under_the_null_is_the_exact_one():
    """All 462 ways to pick 5 members of 11 give the Mann-Whitney AUC its exact standard deviation."""
    scores = np.arange(11.0)
    aucs = [
        metrics.auc(scores, np.isin(np.arange(11), chosen)).value for chosen in itertools.combinations(range(11), 5)
    ]
    z = stats.norm.ppf(0.9) + stats.norm.ppf(0.8)
    assert noticeable_auc(5, 6, 0.2) == pytest.approx(0.5 + z * np.std(aucs), rel=1e-12)


def finds(scores, member):
    """What `verdict` decides on, for attacks of these scores [n, k]."""
    attacks = [
        {"name": str(k), "auc": metrics.auc(column, member)._asdict(), "surest": surest(column, member)}
        for k, column in enumerate(scores.T)
    ]
    tests = adjusted_tests(attacks, 0.95)
    if any(detects(attack, tests, 0.05) for attack in attacks):
        return "detected"
    return "wrong-way" if any(wrong_way(attack, tests, 0.05) for attack in attacks) else ""


@pytest.mark.parametrize(("m", "n", "attacks"), [(10, 10, 1), (64, 64, 1), (20, 300, 1), (40, 60, 5), (20, 300, 3)])
def test_a_model_that_leaks_nothing_is_rarely_accused(m, n, attacks):
    """P[detected or wrong way round] <= 0.05; the test fails by chance once in 30,000 at exactly that rate."""
    rng, trials = np.random.default_rng(0), 600 // attacks
    member = np.arange(m + n) < m
    alike = rng.normal(size=(trials, m + n, 1))  # attacks on one model resemble each other
    drawn = alike + rng.normal(size=(trials, m + n, attacks))
    rate = np.mean([finds(scores, member) != "" for scores in drawn])
    assert 0 < rate <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / trials)


def test_sharing_the_error_is_needed():
    """Six unlike attacks of nothing, each judged on its own: a false alarm in more than one audit of ten."""
    rng, member, alarms = np.random.default_rng(0), np.arange(128) < 64, []
    for _ in range(150):
        alone = [finds(scores[:, None], member) for scores in rng.normal(size=(6, 128))]
        alarms.append(any(alone))
    assert np.mean(alarms) > 0.1


def test_what_is_called_noticeable_is_noticed():
    """Normal scores shifted to that AUC, sqrt(2) z(AUC), are detected about four times in five."""
    rng, trials = np.random.default_rng(0), 400
    member = np.arange(128) < 64
    shift = np.sqrt(2) * stats.norm.ppf(noticeable_auc(64, 64, 0.025))
    rate = np.mean(
        [finds((rng.normal(size=128) + shift * member)[:, None], member) == "detected" for _ in range(trials)]
    )
    assert abs(rate - 0.8) < 4 * np.sqrt(0.8 * 0.2 / trials)
