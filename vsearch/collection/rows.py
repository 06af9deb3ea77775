"""The SQL of rows: writing them, taking them out, and reading them back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from vsearch.collection.batch import Id
from vsearch.collection.metadata import from_json
from vsearch.errors import CorruptFileError

#: Rows read at a time: their vectors stay in the cache while they are converted, twice as fast as by thousands.
CHUNK = 512

#: What `include=` may name beside the id; distance comes with every query.
INCLUDE = ("documents", "metadata", "vectors")


class Record(NamedTuple):
    """One record of a collection, as `get` and `query` return it.

    Parameters
    ----------
    id : int or str
        The caller's.
    document : str or None
        The text; None where there is none, or where `include` does not name it.
    metadata : dict
        Empty where there is none, or where `include` does not name it.
    vector : float32 array of shape (d,), or None
        Where `include` names it.
    distance : float or None
        From the query; None where there was none.
    score : float or None
        Of a hybrid search, larger is better; else None.

    Examples
    --------
    >>> from vsearch import Record
    >>> Record("a", "a text").metadata
    {}
    """

    id: Id
    document: str | None = None
    metadata: dict[str, Any] = {}  # noqa: RUF012  (never written to: every record with metadata gets its own)
    vector: np.ndarray | None = None
    distance: float | None = None
    score: float | None = None


def insert(
    connection: sqlite3.Connection,
    first: int,
    ids: Sequence[Id],
    vectors: np.ndarray,
    places: Sequence[int],
    documents: Sequence[str | None] | None,
    metadata: Sequence[str | None] | None,
) -> None:
    """Write rows ``first``, ``first`` + 1, ...; ``places`` are the positions of ids that have ``vectors``."""
    n = len(ids)
    rows = range(first, first + n)
    nothing = [None] * n
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?, ?)", zip(rows, ids, documents or nothing, metadata or nothing)
    )
    raw = vectors.astype("<f4", copy=False).tobytes()
    size = 4 * vectors.shape[1]
    blobs = ((first + place, raw[i * size : (i + 1) * size]) for i, place in enumerate(places))
    connection.executemany("INSERT INTO vectors VALUES (?, ?)", blobs)
    connection.execute(
        "INSERT INTO words(rowid, document) SELECT row, document FROM documents WHERE row >= ?", (first,)
    )


def delete(connection: sqlite3.Connection, rows: Sequence[int], version: int) -> np.ndarray:
    """Take rows out, leave word of it for readers, and return those that had vectors."""
    chosen = "WHERE row IN (SELECT value FROM json_each(?))"
    wanted = json.dumps(list(rows))
    held = read_rows(connection.execute(f"SELECT row FROM vectors {chosen}", (wanted,)))
    connection.execute(f"INSERT INTO removed SELECT row, ? FROM vectors {chosen}", (version, wanted))
    connection.execute(
        f"INSERT INTO words(words, rowid, document) SELECT 'delete', row, document FROM documents {chosen}", (wanted,)
    )
    connection.execute(f"DELETE FROM documents {chosen}", (wanted,))
    connection.execute(f"DELETE FROM vectors {chosen}", (wanted,))
    return held


def rows_of(connection: sqlite3.Connection, ids: Sequence[Id]) -> dict[Id, int]:
    """The row of each id that is there."""
    wanted = json.dumps(list(ids))
    return dict(
        connection.execute("SELECT id, row FROM documents WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
    )


@lru_cache
def columns_of(include: tuple[str, ...]) -> str:
    """The SELECT of records with these columns, as `records` reads it."""
    documents, metadata, vectors = (name in include for name in INCLUDE)
    columns = f"row, id, {'document' if documents else 'NULL'}, {'metadata' if metadata else 'NULL'}"
    source = "documents LEFT JOIN vectors USING (row)" if vectors else "documents"
    return f"SELECT {columns}, {'vector' if vectors else 'NULL'} FROM {source}"


@lru_cache
def columns_at(include: tuple[str, ...], n: int) -> str:
    """A `columns_of` SELECT of ``n`` rows, and after its columns the version that they were read at."""
    return (
        columns_of(include).replace(" FROM ", ", (SELECT version FROM state) FROM ", 1)
        + f" WHERE row IN ({','.join('?' * n)})"
    )


def records(cursor: Iterable[tuple[Any, ...]], dim: int | None) -> Iterator[tuple[int, Record]]:
    """Rows of a `columns_of` SELECT as (row, record)."""
    for row, id, document, metadata, vector in cursor:
        found = None if vector is None else np.frombuffer(_whole(vector, dim), "<f4")
        yield row, Record(id, document, from_json(metadata), found)


def vector_chunks(
    connection: sqlite3.Connection, dim: int, first: int = 0, end: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows in [first, end), ascending, and their vectors, float32 (m, dim), a few hundred at a time."""
    limit = 2**63 - 1 if end is None else end
    cursor = connection.execute(
        "SELECT row, vector FROM vectors WHERE row >= ? AND row < ? ORDER BY row", (first, limit)
    )
    while found := cursor.fetchmany(CHUNK):
        numbers, blobs = zip(*found)
        raw = b"".join(blobs)
        if len(raw) != 4 * dim * len(found) or len(set(map(len, blobs))) != 1:
            raise CorruptFileError(f"The collection is damaged: a vector does not have {dim} dimensions.")
        yield np.array(numbers, np.int64), np.frombuffer(raw, "<f4").reshape(-1, dim).astype(np.float32, copy=False)


def read_vectors(
    connection: sqlite3.Connection, dim: int, first: int = 0, end: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows in [first, end), ascending, and their vectors, float32 (n, dim), in a transaction of the caller."""
    limit = 2**63 - 1 if end is None else end
    (n,) = connection.execute("SELECT count(*) FROM vectors WHERE row >= ? AND row < ?", (first, limit)).fetchone()
    rows, vectors = np.empty(n, np.int64), np.empty((n, dim), np.float32)
    done = 0
    for numbers, chunk in vector_chunks(connection, dim, first, end):
        rows[done : done + len(numbers)], vectors[done : done + len(numbers)] = numbers, chunk
        done += len(numbers)
    return rows, vectors


def vectors_of(connection: sqlite3.Connection, rows: Sequence[int], dim: int) -> tuple[np.ndarray, list[int]]:
    """Vectors of those rows that have one, float32 (m, dim), and the positions of these rows."""
    query = "SELECT row, vector FROM vectors WHERE row IN (SELECT value FROM json_each(?))"
    found = dict(connection.execute(query, (json.dumps(list(rows)),)))
    places = [place for place, row in enumerate(rows) if row in found]
    raw = b"".join(_whole(found[rows[place]], dim) for place in places)
    return np.frombuffer(raw, "<f4").reshape(len(places), dim).astype(np.float32), places


def read_rows(cursor: Iterable[tuple[int]]) -> np.ndarray:
    """A SELECT of one column of ints as an array."""
    return np.fromiter((value for (value,) in cursor), np.int64)


def _whole(vector: bytes, dim: int | None) -> bytes:
    if dim is None or len(vector) != 4 * dim:
        raise CorruptFileError(f"The collection is damaged: a vector does not have {dim} dimensions.")
    return vector
