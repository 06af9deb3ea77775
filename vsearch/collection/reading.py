"""Records read back: by id, by filter, by row, in pages. Every function runs in a read transaction of its caller."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vsearch._validate import _show
from vsearch.collection.batch import Id, from_json
from vsearch.collection.rows import INCLUDE, Record, columns_of, records
from vsearch.collection.where import Where
from vsearch.collection.where_sql import condition
from vsearch.errors import ParameterError

#: So many records are asked for by one bound parameter each; more, by one list.
FEW = 64


def check_include(include: Any) -> tuple[str, ...]:
    """The columns to return."""
    names = (include,) if isinstance(include, str) else tuple(include)
    for name in names:
        if name not in INCLUDE:
            raise ParameterError(f"`include` must name {', '.join(map(repr, INCLUDE))}; got {_show(name)}.")
    return names


def count(connection: sqlite3.Connection, where: Where | None) -> int:
    """How many records match."""
    if where is None:
        return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])
    sql, parameters = condition(where)
    return int(connection.execute(f"SELECT count(*) FROM documents WHERE {sql}", parameters).fetchone()[0])


def chosen_rows(connection: sqlite3.Connection, ids: Sequence[Id] | None, where: Where | None) -> list[int]:
    """Rows of the records that have one of these ids and match."""
    clauses, parameters = _clauses(ids, where)
    return [row for (row,) in connection.execute(f"SELECT row FROM documents{clauses}", parameters)]


def select(
    connection: sqlite3.Connection,
    ids: Sequence[Id] | None,
    where: Where | None,
    include: Iterable[str],
    dim: int | None,
    *,
    after: int = -1,
    limit: int | None = None,
    offset: int = 0,
) -> list[tuple[int, Record]]:
    """Records with their rows, in the order of rows; those above ``after``, at most ``limit`` of them."""
    clauses, parameters = _clauses(ids, where)
    clauses += (" AND " if clauses else " WHERE ") + "row > ? ORDER BY row LIMIT ? OFFSET ?"
    parameters += [after, -1 if limit is None else limit, offset]
    return list(records(connection.execute(columns_of(include) + clauses, parameters), dim))


def in_order(found: list[tuple[int, Record]], ids: Sequence[Id]) -> list[Record]:
    """Records in the order in which their ids were asked for."""
    by_id = {record.id: record for _, record in found}
    return [by_id[id] for id in ids if id in by_id]


def hits(
    connection: sqlite3.Connection, rows: np.ndarray, distances: np.ndarray, include: tuple[str, ...], dim: int | None
) -> list[list[Record]]:
    """The records of an answer (nq, k), row -1 where there is none."""
    wanted = rows[rows >= 0].tolist()
    if len(rows) > 1:
        wanted = list(set(wanted))
    if len(wanted) <= FEW:
        clause, parameters = f" WHERE row IN ({','.join('?' * len(wanted))})", wanted
    else:
        clause, parameters = " WHERE row IN (SELECT value FROM json_each(?))", [json.dumps(wanted)]
    known = {found[0]: found for found in connection.execute(columns_of(include) + clause, parameters)}
    return [
        [_hit(known[row], distance) for row, distance in zip(near, far) if row >= 0]
        for near, far in zip(rows.tolist(), distances.tolist())
    ]


def _hit(found: tuple[Any, ...], distance: float) -> Record:
    _, id, document, metadata, vector = found
    return Record(id, document, from_json(metadata), None if vector is None else np.frombuffer(vector, "<f4"), distance)


def _clauses(ids: Sequence[Id] | None, where: Where | None) -> tuple[str, list[Any]]:
    parts: list[str] = []
    parameters: list[Any] = []
    if ids is not None:
        parts.append("id IN (SELECT value FROM json_each(?))")
        parameters.append(json.dumps(list(ids)))
    if where is not None:
        sql, bound = condition(where)
        parts.append(sql)
        parameters += bound
    return (" WHERE " + " AND ".join(parts) if parts else ""), parameters
