"""One tiny run and one audit of it, made once through the command line and read by every test here."""

import contextlib
import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from diffaudit_jax.cli import main

NET = ("--channels", "8", "--patch", "4", "--mults", "1", "--batch", "4", "--warmup", "1", "--lr", "0.05")
KIND = ("--class-conditional", "--learn-sigma", "--predicts", "v", "--schedule", "ddpm-cosine")
TINY = ("--data", "fashion-mnist-2k", "--members", "12", "--nonmembers", "24", "--diffusion-steps", "24", *KIND, *NET)
TRAIN = (*TINY, "--steps", "4", "--checkpoint-every", "2")
ASK = ("--times", "6", "--truncate", "0.5", "--block", "16")
PROGRESS = ("training: ", "auditing: ", "judging: ", "sampling: ", "matching: ", "drawing the bank: ")
PROGRESS += (
    "training the surrogate: ",
    "training shadows: ",
    "asking shadow ",
    "training receivers: ",
    "training the discriminator: ",
    "training a classifier: ",
    "measuring information: ",
)


class Ended(NamedTuple):
    """How a command ended: exit code, standard output, and the lines of standard error that are not progress."""

    code: int
    out: str
    err: list[str]


@pytest.fixture(scope="package")
def trained(tmp_path_factory) -> Path:
    """A run of 4 steps with checkpoints at 2 and 4; not to be written to."""
    out = tmp_path_factory.mktemp("trained") / "run"
    main(["train", *TRAIN, "--out", str(out)])
    return out


@pytest.fixture(scope="package")
def audited(tmp_path_factory, trained) -> Path:
    """The audit of `trained` with `ASK`, and what it printed beside it; not to be written to."""
    out = tmp_path_factory.mktemp("audited") / "audit"
    with (out.parent / "printed").open("w") as printed, contextlib.redirect_stdout(printed):
        main(["audit", str(trained), "--out", str(out), *ASK])
    return out


RECORDS = ("--data", "adult-3k", "--model", "tabddpm", "--label", "income", "--unseen", "drop", "--widths", "8")
RECORDS += ("--members", "120", "--nonmembers", "120", "--steps", "3", "--diffusion-steps", "10")


@pytest.fixture(scope="package")
def records(tmp_path_factory) -> Path:
    """A run of a table, for shadows; not to be written to."""
    out = tmp_path_factory.mktemp("records") / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        main(["train", *RECORDS, "--out", str(out)])
    return out


@pytest.fixture(scope="package")
def bad(tmp_path_factory):
    """A folder of things that cannot be used; tests write BAD for its path."""
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
        "named": {"images": x[:20], "labels": np.arange(20) % 11},
        "others": {"images": x[20:], "labels": np.arange(20) % 11},
        "narrow": {"images": x[:20, :, :24], "labels": np.arange(20) % 10},
        "narrow too": {"images": x[20:, :, :24], "labels": np.arange(20) % 10},
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


@pytest.fixture
def diffaudit(capsys) -> Callable[..., Ended]:
    """Runs one command line in this process."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return Ended(code, out, [line for line in err.splitlines() if line and not line.startswith(PROGRESS)])

    return run


@pytest.fixture
def refused(diffaudit) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and one sentence; returns the sentence."""

    def run(*words: object) -> str:
        code, out, err = diffaudit(*words)
        assert (code, len(err)) == (2, 1), (code, err)
        assert "Traceback" not in out + err[0]
        assert err[0].startswith("diffaudit: ")
        assert err[0].endswith((".", "?"))
        return err[0].removeprefix("diffaudit: ")

    return run


def at(folder: Path, words: Iterable[str]) -> list[str]:
    """Puts a folder's path where a table says BAD."""
    return [word.replace("BAD", str(folder)) for word in words]


def scores(directory: Path) -> dict[str, np.ndarray]:
    """Returns what an audit saved beside its report: the truth and each attack's scores."""
    with np.load(directory / "scores.npz") as arrays:
        return dict(arrays)


def contents(directory: Path) -> dict[str, bytes]:
    """Returns every file below a directory, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
