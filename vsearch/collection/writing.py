"""What `add`, `upsert`, `update` and `delete` do within their transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np

from vsearch.collection import reading, rows
from vsearch.collection.batch import Batch, Id
from vsearch.collection.schema import State
from vsearch.collection.session import Change
from vsearch.collection.where import Where
from vsearch.errors import DimensionError, DuplicateIdError, UnknownIdError

NO_ROWS = np.empty(0, np.int64)


def insert(connection: sqlite3.Connection, state: State, batch: Batch, *, replace: bool) -> Change:
    """New records; with ``replace``, those that had these ids go."""
    assert batch.vectors is not None
    _check_dim(state, batch.vectors)
    gone: list[int] = []
    removed = NO_ROWS
    if replace:
        gone = list(rows.rows_of(connection, batch.ids).values())
        if gone:
            removed = rows.delete(connection, gone, state.version + 1)
    try:
        rows.insert(connection, state.next_row, batch.ids, batch.vectors, batch.places, batch.documents, batch.metadata)
    except sqlite3.IntegrityError:
        known = {id for id, row in rows.rows_of(connection, batch.ids).items() if row < state.next_row}
        first = next((id for id in batch.ids if id in known), None)
        if first is None:
            raise
        raise DuplicateIdError(
            f"`ids` must be new; {first!r} is in the collection. To replace a record, use upsert or update."
        ) from None
    return Change(len(gone), removed, len(batch.ids), batch.vectors, batch.places)


def change(connection: sqlite3.Connection, state: State, batch: Batch) -> Change:
    """Records whose given parts are replaced: each becomes a new row with what was not given taken from the old."""
    old = rows.rows_of(connection, batch.ids)
    if len(old) < len(batch.ids):
        first = next(id for id in batch.ids if id not in old)
        raise UnknownIdError(f"`ids` must be in the collection; {first!r} is not. To add a record, use add or upsert.")
    ordered = [old[id] for id in batch.ids]
    if batch.vectors is not None:
        _check_dim(state, batch.vectors)
    vectors, places, documents, metadata = batch.vectors, batch.places, batch.documents, batch.metadata
    if vectors is None:
        vectors, places = rows.vectors_of(connection, ordered, state.dim or 0)
    if documents is None:
        documents = _column(connection, "document", ordered)
    if metadata is None:
        metadata = _column(connection, "metadata", ordered)
    removed = rows.delete(connection, ordered, state.version + 1)
    rows.insert(connection, state.next_row, batch.ids, vectors, places, documents, metadata)
    return Change(len(ordered), removed, len(ordered), vectors, places)


def delete(
    connection: sqlite3.Connection, state: State, ids: Sequence[Id] | None, where: Where | None
) -> Change | None:
    """Records with one of these ids that match, or None where there are none."""
    chosen = reading.chosen_rows(connection, ids, where)
    if not chosen:
        return None
    return Change(len(chosen), rows.delete(connection, chosen, state.version + 1))


def _check_dim(state: State, vectors: np.ndarray) -> None:
    """The batch was checked before this transaction; the first vectors may have come in between."""
    if len(vectors) and state.dim is not None and vectors.shape[1] != state.dim:
        raise DimensionError(f"`vectors` must have d={state.dim} like the collection; got d={vectors.shape[1]}.")


def _column(connection: sqlite3.Connection, column: str, ordered: list[int]) -> list[Any]:
    query = f"SELECT row, {column} FROM documents WHERE row IN (SELECT value FROM json_each(?))"
    found = dict(connection.execute(query, (json.dumps(ordered),)))
    return [found[row] for row in ordered]
