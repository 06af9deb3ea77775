"""A lock that many readers share or one writer has alone; a waiting writer goes before new readers.

Ctrl-C may come between any two lines of whoever holds it, and the error that it raises may be kept (as a notebook keeps
the last one), and with it all that its frames hold: a generator that waits to be closed, say. So both leave by one call
into C: a writer has a lock of `threading`, whose `with` is C, and a reader is a token in a set.
"""

from __future__ import annotations

import threading

LOOK_SECONDS = 0.05  # who waits looks again by itself: a notification may have been cut off


class SharedLock:
    """Readers hold it together, a writer alone. Not reentrant: a holder must not ask again.

    Attributes
    ----------
    alone : lock of the writer, who then waits for the readers by `drain`; new ones pass through it
    readers : set of the tokens of those that hold it together

    Examples
    --------
    >>> lock = SharedLock()
    >>> token = object()
    >>> try:
    ...     lock.acquire_shared(token)
    ... finally:
    ...     lock.readers.discard(token)  # itself, and not by a method: Ctrl-C may come before a method's first line
    ...     lock.wake()
    >>> with lock.alone:
    ...     lock.drain()
    ...     len(lock.readers)
    0
    """

    def __init__(self) -> None:
        self.alone = threading.Lock()
        self.readers: set[object] = set()
        self._guard = threading.Lock()  # entered as such: a Condition's own `with` is Python, which may be left locked
        self._left = threading.Condition(self._guard)

    def acquire_shared(self, token: object) -> None:
        """Wait until no writer has the lock or waits for it, then be among its readers."""
        with self.alone:
            self.readers.add(token)

    def wake(self) -> None:
        """Tell a writer that the last reader has left."""
        with self._guard:
            if not self.readers:
                self._left.notify_all()

    def drain(self) -> None:
        """Wait until no reader has the lock; the caller keeps others from coming."""
        with self._guard:
            while self.readers:
                self._left.wait(LOOK_SECONDS)
