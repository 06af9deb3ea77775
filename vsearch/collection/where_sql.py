"""A filter tree as an SQL condition on `documents`, with every value bound and none written into the text.

A condition may be NULL where it is not true, which counts as false for AND, OR and WHERE alike; only NOT tells them
apart, so it alone wraps its part in ifnull. (No index on an expression can serve these conditions: in a schema that is
not trusted, as ours, SQLite refuses json_extract. What is asked often is answered by `columns` instead.)

A float is bound as JSON and read by the same code as the stored ones: SQLite's conversion of decimals is not exact to
the last bit, but the same digits always give the same number.
"""

from __future__ import annotations

import json
from typing import Any

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


def condition(where: Where) -> tuple[str, list[Any]]:
    """The condition and its parameters.

    >>> condition(Exists(("year",)))
    ('(json_type(metadata, ?) IS NOT NULL)', ['$."year"'])
    """
    parameters: list[Any] = []
    return _sql(where, parameters), parameters


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


def _sql(where: Where, parameters: list[Any], negated: bool = False) -> str:
    """Negations are pushed down to the leaves, and joints are chains: SQLite's parser has a stack of 100."""
    if isinstance(where, Not):
        return _sql(where.part, parameters, not negated)
    if isinstance(where, (Every, Some)):
        every = isinstance(where, Every) != negated
        parts = [_sql(part, parameters, negated) for part in where.parts]
        return f"({(' AND ' if every else ' OR ').join(parts)})" if parts else ("1" if every else "0")
    leaf = _leaf(where, parameters)
    return f"(NOT ifnull({leaf}, 0))" if negated else leaf


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
