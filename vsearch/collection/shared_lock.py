"""A lock that many readers share or one writer has alone; a waiting writer goes before new readers.

Ctrl-C may come between any two lines of whoever holds it. So a holder is a token in a set, which leaves by one call
into C that may as well be made twice, and who waits looks again by itself: a notification may have been cut off.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.05


class SharedLock:
    """Readers hold it together, a writer alone. Not reentrant: a holder must not ask again.

    Attributes
    ----------
    readers : set of the tokens of those that hold it together

    Examples
    --------
    >>> lock = SharedLock()
    >>> with lock.shared(), lock.shared():
    ...     len(lock.readers)
    2
    >>> with lock.exclusive():
    ...     len(lock.readers)
    0
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # entered as such: a Condition's own `with` is Python, which may be left locked
        self._changed = threading.Condition(self._guard)
        self.readers: set[object] = set()
        self._writers: set[object] = set()  # which wait, or write: leaving both is one call
        self._writing: object = None  # who writes, while it is among the writers

    def acquire_shared(self, token: object) -> None:
        """Wait until no writer has the lock or waits for it, then be among its readers."""
        with self._guard:
            while self._writers:
                self._changed.wait(LOOK_SECONDS)
            self.readers.add(token)

    def wake(self) -> None:
        """Tell a writer that the last reader has left."""
        with self._guard:
            if not self.readers:
                self._changed.notify_all()

    def drain(self) -> None:
        """Wait until no reader has the lock; the caller keeps others from coming."""
        with self._guard:
            while self.readers:
                self._changed.wait(LOOK_SECONDS)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Among other readers."""
        token = object()
        try:
            self.acquire_shared(token)
            yield
        finally:
            self.readers.discard(token)
            self.wake()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone."""
        token = object()
        try:
            with self._guard:
                self._writers.add(token)
                while self._writing in self._writers or self.readers:
                    self._changed.wait(LOOK_SECONDS)
                self._writing = token
            yield
        finally:
            self._writers.discard(token)
            with self._guard:
                self._changed.notify_all()
