"""A filter tree as an SQL condition on `documents`, with every value bound and none written into the text.

A condition may be NULL where it is not true, which counts as false for AND, OR and WHERE alike; only NOT tells them
apart, so it alone wraps its part in ifnull. (No index on an expression can serve these conditions: in a schema that is
not trusted, as ours, SQLite refuses json_extract. What is asked often is answered by `columns` instead.)

A float is bound as JSON and read by the same code as the stored ones: SQLite's conversion of decimals is not exact to
the last bit, but the same digits always give the same number.

SQLite refuses expressions deeper than 1000, and a chain of n terms is n deep; and it parses with a stack of 100, of
which every parenthesis takes one and every term before it two more. So a wide joint becomes a tree of short chains, and
what takes much of the stack goes before the rest where the order of the caller would take too much. AND binds before
OR, so that a chain of ANDs between ORs needs no parentheses. All that `where` lets through fits.
"""

from __future__ import annotations

import heapq
import json
from typing import Any, NamedTuple

from vsearch.collection.where import Alike, Compare, Contains, Empty, Every, Exists, Has, Match, Not, OneOf, Some, Where

_SIGNS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
#: A function of the connections (`schema.connect`): SQLite's own lower() knows ASCII only.
LOWER = "vsearch_lower"

_EMPTY = (
    "(CASE json_type(metadata, ?) WHEN 'text' THEN json_extract(metadata, ?) = '' "
    "WHEN 'array' THEN json_array_length(metadata, ?) = 0 WHEN 'object' THEN json_extract(metadata, ?) = '{}' "
    "ELSE ifnull(json_type(metadata, ?), 'null') = 'null' END)"
)
_TYPES = {"text": "= 'text'", "number": "IN ('integer', 'real')"}

#: Terms of one chain.
WIDE = 16
#: Of the parser's stack; the rest is for the statement around a condition and for the deepest of the leaves.
STACK = 60


class _Piece(NamedTuple):
    """A part of a condition; pieces are merged in the order of these fields."""

    stack: int
    """What it takes of the parser's stack beyond a leaf."""
    place: int
    """Among the parts of its joint; no two have the same."""
    sql: str
    parameters: list[Any]
    bare: bool = False
    """Whether it is a chain of ANDs without parentheses around it."""


def condition(where: Where) -> tuple[str, list[Any]]:
    """The condition and its parameters.

    >>> condition(Exists(("year",)))
    ('(json_type(metadata, ?) IS NOT NULL)', ['$."year"'])
    """
    found = _piece(where)
    if found.stack > STACK:
        found = _piece(where, in_order=False)
    return found.sql, found.parameters


def path_of(field: tuple[str, ...]) -> str:
    """The SQLite path of a field, whose parts `where.check_field` has seen.

    >>> path_of(("author", "name"))
    '$."author"."name"'
    """
    return "$" + "".join(f'."{part}"' for part in field)


def match_query(words: tuple[str, ...], joint: str = " ") -> str:
    """Words as an FTS5 query: each in quotes, so that none is an operator.

    >>> match_query(("sea", "NOT"))
    '"sea" "NOT"'
    """
    return joint.join(f'"{word}"' for word in words)


def _piece(where: Where, place: int = 0, negated: bool = False, in_order: bool = True) -> _Piece:
    """Negations are pushed down to the leaves, so that they take nothing of the stack."""
    if isinstance(where, Not):
        return _piece(where.part, place, not negated, in_order)
    if isinstance(where, (Every, Some)):
        every = isinstance(where, Every) != negated
        parts = [_piece(part, i, negated, in_order) for i, part in enumerate(where.parts)]
        return _joined(parts, place, every, in_order)
    parameters: list[Any] = []
    leaf = _leaf(where, parameters)
    return _Piece(0, place, f"(NOT ifnull({leaf}, 0))" if negated else leaf, parameters)


