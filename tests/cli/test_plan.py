"""diffaudit plan, and audits that keep one: nobody else is asked, and nothing but the plan is."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from diffaudit_jax import data, training
from diffaudit_jax.cli import plan as command
from diffaudit_jax.cli.main import main
from diffaudit_jax.cli.planned import dealt, digest
from diffaudit_jax.data import Pool, Split

from .conftest import ASK, contents, scores

FIX = ("--attack", "eps-loss", *ASK, "--fpr", "0.1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory, trained):
    """A plan for `trained`, the rows it asked about, and the audit that kept it; not to be written to."""
    folder, rows, run_passes = tmp_path_factory.mktemp("planned"), [], command.run_passes

    def watched(made, target, queries, **more):
        rows.extend(queries.row.tolist())
        return run_passes(made, target, queries, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "run_passes", watched)
        main(["plan", str(trained), *FIX, "--out", str(folder / "plan.json")])
    with (folder / "printed").open("w") as printed, contextlib.redirect_stdout(printed):
        main(["audit", str(trained), "--plan", str(folder / "plan.json"), "--out", str(folder / "audit")])
    return folder, json.loads((folder / "plan.json").read_text()), rows


def sides_of(trained, asked):
    """The sides of the run's own split, with the non-members who were asked about apart."""
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    fixed = np.isin(split.nonmembers.rows, asked)
    calibration, rest = (split.nonmembers.take(np.flatnonzero(some)) for some in (fixed, ~fixed))
    return {"calibration": calibration, "members": split.members, "nonmembers": rest}


def registered(folder):
    return json.loads((folder / "audit" / "report.json").read_text())["registered"]


def test_a_plan_asks_about_half_of_the_nonmembers_and_nobody_else(trained, kept):
    _, plan, asked = kept
    sides = sides_of(trained, asked)
    assert asked == sides["calibration"].rows.tolist()
    assert plan["sets"] == {name: {"records": 12, "sha256": pool.fingerprint()} for name, pool in sides.items()}
    assert len(plan["sha256"]) == 64
    # No record has a row or a hash of its own there, by which others could look it up.
    assert not any(each in json.dumps(plan) for pool in sides.values() for each in pool.hashes())


def test_the_threshold_and_both_rates_are_those_of_a_full_audit(trained, audited, kept):
    """Scores do not depend on who else is asked: the default audit of the same run has them all."""
    folder, plan, asked = kept
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    full = scores(audited)
    of = dict(zip(split.queries.row.tolist(), full["eps-loss"], strict=True))
    apart = {name: np.array([of[row] for row in pool.rows]) for name, pool in sides_of(trained, asked).items()}
    threshold = apart["calibration"].max()  # 10 % of 12 and one more is one
    # XLA may sum in another order in a program of another shape.
    np.testing.assert_allclose(plan["threshold"], threshold, rtol=1e-5)
    told = registered(folder)
    assert (told["threshold"], told["sha256"]) == (plan["threshold"], plan["sha256"])
    assert (told["calibration"], told["target_fpr"]) == (12, 0.1)
    for name, count, side in (("tpr", "found", "members"), ("fpr", "accused", "nonmembers")):
        k = int((apart[side] > threshold).sum())
        exact = binomtest(k, 12).proportion_ci(0.95, "exact")
        assert told[count] == k
        np.testing.assert_allclose([told[name][part] for part in ("low", "high")], exact, atol=1e-11)


def test_the_audit_of_a_plan_is_of_its_attack_and_records(kept):
    folder, plan, _ = kept
    found, accused = (registered(folder)[name] for name in ("found", "accused"))
    assert (
        f"by the plan: found {found} of 12 members, accused {accused} of 12 others\n"
        in (folder / "printed").read_text()
    )
    document = json.loads((folder / "audit" / "report.json").read_text())
    assert [attack["name"] for attack in document["attacks"]] == ["eps-loss"]
    assert document["counts"] == {"members": 12, "nonmembers": 12}
    page = (folder / "audit" / "report.html").read_text()
    assert plan["sha256"] in page
    assert f"{registered(folder)['found']} of 12" in page
    # That it came first is said under its condition alone.
    assert "which stands if its hash was published or deposited then, a plan came before members were asked" in page
    assert "Before any member was asked about" not in page


def test_check_holds_the_registered_rate_against_a_limit(diffaudit, kept):
    folder = kept[0]
    high = registered(folder)["tpr"]["high"]
    for limit, code in ((np.ceil(100 * high) / 100, 0), (np.floor(100 * high) / 100, 1)):
        assert diffaudit("check", folder / "audit", "--max", f"registered-tpr={limit}").code == code


