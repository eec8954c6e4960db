"""Extraction from the command line: members that were planted, samples drawn or given, and what cannot be compared."""

import hashlib
import json

import numpy as np
import pytest

from diffaudit_jax import data
from diffaudit_jax.cli import main
from diffaudit_jax.report import ExtractionReport

from .conftest import NET

PLANT = ("--plant", "3:4,20:2")
DROP = ("--duplicates", "drop")
TINY = ("--data", "fashion-mnist-2k", "--members", "20", "--nonmembers", "20", *DROP)
FEW = ("--num", "24", "--steps", "2", "--block", "12")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An untrained run, with members of which some are planted; not to be written to."""
    out = tmp_path_factory.mktemp("planted") / "run"
    main(["train", *TINY, *PLANT, *NET, "--diffusion-steps", "24", "--steps", "0", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def copies(planted, tmp_path_factory):
    """Samples of which five are members as they are, among them both that are there twenty times."""
    split = split_of(planted)
    rows, times = np.unique(split.training.rows, return_counts=True)
    often = split.members.x[np.isin(split.members.rows, rows[times == 20])]
    once = split.members.x[np.isin(split.members.rows, rows[times == 1])][:3]
    others = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)
    path = tmp_path_factory.mktemp("samples") / "made.npz"
    np.savez(path, images=np.concatenate([often, once, others]))
    return path


def split_of(run):
    record = json.loads((run / "run.json").read_text())
    return data.from_record(record["split"], data.load(record["data"]))


def test_a_run_keeps_how_often_members_are_there(planted):
    split = split_of(planted)
    assert len(split.members) == 20
    assert len(split.training) == 20 + 4 * 2 + 2 * 19
    counts = np.unique(np.unique(split.training.hashes(), return_counts=True)[1], return_counts=True)
    np.testing.assert_array_equal(counts, [[1, 3, 20], [14, 4, 2]])
    # An audit asks about each once.
    assert len(set(split.queries.row.tolist())) == len(split.queries.row) == 40


def test_samples_are_drawn_once_and_matched_to_the_runs_own_split(diffaudit, planted, tmp_path):
    ended = diffaudit("extract", planted, *FEW, "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, [])
    document = ExtractionReport.load(tmp_path / "out").document
    assert document["counts"] == {"samples": 24, "members": 66, "distinct": 20, "heldout": 20}
    assert [(row["times"], row["records"]) for row in document["recall"]] == [(1, 14), (3, 4), (20, 2)]
    told = document["provenance"]
    assert told["drawn"] == {"sampler": "ancestral", "sample_steps": 2, "clip": True, "guidance": 1.0}
    assert told["data"] == {"members": None, "nonmembers": None, "duplicates": "refuse"}
    assert {"platform", "kind", "count"} <= set(told["device"])
    blocks = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "bank").rglob("*.npy")}
    assert diffaudit("extract", planted, *FEW, "--out", tmp_path / "out").out == ended.out
    assert {path: path.stat().st_mtime_ns for path in blocks} == blocks
    page = (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "out" / "report.html").unlink()
    again = diffaudit("report", tmp_path / "out")
    assert (again.code, again.out) == (0, ended.out)
    assert (tmp_path / "out" / "report.html").read_text() == page
    assert "different --" not in page


def test_given_copies_are_found_and_shown_only_when_asked_for(diffaudit, planted, copies, tmp_path):
    ended = diffaudit("extract", planted, "--samples", copies, "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, [])
    document = ExtractionReport.load(tmp_path / "out").document
    assert [row["extracted"] for row in document["recall"]] == [3, 0, 2]
    assert document["verdict"]["level"] == "extracted"
    split = split_of(planted)
    assert {pair["row"] for pair in document["pairs"]} <= set(split.members.rows.tolist())
    assert all(pair["l2"] == 0 for pair in document["pairs"])
    assert "<img" not in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "bank").exists()
    assert diffaudit("extract", planted, "--samples", copies, "--out", tmp_path / "out", "--show-images", "2").code == 0
    assert (tmp_path / "out" / "report.html").read_text().count("<img") == 4


def test_members_can_be_given_with_copies_of_their_own(diffaudit, planted, copies, tmp_path):
    split = split_of(planted)
    np.savez(tmp_path / "members.npz", images=split.training.x)
    np.savez(tmp_path / "others.npz", images=np.concatenate([split.nonmembers.x, split.members.x[:3]]))
    sides = ("--members", tmp_path / "members.npz", "--nonmembers", tmp_path / "others.npz", "--samples", copies)
    assert diffaudit("extract", planted, *sides, "--duplicates", "drop", "--out", tmp_path / "out").code == 0
    document = ExtractionReport.load(tmp_path / "out").document
    assert document["provenance"]["data"]["members"] == str(tmp_path / "members.npz")
    with np.load(copies) as made:
        expected = hashlib.sha256(made["images"].tobytes()).hexdigest()
    assert len(expected) == len(document["provenance"]["hashes"]["samples"])
    assert document["provenance"]["data"]["duplicates"] == "drop"
    counts = document["counts"]
    assert counts == {"samples": 45, "members": 66, "distinct": 20, "heldout": 20}


BAD = {
    "times": (("train", *TINY, "--plant", "10"), "--plant takes TIMES:HOW_MANY"),
    "twice": (("train", *TINY, "--plant", "10:1,10:2"), "--plant takes TIMES:HOW_MANY"),
    "many": (("train", *TINY, "--plant", "10:21"), "21 records are to be planted and"),
    "private": (("train", *TINY, "--plant", "10:2", "--dp", "--target-epsilon", "3"), "leave one of them out"),
    "one side": (("extract", "RUN", "--members", "fashion-mnist-2k"), "give --members and --nonmembers together"),
    "both": (
        ("extract", "RUN", "--members", "fashion-mnist-2k", "--nonmembers", "fashion-mnist-2k"),
        "both in members and nonmembers",
    ),
    "num": (("extract", "RUN", "--num", "0"), "--num must be at least 1, got 0"),
    "show": (("extract", "RUN", "--show-images", "-1"), "--show-images must be at least 0"),
    "delta": (("extract", "RUN", "--delta", "2"), "--delta is a distance from 0 to below 1, got 2"),
    "drawn": (("extract", "RUN", "--samples", "SAMPLES", "--sampler", "ddim"), "--samples are not drawn"),
    "table": (("extract", "RUN", "--samples", "adult.csv"), "adult.csv is a table: give images"),
    "no run": (("extract", "nowhere"), "nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_extracted_is_refused(refused, planted, copies, tmp_path, case):
    words, says = BAD[case]
    places = {"RUN": planted, "SAMPLES": copies}
    assert says in refused(*(places.get(word, word) for word in words), "--out", tmp_path / "out")


def test_a_directory_of_something_else_is_left_alone(refused, planted, copies, tmp_path):
    (tmp_path / "notes").write_text("mine")
    assert "holds something else ('notes')" in refused("extract", planted, "--out", tmp_path)
    # As an audit that asks for samples leaves it.
    (tmp_path / "notes").rename(tmp_path / "report.json")
    (tmp_path / "bank").mkdir()
    assert "holds something else ('bank')" in refused("extract", planted, "--out", tmp_path)
    (tmp_path / "report.json").unlink()
    assert "holds something else ('bank')" in refused("extract", planted, "--samples", copies, "--out", tmp_path)


def test_a_run_that_was_split_by_person_is_counted_by_person(diffaudit, copies, tmp_path):
    pool = data.load("fashion-mnist-2k").take(np.arange(120))
    np.savez(tmp_path / "people.npz", images=pool.x, labels=pool.labels, person=np.arange(120) // 3)
    sides = ("--data", tmp_path / "people.npz", "--groups", "person", "--members", "60", "--nonmembers", "45")
    words = (*sides, "--plant", "5:2", *NET, "--diffusion-steps", "24", "--steps", "0")
    assert diffaudit("train", *words, "--out", tmp_path / "run").code == 0
    assert diffaudit("extract", tmp_path / "run", "--samples", copies, "--out", tmp_path / "out").code == 0
    document = ExtractionReport.load(tmp_path / "out").document
    assert (document["counts"]["members"], document["counts"]["distinct"]) == (68, 60)
    assert [document["rules"][-1][side]["of"] for side in ("members", "heldout")] == [20, 15]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run of a table, of whose members some are planted."""
    out = tmp_path_factory.mktemp("table") / "run"
    words = (
        "--data",
        "adult-3k",
        "--members",
        "150",
        "--nonmembers",
        "150",
        "--duplicates",
        "drop",
        "--unseen",
        "drop",
    )
    net = ("--model", "tabddpm", "--label", "income", "--widths", "16", "--diffusion-steps", "5", "--steps", "0")
    main(["train", *words, *net, "--plant", "30:5", "--out", str(out)])
    return out


def test_records_of_a_table_are_matched_too(diffaudit, refused, table, tmp_path):
    ended = diffaudit("extract", table, "--num", "60", "--out", tmp_path / "out")
    assert (ended.code, ended.err) == (0, [])
    document = ExtractionReport.load(tmp_path / "out").document
    assert [(row["times"], row["records"]) for row in document["recall"]] == [(1, 145), (30, 5)]
    assert "training records" in document["verdict"]["headline"]
    record = json.loads((table / "run.json").read_text())
    split = data.from_record(record["split"], data.load("adult-3k"))
    assert sum(record["label_counts"]) == 150 + 5 * 29
    data.write_csv(split.members.take(np.arange(30)), tmp_path / "made.csv")
    assert diffaudit("extract", table, "--samples", tmp_path / "made.csv", "--out", tmp_path / "copied").code == 0
    assert ExtractionReport.load(tmp_path / "copied").document["verdict"]["level"] == "extracted"
    said = refused("extract", table, "--show-images", "1", "--out", tmp_path / "shown")
    assert said == "--show-images shows images, and this is a table: leave it out."