def _joined(parts: list[_Piece], place: int, every: bool, in_order: bool) -> _Piece:
    """Chains of what takes the least of the stack, and chains of these, until there is one."""
    if not parts:
        return _Piece(0, place, "1" if every else "0", [])
    if every:
        parts = [_closed(part) if part.bare else part for part in parts]
    if len(parts) > WIDE:
        heapq.heapify(parts)
    while len(parts) > WIDE:
        heapq.heappush(parts, _closed(_chain([heapq.heappop(parts) for _ in range(WIDE)], every, in_order)))
    made = _chain(parts, every, in_order) if len(parts) > 1 else parts[0]
    if made.bare and not every:
        made = _closed(made)
    return _Piece(made.stack, place, made.sql, made.parameters, made.bare)


def _chain(parts: list[_Piece], every: bool, in_order: bool) -> _Piece:
    """Parts after one another, without parentheses around them."""
    parts.sort(key=_place if in_order else _most)
    stack = max(parts[0].stack, 2 + max(part.stack for part in parts[1:]))
    text = (" AND " if every else " OR ").join([part.sql for part in parts])
    return _Piece(stack, parts[0].place, text, [value for part in parts for value in part.parameters], True)


def _closed(piece: _Piece) -> _Piece:
    """With parentheses."""
    return _Piece(piece.stack + 1, piece.place, f"({piece.sql})", piece.parameters)


def _place(piece: _Piece) -> int:
    return piece.place


def _most(piece: _Piece) -> int:
    return -piece.stack


def _leaf(where: Where, parameters: list[Any]) -> str:
    if isinstance(where, Contains):
        parameters.append(where.text)
        return "(instr(document, ?) > 0)"
    if isinstance(where, Match):
        parameters.append(match_query(where.words))
        return "(row IN (SELECT rowid FROM words WHERE words MATCH ?))"
    assert isinstance(where, (Compare, OneOf, Exists, Empty, Alike, Has))
    path = path_of(where.field)
    if isinstance(where, Has):
        return _has(where, path, parameters)
    if isinstance(where, Empty):
        parameters += [path] * 5
        return _EMPTY
    if isinstance(where, Alike):
        parameters += [path, path, where.text.lower()]
        return f"(json_type(metadata, ?) = 'text' AND instr({LOWER}(json_extract(metadata, ?)), ?) > 0)"
    if isinstance(where, Exists):
        parameters.append(path)
        return "(json_type(metadata, ?) IS NOT NULL)"
    if isinstance(where, Compare) and where.kind in ("bool", "null"):
        parameters += [path, json.dumps(where.value)]
        return "(json_type(metadata, ?) = ?)"
    return _comparison(where, path, parameters)


def _has(where: Has, path: str, parameters: list[Any]) -> str:
    parameters += [path, path, json.dumps(where.value)]
    if where.kind in ("bool", "null"):
        test = "item.type = ?"
    else:
        test = f"item.value = json_extract(?, '$') AND item.type {_TYPES[where.kind]}"
    items = f"EXISTS (SELECT 1 FROM json_each(documents.metadata, ?) AS item WHERE {test})"
    listed = f"(json_type(metadata, ?) = 'array' AND {items})"
    if where.kind != "text":
        return listed
    parameters += [path, where.value, path]
    return f"({listed} OR (instr(json_extract(metadata, ?), ?) > 0 AND json_type(metadata, ?) = 'text'))"


def _comparison(where: Compare | OneOf, path: str, parameters: list[Any]) -> str:
    parameters.append(path)
    if isinstance(where, OneOf):
        test = "IN (SELECT value FROM json_each(?))"
        parameters.append(json.dumps(where.values))
    elif isinstance(where.value, float):
        test = f"{_SIGNS[where.operator]} json_extract(?, '$')"
        parameters.append(json.dumps(where.value))
    else:
        test = f"{_SIGNS[where.operator]} ?"
        parameters.append(where.value)
    parameters.append(path)
    return f"(json_extract(metadata, ?) {test} AND json_type(metadata, ?) {_TYPES[where.kind]})"
