"""Haystack's filters as the `where` of a collection; documents lie in it as ``{"id": ..., "meta": {...}}``.

>>> where_of({"field": "meta.year", "operator": ">=", "value": 2020})
{'meta.year': {'$gte': 2020}}
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vsearch.errors import MissingExtraError

try:
    from haystack.errors import FilterError
except ModuleNotFoundError as error:
    raise MissingExtraError("The Haystack store needs haystack-ai: pip install 'vsearch-ann[haystack]'") from error

_ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_NOTHING: dict[str, Any] = {"$and": [{"id": {"$exists": True}}, {"id": {"$exists": False}}]}


def where_of(filters: dict[str, Any] | None) -> dict[str, Any]:
    """The `where` that lets the same documents through.

    Raises
    ------
    FilterError
        The filter is not well-formed, or asks for what cannot be compared.
    """
    if not filters:
        return {}
    if not isinstance(filters, dict):
        raise FilterError(f"A filter must be a dict; got {filters!r}.")
    if "field" in filters:
        return _comparison(filters)
    for key in ("operator", "conditions"):
        if key not in filters:
            raise FilterError(f"A filter needs the key {key!r}; got {sorted(map(str, filters))}.")
    parts = [where_of(part) for part in filters["conditions"]]
    if filters["operator"] == "NOT":
        return {"$not": {"$and": parts}}
    if filters["operator"] not in ("AND", "OR"):
        raise FilterError(f"A filter's operator must be AND, OR or NOT; got {filters['operator']!r}.")
    if not parts:
        raise FilterError("A filter's conditions must not be empty.")
    return {"$and" if filters["operator"] == "AND" else "$or": parts}


def field_of(name: str) -> str:
    """Where a field lies in the collection: in ``meta``, unless it is the id.

    >>> field_of("year"), field_of("meta.year"), field_of("id")
    ('meta.year', 'meta.year', 'id')
    """
    return name if name == "id" or name.startswith("meta.") else f"meta.{name}"


def _comparison(condition: dict[str, Any]) -> dict[str, Any]:
    for key in ("operator", "value"):
        if key not in condition:
            raise FilterError(f"A condition needs the key {key!r}; got {sorted(map(str, condition))}.")
    field, operator, value = field_of(condition["field"]), condition["operator"], condition["value"]
    if operator in _ORDER:
        return _ordered(field, operator, value)
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} needs a list; got {value!r}.")
        found: dict[str, Any] = {"$or": [_equal(field, one) for one in value]} if value else _NOTHING
    elif operator in ("==", "!="):
        found = _equal(field, value)
    else:
        raise FilterError(f"A condition's operator must be ==, !=, >, >=, <, <=, in or not in; got {operator!r}.")
    return {"$not": found} if operator in ("not in", "!=") else found


def _equal(field: str, value: Any) -> dict[str, Any]:
    if value is None:  # a missing value is None there
        return {"$or": [{field: None}, {field: {"$exists": False}}]}
    if not isinstance(value, (str, int, float)):
        raise FilterError(f"A value must be a str, a number, a bool or None; got {value!r}.")
    return {field: {"$eq": value}}


def _ordered(field: str, operator: str, value: Any) -> dict[str, Any]:
    if value is None:
        return _NOTHING
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise FilterError(f"{operator!r} compares numbers and ISO dates; got {value!r}.") from None
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FilterError(f"{operator!r} compares numbers and ISO dates; got {value!r}.")
    return {field: {_ORDER[operator]: value}}