def test_the_page_is_drawn_from_the_json_alone(diffaudit, kept, tmp_path):
    shutil.copy(kept[0] / "audit" / "report.json", tmp_path)
    assert diffaudit("report", tmp_path).code == 0
    assert (tmp_path / "report.html").read_bytes() == (kept[0] / "audit" / "report.html").read_bytes()


@pytest.mark.parametrize("part", ["tpr", "sha256", "found", "threshold"])
def test_a_report_whose_registered_part_is_damaged_is_refused(refused, kept, tmp_path, part):
    document = json.loads((kept[0] / "audit" / "report.json").read_text())
    document["registered"][part] = None
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert f"has None at registered.{part}, not " in refused("report", tmp_path)


def test_a_plan_goes_to_standard_output_and_is_the_same_again(diffaudit, trained, kept):
    printed = json.loads(diffaudit("plan", trained, *FIX).out)
    apart = ("created", "sha256")
    assert {k: v for k, v in printed.items() if k not in apart} == {k: v for k, v in kept[1].items() if k not in apart}
    assert printed["sha256"] == digest(printed)


FIELDS = (
    *("schema", "schema_version", "created", "version", "attack", "spec", "target_fpr", "threshold", "seed"),
    *("asked", "asking", "weights", "fingerprints", "sets", "sha256"),
)


def other(value):
    """A value of the same kind that is not the same."""
    if isinstance(value, dict):
        name = next(iter(sorted(value)))
        return value | {name: other(value[name])}
    if isinstance(value, list):
        return [*value, value[-1] if value else 0]
    return f"{value}0" if isinstance(value, str) else value + 1 if isinstance(value, int | float) else 1


@pytest.mark.parametrize("name", FIELDS)
def test_a_plan_that_was_changed_anywhere_is_refused(refused, trained, kept, tmp_path, name):
    plan = kept[1]
    assert set(plan) == set(FIELDS)
    (tmp_path / "plan.json").write_text(json.dumps(plan | {name: other(plan[name])}))
    message = refused("audit", trained, "--plan", tmp_path / "plan.json", "--out", tmp_path / "audit")
    told = {"schema": "it is not a plan", "schema_version": "this library reads 1 to 1"}
    assert told.get(name, "was changed after it was made") in message
    assert not (tmp_path / "audit").exists()


FORGED = {  # what is changed in a plan whose hash is made to fit, and what is said
    "version": (("version", "0.0.1"), "was made by diffaudit_jax 0.0.1, and this is "),
    "seed": (("seed", 1), "the non-members that set its threshold are not those that the plan fixed"),
    "times": (("asking", "times", 5), "the attack asks otherwise than the plan fixed"),
    "statistic": (("asking", "statistic", "min"), "the attack scores otherwise than the plan fixed"),
    "attack": (("attack", "x0-loss"), "does not ask the one attack that it names"),
    "attacks": (("asking", "attack", ["eps-loss", "x0-loss"]), "does not ask the one attack that it names"),
    "queries": (("asked", "queries", 30), "the plan fixed 12 non-members that set its threshold, and there are 10"),
    "a set": (("sets", "members", "sha256", "1" * 64), "the members are not those that the plan fixed"),
    "contents": (("sets", "nonmembers", "sha256", "0" * 64), "the non-members are not those that the plan fixed"),
    "fewer": (("sets", "members", "records", 1), "the plan fixed 1 members, and there are 12"),
    "target": (("fingerprints", "target", "0"), "the model is not the one that the plan was made for"),
    "key": (("fingerprints", "key", "0"), "the noise is not that of the plan"),
    "flags": (("weights", {}), "the plan's weights are not the flags that this version has"),
    "no rate": (("target_fpr", "low"), "has 'low' at target_fpr, not a number"),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_a_plan_fixed_is_held_against_what_there_is(refused, trained, kept, tmp_path, case):
    (*way, last, value), message = FORGED[case]
    plan = json.loads((kept[0] / "plan.json").read_text())
    place = plan
    for key in way:
        place = place[key]
    place[last] = value
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"sha256": digest(plan)}))
    assert message in refused("audit", trained, "--plan", tmp_path / "plan.json", "--out", tmp_path / "audit")
    assert not list(tmp_path.glob("audit/observations/*/block-*"))


