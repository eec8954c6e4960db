"""Two runs that the training tests share."""

import pytest

from tests.training.runs import train


@pytest.fixture(scope="session")
def unbroken():
    """The run that was never stopped, and never written."""
    return train()


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """The directory of a finished run; copy it before changing it."""
    directory = tmp_path_factory.mktemp("run")
    train(directory)
    return directory
