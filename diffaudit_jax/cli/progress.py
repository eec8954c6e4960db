"""Progress of a long stage on stderr: a bar with the time remaining on a terminal, a line now and then in a log."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0
CALLS_OF_SPEED = 50


class Stage:
    """Reports how far a stage is; called with (done, total, note).

    Args:
      name: What is being done.
      bar: Bar on a terminal, None to print lines.
    """

    def __init__(self, name: str, bar: Progress | None):
        self.name, self._bar, self._printed = name, bar, time.monotonic()
        # The bar moves from the start: the first call comes only after compilation.
        self._task = None if bar is None else bar.add_task(name, total=None, left="", note="")
        self._recent: deque[tuple[float, int]] = deque(maxlen=CALLS_OF_SPEED)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Shows that `done` of `total` are done."""
        now = time.monotonic()
        self._recent.append((now, done))
        left = self._left(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, left=left, note=note)
        elif done == total or now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            print(", ".join(filter(None, (f"{self.name}: {done}/{total}", left, note))), file=sys.stderr, flush=True)

    def _left(self, total: int) -> str:
        # Only recent calls count: compilation, and what a resumed stage found done, say nothing about speed.
        (first, begun), (now, done) = self._recent[0], self._recent[-1]
        if done in (begun, total):
            return ""
        return f"{clock((total - done) * (now - first) / (done - begun))} left"


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
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Stage(name, bar)


def clock(seconds: float) -> str:
    """Returns seconds as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
