"""An open collection: the SQLite file, the indexes in memory, and how the two are kept in step.

A write is one SQLite transaction; once it is committed, and so on disk, it is applied to memory under the exclusive
lock. A query is one read transaction and the shared lock, and begins anew if the two do not show the same version:
what it returns, with its documents and its filter, is the collection as it was at one moment.

Whatever goes wrong between commit and apply, and whatever another process commits, shows as a difference of versions,
and the next query makes memory follow the file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from vsearch.collection import schema, snapshot
from vsearch.collection.recent import Recent
from vsearch.collection.rows import read_rows, read_vectors
from vsearch.collection.schema import State
from vsearch.collection.shared_lock import SharedLock
from vsearch.errors import ClosedError, LockedError, ParameterError, ReadOnlyError
from vsearch.storage.failpoints import failpoint
from vsearch.storage.locks import WriterLock

T = TypeVar("T")


class Change(NamedTuple):
    """What one transaction did, as memory needs to know it."""

    deleted: int
    """How many records went."""
    removed: np.ndarray
    """Their rows, int64, where they had vectors."""
    added: int = 0
    """How many records came; their rows are the next ones."""
    vectors: np.ndarray = np.empty((0, 0), np.float32)
    """Their vectors, float32 (m, d)."""
    places: Sequence[int] = ()
    """Which of them have these vectors."""


Work: TypeAlias = "Callable[[sqlite3.Connection, State], Change | None]"


class Session:
    """One process's hold on a collection; any number of threads may use it.

    Parameters
    ----------
    folder : str
        Where it is; made if it is not there and the session may write.
    metric : str or None
        Of a new collection, default "cosine"; must agree with an old one.
    dim : int or None
        Likewise; a new collection without takes that of its first vectors.
    coded : bool
        Whether what is searched as a whole may be searched by codes.
    read_only : bool
        Take no lock, write nothing, follow whoever does.
    """

    def __init__(self, folder: str, metric: str | None, dim: int | None, read_only: bool, coded: bool = True) -> None:
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise ParameterError(f"`path` must be a folder; {folder!r} is a file.")
        self.folder, self.read_only, self._coded = folder, read_only, coded
        self._process = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._committing = False
        self._unsure = False  # whether a commit of ours may not be in memory
        self._mode = "ro"
        self._seen: tuple[int, ...] = ()  # where the mode is "immutable"
        self._reopening = threading.Lock()  # of its own: who reads may hold `lock`, which who holds `writing` waits for
        self.recent = Recent()
        self.lock = SharedLock()
        self.saving = SharedLock()  # its readers save the index; they come while they hold `writing`
        self.writing = threading.RLock()
        self._writer_lock: WriterLock | None = None
        self._writer: sqlite3.Connection | None = None
        with schema.own_errors(folder):
            try:
                if read_only:
                    self._open_reading()
                else:
                    self._open_writing(metric, dim)
                with self.reading() as connection:
                    state = schema.read_state(connection)
                    _check_same(folder, "metric", metric, state.metric)
                    _check_same(folder, "dim", dim, state.dim)
                    self.metric, self.dim = state.metric, state.dim
                    self.memory = snapshot.restore(folder, connection, state, coded=coded)
            except BaseException:
                self.close()
                raise

    # ------------------------------------------------------------------ opening and closing

    def _open_writing(self, metric: str | None, dim: int | None) -> None:
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._writer_lock = WriterLock(os.path.join(self.folder, schema.LOCK))
        except LockedError as error:
            raise LockedError(f"{error} To look without writing, open it with read_only=True.") from None
        except PermissionError as error:
            words = f"{error.strerror}; to open a collection that cannot be written, give read_only=True"
            raise PermissionError(error.errno, words, self.folder) from None
        if not os.path.lexists(os.path.join(self.folder, schema.DATABASE)):
            schema.create_file(self.folder, metric or "cosine", dim)
        self._writer = connection = schema.connect(self.folder, "rw")
        schema.check_schema(connection, self.folder, writable=True)
        if connection.execute("SELECT count(*) FROM removed").fetchone()[0]:
            with schema.Transaction(connection):  # readers that have not followed yet compare everything instead
                connection.execute("DELETE FROM removed")
                connection.execute("UPDATE state SET log_start = version")
        snapshot.sweep(self.folder, schema.read_state(connection))

    def _open_reading(self) -> None:
        if not os.path.exists(os.path.join(self.folder, schema.DATABASE)):
            raise FileNotFoundError(f"{self.folder} holds no collection. Without read_only=True it would be made.")
        try:
            self._give(self._checked(schema.connect(self.folder, "ro")))
        except sqlite3.OperationalError:  # its folder cannot be written, so that SQLite cannot coordinate with a writer
            wal = os.path.join(self.folder, schema.DATABASE + "-wal")
            if os.path.exists(wal) and os.path.getsize(wal):
                raise
            self._mode, self._seen = "immutable", self._stamp()
            self._give(self._checked(schema.connect(self.folder, "immutable")))

    def _checked(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            schema.check_schema(connection, self.folder, writable=False)
            schema.read_state(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of file and lock; a second call does nothing. A write in another thread is finished first."""
        if os.getpid() != self._process:  # what is open is the parent's
            return
        self._closed = True
        with self.writing:
            while self._idle:
                self._idle.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            if self._writer_lock is not None:
                self._writer_lock.release()
                self._writer_lock = None

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def check_open(self) -> None:
        """Refuse what cannot work: after `close`, or in a forked child, where SQLite's connections must not be used."""
        if self._closed:
            raise ClosedError(f"The collection {self.folder} is closed.")
        if os.getpid() != self._process:
            raise ClosedError(f"The collection {self.folder} was opened by the parent process; open it again here.")
        if self._mode == "immutable" and self._stamp() != self._seen:
            self._open_again()

    def _open_again(self) -> None:
        """A file that nobody could write has a writer now, and connections that were told otherwise must go."""
        with self._reopening, schema.own_errors(self.folder):
            if self._mode != "immutable" or self._stamp() == self._seen:  # another thread did
                return
            while self._idle:
                self._idle.pop().close()
            self._mode = "ro"
            self._open_reading()

    def _stamp(self) -> tuple[int, ...]:
        """What changes when the file does, or is about to."""
        path = os.path.join(self.folder, schema.DATABASE)
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns, os.path.exists(path + "-wal")

    # ------------------------------------------------------------------ reading

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: all of it sees one moment of the file."""
        self.check_open()
        with schema.own_errors(self.folder):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = schema.connect(self.folder, self._mode)
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("ROLLBACK")
            except BaseException:
                connection.close()  # used again, it would show the past for as long as the error's frames keep a cursor
                raise
            self._give(connection)

    def _give(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def fetch(self, query: str, parameters: Sequence[object]) -> list[Any] | None:
        """What one SELECT finds, a read transaction of its own; None where it fails, for the long way says why."""
        self.check_open()
        connection = self._idle.pop() if self._idle else None
        try:
            connection = connection or schema.connect(self.folder, self._mode)
            return connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            return None
        finally:
            if connection is not None:
                self._give(connection)

    def is_at(self, version: int) -> bool:
        """Whether the file shows ``version``, which memory did just now: a writer knows what nobody else can change."""
        if version >= 0 and self._writer is not None and not self._unsure:
            return True
        return self.fetch("SELECT version FROM state", ()) == [(version,)]

    def view(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What the work returns, in a read transaction and under the shared lock: file and memory show the same."""
        while True:
            token = object()
            try:
                self.lock.acquire_shared(token)
                with self.reading() as connection:
                    (version,) = connection.execute("SELECT version FROM state").fetchone()
                    if version == self.memory.version:
                        return work(connection)
            finally:
                self.lock.readers.discard(token)
                self.lock.wake()
            if self._committing:  # our own write is on disk and about to be applied: no need to queue behind the next
                time.sleep(0.0002)
            else:
                self.follow()

    def follow(self) -> bool:
        """Make memory show what the file shows, and say whether that changed anything."""
        with self.writing, self.reading() as connection:
            state = schema.read_state(connection)
            known = self.memory
            if state.version == known.version:
                self._unsure = False
                return False
            if known.version < state.log_start:
                if known.version < 0 or state.dim is None:  # an apply broke off: nothing there can be relied on
                    fresh = snapshot.restore(self.folder, connection, state, coded=self._coded)
                    with self.lock.alone:
                        self.lock.drain()
                        self.memory, self.dim, self._unsure = fresh, state.dim, False
                    return True
                live = read_rows(connection.execute("SELECT row FROM vectors ORDER BY row"))
                removed = np.setdiff1d(known.rows, live, assume_unique=True)
            else:
                query = "SELECT row FROM removed WHERE version > ? AND row < ?"
                removed = read_rows(connection.execute(query, (known.version, known.next_row)))
            rows, vectors = read_vectors(connection, state.dim or 0, known.next_row)
            with self.lock.alone:
                self.lock.drain()
                self.dim = state.dim
                known.apply(state.version, state.next_row, removed, rows, vectors)
                self._unsure = False
            return True

    # ------------------------------------------------------------------ writing

    def write(self, work: Work) -> Change | None:
        """Run ``work`` as one transaction; when this returns, what it did is on disk and in every query.

        ``work`` is given the state at its beginning, writes rows from ``state.next_row`` on, and returns what it did,
        or None for nothing.
        """
        with self.writing, schema.own_errors(self.folder):
            connection = self._writing()
            try:
                with schema.Transaction(connection):
                    state = schema.read_state(connection)
                    change = work(connection, state)
                    if change is None:
                        return None
                    after = _state_after(state, change)
                    values = (after.version, after.next_row, after.dim)
                    connection.execute("UPDATE state SET version = ?, next_row = ?, dim = ?", values)
                    self._let_save(change)
                    failpoint("collection.commit")
                    self._committing = self._unsure = True
                failpoint("collection.committed")
                self._apply(state, after, change)
            finally:
                self._committing = False
            failpoint("collection.applied")
            return change

    def _let_save(self, change: Change) -> None:
        """Wait until nobody saves the index where rows are to go from it: while it is saved, it does not let them.

        Up to the commit queries see what was before; from then on they wait until memory shows what is. So who removes
        waits before it. No other save begins meanwhile, for `writing` is held.
        """
        index, parts = self.memory.index, self.memory.parts
        if index is not None and len(change.removed) and int(change.removed.min()) < parts[1].first:
            self.saving.drain()

    def _apply(self, before: State, after: State, change: Change) -> None:
        """Show a committed change in memory, if that shows what was before."""
        if self.memory.version == before.version:
            rows = before.next_row + np.array(change.places, np.int64)
            with self.lock.alone:
                self.lock.drain()
                self.dim = after.dim
                self.memory.apply(after.version, after.next_row, change.removed, rows, change.vectors)
                self._unsure = False

    @contextmanager
    def housekeeping(self) -> Iterator[sqlite3.Connection]:
        """A write transaction that changes no document: snapshots, indexes on metadata."""
        with self.writing, schema.own_errors(self.folder):
            connection = self._writing()
            with schema.Transaction(connection):
                yield connection

    def _writing(self) -> sqlite3.Connection:
        """The connection that writes, for those who hold `writing`: `close` waits for them, or came before."""
        self.check_open()
        if self._writer is None:
            raise ReadOnlyError(f"The collection {self.folder} was opened with read_only=True.")
        return self._writer


def _state_after(state: State, change: Change) -> State:
    dim = state.dim if state.dim is not None or not len(change.vectors) else change.vectors.shape[1]
    return state._replace(version=state.version + 1, next_row=state.next_row + change.added, dim=dim)


def _check_same(folder: str, name: str, given: object, found: object) -> None:
    if given is not None and found is not None and given != found:
        raise ParameterError(f"`{name}` must be {found!r}, as the collection {folder} was made with; got {given!r}.")
