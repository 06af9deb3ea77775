"""The approximate index of a collection as a file, and how memory is made from it and the rows it lacks.

The file is named after the version at which it was saved and the row at which it ends, and `state` names it in the same
way only once it is whole on disk. It holds every row below its end that was there then, and perhaps rows that have gone
since. The stored vectors of an IVF are not in it, for SQLite has them. It is derived: missing, damaged or outdated, it
is made again from SQLite, with a warning where that is a surprise.
"""

from __future__ import annotations

import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from vsearch.collection.memory import Memory, Part
from vsearch.collection.rows import read_rows, read_vectors, vector_chunks
from vsearch.collection.schema import State
from vsearch.errors import FormatError
from vsearch.index import Index
from vsearch.index.io import load_light

_NAMES = re.compile(r"index-\d+-\d+\.vsx")


def file_name(version: int, end: int) -> str:
    """The file of a snapshot.

    >>> file_name(12, 40)
    'index-12-40.vsx'
    """
    return f"index-{int(version)}-{int(end)}.vsx"


def restore(folder: str, connection: sqlite3.Connection, state: State, *, coded: bool) -> Memory:
    """Memory as the transaction of ``connection`` sees the collection: the snapshot, and the rows it lacks."""
    memory = Memory(state.metric, state.version, state.next_row, coded=coded)
    if state.dim is None:
        return memory
    start = 0
    if state.snapshot is not None and state.snapshot_end is not None:
        index = _load(os.path.join(folder, file_name(state.snapshot, state.snapshot_end)), connection, state)
        if index is not None:
            start = state.snapshot_end
            memory.parts = [Part(0, index, max(1, len(index))), Part(start)]
    rows, vectors = read_vectors(connection, state.dim, start)
    memory.parts[-1].add(rows, vectors, state.metric, coded)
    return memory


def _load(path: str, connection: sqlite3.Connection, state: State) -> Index | None:
    """The index of a file without the rows that have gone since; None, and a warning, where it does not fit."""
    try:
        seen: list[np.ndarray] = [np.empty(0, np.int64)]

        def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for rows, vectors in vector_chunks(connection, state.dim or 0, 0, state.snapshot_end):
                seen.append(rows)
                yield rows, vectors

        index = load_light(path, state.dim or 0, chunks())
        if index.metric != state.metric or index.dim != state.dim:
            raise FormatError(f"{path} belongs to another collection.")
        live = np.concatenate(seen) if len(seen) > 1 else _rows_below(connection, state.snapshot_end)
        held = index.ids
        gone = np.setdiff1d(held, live, assume_unique=True)
        if len(held) - len(gone) != len(live):
            raise FormatError(f"{path} lacks rows of the collection.")
        if len(gone):
            index.remove(gone)
        return index
    except (FormatError, OSError) as error:
        warnings.warn(f"The index of the collection is made again from its documents. {error}", RuntimeWarning, 2)
        return None


def _rows_below(connection: sqlite3.Connection, end: int | None) -> np.ndarray:
    return read_rows(connection.execute("SELECT row FROM vectors WHERE row < ? ORDER BY row", (end,)))


def save(folder: str, index: Index, version: int, end: int) -> None:
    """Write the file of a snapshot, whole and on disk when this returns."""
    index.save(os.path.join(folder, file_name(version, end)), vectors=index.kind != "ivf")


def record(connection: sqlite3.Connection, version: int, end: int) -> None:
    """Make a saved snapshot the one that opening looks for, and forget removals that it has seen."""
    connection.execute("DELETE FROM removed WHERE version <= ?", (version,))
    connection.execute("UPDATE state SET snapshot = ?, snapshot_end = ?, log_start = ?", (version, end, version))


def sweep(folder: str, state: State) -> None:
    """Remove snapshots that `state` does not name: replaced ones, and those of a writer that died too early."""
    current = None
    if state.snapshot is not None and state.snapshot_end is not None:
        current = file_name(state.snapshot, state.snapshot_end)
    for name in os.listdir(folder):
        if _NAMES.fullmatch(name) and name != current:
            with suppress(OSError):
                os.unlink(os.path.join(folder, name))
