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

from diffaudit_jax import auditing, blocks, data, training

from .conftest import ASK, contents, scores

ATTACKS = ["eps-loss", "x0-loss", "vlb-loss"]


def document(directory):
    return json.loads((directory / "report.json").read_text())


def test_the_table_names_attack_auc_and_tpr(audited):
    lines = (audited.parent / "printed").read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("attack"))
    assert lines[head].split() == ["attack", "AUC", "TPR", "at", "1", "%", "FPR"]
    for row, attack in zip(lines[head + 1 :], document(audited)["attacks"], strict=False):
        auc = attack["auc"]
        shown = f"{auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"
        assert row.split("  ", 1)[0] == attack["name"]
        assert shown in row
        assert row.rstrip().endswith("needs 100 non-members")  # there are 24
    assert lines[-1] == f"report: {audited / 'report.html'}"


def test_one_pass_serves_the_attacks_named(diffaudit, monkeypatch, trained, audited, tmp_path):
    out = tmp_path / "audit"
    shutil.copytree(audited, out)
    monkeypatch.setattr(auditing, "Stream", None)  # nothing can be asked any more
    assert diffaudit("audit", trained, "--out", out, *ASK, "--attack", "vlb-loss", "--statistic", "min").code == 0
    assert [attack["name"] for attack in document(out)["attacks"]] == ["vlb-loss"]
    assert document(out)["attacks"][0]["spec"]["config"]["statistic"] == "min"


def test_scores_do_not_depend_on_blocks_devices_and_other_queries(diffaudit, trained, audited, tmp_path):
    words = ("--block", 5, "--devices", 2, "--queries", 30, "--attack", "eps-loss")
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK, *words).code == 0
    assert len(list(tmp_path.glob("observations/trajectory/block-*-6.npz"))) == 5  # 30 queries, three to a device
    assert document(tmp_path)["provenance"]["device"]["count"] == 2
    some, every = scores(tmp_path), scores(audited)
    assert [int(some["member"].sum()), int((~some["member"]).sum())] == [10, 20]
    for side in (True, False):
        asked, known = (table["eps-loss"][table["member"] == side] for table in (some, every))
        # Each is one of those known; XLA may sum in another order in a program of another shape.
        nearest = known[np.abs(asked[:, None] - known).argmin(axis=1)]
        np.testing.assert_allclose(asked, nearest, rtol=1e-5)
        assert len(set(nearest)) == len(asked)


def test_a_users_own_members_and_nonmembers_score_as_the_split_does(diffaudit, trained, audited, tmp_path):
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    for name, pool in (("in", split.members), ("out", split.nonmembers)):
        np.savez(tmp_path / f"{name}.npz", images=pool.x, labels=pool.labels)
    words = ("--members", tmp_path / "in.npz", "--nonmembers", tmp_path / "out.npz", "--show-images", 2)
    assert diffaudit("audit", trained, "--out", tmp_path / "audit", *ASK, *words).code == 0
    for name, values in scores(tmp_path / "audit").items():
        np.testing.assert_allclose(values, scores(audited)[name], rtol=1e-5)
    assert document(tmp_path / "audit")["provenance"]["data"]["nonmembers"] == str(tmp_path / "out.npz")
    # Images are shown only when asked for: they are personal data.
    pages = [(out / "report.html").read_text() for out in (tmp_path / "audit", audited)]
    assert [page.count("data:image/png") for page in pages] == [2, 0]


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (("--seed", "1"), "key differ"),
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
    shutil.rmtree(run / "checkpoints" / "4")  # the same run, two steps younger,
    (run / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()  # and killed in the middle of a save
    before = contents(audited)
    assert "its target differ" in refused("audit", run, "--out", audited, *ASK)
    assert contents(audited) == before


def test_a_full_disk_loses_no_block_and_the_same_command_goes_on(
    diffaudit, refused, monkeypatch, trained, audited, tmp_path
):
    write = blocks.write_atomic

    def full_at_the_second_block(path, data):
        if path.name.startswith("block-") and list(path.parent.glob("block-*")):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "write_atomic", full_at_the_second_block)
        assert refused("audit", trained, "--out", tmp_path, *ASK).startswith("the disk is full, ")
    first = contents(tmp_path / "observations")
    assert len(first) == 2  # the manifest and one block
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK).code == 0
    assert first.items() <= contents(tmp_path / "observations").items()
    for name, values in scores(tmp_path).items():
        np.testing.assert_array_equal(values, scores(audited)[name])


# Stands still once the first block is written, so that the kill finds it half done.
HALTING = """
import sys, time
from diffaudit_jax import blocks, cli
write = blocks.write_atomic
def halt(path, data):
    write(path, data)
    if path.name.startswith("block-"):
        time.sleep(600)
blocks.write_atomic = halt
cli.main(sys.argv[1:])
"""


def test_a_killed_audit_goes_on_and_ends_alike(diffaudit, compiled, trained, audited, tmp_path):
    words = ("audit", str(trained), "--out", str(tmp_path), *ASK)
    with subprocess.Popen([sys.executable, "-W", "error", "-c", HALTING, *words], env=os.environ | compiled) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("observations/trajectory/block-*.npz")):
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


def test_ctrl_c_says_how_to_go_on(diffaudit, monkeypatch, trained, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffaudit_jax.cli.passes.audit", interrupted)
    ended = diffaudit("audit", trained, "--out", tmp_path, *ASK)
    assert (ended.code, ended.err) == (130, ["diffaudit: stopped; the same command goes on from here."])


def test_out_of_memory_says_what_to_make_smaller(refused, monkeypatch, trained, tmp_path):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")

    monkeypatch.setattr("diffaudit_jax.cli.audit.audit_subject", exhausted)
    assert "smaller --together, the other commands with a smaller --block." in refused(
        "audit", trained, "--out", tmp_path, *ASK
    )


def test_another_seed_draws_other_noise(diffaudit, trained, audited, tmp_path):
    assert diffaudit("audit", trained, "--out", tmp_path, *ASK, "--seed", 1).code == 0
    assert (scores(tmp_path)["eps-loss"] != scores(audited)["eps-loss"]).all()


def test_who_is_called_a_member_is_held_against_the_runs_own_record(diffaudit, refused, trained, tmp_path):
    split = data.from_record(training.load_run(trained).config["split"], data.load("fashion-mnist-2k"))
    for name, pool in (("in", split.members), ("out", split.nonmembers)):
        np.savez(tmp_path / f"{name}.npz", images=pool.x, labels=pool.labels)
    swapped = ("--members", tmp_path / "out.npz", "--nonmembers", tmp_path / "in.npz")
    message = refused("audit", trained, "--out", tmp_path / "swapped", *ASK, *swapped)
    assert message.startswith("12 of the 12 images of --nonmembers are ones this run was trained on")
    strangers = data.load("fashion-mnist-2k").take(np.arange(40))
    fresh = strangers.take(np.flatnonzero(~np.isin(strangers.hashes(), split.members.hashes())))
    fresh = fresh.take(np.flatnonzero(~np.isin(fresh.hashes(), split.nonmembers.hashes())))
    np.savez(tmp_path / "fresh.npz", images=fresh.x, labels=fresh.labels)
    words = ("--members", tmp_path / "fresh.npz", "--nonmembers", tmp_path / "out.npz")
    ended = diffaudit("audit", trained, "--out", tmp_path / "fresh", *ASK, *words)
    assert ended.code == 0
    assert f"{len(fresh)} of the {len(fresh)} images of --members are none that this run was trained on" in ended.err[0]
