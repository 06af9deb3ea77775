"""Ctrl-C waits while something is changed that must be changed whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within, Ctrl-C is remembered; its handler is called at the end, where the block raised nothing of its own.

    Python raises KeyboardInterrupt between any two lines of the main thread, and of no other, so that there is nothing
    to hold off elsewhere.

    >>> import _thread
    >>> done = []
    >>> try:
    ...     with uninterrupted():
    ...         _thread.interrupt_main()
    ...         done.append("all of it")
    ... except KeyboardInterrupt:
    ...     done.append("and then Ctrl-C")
    >>> done
    ['all of it', 'and then Ctrl-C']
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    except ValueError:  # a main thread, but of a sub-interpreter, which gets no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])
