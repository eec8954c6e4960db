"""Every mistake in an audit ends with exit code 2 and one sentence, before anything is asked or written over."""

import json
import shutil
import subprocess
import sys

import pytest

from diffaudit_jax import training

from .conftest import ASK, NET, at

OWN = ("--members", "BAD/good.npz", "--nonmembers")
AUDITS = {
    "attack": (("--attack", "eps-los"), "unknown attack 'eps-los': did you mean 'eps-loss'? There are "),
    "no attack": (("--attack",), "no attack is named: give --attack some of those that `diffaudit attacks` lists."),
    "half a pair": (("--members", "BAD/good.npz"), "give --members and --nonmembers together"),
    "empty side": ((*OWN, "BAD/empty.npz"), "shape (0, 28, 28, 1) holds no image."),
    "missing side": ((*OWN, "BAD/nowhere.npz"), "there is no BAD/nowhere.npz"),
    "both sides": ((*OWN, "BAD/good.npz"), "members and nonmembers"),
    "both sides, dropped": ((*OWN, "BAD/good.npz", "--duplicates", "drop"), "every one of the 40 nonmembers is on a"),
    "other shapes": ((*OWN, "BAD/rgb.npz"), "has images of (28, 28, 1) but rgb.npz of (28, 28, 3): resize one"),
    "no labels": ((*OWN, "BAD/rest.npz"), "the model is conditioned on labels and these images have none: give images"),
    "an unknown label": (
        ("--members", "BAD/named.npz", "--nonmembers", "BAD/others.npz"),
        "label 10 is beyond the 10 classes that the model was trained on: give images of these classes.",
    ),
    "tables": ((*OWN, "adult-3k"), "adult-3k is a table: an image model is audited on images."),
    "no queries": (("--queries", "0"), "--queries must be between 2 and the 36 there are, got 0."),
    "too many queries": (("--queries", "37"), "--queries must be between 2 and the 36 there are, got 37."),
    "few queries": (("--queries", "9"), "3 members and 6 non-members are too few for statistics"),
    "no times": (("--times", "0"), "--times must be at least 1, got 0."),
    "too many times": (("--times", "1001"), "a grid on this schedule has 1 to 1000 times, got 1001."),
    "no noises": (("--noises", "0"), "at least 1 noise draw per time is needed, got num_noises=0."),
    "a step as time": (("--truncate", "300"), "truncate is a time or a share, from 0 to 1, got 300.0"),
    "no time": (("--truncate", "0.01"), "by time keeps none of the 6 times from 0.3333 on"),
    "every loss": (("--truncate", "1", "--by", "value"), "truncate=1.0 by value keeps none of the 6 times"),
    "NaN": (("--truncate", "nan", "--by", "value"), "truncate is a time or a share, from 0 to 1, got nan"),
    "no block": (("--block", "0"), "a block holds at least 1 query, got block=0."),
    "no devices": (("--devices", "0"), "asked for 0 devices, there are 8 here."),
    "too many devices": (("--devices", "9"), "asked for 9 devices, there are 8 here."),
    "images": (("--show-images", "-1"), "--show-images must be at least 0, got -1."),
    "seed": (("--seed", "-1"), "--seed must be from 0 to 4294967295, got -1."),
}


@pytest.mark.parametrize("case", AUDITS)
def test_an_audit_is_refused_before_anything_is_asked(refused, bad, trained, tmp_path, case):
    words, message = AUDITS[case]
    assert at(bad, [message])[0] in refused("audit", trained, "--out", tmp_path / "audit", *ASK, *at(bad, words))
    assert not list(tmp_path.glob("audit/observations/*/block-*"))
    assert not (tmp_path / "audit" / "report.json").exists()


def other_shape(run):
    config = json.loads((run / "run.json").read_text())
    config["model"]["channels"] = 16
    (run / "run.json").write_text(json.dumps(config))


def newer_recipe(run):
    config = json.loads((run / "run.json").read_text())
    config["recipe"]["momentum"] = 0.9
    (run / "run.json").write_text(json.dumps(config))


RUNS = {
    "no run": (shutil.rmtree, "there is no "),
    "half a record": (lambda run: (run / "run.json").write_text('{"sche'), "run.json cannot be read ("),
    "another record": (lambda run: (run / "run.json").write_text("{}"), "run.json is not a diffaudit.run record"),
    "newer record": (newer_recipe, "run.json is of another version or damaged ("),
    "no checkpoint": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        "has no finished checkpoint: run its `diffaudit train` again, it resumes.",
    ),
    "lost metadata": (lambda run: (run / "checkpoints" / "4" / "default" / "_METADATA").unlink(), "4 is damaged ("),
    "another architecture": (other_shape, "checkpoints/4 is of another architecture: parameter"),
}


@pytest.mark.parametrize("case", RUNS)
def test_an_unusable_run_is_refused(refused, trained, tmp_path, case):
    spoil, message = RUNS[case]
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    spoil(run)
    assert message in refused("audit", run, "--out", tmp_path / "audit", *ASK)
    assert not (tmp_path / "audit").exists()


# In a process of its own: Orbax abandons its other reads when one fails, and they complain later, wherever they are.
def test_a_corrupt_checkpoint_is_mended_as_the_message_says(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    for path in (run / "checkpoints" / "4").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    words = ["audit", str(run), "--out", str(tmp_path / "audit")]
    command = [sys.executable, "-W", "error", "-m", "diffaudit_jax.cli", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.endswith("remove that folder and resume from the one before.\n")
    damaged = ended.stderr.removeprefix("diffaudit: checkpoint ").split(" is damaged (")[0]
    shutil.rmtree(damaged)
    assert int(training.load_run(run).state.step) == 2


def test_a_set_that_changed_since_training_is_refused(refused, diffaudit, bad, tmp_path):
    shutil.copy(bad / "good.npz", tmp_path / "set.npz")
    quick = ("--members", 12, "--nonmembers", 24, *NET, "--steps", 0)
    assert diffaudit("train", "--data", tmp_path / "set.npz", *quick, "--out", tmp_path / "run").code == 0
    shutil.copy(bad / "rest.npz", tmp_path / "set.npz")
    words = ("audit", tmp_path / "run", "--out", tmp_path / "audit", *ASK)
    before = f"the images that {tmp_path / 'run'} was split from are not as they were: "
    assert refused(*words).startswith(f"{before}36 records of set.npz differ from those the split was made of")
    (tmp_path / "set.npz").unlink()
    assert refused(*words).startswith(f"{before}there is no {tmp_path / 'set.npz'}: ")


def test_a_damaged_manifest_is_refused(refused, trained, audited, tmp_path):
    shutil.copytree(audited, tmp_path / "audit")
    (tmp_path / "audit" / "observations" / "trajectory" / "audit.json").write_text('{"sch')
    message = refused("audit", trained, "--out", tmp_path / "audit", *ASK)
    assert "audit.json is damaged" in message
    assert f"remove {tmp_path / 'audit' / 'observations' / 'trajectory'} and audit again" in message
