"""Every mistake in training or reporting ends with exit code 2 and one sentence that names the value and the mend."""

import warnings

import numpy as np
import pytest

from .conftest import NET, TRAIN, at, contents

SET = ("--data", "fashion-mnist-2k")
TRAINING = {
    "missing": (("--data", "BAD/nowhere.npz"), "there is no BAD/nowhere.npz: "),
    "nothing near": (
        ("--data", "./photos"),
        "there is no ./photos: no file, folder or embedded set (for images fashion-",
    ),
    "misspelt": (("--data", "fashion-mnist"), "there is no fashion-mnist: did you mean fashion-mnist-2k?"),
    "table": (("--data", "adult-3k"), "adult-3k is a table: give --model tabddpm."),
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
    "text": (("--data", "BAD/notes.txt"), "is no npz, IDX, CSV or Parquet file and no folder of images"),
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
    "no nonmembers": ((*SET, "--nonmembers", "-1"), "nonmembers=-1 is too few: give at least 0."),
    "no labels": (
        ("--data", "BAD/good.npz", "--class-conditional"),
        "needs labels, and BAD/good.npz has none: leave the flag out.",
    ),
    "negative steps": ((*SET, "--steps", "-1"), "num_steps must be 0 or more and finite, got -1."),
    "no batch": ((*SET, "--batch", "0"), "batch_size must be at least 1, got 0."),
    "learning rate": ((*SET, "--lr", "nan"), "learning_rate must be 0 or more and finite, got nan."),
    "decay": ((*SET, "--ema", "1"), "ema_decay must be in [0, 1), got 1.0."),
    "no checkpoints": ((*SET, "--checkpoint-every", "0"), "checkpoint_every must be at least 1 step, got 0."),
    "no channels": ((*SET, "--channels", "0"), "sizes must be positive, got shape=(28, 28, 1), channels=0"),
    "no levels": ((*SET, "--mults"), "sizes must be positive"),
    "heads": ((*SET, "--attention", "7", "--head-channels", "3"), "head_channels=3 must divide every width [8]."),
    "no heads": ((*SET, "--head-channels", "-4"), "head_channels must be at least 1, got -4."),
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
    quick = ("--members", "12", "--nonmembers", "24", "--steps", "0", *NET)
    assert at(bad, [message])[0] in refused("train", *quick, *at(bad, words), "--out", tmp_path / "run")
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


REPORTS = {
    "nothing": ((), "name either a directory that holds a report.json, or a file with --scores."),
    "page": (("BAD/half/report.html",), "report.html' is a page, drawn from the report.json beside it: give the"),
    "attacks out of place": (("BAD/half", "--attack", "a"), "--attack, --out and --title are for --scores"),
    "attack": (("--scores", "BAD/scores.csv", "--attack", "b"), "unknown score column 'b'"),
    "both": (("BAD/half", "--scores", "BAD/scores.csv"), "name either a directory that holds a report.json, or a"),
    "out of place": (("BAD/half", "--out", "x"), "--attack, --out and --title are for --scores"),
    "missing": (("BAD/nowhere",), "cannot read a report at 'BAD/nowhere' (No such file or directory)"),
    "half": (("BAD/half",), "half/report.json' is not JSON"),
    "newer": (("BAD/newer",), "has schema version 99 and this library reads 1 to 2: update diffaudit_jax."),
    "poor": (("BAD/poor",), "lacks"),
    "another JSON": (("BAD/old.json",), "has schema None, not 'diffaudit.membership'"),
    "no scores": (
        ("--scores", "BAD/nowhere.csv"),
        "there is no file BAD/nowhere.csv: give the path of a file of scores.",
    ),
    "no suffix": (("--scores", "BAD/notes.txt"), "ends in '.txt': scores are read from .csv, .npz, .parquet."),
    "NaN": (("--scores", "BAD/scores.csv"), "score column 'a' holds nan in row 1: give every row a finite score."),
    "one side": (("--scores", "BAD/members.csv"), "has members only (2 rows): add rows of non-members."),
    "words": (("--scores", "BAD/words.csv"), "score column 'a' is not numeric"),
    "too few": (("--scores", "BAD/few.csv"), "1 member is too few for statistics: at least 10 are needed."),
    "empty": (("--scores", "BAD/empty.csv"), "cannot read scores from 'BAD/empty.csv'"),
    "no member": (("--scores", "BAD/good.npz"), "has columns images: add one named 'member'."),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_report_is_refused(refused, bad, case):
    words, message = REPORTS[case]
    before = contents(bad)
    assert at(bad, [message])[0] in refused("report", *at(bad, words))
    assert contents(bad) == before


def test_rounded_floats_are_noted_in_one_line(diffaudit, tmp_path):
    np.savez(tmp_path / "floats.npz", images=np.random.default_rng(0).random((40, 28, 28), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        ended = diffaudit("train", "--data", tmp_path / "floats.npz", "--members", 12, "--patch", 5, "--out", tmp_path)
    note, refusal = ended.err
    assert note == "diffaudit: note: floats.npz: float images were rounded to 256 grey levels, by up to 0.5."
    assert "do not divide into cells of 5" in refusal
