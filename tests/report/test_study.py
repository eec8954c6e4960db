"""How the attack was chosen: every variant is the library's own score, and what is picked has its honest number."""

import numpy as np
import pytest

from diffaudit_jax.attacks.statistics import STATISTICS, Errors, score
from diffaudit_jax.losses import Losses
from diffaudit_jax.metrics import auc
from diffaudit_jax.metrics.choosing import choose
from diffaudit_jax.metrics.groups import one_each
from diffaudit_jax.report import Trajectory, membership_report, trajectory_study
from diffaudit_jax.types import InputError

RNG = np.random.default_rng(0)
MEMBER = np.arange(60) < 24
TIMES = np.linspace(0.02, 1.0, 50)


def trajectory(times, noises=2, kind=Losses):
    return kind(
        *(RNG.random((60, times, noises)).astype(np.float32) + 0.1 * ~MEMBER[:, None, None] for _ in kind._fields)
    )


def by_hand(losses, statistic, by, kept):
    """The paper's scores of one query, from its losses in the order of the grid."""
    losses = losses.astype(np.float64).mean(axis=1)
    keep = losses[: round(kept * len(losses))] if by == "time" else np.sort(losses)[: round(kept * len(losses))]
    return -getattr(np, statistic)(keep)


@pytest.mark.parametrize("kind", [Losses, Errors])
def test_every_variant_is_the_score_of_its_name(kind):
    features = trajectory(50, kind=kind)
    study = trajectory_study(features, TIMES)
    assert len(study) == len(kind._fields) * len(STATISTICS) * 2 * 10
    assert {key[3] for key in study} == {tenth / 10 for tenth in range(1, 11)}
    for (loss, statistic, by, kept), scores in study.items():
        slow = [by_hand(losses, statistic, by, kept) for losses in getattr(features, loss)]
        np.testing.assert_allclose(scores, slow, rtol=1e-12)
    kept = {"time": TIMES[14], "value": 1 - 15 / 50}  # what `score` calls it
    for by, truncate in kept.items():
        rule = score(TIMES, loss=kind._fields[0], statistic="median", truncate=truncate, by=by)
        np.testing.assert_allclose(study[kind._fields[0], "median", by, 0.3], rule(features), rtol=1e-12)


@pytest.mark.parametrize(("times", "kept"), [(1, [1.0]), (3, [1 / 3, 2 / 3, 1.0]), (7, [k / 7 for k in range(1, 8)])])
def test_a_coarse_grid_has_as_many_truncations_as_times(times, kept):
    study = trajectory_study(trajectory(times), np.linspace(0.1, 0.9, times))
    assert sorted({key[3] for key in study}) == pytest.approx(kept)


def test_the_order_of_a_grid_does_not_matter():
    features = trajectory(50)
    backwards = Losses(*(loss[:, ::-1] for loss in features))
    ours, theirs = trajectory_study(features, TIMES), trajectory_study(backwards, TIMES[::-1])
    for key, scores in ours.items():
        np.testing.assert_allclose(scores, theirs[key], rtol=1e-12)


STUDY = {("white", *key): s for key, s in trajectory_study(trajectory(10), TIMES[4::5]).items()}
SCORES = {name: RNG.normal(size=60) + shift * MEMBER for name, shift in (("a", 0.5), ("b", 0.6))}


def test_the_table_holds_every_variant_and_the_choice_is_that_of_metrics():
    document = membership_report(SCORES, MEMBER, study=STUDY, seed=7).document
    table = document["study"]
    assert table["columns"] == [f"keeps {10 * tenth}\N{NO-BREAK SPACE}%" for tenth in range(1, 11)]
    assert len(table["rows"]) == 30
    shown = {(row["name"], k): area for row in table["rows"] for k, area in enumerate(row["auc"])}
    for (*row, kept), scores in STUDY.items():
        assert shown[", ".join(row), round(10 * kept) - 1] == pytest.approx(auc(scores, MEMBER).value, abs=1e-12)
    attacks, variants = document["choices"]
    assert (attacks["of"], attacks["candidates"], variants["of"], variants["candidates"]) == (
        "attacks",
        2,
        "variants",
        300,
    )
    for shown, candidates in ((attacks, SCORES), (variants, STUDY)):
        found = choose(candidates, MEMBER, seed=7)
        assert shown["honest"] == found.honest._asdict()
        assert shown["optimistic"] == found.optimistic._asdict()
    assert attacks["best"] == choose(SCORES, MEMBER).name
    assert variants["best"].startswith("white, ")
    said = " ".join(document["verdict"]["sentences"])
    assert "may flatter it: the attack of largest AUC on one half of the records has one of 0." in said


