"""Training programs are compiled once a session, whichever worker, test or subprocess runs them first."""

import jax
import pytest

from tests.training.runs import train


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """The folder of compiled programs, shared by all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    yield folder
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="session")
def unbroken(compiled):
    """The run that was never stopped, and never written."""
    return train()


@pytest.fixture(scope="session")
def stored(compiled, tmp_path_factory):
    """The directory of a finished run; copy it before changing it."""
    directory = tmp_path_factory.mktemp("run")
    train(directory)
    return directory
