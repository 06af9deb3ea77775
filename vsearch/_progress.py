"""Progress bars that appear only when they are wanted: after two seconds, on a terminal or in a notebook."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vsearch._validate import check_flag

BAR_AFTER_SECONDS = 2.0

_here = threading.local()


class Stopped(Exception):
    """Work was given up at a step because whoever began it wanted that."""


@contextmanager
def stoppable(wanted: Callable[[], bool]) -> Iterator[None]:
    """Within, the steps of work in this thread raise `Stopped` once ``wanted()``; what Ctrl-C would leave is left.

    >>> with stoppable(lambda: True):
    ...     Progress("fit", False).advance()
    Traceback (most recent call last):
    vsearch._progress.Stopped
    """
    before, _here.wanted = getattr(_here, "wanted", None), wanted
    try:
        yield
    finally:
        _here.wanted = before


class Progress:
    """A tqdm bar shown after two seconds (`show=None`), always (True) or never (False).

    Steps are announced as they come: `total` may be set later by `start`. Used as a context manager.
    """

    def __init__(self, title: str, show: bool | None = None, total: int | None = None) -> None:
        if show is not None:
            check_flag("progress", show)
        self.title = title
        self.show = sys.stderr.isatty() if show is None else bool(show)
        self.delay = BAR_AFTER_SECONDS if show is None else 0.0
        self.bar: Any = None
        self.start(title, total)

    def start(self, stage: str, total: int | None) -> None:
        """Begins a stage of `total` steps."""
        self._close()
        self.stage, self.total, self.done = stage, total, 0
        self.began = self.stepped = time.perf_counter()

    def advance(self, steps: int = 1) -> float:
        """Counts steps and returns the seconds since the last call."""
        stop = getattr(_here, "wanted", None)
        if stop is not None and stop():
            raise Stopped
        now = time.perf_counter()
        seconds, self.stepped = now - self.stepped, now
        self.done += steps
        if self.show and self.bar is None and now - self.began >= self.delay:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.total, initial=self.done, desc=self.stage, leave=False)
        elif self.bar is not None:
            self.bar.update(steps)
        return seconds

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
