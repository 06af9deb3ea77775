"""Indexes on metadata, made on demand: a field that filters ask for again is kept in memory as a column.

A column has, for every record, the type that JSON gives the field and its value, so that a comparison is one pass of
NumPy over an array: a fraction of a millisecond for 100,000 records, where reading their JSON takes a hundred.
Values come from SQLite's own reading of the JSON, and mean what `where_sql` means. As rows never change, a column is
only ever lengthened; rows that have gone stay in it, for they are in no index that is filtered by it.
"""

from __future__ import annotations

import json
import operator
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vsearch.collection.rows import read_rows
from vsearch.collection.where import Compare, Every, Exists, Not, OneOf, Some, Where
from vsearch.collection.where_sql import condition, path_of

#: Bytes of columns; the least recently used go first.
BUDGET = 256 << 20
#: Integers up to here, and down to its negative, are what float64 says they are.
EXACT = 2**53
#: Once rows are so many times those that are left, all is read anew; and so many more than these are always kept.
GARBAGE, _REVIEW = 2, 4096
#: Fields that are remembered as asked for.
MOST_ASKED = 10_000
#: About what a text in a dictionary takes beside its characters.
_TEXT_BYTES = 150

_TYPES = ("null", "true", "false", "integer", "real", "text", "array", "object")
_CODE = {name: code for code, name in enumerate(_TYPES, 1)}
_NUMBERS = (_CODE["integer"], _CODE["real"])
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}

Field = tuple[str, ...]


class Column:
    """One field of all records.

    Attributes
    ----------
    types : uint8 (n,), 0 where the field is missing, else the place in `_TYPES` from 1 on
    numbers : float64 (n,), of numbers
    words : int32 (n,), of texts, their number in ``texts``
    exact : whether all numbers are what float64 says they are
    """

    def __init__(self) -> None:
        self.types = np.empty(0, np.uint8)
        self.numbers = np.empty(0, np.float64)
        self.words = np.empty(0, np.int32)
        self.texts: dict[str, int] = {}
        self.exact = True
        self._characters = 0

    @property
    def nbytes(self) -> int:
        """Bytes, about."""
        return 13 * len(self.types) + _TEXT_BYTES * len(self.texts) + self._characters

    def extend(self, connection: sqlite3.Connection, field: Field, rows: np.ndarray) -> None:
        """Read the records of ``rows`` that the column lacks; it is aligned with ``rows``, which has only grown."""
        first, more = len(self.types), len(rows) - len(self.types)
        if not more:
            return
        self.types, self.numbers, self.words = (
            np.concatenate([old, np.zeros(more, old.dtype)]) for old in (self.types, self.numbers, self.words)
        )
        path = path_of(field)
        query = (
            "SELECT row, type, CASE WHEN type IN ('integer', 'real', 'text') THEN json_extract(metadata, ?) END "
            "FROM (SELECT row, metadata, json_type(metadata, ?) AS type FROM documents WHERE row >= ?) "
            "WHERE type IS NOT NULL"
        )
        found = connection.execute(query, (path, path, int(rows[first]))).fetchall()
        for place, (row, kind, value) in zip(np.searchsorted(rows, [row for row, _, _ in found]).tolist(), found):
            if place == len(rows) or rows[place] != row:
                continue
            self.types[place] = _CODE[kind]
            if kind == "text":
                self._characters += len(value) if value not in self.texts else 0
                self.words[place] = self.texts.setdefault(value, len(self.texts))
            elif value is not None:
                self.numbers[place] = value
                self.exact &= isinstance(value, float) or -EXACT <= value <= EXACT

    def compare(self, kind: str, sign: str, value: Any) -> np.ndarray:
        """Where the value is of this kind ("text", "number", "bool", "null") and stands so to ``value``, bool (n,)."""
        if kind == "number":
            return self._is_number() & _COMPARE[sign](self.numbers, float(value))
        if kind == "text":
            if sign == "$eq":
                return (self.types == _CODE["text"]) & (self.words == self.texts.get(value, -1))
            fits = _COMPARE[sign]
            return self._has_word(fits(text, value) for text in self.texts)
        return self.types == _CODE["null" if kind == "null" else "true" if value else "false"]

    def one_of(self, kind: str, values: tuple[Any, ...]) -> np.ndarray:
        """Where the value is of this kind and one of ``values``, bool (n,)."""
        if kind == "number":
            return self._is_number() & np.isin(self.numbers, np.array(values, np.float64))
        wanted = set(values)
        return self._has_word(text in wanted for text in self.texts)

    def _is_number(self) -> np.ndarray:
        return (self.types == _NUMBERS[0]) | (self.types == _NUMBERS[1])

    def _has_word(self, fits: Iterator[bool]) -> np.ndarray:
        table = np.fromiter(fits, bool, len(self.texts))
        if not len(table):
            return np.zeros(len(self.types), bool)
        return (self.types == _CODE["text"]) & table[self.words]


