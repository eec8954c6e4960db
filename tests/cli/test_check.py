"""diffaudit check: exit codes, lines, JSON and cards of reports that pass, fail, or cannot be held to a limit."""

import hashlib
import json

import numpy as np
import pytest

from diffaudit_jax.report import membership_report

MEMBER = np.arange(400) < 200


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Two reports: one of attacks that find nothing, one of an attack that does."""
    folder, rng = tmp_path_factory.mktemp("checked"), np.random.default_rng(0)
    noise = {"a": rng.normal(size=400), "b": rng.normal(size=400)}
    membership_report(noise, MEMBER).save(folder / "quiet")
    membership_report({"a": noise["a"] + 3 * MEMBER}, MEMBER).save(folder / "loud")
    return folder


CODES = {
    "passes": (("quiet", "--max", "auc=0.7"), 0),
    "passes at every limit": (("quiet", "--max", "auc=0.7", "--max", "tpr@0.01=0.2"), 0),
    "a file": (("quiet/report.json", "--max", "auc=0.7"), 0),
    "two": (("quiet", "quiet", "--max", "auc=0.7"), 0),
    "one of two fails": (("quiet", "loud", "--max", "auc=0.7"), 1),
    "fails": (("loud", "--max", "auc=0.7"), 1),
    "one limit fails": (("quiet", "--max", "auc=0.7", "--max", "tpr@0.01=0"), 1),
    "unresolvable": (("quiet", "--max", "tpr@0.001=1"), 1),
    "not private": (("quiet", "--max", "epsilon=8"), 1),
    "not private at a delta": (("quiet", "--max", "epsilon@1e-5=8"), 1),
    "one attack": (("quiet", "--max", "auc=0.7", "--attack", "b"), 0),
}


@pytest.mark.parametrize("case", CODES)
@pytest.mark.parametrize("form", [(), ("--json",), ("--card", "-")], ids=["lines", "json", "card"])
def test_the_exit_code_says_whether_all_pass(diffaudit, reports, case, form):
    (*words, _), code = (*CODES[case][0], None), CODES[case][1]
    folder = [reports / word if word.split("/")[0] in ("quiet", "loud") else word for word in words]
    ended = diffaudit("check", *folder, *form)
    assert (ended.code, ended.err) == (code, [])
    if form == ("--json",):
        told = json.loads(ended.out)
        assert told["passes"] == (code == 0)
        assert told["passes"] == all(each["passes"] for report in told["reports"] for each in report["conditions"])
    else:
        conditions = words.count("--max") * sum(word in ("quiet", "loud", "quiet/report.json") for word in words)
        lines = ended.out.splitlines()[:conditions]
        assert any("fails " in line for line in lines) == (code == 1)
        assert all("passes  " in line or "fails   " in line for line in lines)


def test_lines_name_figure_end_limit_and_attack_and_the_report_of_several(diffaudit, reports):
    document = json.loads((reports / "loud" / "report.json").read_text())
    high = np.ceil(1000 * document["attacks"][0]["auc"]["high"]) / 1000
    one = diffaudit("check", reports / "loud", "--max", "auc=0.7")
    assert one.out == f"fails   auc <= 0.7: may be as much as {high:g} (a)\n"
    two = diffaudit("check", reports / "quiet", reports / "loud", "--max", "auc=0.7")
    assert two.out.splitlines()[1] == f"{reports / 'loud'}: {one.out.strip()}"


def test_a_card_is_written_to_a_file_with_the_hash_of_the_report(diffaudit, reports, tmp_path):
    path = tmp_path / "new" / "card.md"
    assert diffaudit("check", reports / "quiet", "--max", "auc=0.7", "--card", path).code == 0
    sha256 = hashlib.sha256((reports / "quiet" / "report.json").read_bytes()).hexdigest()
    assert path.read_text().rstrip().endswith(f"sha256 `{sha256}`.")
    printed = diffaudit("check", reports / "quiet", "--max", "auc=0.7", "--card", "-").out
    assert printed.endswith(f"\n\n{path.read_text()}")


EXAMPLE = "--max auc=0.6 or --max tpr@0.01=0.05"
MISTAKES = {
    "no report": (("--max", "auc=0.6"), "name a report to check: its directory or its JSON file."),
    "no limit": (("quiet",), f"there is nothing to check: give limits, for example {EXAMPLE}."),
    "no number": (("quiet", "--max", "auc"), f"--max auc is not FIGURE=LIMIT: write for example {EXAMPLE}."),
    "a word": (("quiet", "--max", "auc=low"), f"--max auc=low is not FIGURE=LIMIT: write for example {EXAMPLE}."),
    "NaN": (("quiet", "--max", "auc=nan"), "--max auc=nan: the limit of auc is a number from 0 to 1, got nan."),
    "above one": (("quiet", "--max", "auc=1.5"), "the limit of auc is a number from 0 to 1, got 1.5."),
    "below nothing": (("quiet", "--max", "epsilon=-1"), "the limit of epsilon is a number from 0, got -1."),
    "infinite": (("quiet", "--max", "epsilon=inf"), "the limit of epsilon is a number from 0, got inf."),
    "no rate": (("quiet", "--max", "tpr=0.1"), "and no other figure is: write tpr@FPR=LIMIT."),
    "a rate": (("quiet", "--max", "auc@0.1=1"), "epsilon may be at a delta, and no other figure is: write auc="),
    "a rate of 1": (("quiet", "--max", "tpr@1=1"), "the false positive rate lies between 0 and 1, got 1."),
    "a delta of 2": (("quiet", "--max", "epsilon@2=1"), "--max epsilon@2=1: delta lies between 0 and 1, got 2."),
    "a figure": (
        ("quiet", "--max", "risk=1"),
        "the report holds no risk: it holds auc, tpr@0.1, tpr@0.01, tpr@0.001, ",
    ),
    "no plan": (("quiet", "--max", "registered-tpr=1"), "the report holds no registered-tpr: it holds auc, "),
    "an attack": (("quiet", "--max", "auc=1", "--attack", "c"), "unknown attack 'c'"),
    "nowhere": (("nowhere", "--max", "auc=1"), "cannot read a report at "),
    "damaged": (("half", "--max", "auc=1"), "is not JSON"),
    "poor": (("poor", "--max", "auc=1"), "lacks "),
    "out of joint": (("joint", "--max", "auc=1"), "has parts that do not fit together"),
    "two to one": (("quiet", "--max", "auc=1", "--json", "--card", "-"), "--json and --card - both write to standard"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_with_2_and_writes_nothing(refused, reports, bad, tmp_path, case):
    words, message = MISTAKES[case]
    document = json.loads((reports / "quiet" / "report.json").read_text())
    (tmp_path / "joint.json").write_text(json.dumps(document | {"tests": {}}))
    at = {"quiet": reports / "quiet", "nowhere": tmp_path / "nowhere", "joint": tmp_path / "joint.json"}
    at |= {name: bad / name for name in ("half", "poor")}
    card = () if "--card" in words else ("--card", tmp_path / "card.md")
    assert message in refused("check", *(at.get(word, word) for word in words), *card)
    assert not (tmp_path / "card.md").exists()
