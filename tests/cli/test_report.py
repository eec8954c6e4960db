"""diffaudit report: the page from its JSON alone, and the page of any other tool's scores."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from diffaudit_jax._version import __version__

from .conftest import ASK, contents, scores


def attacks(directory):
    return json.loads((directory / "report.json").read_text())["attacks"]


@pytest.mark.parametrize("named", ["", "report.json"], ids=["directory", "file"])
def test_the_page_is_drawn_from_the_json_alone(diffaudit, audited, tmp_path, named):
    shutil.copy(audited / "report.json", tmp_path)
    ended = diffaudit("report", tmp_path / named)
    assert (ended.code, ended.err) == (0, [])
    assert ended.out.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    assert contents(tmp_path) == {name: contents(audited)[name] for name in ("report.json", "report.html")}


WRITERS = {
    ".npz": lambda path, columns: np.savez(path, **columns),
    ".csv": lambda path, columns: pyarrow.csv.write_csv(pa.table(columns), path),
    ".parquet": lambda path, columns: pyarrow.parquet.write_table(pa.table(columns), path),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_scores_of_any_tool_get_the_statistics_of_our_own(diffaudit, audited, tmp_path, suffix):
    path = tmp_path / f"theirs{suffix}"
    WRITERS[suffix](path, {name: scores(audited)[name] for name in ("member", "vlb-loss")})
    ended = diffaudit("report", "--scores", path, "--title", "Theirs")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == f"report: {tmp_path / 'theirs' / 'report.html'}"
    assert "<h1>Theirs</h1>" in (tmp_path / "theirs" / "report.html").read_text()
    theirs, ours = attacks(tmp_path / "theirs")[0], attacks(audited)[2]
    assert theirs == {**ours, "spec": {}}


def test_attacks_are_listed_and_can_be_chosen(diffaudit, tmp_path):
    rng = np.random.default_rng(0)
    member = np.arange(60) < 20
    columns = {name: rng.normal(size=60) for name in ("age", "a", "b")}
    WRITERS[".npz"](tmp_path / "s.npz", {"member": member, **columns})
    for words, names in (((), ["age", "a", "b"]), (("--attack", "b", "a"), ["b", "a"])):
        ended = diffaudit("report", "--scores", tmp_path / "s.npz", *words)
        assert ended.out.splitlines()[0] == f"attacks: {', '.join(names)}"
        assert [attack["name"] for attack in attacks(tmp_path / "s")] == names


def test_scores_that_rank_the_wrong_way_round_are_said_first(diffaudit, tmp_path):
    member = np.arange(80) < 40
    WRITERS[".npz"](
        tmp_path / "s.npz", {"member": member, "loss": np.random.default_rng(0).normal(size=80) - 3 * member}
    )
    ended = diffaudit("report", "--scores", tmp_path / "s.npz")
    said = [line for line in ended.out.splitlines() if line]
    assert said[1].startswith("Scores rank the wrong way round: A higher score must mean member, and here members")


def test_a_resolvable_rate_is_shown_with_its_interval(diffaudit, tmp_path):
    rng = np.random.default_rng(0)
    member = np.arange(600) < 200
    WRITERS[".npz"](tmp_path / "s.npz", {"member": member, "[red]a[/b]": rng.normal(size=600) + 3 * member})
    ended = diffaudit("report", "--scores", tmp_path / "s.npz")
    attack = attacks(tmp_path / "s")[0]
    tpr = next(point["tpr"] for point in attack["operating_points"] if point["target_fpr"] == 0.01)
    value, low, high = (round(100 * tpr[part]) for part in ("value", "low", "high"))
    row = next(line for line in ended.out.splitlines() if line.startswith("[red]a[/b]"))
    assert row.replace("\N{NO-BREAK SPACE}", " ").rstrip().endswith(f"{value} % [{low}, {high}]")


def test_nothing_is_written_over(refused, diffaudit, trained, audited, tmp_path):
    shutil.copytree(audited, tmp_path / "mine")
    WRITERS[".npz"](tmp_path / "mine.npz", {name: scores(audited)[name] for name in ("member", "vlb-loss")})
    before = contents(tmp_path / "mine")
    assert "holds a report of something else (an audit)" in refused("report", "--scores", tmp_path / "mine.npz")
    assert contents(tmp_path / "mine") == before
    out = tmp_path / "theirs"
    for _ in range(2):  # the same scores again are no other report
        assert diffaudit("report", "--scores", tmp_path / "mine.npz", "--out", out).code == 0
    before = contents(out)
    assert "holds a report of something else" in refused("audit", trained, "--out", out, *ASK)
    assert contents(out) == before


def test_a_full_disk_keeps_the_observations(diffaudit, refused, monkeypatch, trained, audited, tmp_path):
    out = tmp_path / "audit"
    shutil.copytree(audited, out)
    before = contents(out)

    replace = os.replace

    def full(source, target):
        if Path(target).name == "report.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        message = refused("audit", trained, "--out", out, *ASK)
    assert message.startswith(f"the disk is full, {out / 'report.json'} was not written")
    assert contents(out) == before
    assert diffaudit("audit", trained, "--out", out, *ASK).code == 0
    assert attacks(out) == attacks(audited)


def test_a_report_can_name_the_version_that_made_it(diffaudit):
    ended = diffaudit("--version")
    assert (ended.code, ended.out.split(), ended.err) == (0, ["diffaudit", __version__], [])
