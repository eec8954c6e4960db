"""Progress of a long stage on stderr: a bar with the time remaining on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Stage:
    """Reports how far a stage is; called with (done, total, note)."""

    def __init__(self, name: str, bar: Progress | None):
        self.name, self._bar, self._task = name, bar, None
        self._started = self._printed = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Shows that `done` of `total` are done."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(self.name, total=total, note=note)
            self._bar.update(self._task, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        # What a resumed stage found done says nothing about speed.
        if self._first is None:
            self._first, self._started = done, now
        if done < total and now - self._printed < SECONDS_BETWEEN_LINES:
            return
        self._printed = now
        speed = (done - self._first) / max(now - self._started, 1e-9)
        left = f", {clock((total - done) / speed)} left" if speed > 0 and done < total else ""
        print(f"{self.name}: {done}/{total}{left}{f', {note}' if note else ''}", file=sys.stderr, flush=True)


@contextmanager
def stage(name: str) -> Iterator[Stage]:
    """Shows one stage's progress while the block runs.

    Args:
      name: What is being done, e.g. "training".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Stage(name, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Stage(name, bar)


def clock(seconds: float) -> str:
    """Returns seconds as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
