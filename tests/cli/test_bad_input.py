"""Every mistake ends with exit code 2 and one sentence that names the value and the mend."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.cli.audit import Audit
from diffaudit_jax.cli.quickstart import Quickstart
from diffaudit_jax.cli.report import DrawReport
from diffaudit_jax.cli.train import Train

from .conftest import ASK, NET, TINY, TRAIN, contents, params


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder of things that cannot be read."""
    folder, rng = tmp_path_factory.mktemp("bad"), np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
    hole = x / np.float32(255)
    hole[3, 2, 1, 0] = np.nan
    arrays = {
        "good": {"images": x},
        "nan": {"images": hole},
        "range": {"images": x.astype(np.float32)},
        "shape": {"images": x[0, 0]},
        "odd": {"images": x[:, :27, :27]},
        "empty": {"images": x[:0]},
        "twice": {"images": np.concatenate([x, x])},
        "objects": {"images": np.array([{}, None], dtype=object)},
        "unnamed": {"pictures": x},
        "rgb": {"images": np.repeat(x, 3, axis=-1)},
        "rest": {"images": rng.integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    whole = (folder / "good.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])
    idx = bytes((0, 0, 8, 3)) + np.array((40, 28, 28), ">u4").tobytes() + x.tobytes()
    (folder / "half-idx3-ubyte").write_bytes(idx[:-9])
    (folder / "half-idx3-ubyte.gz").write_bytes(gzip.compress(idx)[:-9])
    (folder / "notes.txt").write_text("not images")
    for name, sizes in {"mixed": (28, 32), "broken": (28, None), "none": ()}.items():
        (folder / name).mkdir()
        for i, size in enumerate(sizes):
            path = folder / name / f"{i}.png"
            Image.new("L", (size, size)).save(path) if size else path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "scores.csv").write_text("member,a\n1,0.5\n0,nan\n")
    (folder / "members.csv").write_text("member,a\n1,0.5\n1,0.6\n")
    (folder / "words.csv").write_text("member,a\n1,high\n0,low\n")
    (folder / "few.csv").write_text("member,a\n1,0.5\n0,0.4\n")
    (folder / "empty.csv").write_text("")
    (folder / "old.json").write_text("{}")
    (folder / "newer").mkdir()
    (folder / "newer" / "report.json").write_text('{"schema": "diffaudit.membership", "schema_version": 99}')
    (folder / "half").mkdir()
    (folder / "half" / "report.json").write_text('{"schema": "diffaudit.memb')
    (folder / "poor").mkdir()
    (folder / "poor" / "report.json").write_text('{"schema": "diffaudit.membership", "schema_version": 1}')
    (folder / "full").mkdir()
    (folder / "full" / "thesis.tex").write_text("mine")
    return folder


SET = ("--data", "fashion-mnist-2k")
TRAINING = {
    "missing": (("--data", "BAD/nowhere.npz"), "there is no BAD/nowhere.npz: "),
    "misspelt": (("--data", "fashion-mnist"), "there is no fashion-mnist: did you mean fashion-mnist-2k?"),
    "table": (("--data", "adult-3k"), "adult-3k is a table: `diffaudit train` takes images."),
    "NaN": (("--data", "BAD/nan.npz"), "nan.npz: images hold NaN or infinity, first at index (3, 2, 1, 0)."),
    "range": (("--data", "BAD/range.npz"), "float images must lie in [0, 1] or [-1, 1], got [0, 255]: rescale them"),
    "shape": (("--data", "BAD/shape.npz"), "images must be [n, H, W] or [n, H, W, C], got shape (28, 1)."),
    "indivisible": (("--data", "BAD/odd.npz"), "images of 27x27 do not divide into cells of 4"),
    "no images": (("--data", "BAD/empty.npz"), "shape (0, 28, 28, 1) holds no image."),
    "equal images": (("--data", "BAD/twice.npz"), "members and nonmembers"),
    "pickle": (("--data", "BAD/objects.npz"), "cannot be read as an npz of plain arrays"),
    "no name": (("--data", "BAD/unnamed.npz"), "has arrays ['pictures']: name the images one of images, x, arr_0."),
    "half an npz": (("--data", "BAD/half.npz"), "cannot be read as an npz of plain arrays"),
    "half an IDX": (("--data", "BAD/half-idx3-ubyte"), "should hold 31376 bytes for (40, 28, 28) but has 31367"),
    "half a gzip": (("--data", "BAD/half-idx3-ubyte.gz"), "cannot be unzipped"),
    "text": (("--data", "BAD/notes.txt"), "is no npz, IDX or CSV file and no folder of images"),
    "mixed sizes": (("--data", "BAD/mixed"), "mixes 28x28 L (0.png) with 32x32 L (1.png): convert them to one size"),
    "broken image": (("--data", "BAD/broken"), "1.png cannot be read as an image"),
    "empty folder": (("--data", "BAD/none"), "has no image in it or below it"),
    "unprepared": (("--data", "tfds:BAD/nowhere"), "no prepared TFDS dataset at"),
    "attribute": ((*SET, "--groups", "source_rwo"), "unknown attribute 'source_rwo': did you mean 'source_row'?"),
    "too many members": (
        (*SET, "--members", "2001"),
        "members=2001 + nonmembers=1 + reference=0 is more than the 2000 different",
    ),
    "no members": ((*SET, "--members", "0"), "members=0 is too few: give at least 1."),
    "negative members": ((*SET, "--members", "-3"), "members=-3 is too few: give at least 1."),
    "no nonmembers": ((*SET, "--nonmembers", "0"), "nonmembers=0 is too few: give at least 1."),
    "no labels": (("--data", "BAD/good.npz", "--class-conditional"), "needs labels, and BAD/good.npz has none."),
    "negative steps": ((*SET, "--steps", "-1"), "num_steps must be 0 or more and finite, got -1."),
    "no batch": ((*SET, "--batch", "0"), "batch_size must be at least 1, got 0."),
    "learning rate": ((*SET, "--lr", "nan"), "learning_rate must be 0 or more and finite, got nan."),
    "decay": ((*SET, "--ema", "1"), "ema_decay must be in [0, 1), got 1.0."),
    "no checkpoints": ((*SET, "--checkpoint-every", "0"), "checkpoint_every must be at least 1 step, got 0."),
    "no channels": ((*SET, "--channels", "0"), "sizes must be positive, got shape=(28, 28, 1), channels=0"),
    "no levels": ((*SET, "--mults"), "sizes must be positive"),
    "heads": ((*SET, "--head-channels", "3"), "head_channels=3 must divide every width [8]."),
    "no heads": ((*SET, "--head-channels", "-4"), "head_channels=-4 must divide every width [8]."),
    "dropout": ((*SET, "--dropout", "1.5"), "dropout must be in [0, 1), got 1.5."),
    "patch": ((*SET, "--patch", "5"), "images of 28x28 do not divide into cells of 5"),
    "too few steps": ((*SET, "--diffusion-steps", "20"), "use more steps than 20, or the cosine schedule."),
    "no steps": ((*SET, "--diffusion-steps", "0"), "a schedule needs at least 2 steps, got num_steps=0."),
    "seed": ((*SET, "--seed", "-1"), "--seed must be from 0 to 4294967295, got -1."),
    "seed too large": ((*SET, "--seed", str(2**32)), "--seed must be from 0 to 4294967295, got 4294967296."),
}


@pytest.mark.parametrize("case", TRAINING)
def test_training_is_refused(refused, bad, tmp_path, case):
    words, message = TRAINING[case]
    here = lambda word: word.replace("BAD", str(bad))  # noqa: E731
    quick = ("--members", "12", "--nonmembers", "24", "--steps", "0", *NET)
    assert here(message) in refused("train", *quick, *map(here, words), "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


PLACES = {
    "full": "is not empty (it holds 'thesis.tex'): train into a new directory.",
    "notes.txt": "cannot be a directory, for a file is in the way: name another path.",
    "notes.txt/run": "cannot be a directory, for a file is in the way: name another path.",
}


@pytest.mark.parametrize("place", PLACES)
def test_other_peoples_files_are_left_alone(refused, bad, place):
    before = contents(bad)
    assert refused("train", *TRAIN, "--out", bad / place) == f"{bad / place} {PLACES[place]}"
    assert contents(bad) == before


OWN = ("--members", "BAD/good.npz", "--nonmembers")
AUDITS = {
    "attack": (("--attack", "eps-los"), "unknown attack 'eps-los': did you mean 'eps-loss'? There are "),
    "no attack": (("--attack",), "no attack is named: give --attack some of eps-loss, x0-loss, vlb-loss."),
    "half a pair": (("--members", "BAD/good.npz"), "give --members and --nonmembers together"),
    "empty side": ((*OWN, "BAD/empty.npz"), "shape (0, 28, 28, 1) holds no image."),
    "missing side": ((*OWN, "BAD/nowhere.npz"), "there is no BAD/nowhere.npz"),
    "both sides": ((*OWN, "BAD/good.npz"), "members and nonmembers"),
    "both sides, dropped": ((*OWN, "BAD/good.npz", "--duplicates", "drop"), "every one of the 40 nonmembers is on a"),
    "other shapes": ((*OWN, "BAD/rgb.npz"), "has images of (28, 28, 1) but rgb.npz of (28, 28, 3): resize one"),
    "tables": ((*OWN, "adult-3k"), "adult-3k is a table: an image model is audited on images."),
    "no queries": (("--queries", "0"), "--queries must be between 2 and the 36 there are, got 0."),
    "too many queries": (("--queries", "37"), "--queries must be between 2 and the 36 there are, got 37."),
    "few queries": (("--queries", "9"), "3 members and 6 non-members are too few for statistics"),
    "no times": (("--times", "0"), "--times must be at least 1, got 0."),
    "too many times": (("--times", "25"), "a grid on this schedule has 1 to 24 times, got 25."),
    "no noises": (("--noises", "0"), "at least 1 noise draw per time is needed, got num_noises=0."),
    "a step as time": (("--truncate", "300"), "truncate is a time or a share, from 0 to 1, got 300.0"),
    "no time": (("--truncate", "0.01"), "truncate=0.01 by time keeps none of the 6 times from 0.1667 on"),
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
    here = lambda word: word.replace("BAD", str(bad))  # noqa: E731
    assert here(message) in refused("audit", trained, "--out", tmp_path / "audit", *ASK, *map(here, words))
    assert not list(tmp_path.glob("audit/observations/block-*"))
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
    "no run": (shutil.rmtree, "is no run directory (it has no run.json): give the --out of `diffaudit train`."),
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
def test_a_corrupt_checkpoint_is_mended_as_the_message_says(diffaudit, compiled_once, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    for path in (run / "checkpoints" / "4").rglob("d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    words = ["train", *TRAIN, "--out", str(run)]
    ended = subprocess.run(
        [sys.executable, "-m", "diffaudit_jax.cli", *words],
        env=os.environ | compiled_once,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.endswith("remove that folder and resume from the one before.\n")
    shutil.rmtree(re.match(r"diffaudit: checkpoint (.*) is damaged \(", ended.stderr)[1])
    assert diffaudit(*words).code == 0
    for ours, theirs in zip(params(run), params(trained), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_set_that_changed_since_training_is_refused(refused, diffaudit, bad, tmp_path):
    shutil.copy(bad / "good.npz", tmp_path / "set.npz")
    quick = ("--members", 12, "--nonmembers", 24, *NET, "--steps", 0)
    assert diffaudit("train", "--data", tmp_path / "set.npz", *quick, "--out", tmp_path / "run").code == 0
    shutil.copy(bad / "rest.npz", tmp_path / "set.npz")
    message = refused("audit", tmp_path / "run", "--out", tmp_path / "audit", *ASK)
    assert "36 images of set.npz differ from those the split was made of" in message


def test_a_damaged_manifest_is_refused(refused, trained, audited, tmp_path):
    shutil.copytree(audited, tmp_path / "audit")
    (tmp_path / "audit" / "observations" / "audit.json").write_text('{"sch')
    message = refused("audit", trained, "--out", tmp_path / "audit", *ASK)
    assert "audit.json is damaged" in message
    assert f"remove {tmp_path / 'audit' / 'observations'} and audit again" in message


REPORTS = {
    "nothing": ((), "name either a directory that holds a report.json, or a file with --scores."),
    "both": (("BAD/half", "--scores", "BAD/scores.csv"), "name either a directory that holds a report.json, or a"),
    "out of place": (("BAD/half", "--out", "x"), "--out and --title are for --scores"),
    "missing": (("BAD/nowhere",), "cannot read a report at 'BAD/nowhere' (No such file or directory)"),
    "half": (("BAD/half",), "half/report.json' is not JSON"),
    "newer": (("BAD/newer",), "has schema version 99 and this library reads 1 to 1: update diffaudit_jax."),
    "poor": (("BAD/poor",), "lacks"),
    "another JSON": (("BAD/old.json",), "has schema None, not 'diffaudit.membership'"),
    "no scores": (("--scores", "BAD/nowhere.csv"), "cannot read scores from 'BAD/nowhere.csv'"),
    "no suffix": (("--scores", "BAD/notes.txt"), "ends in '.txt': scores are read from .csv, .npz, .parquet."),
    "NaN": (("--scores", "BAD/scores.csv"), "score column 'a' holds nan in row 1: give every row a finite score."),
    "one side": (("--scores", "BAD/members.csv"), "has members only (2 rows): add rows of non-members."),
    "words": (("--scores", "BAD/words.csv"), "score column 'a' is not numeric"),
    "too few": (("--scores", "BAD/few.csv"), "are too few for statistics: query at least 10."),
    "empty": (("--scores", "BAD/empty.csv"), "cannot read scores from 'BAD/empty.csv'"),
    "no member": (("--scores", "BAD/good.npz"), "has columns images: add one named 'member'."),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_report_is_refused(refused, bad, case):
    words, message = REPORTS[case]
    before = contents(bad)
    here = lambda word: word.replace("BAD", str(bad))  # noqa: E731
    assert here(message) in refused("report", *map(here, words))
    assert contents(bad) == before


def test_rounded_floats_are_noted_in_one_line(diffaudit, tmp_path, recwarn):
    np.savez(tmp_path / "floats.npz", images=np.random.default_rng(0).random((40, 28, 28), np.float32))
    words = ("--members", 12, *NET, "--steps", 0, "--out", tmp_path / "run")
    ended = diffaudit("train", "--data", tmp_path / "floats.npz", *words)
    assert ended.code == 0
    assert ended.err == ["diffaudit: note: floats.npz: float images were rounded to 256 grey levels, by up to 0.5."]


# These are the parser's own messages, in a box of several lines.
WORDS = {
    "flag": (("train", *TINY, "--out", "x", "--membres", "3"), ("--membres", "Perhaps you meant", "--members INT")),
    "choice": (("audit", "x", "--out", "x", "--statistic", "men"), ("'men'", "'mean'")),
    "number": (("train", "--data", "x", "--out", "x", "--members", "three"), ("--members", "'three'")),
    "fraction": (("train", "--data", "x", "--out", "x", "--members", "1.5"), ("--members", "'1.5'")),
    "required": (("train", "--out", "x"), ("--data STR", "required")),
    "nothing": ((), ("quickstart", "train", "audit", "report")),
}


@pytest.mark.parametrize("case", WORDS)
def test_unknown_words_are_refused_by_the_parser(diffaudit, case):
    words, parts = WORDS[case]
    ended = diffaudit(*words)
    text = ended.out + "\n".join(ended.err)
    assert ended.code == 2
    assert "Traceback" not in text
    for part in parts:
        assert part in text


def test_an_unknown_command_is_met_with_the_nearest(refused):
    assert (
        refused("trian") == "unknown command 'trian': did you mean 'train'? There are audit, quickstart, report, train."
    )


COMMANDS = {"quickstart": Quickstart, "train": Train, "audit": Audit, "report": DrawReport}
POSITIONAL = {"run": "PATH", "directory": "[{None}|PATH]"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_flag_with_its_default(diffaudit, name):
    ended = diffaudit(name, "--help")
    assert ended.code == 0
    options = " ".join(re.sub(r"[│╭╮╰╯─]", " ", ended.out[ended.out.index("╭") :]).split())
    for field in fields(COMMANDS[name]):
        flag = POSITIONAL.get(field.name, f"--{field.name.replace('_', '-')}")
        default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
        end = "(required)" if field.default is MISSING else f"(default: {default})"
        # What the flag takes, at least one word on what it is, and its own default.
        assert re.search(rf"{re.escape(flag)} (?:(?!\(default)\S+ )+?[A-Z]\S+ .*?{re.escape(end)}", options), (
            flag,
            end,
        )


def test_help_names_every_command(diffaudit):
    ended = diffaudit("--help")
    assert ended.code == 0
    assert all(name in ended.out for name in COMMANDS)
