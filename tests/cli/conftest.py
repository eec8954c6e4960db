"""One tiny run and one audit of it, made once through the command line and read by every test here."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from diffaudit_jax import training
from diffaudit_jax.cli import main

NET = ("--channels", "8", "--patch", "4", "--mults", "1", "--batch", "4", "--warmup", "1", "--lr", "0.05")
TINY = ("--data", "fashion-mnist-2k", "--members", "12", "--nonmembers", "24", "--diffusion-steps", "24", *NET)
TRAIN = (*TINY, "--steps", "4", "--checkpoint-every", "2")
ASK = ("--times", "6", "--truncate", "0.5", "--block", "16")
PROGRESS = ("training: ", "auditing: ")


class Ended(NamedTuple):
    """How a command ended: exit code, standard output, and the lines of standard error that are not progress."""

    code: int
    out: str
    err: list[str]


@pytest.fixture(scope="package", autouse=True)
def compiled_once(tmp_path_factory):
    """Commands compile their programs anew each time, as processes of their own do; here they find them on disk."""
    settings = {
        "jax_compilation_cache_dir": (str(tmp_path_factory.mktemp("compiled")), None),
        "jax_persistent_cache_min_compile_time_secs": (0, 1),
        "jax_disable_most_optimizations": (True, False),
    }
    for name, (here, _) in settings.items():
        jax.config.update(name, here)
    yield {name.upper(): str(here) for name, (here, _) in settings.items()}
    for name, (_, elsewhere) in settings.items():
        jax.config.update(name, elsewhere)


@pytest.fixture(scope="package")
def trained(tmp_path_factory, compiled_once) -> Path:
    """A run of 4 steps with checkpoints at 2 and 4; not to be written to."""
    out = tmp_path_factory.mktemp("trained") / "run"
    main(["train", *TRAIN, "--out", str(out)])
    return out


@pytest.fixture(scope="package")
def audited(tmp_path_factory, trained) -> Path:
    """The audit of `trained` with `ASK`; not to be written to."""
    out = tmp_path_factory.mktemp("audited") / "audit"
    main(["audit", str(trained), "--out", str(out), *ASK])
    return out


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


def scores(directory: Path) -> dict[str, np.ndarray]:
    """Returns what an audit saved beside its report: the truth and each attack's scores."""
    with np.load(directory / "scores.npz") as arrays:
        return dict(arrays)


def contents(directory: Path) -> dict[str, bytes]:
    """Returns every file below a directory, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def params(run: Path) -> list[jax.Array]:
    """Returns the parameters of the model that a run would have audited."""
    return jax.tree.leaves(training.load_run(run).target.params)