def test_the_study_takes_no_part_in_the_verdict():
    with_study, without = (membership_report(SCORES, MEMBER, study=study).document for study in (STUDY, None))
    assert with_study["verdict"] == without["verdict"]
    assert with_study["tests"] == without["tests"]
    assert without["study"] is None


def test_plain_names_are_one_column():
    study = {"one": SCORES["a"], "other": SCORES["b"], ("pair", "AUC of mine"): SCORES["b"]}
    document = membership_report(SCORES["a"], MEMBER, study=study).document
    assert document["study"]["columns"] == ["AUC", "AUC of mine"]
    assert [row["name"] for row in document["study"]["rows"]] == ["one", "other", "pair"]
    assert [[area is None for area in row["auc"]] for row in document["study"]["rows"]] == [
        [False, True],
        [False, True],
        [True, False],
    ]
    (choice,) = document["choices"]  # one attack alone is no choice
    assert choice["best"] in {"one", "other", "pair, AUC of mine"}


def test_the_best_time_of_each_loss_is_chosen_honestly():
    losses = {"eps": RNG.normal(size=(60, 4)) - np.arange(4) * MEMBER[:, None], "x0": RNG.normal(size=(60, 4))}
    times = [0.1, 0.2, 0.5, 1.0]
    document = membership_report(SCORES["a"], MEMBER, trajectory=Trajectory(times, losses)).document
    assert [choice["of"] for choice in document["choices"]] == ["times of the eps loss", "times of the x0 loss"]
    for choice, values in zip(document["choices"], losses.values(), strict=True):
        found = choose(-values, MEMBER)
        assert choice["best"] == f"t = {times[found.name]:g}"
        assert choice["honest"] == found.honest._asdict()
    one = membership_report(SCORES["a"], MEMBER, trajectory=Trajectory([0.5], {"eps": losses["eps"][:, :1]})).document
    assert one["choices"] == []


def test_one_record_of_each_person_chooses_and_judges():
    person = np.repeat(np.arange(60), 3)
    study = {name: np.repeat(scores, 3) + RNG.random(180) for name, scores in SCORES.items()}
    document = membership_report(study["a"], MEMBER[person], study=study, groups=person, seed=4).document
    rows = one_each(person, 4)
    found = choose({name: scores[rows] for name, scores in study.items()}, MEMBER, seed=4)
    assert document["choices"][0]["honest"] == found.honest._asdict()


@pytest.mark.parametrize(
    ("times", "says"), [(TIMES[:40], r"hold \(50,\) times and the grid \(40,\)"), (2 * TIMES, r"times lie in \(0, 1\]")]
)
def test_the_grid_is_that_of_the_features(times, says):
    with pytest.raises(InputError, match=says):
        trajectory_study(trajectory(50), times)


@pytest.mark.parametrize(
    ("study", "says"),
    [
        ({"a": np.zeros(59)}, r"variant 'a' of the study: scores has shape \[59\]"),
        ({("eps", 0.3): np.full(60, np.nan)}, r"variant \('eps', 0.3\) of the study: .*row 0 is nan"),
        (
            {("a", 1): np.zeros(60), ("a", "1"): np.zeros(60)},
            r"the study names a variant \('a', '1'\) that has no name",
        ),
        ({(): np.zeros(60)}, r"variant \(\) that has no name"),
        ({"": np.zeros(60)}, "variant '' that has no name"),
        (np.zeros((60, 3)), "study is not a mapping: give each variant a name"),
    ],
)
def test_mistakes_are_named(study, says):
    with pytest.raises(InputError, match=says):
        membership_report(SCORES, MEMBER, study=study)
