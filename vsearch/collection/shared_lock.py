"""A lock that many readers share or one writer has alone; a waiting writer goes before new readers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Readers hold it together, a writer alone. Not reentrant: a holder must not ask again.

    Examples
    --------
    >>> lock = SharedLock()
    >>> with lock.shared(), lock.shared():
    ...     pass
    >>> with lock.exclusive():
    ...     pass
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writers_waiting = 0
        self._written = False

    def acquire_shared(self) -> None:
        """Wait until no writer has the lock or waits for it."""
        with self._changed:
            while self._written or self._writers_waiting:
                self._changed.wait()
            self._readers += 1

    def release_shared(self) -> None:
        """Undo one `acquire_shared`."""
        with self._changed:
            self._readers -= 1
            if not self._readers and self._writers_waiting:
                self._changed.notify_all()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Among other readers."""
        self.acquire_shared()
        try:
            yield
        finally:
            self.release_shared()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone."""
        with self._changed:
            self._writers_waiting += 1
            try:
                while self._written or self._readers:
                    self._changed.wait()
                self._written = True
            finally:
                self._writers_waiting -= 1
        try:
            yield
        finally:
            with self._changed:
                self._written = False
                self._changed.notify_all()