FLAGS = {
    "times": (("--times", "7"), "--times is 7, and the plan fixed 6: leave it out, or make another plan."),
    "attack": (("--attack", "x0-loss"), "--attack is x0-loss, and the plan fixed eps-loss: "),
    "queries": (("--queries", "30"), "--queries is 30, and the plan fixed None: "),
    "seed": (("--seed", "1"), "--seed is 1, and the plan fixed 0: "),
    "weights": (("--image-size", "28"), "--image-size is 28, and the plan fixed None: "),
    "minutes": (("--budget-minutes", "9"), "--plan says what is asked, and --budget-minutes would choose: leave one"),
    "shadows": (("--shadows", "x"), "--plan fixes an attack that does not stand on --shadows: leave one of them out."),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags_that_differ_are_refused_and_the_plans_own_are_not(refused, diffaudit, trained, kept, tmp_path, case):
    words, message = FLAGS[case]
    at = ("audit", trained, "--plan", kept[0] / "plan.json", "--out")
    assert message in refused(*at, tmp_path / "audit", *words)
    before = contents(kept[0] / "audit" / "observations")
    if case == "times":
        assert diffaudit(*at, kept[0] / "audit", "--times", "6", "--attack", "eps-loss").code == 0
        assert contents(kept[0] / "audit" / "observations") == before


MISTAKES = {
    "several": ((), "a plan fixes one attack, and there are eps-loss, x0-loss, vlb-loss: name one with --attack."),
    "a bank": (("--attack", "nearest"), "nearest stands on a bank of generated images, which a plan does not fix: "),
    "a rate": (("--attack", "eps-loss"), "12 non-members fix no threshold for a false positive rate of 0.01: set it o"),
    "no rate": (("--attack", "eps-loss", "--fpr", "1.5"), "the false positive rate is 1.5: it lies between 0 and 1"),
    "too few": (("--attack", "eps-loss", "--fpr", "0.3", "--queries", "27"), "9 members and 9 non-members are too few"),
    "swapped": (("--attack", "eps-loss", "--fpr", "0.3", "--members", "OUT", "--nonmembers", "IN"), "see whether --me"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_planned_is_refused_before_anything_is_asked(refused, monkeypatch, trained, tmp_path, case):
    words, message = MISTAKES[case]
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    for name, pool in (("IN", split.members), ("OUT", split.nonmembers)):
        np.savez(tmp_path / f"{name}.npz", images=pool.x, labels=pool.labels)
    paths = {name: tmp_path / f"{name}.npz" for name in ("IN", "OUT")}
    ask = ("plan", trained, *ASK, "--out", tmp_path / "plan.json", *(paths.get(word, word) for word in words))
    monkeypatch.setattr(command, "run_passes", None)
    assert message in refused(*ask)
    assert not (tmp_path / "plan.json").exists()


def test_tables_of_records_are_not_planned_and_plans_are_files(refused, kept, bad, trained, tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert "can only be audited as a bank" in refused("plan", tmp_path / "t.csv", *FIX)
    out = ("--out", tmp_path / "audit")
    plan = kept[0] / "plan.json"
    assert "exists, and a plan is made once" in refused("plan", trained, *FIX, "--out", plan)
    assert "a plan is for a model" in refused("audit", tmp_path / "t.csv", "--plan", plan, *out)
    assert "cannot read" in refused("audit", trained, "--plan", tmp_path / "none.json", *out)
    assert "it is not a plan" in refused("audit", trained, "--plan", bad / "newer" / "report.json", *out)


def test_a_person_is_asked_about_once_and_on_one_side():
    x = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    pool = Pool(x, np.arange(200), "people", groups=np.arange(200, dtype=np.int32) // 4)
    split = Split(pool.take(np.arange(80)), pool.take(np.arange(80, 200)), by="group")
    calibration, rest = dealt(split, 1)
    sides = [calibration.groups, rest.members.groups, rest.nonmembers.groups]
    assert [len(side) for side in sides] == [15, 20, 15]
    assert len(np.unique(np.concatenate(sides))) == 50


def test_no_coins_stand_once_a_plan_took_nonmembers_out():
    """With half of the 20 out gone, one that is left is in with probability 2/3: a bound at 1/2 would be too high."""
    pool = Pool(np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1), np.arange(40), "tossed")
    tossed = Split(pool.take(np.arange(20)), pool.take(np.arange(20, 40)), coin=0.5)
    rest = dealt(tossed, 0)[1]
    assert (len(rest.members), len(rest.nonmembers), rest.coin) == (20, 10, None)


def test_every_half_is_as_likely():
    """Each of 5 non-members is among the 2 that set the threshold in 2 of 5 seeds, 5 standard errors wide."""
    x = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    pool = Pool(x, np.arange(7), "seven")
    split = Split(pool.take(np.arange(2)), pool.take(np.arange(2, 7)))
    runs = 2000
    seen = np.bincount(np.concatenate([dealt(split, seed)[0].rows for seed in range(runs)]), minlength=7)
    assert not seen[:2].any()
    assert np.abs(seen[2:] / runs - 0.4).max() < 5 * np.sqrt(0.4 * 0.6 / runs)
