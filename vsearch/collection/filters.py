"""Filters translated to rows, kept while they are used: the same `where` costs SQL once, however often it is asked.

A filter that is new is translated by columns where they are there (`columns`), else by SQL. A row never changes, so
that a write outdates nothing: a kept translation is completed by testing the rows that have come since, and rows that
have gone are not in the indexes to which it is applied.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from vsearch.collection.columns import Columns
from vsearch.collection.memory import Matches
from vsearch.collection.rows import read_rows
from vsearch.collection.where import Where
from vsearch.collection.where_sql import condition

#: Bytes of kept translations; the least recently used go first.
BUDGET = 64 << 20


class _Kept(NamedTuple):
    version: int
    next_row: int
    matches: Matches


class Filters:
    """The translations of one session."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Where, _Kept] = OrderedDict()
        self._columns = Columns()
        self._bytes = 0
        self._guard = threading.Lock()

    def known(self, where: Where, version: int) -> Matches | None:
        """The rows that ``where`` lets through at ``version``, if that was asked before."""
        with self._guard:
            found = self._kept.get(where)
            if found is None or found.version != version:
                return None
            self._kept.move_to_end(where)
            return found.matches

    def matches(self, connection: sqlite3.Connection, where: Where, version: int, next_row: int) -> Matches:
        """The rows that ``where`` lets through at ``version``, which the transaction of ``connection`` must see."""
        with self._guard:
            known = self._kept.get(where)
            if known is not None:
                self._kept.move_to_end(where)
        if known is not None and known.version == version:
            return known.matches
        sql, parameters = condition(where)
        if known is None or known.version > version:
            found = self._columns.rows(connection, where, next_row)
            if found is None:
                found = np.sort(read_rows(connection.execute(f"SELECT row FROM documents WHERE {sql}", parameters)))
            rows = found
        else:
            query = f"SELECT row FROM documents WHERE row >= ? AND {sql} ORDER BY row"
            rows = read_rows(connection.execute(query, (known.next_row, *parameters)))
            rows = np.concatenate([known.matches.rows, rows])
        matches = Matches(rows)
        self._keep(where, _Kept(version, next_row, matches))
        return matches

    def _keep(self, where: Where, found: _Kept) -> None:
        with self._guard:
            old = self._kept.pop(where, None)
            self._kept[where] = found
            self._bytes += _size(found) - (_size(old) if old is not None else 0)
            while self._bytes > BUDGET and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(kept: _Kept) -> int:
    """Bytes of the rows and, about, of the bitmaps that come to them."""
    return 1024 + kept.matches.rows.nbytes + kept.next_row // 8
