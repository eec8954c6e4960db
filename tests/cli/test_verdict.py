"""diffaudit verdict: from sets to a page, again from what was kept, and what it refuses before it asks."""

import csv
import json

import numpy as np
import pytest

from diffaudit_jax import data

from .conftest import at, contents

ASK = ("--attack", "eps-loss", "pia", "--times", "6", "--truncate", "0.5", "--block", "64")


@pytest.fixture(scope="module")
def sets(tmp_path_factory, trained):
    """What trained the run, with other images to be 24; 24 that did not; and 44 unpublished ones."""
    folder, pool = tmp_path_factory.mktemp("sets"), data.load("fashion-mnist-2k")
    record = json.loads((trained / "run.json").read_text())
    inside = np.array(record["split"]["members"]["rows"])
    outside = np.setdiff1d(np.arange(400), [*inside, *record["split"]["nonmembers"]["rows"]])
    rows = {
        "in": [*inside, *outside[:12]],
        "out": outside[12:36],
        "unpublished": outside[36:80],
        "few": outside[80:90],
        "copies": np.repeat(outside[80], 24),
        "both": [*outside[12:35], outside[40]],
        "swapped": [*outside[90:113], inside[0]],
    }
    for name, chosen in rows.items():
        x = pool.take(np.array(chosen))
        whose = np.array([f"{name}-{k}" for k in range(len(x))])
        lacking = np.where(np.arange(len(x)) < 2, "", whose)
        told = {"person": whose, "same": np.arange(len(x)), "lacking": lacking}
        np.savez(folder / f"{name}.npz", images=x.x, labels=x.labels, **told)
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory, trained, sets):
    """The words of a verdict on two sets and on people, and where it is written."""
    out = tmp_path_factory.mktemp("verdict") / "v"
    suspects = [sets / "in.npz", sets / "out.npz"]
    return ("verdict", trained, "--suspect", *suspects, "--unpublished", sets / "unpublished.npz", "--people", "person",
            "--out", out, *ASK), out  # fmt: skip


def test_a_verdict_is_written_kept_and_drawn_again(diffaudit, judged, monkeypatch):
    words, out = judged
    ended = diffaudit(*words)
    assert (ended.code, ended.err) == (0, [])
    assert ended.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    document = json.loads((out / "dataset.json").read_text())
    assert [(row["name"], row["records"], row["trained"]) for row in document["sets"]] == [
        ("in.npz", 24, 12),
        ("out.npz", 24, 0),
    ]
    # Three losses at six times, and PIA's score: it keeps images, and these are no features.
    assert document["counts"]["features"] == 3 * 6 + 1
    with (out / "people.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["number"]: row["person"] for row in rows} == {
        str(i + 1): name for i, name in enumerate([f"{name}-{k}" for name in ("in", "out") for k in range(24)])
    }
    before = {name: made for name, made in contents(out).items() if "observations" in name or name == "report.html"}
    assert diffaudit("report", out).code == 0
    assert contents(out)["report.html"] == before["report.html"]
    assert "people.csv beside this page says who they are" in (out / "report.html").read_text()
    # What tells the sets apart otherwise than training takes verdicts on people back.
    monkeypatch.setattr("diffaudit_jax.report.dataset.level_of", lambda row, error: "odd")
    assert diffaudit(*words).code == 0
    assert not (out / "people.csv").exists()
    assert json.loads((out / "dataset.json").read_text())["people"]["rows"] == []
    assert {name: made for name, made in contents(out).items() if "observations" in name} == {
        name: made for name, made in before.items() if "observations" in name
    }


REFUSED = {
    "nothing to compare with": (("--suspect", "SETS/in.npz"), "give --unpublished too: without records of the same"),
    "nothing suspected": (("--unpublished", "SETS/in.npz"), "--unpublished is compared with a suspect set"),
    "the run's own, too few": ((), "members of run has 12 different records, too few for a verdict: give at least 20."),
    "few": (("--suspect", "SETS/few.npz", *(rest := ("--unpublished", "SETS/unpublished.npz"))), "few.npz has 10 dif"),
    "both": (("--suspect", "SETS/both.npz", *rest), "1 records are both suspect and unpublished, which no record"),
    "twice": (("--suspect", "SETS/in.npz", "SETS/in.npz", *rest), "twice: name each set once."),
    "swapped": (
        ("--suspect", "SETS/out.npz", "--unpublished", "SETS/swapped.npz"),
        "1 of the 24 records of --unpublished are ones this run was trained on",
    ),
    "copies": (("--suspect", "SETS/copies.npz", *rest), "copies.npz has 1 different records, too few for a verdict"),
    "nobody's": (("--suspect", "SETS/in.npz", *rest, "--people", "lacking"), "in.npz is missing in 2 of 24 records"),
    "people on both sides": (
        ("--suspect", "SETS/in.npz", *rest, "--people", "same"),
        "24 people have suspect and unpublished records: a",
    ),
    "no such attribute": (("--suspect", "SETS/in.npz", *rest, "--people", "persn"), "did you mean 'person'?"),
    "black box": (("--suspect", "SETS/in.npz", *rest, "--attack", "nearest"), "nearest asks about generated samples"),
    "queries": (("--suspect", "SETS/in.npz", *rest, "--queries", "5"), "--queries must be at least 20, for each set"),
    "rate": (("--suspect", "SETS/in.npz", *rest, "--fdr", "1"), "--fdr lies between 0 and 1, for example 0.1, got 1"),
    "a table": (("--suspect", "adult-3k", *rest), "adult-3k is a table, and the model is of images: give images."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_refused(refused, trained, sets, tmp_path, case):
    words, says = REFUSED[case]
    words = [word.replace("SETS", str(sets)) for word in words]
    assert says in refused("verdict", trained, *words, "--out", tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_other_directories_and_files_are_left_alone(refused, trained, sets, bad, tmp_path):
    (tmp_path / "observations").mkdir()
    (tmp_path / "report.json").write_text("{}")
    words = ("--suspect", sets / "in.npz", "--unpublished", sets / "unpublished.npz")
    assert "holds something else ('thesis.tex')" in refused("verdict", trained, *words, "--out", bad / "full")
    assert "holds something else" in refused("verdict", trained, *words, "--out", tmp_path)
    assert "holds records and no model" in refused("verdict", *at(bad, ["BAD/few.csv"]), *words, "--out", bad / "v")
