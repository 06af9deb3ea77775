"""The SQLite file of a collection: its tables, how connections to it are set up, and its errors in our words.

    documents   row, id, document, metadata (JSON)       what a filter reads; 85 % of scans never touch a vector
    vectors     row, vector (float32, little-endian)     beside it, so that pages of documents stay dense
    words       FTS5 over documents.document             external content: the text is stored once
    removed     row, version                             what a snapshot or a reader may still hold
    state       one record                               version, next row, metric, dimension, snapshot

Invariants: (1) a row number is given once and never again, and a row never changes: what is updated gets a new row;
(2) `state.version` grows by one with every transaction that changes documents, in that transaction; (3) `words` holds
the rows of `documents`, `vectors` those of them that have one; (4) a row that had a vector and went after
`state.log_start` is in `removed`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vsearch.collection.where_sql import LOWER
from vsearch.errors import (
    CorruptFileError,
    ForeignFileError,
    LockedError,
    MissingExtraError,
    NewerFormatError,
    ParameterError,
)
from vsearch.storage.atomic import _sync_folder

DATABASE = "collection.db"
LOCK = "writer.lock"

#: "vsea" in ASCII: how `file` and we tell this SQLite file from others.
APPLICATION = 0x76736561

#: Numbers of the schemas this version reads; older ones are brought to the last by `MIGRATIONS`.
SCHEMA = 1
MIGRATIONS: dict[int, str] = {}

#: 21 float32 vectors of 384 dimensions fill a page of 32 KiB to 99 %; of 8 KiB, five fill it to 94 %.
PAGE_SIZE = 32768
CHECKPOINT_PAGES = 500
BUSY_SECONDS = 30.0

_TABLES = """
CREATE TABLE documents(row INTEGER PRIMARY KEY, id NOT NULL UNIQUE, document TEXT, metadata TEXT);
CREATE TABLE vectors(row INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE removed(row INTEGER PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE state(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    uuid TEXT NOT NULL,
    metric TEXT NOT NULL,
    dim INTEGER,
    version INTEGER NOT NULL,
    next_row INTEGER NOT NULL,
    log_start INTEGER NOT NULL,
    snapshot INTEGER,
    snapshot_end INTEGER
);
CREATE VIRTUAL TABLE words USING fts5(document, content='documents', content_rowid='row');
"""


class State(NamedTuple):
    """The one record of `state`: what the whole collection is at."""

    uuid: str
    metric: str
    dim: int | None
    version: int
    next_row: int
    log_start: int
    snapshot: int | None
    """Version at which the index snapshot was taken."""
    snapshot_end: int | None
    """The snapshot holds the rows below this that were there then."""


def read_state(connection: sqlite3.Connection) -> State:
    """What the transaction of ``connection`` sees as the present."""
    columns = ", ".join(State._fields)
    found = connection.execute(f"SELECT {columns} FROM state").fetchone()
    if found is None:
        raise sqlite3.DatabaseError("database disk image is malformed: no state")
    return State(*found)


def connect(folder: str, mode: str, name: str = DATABASE) -> sqlite3.Connection:
    """A connection in autocommit; ``mode`` is "rwc", "rw", "ro", or "immutable" for a folder nobody can write.

    The caller serialises its use; it may move between threads.
    """
    query = "immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"{Path(folder, name).absolute().as_uri()}?{query}"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=BUSY_SECONDS
    )
    try:
        add_functions(connection)
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cache_size=-16384")
        connection.execute("PRAGMA temp_store=MEMORY")
        if mode.startswith("rw"):
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # an acknowledged write survives a power cut
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def add_functions(connection: sqlite3.Connection) -> None:
    """Define what the SQL of filters calls beside SQLite's own functions."""
    connection.create_function(LOWER, 1, _lower, deterministic=True)


def _lower(value: object) -> str | None:
    return value.lower() if isinstance(value, str) else None  # SQLite may ask before it has looked at the type


def create_file(folder: str, metric: str, dim: int | None) -> None:
    """Make the file of a new collection; it gets its name once it is whole, so that an empty one is always damage."""
    name = DATABASE + ".new"
    for leftover in (name, name + "-wal", name + "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, leftover))
    connection = connect(folder, "rwc", name)
    try:
        create(connection, metric, dim)
    finally:
        connection.close()
    os.replace(os.path.join(folder, name), os.path.join(folder, DATABASE))
    _sync_folder(folder)


def create(connection: sqlite3.Connection, metric: str, dim: int | None) -> None:
    """Make the tables, all of them or none."""
    _check_sqlite(connection)
    with Transaction(connection):
        for statement in _TABLES.split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(
            "INSERT INTO state VALUES (1, ?, ?, ?, 0, 0, 0, NULL, NULL)", (uuid.uuid4().hex, metric, dim)
        )
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={SCHEMA}")


def check_schema(connection: sqlite3.Connection, folder: str, *, writable: bool) -> None:
    """Refuse what is not a collection of a known schema; bring an older one up to date where ``writable``."""
    _check_sqlite(connection)
    if not os.path.getsize(os.path.join(folder, DATABASE)):
        raise CorruptFileError(f"{os.path.join(folder, DATABASE)} is damaged: it is empty.")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise ForeignFileError(f"{folder} holds an SQLite file that is not a vsearch collection.")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > SCHEMA:
        raise NewerFormatError(
            f"{folder} has schema {found}; this vsearch reads up to {SCHEMA}. Install a newer vsearch to open it."
        )
    if found < SCHEMA and not writable:
        raise LockedError(f"{folder} has schema {found}, and must once be opened for writing to become {SCHEMA}.")
    for number in range(found, SCHEMA):
        with Transaction(connection):
            for statement in MIGRATIONS[number].split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number + 1}")


def _check_sqlite(connection: sqlite3.Connection) -> None:
    options = {name for (name,) in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" not in options:
        raise MissingExtraError(
            "Collection needs SQLite with full-text search (FTS5); the sqlite3 of this Python, "
            f"{sqlite3.sqlite_version}, was built without. Use another build of Python."
        )


class Transaction:
    """`with Transaction(connection):` is one write transaction, committed when the block ends and undone on any error.

    (A generator that Ctrl-C left behind would be closed later, and roll back the transaction that is under way then.)
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        if self._connection.in_transaction:  # begun, and Ctrl-C came before the block
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, tb: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


#: What SQLite says, and what that is in Python's terms.
_SYSTEM_ERRORS = {
    "disk is full": (errno.ENOSPC, "no space left; nothing of this write was saved"),
    "disk I/O error": (errno.EIO, "reading or writing failed; nothing of this write was saved"),
    "readonly database": (errno.EROFS, "the collection cannot be written; open it with read_only=True"),
    "unable to open": (errno.EACCES, "the collection cannot be opened"),
}
#: What SQLite says, and `sqlite3` before it, of what is too much for it; most is refused before it comes so far.
_LIMITS = ("too big", "INT_MAX", "too many SQL variables", "Expression tree is too large", "parser stack overflow")


@contextmanager
def own_errors(folder: str) -> Iterator[None]:
    """SQLite's errors as ours: OSError for the system's, FormatError for damage, ParameterError for too much."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as error:
        text, path = str(error), os.path.join(folder, DATABASE)
        if any(words in text for words in _LIMITS):
            raise ParameterError(
                f"What is given must be within the limits of SQLite; got more ({text}). Give it in smaller parts."
            ) from error
        if isinstance(error, OverflowError):
            raise
        for words, (code, meaning) in _SYSTEM_ERRORS.items():
            if words in text:
                raise OSError(code, meaning, folder) from error
        if "locked" in text:
            raise LockedError(f"{path} is locked by another process ({text}). Wait for it, or stop it.") from error
        if "not a database" in text:
            raise ForeignFileError(f"{path} is not an SQLite file.") from error
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise
        raise CorruptFileError(f"{path} is damaged: {text}.") from error
