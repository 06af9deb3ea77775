"""One writer per file: a lock that the operating system drops when its holder dies, with the holder's pid to read.

The lock is taken on a file of its own, which stays behind (removing it would race with the next taker) and never
needs cleaning: a dead holder holds nothing. Readers need no lock, because files are only ever replaced as a whole.
A forked child does not inherit the lock.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from io import FileIO
from types import TracebackType

from vsearch.errors import LockedError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Windows locks ranges of bytes, and a locked range cannot be read: lock one byte far behind the text.
_FAR = 1 << 30


class WriterLock:
    """The right to be the only writer of something, until `release`, the end of a ``with`` or of the process.

    Parameters
    ----------
    path : str or path
        The lock file; created if missing.
    timeout : float
        Seconds to wait for another writer; 0 tries once.

    Raises
    ------
    LockedError
        Somebody else holds it; the message names the process.

    >>> with WriterLock("wiki.lock"):  # doctest: +SKIP
    ...     write("wiki.vsx", kind, meta, arrays)
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float = 0.0) -> None:
        self.path = os.fspath(path)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._file = FileIO(os.open(self.path, flags, 0o666), "r+")
        deadline = time.monotonic() + timeout
        try:
            while not try_lock(self._file.fileno()):
                if time.monotonic() >= deadline:
                    raise LockedError(f"`{self.path}` is locked by {_holder(self._file)}. Wait for it, or stop it.")
                time.sleep(0.02)
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(f"{os.getpid()}\n".encode())
        except BaseException:
            self._file.close()
            raise
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if not self._file.closed:
            _held.discard(self)
            self._file.truncate(0)
            self._file.close()

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def try_lock(handle: int) -> bool:
    """Lock an open file for this handle alone, and say whether that was possible; closing the handle unlocks."""
    try:
        if sys.platform == "win32":
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            # flock belongs to the opened file; lockf would belong to the process and any close() would drop it.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _holder(file: FileIO) -> str:
    """Who wrote its pid into the lock file; it may be gone again by now."""
    file.seek(0)
    text = file.read(32).strip()
    if not text.isdigit():
        return "another process"
    return "this process" if int(text) == os.getpid() else f"process {int(text)}"


_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: drop the inherited handles, which would keep the locks alive after the parent has died."""
    for lock in list(_held):
        lock._file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
