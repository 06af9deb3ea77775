"""Whether a collection on disk is whole: what `vsearch check` asks."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vsearch.collection import schema
from vsearch.collection.rows import read_rows
from vsearch.collection.snapshot import file_name
from vsearch.errors import VsearchError
from vsearch.index.io import load_light

_CHUNK = 4096


class Report(NamedTuple):
    """What was found in a folder."""

    records: int
    vectors: int
    metric: str
    dim: int | None
    problems: list[str]


def check(folder: str) -> Report:
    """Read everything in the folder of a collection and say what is wrong with it.

    Examples
    --------
    >>> import tempfile, numpy as np, vsearch as vs
    >>> folder = tempfile.mkdtemp()
    >>> with vs.Collection.open(folder) as box:
    ...     _ = box.add(["a"], np.ones((1, 3)))
    >>> check(folder)
    Report(records=1, vectors=1, metric='cosine', dim=3, problems=[])
    """
    path = os.path.join(folder, schema.DATABASE)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{folder} holds no collection.")
    with schema.own_errors(folder):
        connection = schema.connect(folder, "rw" if os.access(folder, os.W_OK) else "immutable")
        try:
            schema.check_schema(connection, folder, writable=False)
            problems = [f"SQLite: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
            problems += _words(connection)
            connection.execute("BEGIN")
            state = schema.read_state(connection)
            problems += [*_rows(connection, state), *_vectors(connection, state), *_snapshot(connection, folder, state)]
            counts = [
                int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in ("documents", "vectors")
            ]
        finally:
            connection.close()
    return Report(counts[0], counts[1], state.metric, state.dim, problems)


def _words(connection: sqlite3.Connection) -> Iterator[str]:
    """FTS5 compares its index with the documents; it asks for that as a write, and changes nothing."""
    try:
        connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
    except sqlite3.OperationalError as error:
        if "readonly" not in str(error):
            raise
    except sqlite3.DatabaseError:
        yield "the full-text index does not fit the documents"


def _rows(connection: sqlite3.Connection, state: schema.State) -> Iterator[str]:
    def count(sql: str) -> int:
        return int(connection.execute(sql).fetchone()[0])

    if lost := count("SELECT count(*) FROM vectors WHERE row NOT IN (SELECT row FROM documents)"):
        yield f"{lost} vectors belong to no record"
    if bad := count("SELECT count(*) FROM documents WHERE metadata IS NOT NULL AND NOT json_valid(metadata)"):
        yield f"{bad} records have metadata that is not JSON"
    if bad := count("SELECT count(*) FROM documents WHERE typeof(id) NOT IN ('integer', 'text')"):
        yield f"{bad} records have an id that is neither int nor str"
    if count("SELECT ifnull(max(row), -1) FROM documents") >= state.next_row:
        yield "rows have numbers that are still to be given"
    if bad := count("SELECT count(*) FROM removed WHERE row IN (SELECT row FROM documents)"):
        yield f"{bad} records are there and logged as removed"


def _vectors(connection: sqlite3.Connection, state: schema.State) -> Iterator[str]:
    cursor = connection.execute("SELECT vector FROM vectors")
    wrong = unfinite = 0
    while found := cursor.fetchmany(_CHUNK):
        whole = [blob for (blob,) in found if isinstance(blob, bytes) and len(blob) == 4 * (state.dim or 0)]
        wrong += len(found) - len(whole)
        if whole:
            rows = np.frombuffer(b"".join(whole), "<f4").reshape(len(whole), -1)
            unfinite += int((~np.isfinite(rows).all(axis=1)).sum())
    if wrong:
        yield f"{wrong} vectors do not have {state.dim} dimensions"
    if unfinite:
        yield f"{unfinite} vectors are not finite"


def _snapshot(connection: sqlite3.Connection, folder: str, state: schema.State) -> Iterator[str]:
    if state.snapshot is None or state.snapshot_end is None:
        return
    path = os.path.join(folder, file_name(state.snapshot, state.snapshot_end))
    try:
        held = load_light(path, state.dim or 0, ()).ids
    except (VsearchError, OSError) as error:
        yield f"the index is made again when the collection is opened: {error}"
        return
    query = "SELECT row FROM vectors WHERE row < ? ORDER BY row"
    live = read_rows(connection.execute(query, (state.snapshot_end,)))
    if len(np.setdiff1d(live, held, assume_unique=True)):
        yield "the index lacks records, and is made again when the collection is opened"