class Columns:
    """The columns of one session, and the rows that they are aligned with."""

    def __init__(self) -> None:
        self._rows = np.empty(0, np.int64)
        self._next_row = 0
        self._review = _REVIEW  # how many rows there may be before it is asked how many of them are left
        self._columns: OrderedDict[Field, Column] = OrderedDict()
        self._asked: set[Field] = set()
        self._guard = threading.Lock()

    def rows(self, connection: sqlite3.Connection, where: Where, next_row: int) -> np.ndarray | None:
        """Rows that ``where`` lets through, ascending, and perhaps some that have gone; None where SQL must say.

        ``connection`` must see the rows below ``next_row``. SQL is left with what asks for no field, or for one that
        was never asked for before, or compares numbers that float64 cannot tell apart.
        """
        leaves = list(_leaves(where))
        fields = {leaf.field for leaf in leaves if isinstance(leaf, (Compare, OneOf, Exists))}
        with self._guard:
            new = fields - self._asked
            if new or not fields or not all(map(_exact, leaves)):
                self._asked = (self._asked if len(self._asked) < MOST_ASKED else set()) | new
                return None
            self._follow(connection, next_row)
            for field in fields:
                column = self._columns.setdefault(field, Column())
                self._columns.move_to_end(field)
                column.extend(connection, field, self._rows)
            fits = None
            if all(self._columns[field].exact for field in fields):
                fits = self._rows[self._mask(connection, where)]
            self._shrink()
        return fits

    def _follow(self, connection: sqlite3.Connection, next_row: int) -> None:
        """Know the rows up to the next."""
        if next_row <= self._next_row:
            return
        if len(self._rows) > self._review:
            (live,) = connection.execute("SELECT count(*) FROM documents").fetchone()
            self._review = int(GARBAGE * live) + _REVIEW
            if len(self._rows) > self._review:
                self._columns.clear()
                self._rows, self._next_row = np.empty(0, np.int64), 0
        query = "SELECT row FROM documents WHERE row >= ? AND row < ? ORDER BY row"
        more = read_rows(connection.execute(query, (self._next_row, next_row)))
        self._rows, self._next_row = np.concatenate([self._rows, more]), next_row

    def _mask(self, connection: sqlite3.Connection, where: Where) -> np.ndarray:
        if isinstance(where, Not):
            return ~self._mask(connection, where.part)
        if isinstance(where, (Every, Some)):
            every = isinstance(where, Every)
            mask = np.full(len(self._rows), every)
            for part in where.parts:
                (np.logical_and if every else np.logical_or)(mask, self._mask(connection, part), out=mask)
            return mask
        if isinstance(where, Exists):
            return self._columns[where.field].types != 0
        if isinstance(where, Compare):
            value = where.value
            if isinstance(value, float):  # as SQLite reads it, which may differ in the last bit
                (value,) = connection.execute("SELECT json_extract(?, '$')", (json.dumps(value),)).fetchone()
            return self._columns[where.field].compare(where.kind, where.operator, value)
        if isinstance(where, OneOf):
            return self._columns[where.field].one_of(where.kind, self._as_stored(connection, where))
        sql, parameters = condition(where)
        mask = np.zeros(len(self._rows), bool)
        found = read_rows(connection.execute(f"SELECT row FROM documents WHERE {sql}", parameters))
        mask[np.searchsorted(self._rows, found[found < self._next_row])] = True
        return mask

    def _as_stored(self, connection: sqlite3.Connection, where: OneOf) -> tuple[Any, ...]:
        if not any(isinstance(value, float) for value in where.values):
            return where.values
        query = "SELECT value FROM json_each(?)"
        return tuple(value for (value,) in connection.execute(query, (json.dumps(where.values),)))

    def _shrink(self) -> None:
        """Keep to the budget, but for the column used last."""
        total = sum(column.nbytes for column in self._columns.values())
        while total > BUDGET and len(self._columns) > 1:
            total -= self._columns.popitem(last=False)[1].nbytes


def _leaves(where: Where) -> Iterator[Where]:
    if isinstance(where, Not):
        yield from _leaves(where.part)
    elif isinstance(where, (Every, Some)):
        for part in where.parts:
            yield from _leaves(part)
    else:
        yield where


def _exact(leaf: Where) -> bool:
    """Whether float64 has the numbers that a leaf asks for."""
    if isinstance(leaf, Compare):
        values: tuple[Any, ...] = (leaf.value,)
    else:
        values = leaf.values if isinstance(leaf, OneOf) else ()
    return all(-EXACT <= value <= EXACT for value in values if type(value) is int)
