"""The document: its numbers are those of `metrics`, it is strict JSON, and pixels appear only when asked for."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax import metrics
from diffaudit_jax.metrics.groups import one_each
from diffaudit_jax.metrics.multiple import auc_p_value, holm
from diffaudit_jax.report import Trajectory, membership_report, read_scores
from diffaudit_jax.report.exposed import most_exposed
from diffaudit_jax.types import InputError

from .audits import HOSTILE, SIZES, audit

KEYS = (
    "schema schema_version created title verdict counts records level attacks tests blind trajectory choices study "
    "exposure exposed provenance limits"
)


@pytest.mark.parametrize("level", SIZES)
def test_every_level_can_be_reached(reports, level):
    document = reports[level].document
    assert document["verdict"]["level"] == level
    assert list(document) == KEYS.split()
    assert document["counts"] == dict(zip(("members", "nonmembers"), SIZES[level], strict=True))
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def beyond(scores, blind, member):
    """AUC - max(blind, 1/2) with its interval: of both differences, whichever is the smaller."""
    over = metrics.advantage_over_blind(scores, blind, member, level=0.975)._asdict()
    area = metrics.auc(scores, member, level=0.975)._asdict()
    return {part: min(over[part], area[part] - 0.5) for part in over}


@pytest.mark.parametrize("level", SIZES)
def test_numbers_are_those_of_metrics(reports, level):
    given, document = audit(level), reports[level].document
    member = given["member"]
    blind = metrics.blind_baseline(given["images"], member)
    assert document["blind"]["p_value"] == blind.p_value
    for section, (name, scores) in zip(document["attacks"], given["scores"].items(), strict=True):
        stats = metrics.membership_stats(scores, member)
        assert section["name"] == name
        assert section["auc"] == stats.auc._asdict()
        for shown, point in zip(section["operating_points"], stats.points, strict=True):
            assert (shown["target_fpr"], shown["resolvable"], shown["fpr"]) == (point[0], point[1], point.fpr)
            assert shown["tpr"] == (point.tpr and point.tpr._asdict())
        for shown, moved in zip(section["transfers"], stats.transfers, strict=True):
            assert shown["tpr"] == (moved.tpr and moved.tpr._asdict())
            assert (shown["num_members"], shown["num_nonmembers"]) == (moved.num_members, moved.num_nonmembers)
        assert section["decision"]["prevalence"] == stats.decision.prevalence
        for rate in ("balanced_accuracy", "accuracy", "f1", "tpr", "fpr"):
            assert section["decision"][rate] == getattr(stats.decision, rate)._asdict()
        test = document["tests"][name]
        assert test["auc"]["p_value"] == auc_p_value(stats.auc)
        assert test["surest"]["p_value"] == section["surest"]["p_value"]
        # Two attacks: the advantage's interval spends half of the error.
        assert document["blind"]["advantage"][name] == pytest.approx(beyond(scores, blind.scores, member))


@pytest.mark.parametrize("level", SIZES)
def test_every_test_of_a_report_is_adjusted_for_all(reports, level):
    tests = [test for both in reports[level].document["tests"].values() for test in both.values()]
    assert len(tests) == 4
    np.testing.assert_array_equal([t["adjusted"] for t in tests], holm([t["p_value"] for t in tests]))


def test_the_trajectory_is_summarised_by_group_and_time(reports):
    given, document = audit("detected"), reports["detected"].document
    losses, member = given["trajectory"].losses["eps"], given["member"]
    shown = document["trajectory"]["losses"]["eps"]
    np.testing.assert_allclose(document["trajectory"]["times"], given["trajectory"].times)
    for group, rows in (("members", losses[member]), ("nonmembers", losses[~member])):
        for part, q in (("q25", 25), ("median", 50), ("q75", 75)):
            np.testing.assert_allclose(shown[group][part], np.percentile(rows, q, axis=0))
    for k, area in enumerate(shown["auc"]):  # a lower loss is more like a member
        assert area == pytest.approx(metrics.auc(-losses[:, k], member).value)
    assert min(shown["auc"]) > 0.5


@pytest.mark.parametrize("level", SIZES)
def test_the_most_exposed_are_members_in_order(reports, level):
    given, document = audit(level), reports[level].document
    scores, member = given["scores"][document["verdict"]["attack"]], given["member"]
    rows = [record["row"] for record in document["exposed"]]
    assert rows == sorted(np.flatnonzero(member), key=lambda row: -scores[row])[:10]
    for rank, record in enumerate(document["exposed"], start=1):
        assert record["rank"] == rank
        assert record["score"] == scores[record["row"]]
        assert record["nonmembers_above"] == np.count_nonzero(scores[~member] >= record["score"])
        np.testing.assert_array_equal(record["trajectory"]["eps"], given["trajectory"].losses["eps"][record["row"]])


def test_ties_with_a_member_count_as_high():
    scores = np.array([2.0, 1.0, 1.0, 0.0, 2.0, 3.0])
    member = np.array([True, True, True, False, False, False])
    exposed = most_exposed(scores, member, None, None, 0)
    assert [(record["row"], record["nonmembers_above"]) for record in exposed] == [(0, 2), (1, 2), (2, 2)]
    assert [record["trajectory"] for record in exposed] == [None] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_appear_only_when_asked_for(reports, channels):
    assert "image_png_base64" not in json.dumps([report.document for report in reports.values()])
    given = audit("too-small")
    given["images"] = np.repeat(given["images"], channels, axis=3)
    exposed = membership_report(**given, show_images=3).document["exposed"]
    shown = [record for record in exposed if "image_png_base64" in record]
    assert [record["rank"] for record in shown] == [1, 2, 3]
    for record in shown:
        image = Image.open(io.BytesIO(base64.b64decode(record["image_png_base64"])))
        np.testing.assert_array_equal(
            np.asarray(image).reshape(given["images"].shape[1:]), given["images"][record["row"]]
        )


def test_a_bare_array_is_a_report_too():
    rng = np.random.default_rng(0)
    report = membership_report(rng.normal(size=40), [True, False] * 20)
    document = report.document
    assert [attack["name"] for attack in document["attacks"]] == ["score"]
    assert (document["blind"], document["trajectory"]) == (None, None)
    assert "could not be checked" in " ".join(document["verdict"]["split"])
    assert any("nobody checked" in limit for limit in document["limits"])
    versions = document["provenance"]["versions"]
    assert versions["numpy"] == np.__version__
    assert {"jax", "jaxlib", "flax", "optax", "orbax-checkpoint"} <= set(versions)


def with_people(level, records=3):
    """The audit with so many records of each person: what a person has in common, and something of each record."""
    given, rng = audit(level), np.random.default_rng(0)
    person = np.repeat(np.arange(len(given["member"])), records)
    copies = {
        "scores": {name: s[person] + 0.1 * rng.normal(size=len(person)) for name, s in given["scores"].items()},
        "member": given["member"][person],
        "images": given["images"][person] + rng.integers(0, 3, (len(person), 6, 6, 1)).astype(np.uint8),
        "trajectory": Trajectory(TIMES, {"eps": rng.random((len(person), 2))}),
    }
    return given | copies, person


def test_each_person_counts_once():
    given, person = with_people("too-small")
    document = membership_report(**given, groups=person, seed=5).document
    assert document["records"] == {"members": 36, "nonmembers": 36}
    assert document["counts"] == {"members": 12, "nonmembers": 12}
    rows = one_each(person, 5)
    assert person[rows].tolist() == list(range(24))
    alone = membership_report(
        {name: values[rows] for name, values in given["scores"].items()},
        given["member"][rows],
        trajectory=Trajectory(TIMES, {"eps": given["trajectory"].losses["eps"][rows]}),
        attacks=given["attacks"],
        seed=5,
    ).document
    assert document["attacks"] == alone["attacks"]
    assert document["trajectory"] == alone["trajectory"]
    blind = metrics.blind_baseline(given["images"], given["member"], groups=person, seed=5)
    assert document["blind"]["p_value"] == blind.p_value
    for name, gained in document["blind"]["advantage"].items():
        once = given["scores"][name][rows], blind.scores[rows], given["member"][rows]
        assert gained == pytest.approx(beyond(*once))
    # Exposure is a matter of records: the list and its rows are of all that were asked about.
    lead = given["scores"][document["verdict"]["attack"]]
    assert document["exposed"][0]["row"] == np.flatnonzero(given["member"])[lead[given["member"]].argmax()]
    assert any("Each person counts once" in limit for limit in document["limits"])


def test_a_person_for_every_record_changes_nothing(reports):
    given = audit("too-small")
    again = membership_report(**given, groups=[f"p{i}" for i in range(24)]).document
    assert again | {"created": ""} == reports["too-small"].document | {"created": ""}


@pytest.mark.parametrize("grouped", [True, False])
def test_a_person_effect_raises_false_alarms_unless_people_are_named(grouped):
    """A model that leaks nothing, with scores that differ by person: P[detected] <= 0.05 over people."""
    person, trials, alarms = np.repeat(np.arange(40), 8), 60, 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        member = (rng.permutation(40) < 20)[person]
        scores = 2 * rng.normal(size=40)[person] + rng.normal(size=320)
        found = membership_report(scores, member, groups=person if grouped else None, seed=seed)
        alarms += bool(found.document["verdict"]["detected"])
    error = 3 * np.sqrt(0.05 * 0.95 / trials)
    assert (alarms / trials <= 0.05 + error) == grouped


def test_scores_of_another_tool_give_the_same_statistics(reports, tmp_path):
    given = audit("too-small")
    np.savez(tmp_path / "scores.npz", member=given["member"], **given["scores"])
    document = membership_report(*read_scores(tmp_path / "scores.npz"), trajectory=given["trajectory"]).document
    for section, expected in zip(document["attacks"], reports["too-small"].document["attacks"], strict=True):
        assert section | {"spec": {}} == expected | {"spec": {}}
    assert document["exposed"] == reports["too-small"].document["exposed"]


def test_the_same_evidence_gives_the_same_document(reports):
    again = membership_report(**audit("split-leaks")).document
    assert again | {"created": ""} == reports["split-leaks"].document | {"created": ""}


def test_the_order_of_attacks_changes_no_conclusion(reports):
    given = audit("detected")
    given["scores"] = dict(reversed(given["scores"].items()))
    again, before = membership_report(**given).document, reports["detected"].document
    assert again["verdict"]["headline"] == before["verdict"]["headline"]
    assert again["verdict"]["attack"] == before["verdict"]["attack"] == HOSTILE
    assert again["exposed"] == before["exposed"]


TIMES = np.array([0.5, 1.0])
MEMBER = np.arange(24) < 12
SCORES = np.linspace(0, 1, 24)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scores": {}}, "scores is empty"),
        ({"scores": {"a": SCORES[:-1]}}, r"attack 'a': scores has shape \[23\]"),
        ({"scores": {"a": np.where(MEMBER, np.nan, 0.0)}}, r"attack 'a': .*nan"),
        ({"member": np.arange(24)}, "member is "),
        ({"member": np.ones(24, bool)}, "member has members only"),
        ({"member": np.arange(24) < 3}, "3 members are too few"),
        ({"groups": np.zeros(23, int)}, r"groups is int64 of shape \(23,\): give one .* the 24 records"),
        ({"groups": np.arange(24) % 2}, r"group 0 has members and non-members \(2 of 2 groups do\)"),
        ({"groups": np.arange(24) // 2}, "6 and 6 people among members and non-members are too few"),
        ({"images": np.zeros((24, 4, 4, 1))}, "type float64: give uint8"),
        ({"images": np.zeros((23, 4, 4, 1), np.uint8)}, r"shape \(23, 4, 4, 1\).*\(24, height, width, channels\)"),
        ({"images": np.zeros((24, 4, 4, 2), np.uint8)}, "with 1, 3 or 4 channels"),
        ({"show_images": 2}, "show_images=2 needs images"),
        ({"show_images": -1}, "show_images=-1"),
        ({"attacks": {"secmi": {}}}, "unknown attack 'secmi'"),
        ({"provenance": {"loss": float("nan")}}, "must be JSON without NaN"),
        ({"provenance": {"weights": np.zeros(2)}}, "ndarray is not JSON serializable"),
        ({"trajectory": Trajectory([0.0, 0.5], {"a": np.ones((24, 2))})}, r"must increase within \(0, 1\]"),
        ({"trajectory": Trajectory([0.5, 0.5], {"a": np.ones((24, 2))})}, "must increase"),
        ({"trajectory": Trajectory(TIMES, {})}, "holds no losses"),
        ({"trajectory": Trajectory(TIMES, {"a": np.ones((24, 3))})}, r"losses 'a' have shape \(24, 3\)"),
        ({"trajectory": Trajectory(TIMES, {"a": np.full((24, 2), np.inf)})}, "loss inf of 'a' in row 0 at time 0.5"),
    ],
)
def test_mistakes_are_named(change, says):
    with pytest.raises(InputError, match=says):
        membership_report(**({"scores": SCORES, "member": MEMBER} | change))
