"""Records read back: by id, by filter, by row, in pages. Every function runs in a read transaction of its caller."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from vsearch._validate import _show
from vsearch.collection.batch import Id
from vsearch.collection.metadata import from_json
from vsearch.collection.rows import INCLUDE, Record, columns_at, columns_of, records
from vsearch.collection.search import Found
from vsearch.collection.session import Session
from vsearch.collection.where import Where
from vsearch.collection.where_sql import condition
from vsearch.errors import ParameterError

#: So many records are asked for by one bound parameter each; more, by one list.
FEW = 64
#: The columns of records that are kept in memory.
WHOLE = ("documents", "metadata")


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
    include: tuple[str, ...],
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


def hits(connection: sqlite3.Connection, answers: list[Found], include: tuple[str, ...]) -> list[list[Record]]:
    """The records of some answers."""
    wanted = answers[0].rows if len(answers) == 1 else list({row for answer in answers for row in answer.rows})
    query = columns_of(include)
    if len(wanted) <= FEW:
        cursor = connection.execute(f"{query} WHERE row IN ({','.join('?' * len(wanted))})", wanted)
    else:
        cursor = connection.execute(f"{query} WHERE row IN (SELECT value FROM json_each(?))", (json.dumps(wanted),))
    return _answers({found[0]: found for found in cursor}, answers)


def hits_at(
    session: Session, version: int, answers: list[Found], include: tuple[str, ...]
) -> list[list[Record]] | None:
    """As `hits`, in one statement outside any transaction: None where the file is not at ``version``, or may not be."""
    wanted = answers[0].rows if len(answers) == 1 else list({row for answer in answers for row in answer.rows})
    if not 0 < len(wanted) <= FEW:
        return None
    if include != WHOLE:
        found = session.fetch(columns_at(include, len(wanted)), wanted)
        return _answers({row[0]: row for row in found}, answers) if found and found[0][-1] == version else None
    kept = session.recent.find(wanted)
    if None in kept:
        missing = [row for row, known in zip(wanted, kept) if known is None]
        found = session.fetch(columns_at(include, len(missing)), missing)
        if not found or found[0][-1] != version:
            return None
        session.recent.add(found)
        kept = session.recent.find(wanted)
        if None in kept:  # too large to be kept, or gone again
            return None
    elif not session.is_at(version):
        return None
    return _kept_answers(dict(zip(wanted, kept)), answers)


def _kept_answers(known: dict[int, Any], answers: list[Found]) -> list[list[Record]]:
    return [
        [
            Record(
                (found := known[row]).id,
                found.document,
                found.metadata.copy() if found.plain else deepcopy(found.metadata),
                None,
                distance,
                score,
            )
            for row, distance, score in zip(answer.rows, answer.distances, answer.scores or itertools.repeat(None))
        ]
        for answer in answers
    ]


def _answers(known: dict[int, Any], answers: list[Found]) -> list[list[Record]]:
    return [
        [
            Record(
                (found := known[row])[1],
                found[2],
                from_json(found[3]),
                None if found[4] is None else np.frombuffer(found[4], "<f4"),
                distance,
                score,
            )
            for row, distance, score in zip(answer.rows, answer.distances, answer.scores or itertools.repeat(None))
        ]
        for answer in answers
    ]


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
