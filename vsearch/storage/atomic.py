"""Replace a file as a whole: whoever opens it, or finds it after a crash, sees the old bytes or the new, never a mix.

1. The new bytes go to a temporary file in the same folder, so that the rename cannot cross a file system.
2. The file is forced to disk before the rename, so that the name never stands for bytes that are not there yet.
3. The folder is forced to disk after the rename, so that a save that returned survives a power cut.
4. On any failure the temporary file goes, the old file is untouched, and the error says so.
5. The writer holds a lock on its temporary file. A killed writer leaves one without, and the next save removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO

from vsearch.storage.failpoints import failpoint
from vsearch.storage.locks import try_lock


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[FileIO]:
    """Open a new file for writing that takes the place of ``path`` when the block ends without an error.

    A symbolic link is followed, and the permissions of a file that is replaced are kept.
    """
    path = os.fspath(path)
    target = os.path.realpath(path)
    renamed = False
    temporary = ""
    file: FileIO | None = None
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _sweep(target)
        temporary, file = _create(target)
        failpoint("container.create")
        yield file
        failpoint("container.sync")
        _sync(file.fileno())
        if sys.platform == "win32":  # an open file cannot be renamed there
            file.close()
        failpoint("container.rename")
        os.replace(temporary, target)  # while the lock is held: a sweep must not get in between
        renamed = True
        file.close()
        failpoint("container.renamed")
        _sync_folder(os.path.dirname(target))
        failpoint("container.done")
    except BaseException as error:
        if file is not None:
            with suppress(OSError):
                file.close()
            if not renamed:
                with suppress(OSError):
                    os.unlink(temporary)
        if renamed or not isinstance(error, OSError) or error.errno is None:
            raise
        words = f"{error.strerror}; nothing was saved, and what was there before is untouched"
        raise OSError(error.errno, words, path) from error


def write_all(file: FileIO, data: memoryview) -> None:
    """Write every byte; a raw file may take fewer at a time."""
    while data:
        data = data[file.write(data) :]


def _create(target: str) -> tuple[str, FileIO]:
    """A new, locked, empty temporary file beside ``target``, with the permissions of ``target`` if that exists."""
    try:
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mode = None
    folder, name = os.path.split(target)
    while True:
        # A prefix of the name is enough to be recognised and cannot make the whole too long.
        path = os.path.join(folder, f".{name[:48]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        file = FileIO(os.open(path, flags, 0o666 if mode is None else 0o600), "wb")
        # A sweep by another process, between our opening and our locking, took it for a dead one's: make another.
        if not try_lock(file.fileno()) or os.fstat(file.fileno()).st_nlink == 0:
            file.close()
            continue
        if mode is not None and hasattr(os, "fchmod"):
            with suppress(OSError):
                os.fchmod(file.fileno(), mode)
        return path, file


def _sweep(target: str) -> None:
    """Remove temporary files of ``target`` whose writer is dead."""
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(f".{name[:48]}.") + r"\d+-[0-9a-f]{8}\.tmp")
    stale: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:  # a folder may be writable and not readable
        stale = [entry.path for entry in entries if pattern.fullmatch(entry.name)]
    for path in stale:
        with suppress(OSError):
            _remove_if_dead(path)


def _remove_if_dead(path: str) -> None:
    if sys.platform == "win32":  # what is open cannot be removed, and what is not may be about to be renamed
        if time.time() - os.stat(path).st_mtime > 60:
            os.unlink(path)
    else:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if try_lock(handle):
                os.unlink(path)
        finally:
            os.close(handle)


def _sync(handle: int) -> None:
    """Force a file to disk; fsync on macOS stops at the drive's cache, F_FULLFSYNC does not."""
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not every file system there has it
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def _sync_folder(folder: str) -> None:
    """Force a rename to disk, where the system can."""
    if sys.platform != "win32":  # folders cannot be opened there
        try:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:  # some network file systems cannot, and some folders may not be read
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
                raise
