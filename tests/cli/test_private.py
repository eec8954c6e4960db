"""diffaudit train --dp: flags, a promise that reaches the report, and one that a killed run keeps."""

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

from diffaudit_jax.training import load_run

from .conftest import NET

SMALL = ("--data", "fashion-mnist-2k", "--members", "12", "--nonmembers", "24", "--diffusion-steps", "24", *NET)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target-epsilon", "8"), "--target-epsilon is for private training: give --dp, or leave it out."),
        (("--multiplicity", "2"), "--multiplicity is for private training"),
        (("--preprocessing", "public"), "--preprocessing is for private training"),
        (("--dp", "--noise-multiplier", "1", "--clip-norm", "2"), "--clip-norm clips the gradient of a batch"),
        (("--dp",), "--dp needs --target-epsilon or --noise-multiplier, one of them."),
        (("--dp", "--target-epsilon", "8", "--noise-multiplier", "1"), "one of them."),
        (("--dp", "--target-epsilon", "0"), "target_epsilon must be positive"),
        (("--dp", "--target-epsilon", "8", "--clip", "0"), "l2_clip_norm must be positive"),
        (("--dp", "--target-epsilon", "8", "--delta", "0.1"), "delta must be at least 1e-09 and below 1/12"),
        (("--dp", "--target-epsilon", "8", "--batch", "13"), "no larger than the data (12 examples), got 13"),
        (("--dp", "--noise-multiplier", "1", "--batch", "13"), "batch of 13 cannot be sampled from 12 examples"),
        (("--dp", "--target-epsilon", "8", "--steps", "0"), "--dp trains in at least 1 step"),
        (("--dp", "--target-epsilon", "1e-9"), "ask for "),
    ],
)
def test_flags_that_promise_nothing_are_refused(refused, tmp_path, words, message):
    assert message in refused("train", *SMALL, "--steps", "2", *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_private_run_is_told_in_its_report(diffaudit, refused, tmp_path):
    run, words = (
        tmp_path / "run",
        ("train", *SMALL, "--steps", "2", "--dp", "--target-epsilon", "8", "--multiplicity", "2"),
    )
    for _ in range(2):  # the second time nothing is left to do
        ended = diffaudit(*words, "--out", run)
        assert ended.code == 0
        assert ended.out.startswith("private: epsilon = ")
        assert "at delta = 1e-05 (noise multiplier " in ended.out
    assert "privacy.num_noises: 2 -> 1" in refused(*words[:-2], "--out", run)
    asked = ("audit", run, "--out", tmp_path / "audit", "--attack", "pia", "--access", "gray", "--block", "36")
    assert diffaudit(*asked).code == 0
    told = json.loads((tmp_path / "audit" / "report.json").read_text())["provenance"]["guarantee"]
    assert told == json.loads((run / "guarantee.json").read_text())
    assert 7.9 < told["epsilon"] <= 8
    assert told["ledger"]["num_steps"] == 2
    assert "What its training promises" in (tmp_path / "audit" / "report.html").read_text()


HALTING = """
import sys, time
from diffaudit_jax import cli
from diffaudit_jax.training.kept import Kept
log = Kept.log
def halt(kept, step, *rest):
    if step == 4:
        (kept.directory / "lost").touch()
        time.sleep(600)
    log(kept, step, *rest)
Kept.log = halt
cli.main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_with_the_batches_and_the_noise_it_would_have_had(diffaudit, compiled, tmp_path):
    # Killed after step 4 was taken and before it was saved. A run that takes every step with the key that was kept,
    # from the first on, ends alike: no noise went to two batches.
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = ("train", *SMALL, "--steps", "5", "--checkpoint-every", "2", "--dp", "--noise-multiplier", "1", "--out")
    child = [sys.executable, "-W", "error", "-c", HALTING, *words, str(run)]
    with subprocess.Popen(child, env=os.environ | compiled) as process:
        deadline = time.monotonic() + 120
        while not ((run / "lost").exists() and (run / "checkpoints" / "2").exists()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (run / "lost").unlink()
    shutil.copytree(run, whole, ignore=shutil.ignore_patterns("checkpoints", "log.jsonl"))
    for directory in (run, whole):
        assert diffaudit(*words, directory).code == 0
        assert not (directory / "secret.key").exists()
    resumed, unbroken = map(load_run, (run, whole))
    jax.tree.map(np.testing.assert_array_equal, resumed.state.params, unbroken.state.params)
    assert resumed.ledger == unbroken.ledger
    assert resumed.ledger.num_steps == 5
