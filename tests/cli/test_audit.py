"""diffaudit audit: what is asked and shown, and going on after a stop of any kind."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from diffaudit_jax import auditing, data, training

from .conftest import ASK, contents, scores

ATTACKS = ["eps-loss", "x0-loss", "vlb-loss"]


def document(directory):
    return json.loads((directory / "report.json").read_text())


def test_the_table_names_attack_auc_and_tpr(diffaudit, audited, trained):
    ended = diffaudit("audit", trained, "--out", audited, *ASK)
    lines = ended.out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("attack"))
    assert lines[head].split("  ")[0] == "attack"
    assert lines[head].split() == ["attack", "AUC", "TPR", "at", "1", "%", "FPR"]
    for row, attack in zip(lines[head + 1 :], document(audited)["attacks"], strict=False):
        auc = attack["auc"]
        shown = f"{auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"
        assert row.split("  ", 1)[0] == attack["name"]
        assert shown in row
        assert row.rstrip().endswith("needs 100 non-members")  # there are 24
    assert lines[-1] == f"report: {audited / 'report.html'}"


def test_one_pass_serves_the_attacks_named(diffaudit, trained, audited, tmp_path):
    out = tmp_path / "audit"
    shutil.copytree(audited, out)
    blocks = contents(out / "observations")
    assert diffaudit("audit", trained, "--out", out, *ASK, "--attack", "vlb-loss", "--statistic", "min").code == 0
    assert [attack["name"] for attack in document(out)["attacks"]] == ["vlb-loss"]
    assert document(out)["attacks"][0]["spec"]["config"]["statistic"] == "min"
    assert contents(out / "observations") == blocks


def test_scores_do_not_depend_on_blocks_and_devices(diffaudit, trained, audited, tmp_path):
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK, "--block", 5, "--devices", 2).code == 0
    assert len(list(tmp_path.glob("observations/block-*-6.npz"))) == 6  # 36 queries, three to a device
    assert document(tmp_path)["provenance"]["device"]["count"] == 2
    ours, theirs = scores(tmp_path), scores(audited)
    for name in ATTACKS:
        # XLA may sum in another order in a program of another shape.
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4)


def test_fewer_queries_are_some_of_the_same(diffaudit, trained, audited, tmp_path):
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK, "--queries", 30).code == 0
    some, every = scores(tmp_path), scores(audited)
    assert [int(some["member"].sum()), int((~some["member"]).sum())] == [10, 20]
    for side in (True, False):
        among = np.abs(some["eps-loss"][some["member"] == side][:, None] - every["eps-loss"][every["member"] == side])
        assert among.min(axis=1).max() < 1e-4


def test_a_users_own_members_and_nonmembers_score_as_the_split_does(diffaudit, trained, audited, tmp_path):
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    np.savez(tmp_path / "in.npz", images=split.members.x)
    np.savez(tmp_path / "out.npz", images=split.nonmembers.x)
    words = ("--members", tmp_path / "in.npz", "--nonmembers", tmp_path / "out.npz")
    assert diffaudit("audit", trained, "--out", tmp_path / "audit", *ASK, *words).code == 0
    for name, values in scores(tmp_path / "audit").items():
        np.testing.assert_allclose(values, scores(audited)[name], rtol=1e-5)
    assert document(tmp_path / "audit")["provenance"]["data"]["nonmembers"] == str(tmp_path / "out.npz")


def test_images_are_shown_only_when_asked_for(diffaudit, trained, audited, tmp_path):
    out = tmp_path / "audit"
    shutil.copytree(audited, out)
    assert "data:image/png" not in (out / "report.html").read_text()
    assert diffaudit("audit", trained, "--out", out, *ASK, "--show-images", 2).code == 0
    assert (out / "report.html").read_text().count("data:image/png") == 2


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (("--seed", "1"), "its key differ"),
        (("--queries", "30"), "its queries differ"),
        (("--noises", "2"), "its attack differ"),
    ],
)
def test_a_directory_of_another_audit_is_refused(refused, trained, audited, words, changed):
    before = contents(audited)
    message = refused("audit", trained, "--out", audited, *ASK, *words)
    assert changed in message
    assert "use another directory" in message
    assert contents(audited) == before


def test_an_audit_of_another_run_is_refused(refused, diffaudit, trained, audited, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoints" / "4")  # the same run, two steps younger
    before = contents(audited)
    assert "its target differ" in refused("audit", run, "--out", audited, *ASK)
    assert contents(audited) == before


STOPS = {
    "disk full": (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "stopped; the same command goes on from here."),
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_stopped_audit_goes_on_and_ends_alike(diffaudit, monkeypatch, trained, audited, tmp_path, stop):
    error, code, message = STOPS[stop]
    write = auditing.write_atomic

    def fails_at_the_second_block(path, data):
        if path.name.startswith("block-") and list(path.parent.glob("block-*")):
            raise error
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(auditing, "write_atomic", fails_at_the_second_block)
        ended = diffaudit("audit", trained, "--out", tmp_path, *ASK)
    assert ended.code == code
    assert len(ended.err) == 1
    assert message in ended.err[0]
    first = contents(tmp_path / "observations")
    assert len(first) == 2  # the manifest and one block
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK).code == 0
    assert first.items() <= contents(tmp_path / "observations").items()
    for name, values in scores(tmp_path).items():
        np.testing.assert_array_equal(values, scores(audited)[name])


# Stands still once the first block is written, so that the kill finds it half done.
HALTING = """
import sys, time
from diffaudit_jax import auditing, cli
write = auditing.write_atomic
def halt(path, data):
    write(path, data)
    if path.name.startswith("block-"):
        time.sleep(600)
auditing.write_atomic = halt
cli.main(sys.argv[1:])
"""


def test_a_killed_audit_goes_on_and_ends_alike(diffaudit, compiled_once, trained, audited, tmp_path):
    words = ("audit", str(trained), "--out", str(tmp_path), *ASK)
    with subprocess.Popen([sys.executable, "-c", HALTING, *words], env=os.environ | compiled_once) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("observations/block-*.npz")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    first = contents(tmp_path / "observations")
    assert not (tmp_path / "report.json").exists()
    assert diffaudit(*words).code == 0
    assert first.items() <= contents(tmp_path / "observations").items()
    for name, values in scores(tmp_path).items():
        np.testing.assert_array_equal(values, scores(audited)[name])


def test_a_run_that_still_trains_is_audited_where_it_stands(diffaudit, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoints" / "4")
    (run / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()  # what a kill in the middle of a save leaves
    assert diffaudit("audit", run, "--out", tmp_path / "audit", *ASK).code == 0
    assert document(tmp_path / "audit")["provenance"]["training"]["steps_done"] == 2


def test_out_of_memory_says_what_to_make_smaller(refused, monkeypatch, trained, tmp_path):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")

    monkeypatch.setattr("diffaudit_jax.cli.audit.audit_run", exhausted)
    assert "audit with a smaller --block" in refused("audit", trained, "--out", tmp_path, *ASK)
