"""diffaudit quickstart: an untrained network of its own size, from images to report."""

import json

import pytest

from .conftest import PROGRESS, contents

UNTRAINED = ("quickstart", "--steps", "0", "--times", "4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quickstart") / "out"


def test_an_untrained_network_reveals_nothing(diffaudit, folder):
    ended = diffaudit(*UNTRAINED, "--out", folder)
    assert (ended.code, ended.err) == (0, [])
    assert not any(line.startswith(PROGRESS) for line in ended.out.splitlines())
    report = json.loads((folder / "report.json").read_text())
    assert report["counts"] == {"members": 64, "nonmembers": 1000}
    assert report["verdict"]["level"] == "not-detected"
    for attack in report["attacks"]:
        assert attack["auc"]["low"] < 0.5 < attack["auc"]["high"]
        tpr = next(point["tpr"] for point in attack["operating_points"] if point["target_fpr"] == 0.01)
        assert tpr["low"] <= 0.01 <= tpr["high"]
    assert [attack["name"] for attack in report["attacks"]] == ["eps-loss", "x0-loss", "vlb-loss"]
    assert f"report: {folder / 'report.html'}" in ended.out
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--members", "9"),
            "9 members and 1000 non-members are too few for statistics: ask about at least 10 of each.",
        ),
        (("--members", "2000"), "members=2000 + nonmembers=1 + reference=0 is more than the 2000 different records"),
        (("--members", "63"), "holds another run"),
        (("--nonmembers", "0"), "64 members and 0 non-members are too few"),
        (("--steps", "-1"), "num_steps must be 0 or more and finite, got -1"),
        (("--times", "0"), "--times must be at least 1, got 0"),
        (("--show-images", "-1"), "--show-images must be at least 0, got -1"),
        (("--seed", "-1"), "--seed must be from 0 to 4294967295, got -1"),
        (("--times", "5"), "holds another audit (its attack differ"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(refused, folder, words, message):
    before = contents(folder)
    assert message in refused(*UNTRAINED, "--out", folder, *words)
    assert contents(folder) == before
