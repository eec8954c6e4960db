"""Progress: what a log and a terminal show, on a clock that the test turns."""

import io
import time

import pytest
from rich.console import Console

from diffaudit_jax.cli import progress
from diffaudit_jax.cli.progress import clock, stage


@pytest.fixture
def now(monkeypatch):
    """A clock as a list of one number."""
    hand = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: hand[0])
    return hand


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (9.6, "0:10"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (86399, "23:59:59")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def lines(capsys, now, calls):
    """Reports progress at the times given; returns what a log then holds."""
    with stage("training") as show:
        for seconds, done, total in calls:
            now[0] = seconds
            show(done, total, f"loss {done}")
    return capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(capsys, now):
    calls = [(second, second, 40) for second in range(1, 41)]
    assert lines(capsys, now, calls) == [
        "training: 10/40, 0:30 left, loss 10",
        "training: 20/40, 0:20 left, loss 20",
        "training: 30/40, 0:10 left, loss 30",
        "training: 40/40, loss 40",
    ]


def test_compilation_does_not_count_as_slowness(capsys, now):
    assert lines(capsys, now, [(60, 20, 100), (70, 40, 100)]) == [
        "training: 20/100, loss 20",
        "training: 40/100, 0:30 left, loss 40",
    ]


def test_what_a_resumed_stage_found_done_is_soon_forgotten(capsys, now):
    found = [(0, done, 1000) for done in range(0, 900, 10)]
    asked = [(10 * i, 900 + i, 1000) for i in range(1, 61)]
    # Sixty calls on, ten seconds each: 40 are left, 400 seconds, whatever was found at once.
    assert lines(capsys, now, found + asked)[-1] == "training: 960/1000, 6:40 left, loss 960"


def test_a_terminal_gets_a_bar_that_moves_from_the_start(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    with stage("auditing") as show:
        before = screen.getvalue()
        show(16, 36)
        show(32, 36)
        show(36, 36, "done")
    assert "auditing" in before
    bars = [line for line in screen.getvalue().splitlines() if "auditing" in line]
    assert "36/36" in bars[-1]
    assert bars[-1].rstrip().endswith("done")


def test_a_stage_that_fails_leaves_the_terminal_whole(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: terminal)
    with pytest.raises(OSError, match="full"), stage("auditing"):
        raise OSError("full")
    assert screen.getvalue().endswith("\x1b[?25h")  # the cursor is shown again
