"""Filter expressions, parsed and checked: what a caller writes as nested dicts becomes a small tree of tuples.

    {"year": {"$gte": 2020}, "lang": {"$in": ["en", "de"]}}          both must hold
    {"$or": [{"author.name": "Ada"}, {"draft": {"$ne": True}}]}      "a.b" is key b inside key a

What it means, in two-valued logic (every expression is true or false for every record):

- Values compare within their kind only: text with text by code points, numbers with numbers (1 equals 1.0), booleans
  with booleans (True is not 1), null with null. Across kinds nothing is equal and nothing is less or greater.
- A missing key equals nothing and is not less or greater than anything; ``{"a": None}`` asks for a null that is there.
- ``$ne`` is the negation of ``$eq`` and ``$nin`` of ``$in``, so both hold where the key is missing.
- ``$exists`` asks for the key, whatever its value, null included.
- Lists and dicts are values that equal nothing; keys inside dicts are reached by dots.
- ``$contains`` asks for a list that has this value, or, given text, for a text that has these characters.
- ``$icontains`` asks for a text that has these characters in upper or lower case.
- ``$empty`` asks for what is missing, null, or a text, list or dict without anything in it.

`where_document` asks for text: ``$contains`` (these characters, case and all), ``$not_contains``, ``$match`` (all these
words, in any order and in upper or lower case), and ``$and``, ``$or``, ``$not``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from vsearch._validate import _show
from vsearch.collection.storable import check_storable
from vsearch.errors import DTypeError, ParameterError

ORDER = ("$gt", "$gte", "$lt", "$lte")
FIELD_OPERATORS = ("$eq", "$ne", *ORDER, "$in", "$nin", "$exists", "$empty", "$contains", "$not_contains", "$icontains")
TEXT_OPERATORS = ("$contains", "$not_contains", "$match")
JOINTS = ("$and", "$or", "$not")

#: So much becomes SQL within the limits of SQLite (see `where_sql`); it takes some tenths of a second to prepare that.
MAX_DEPTH = 20
MAX_TERMS = 2000

_UNSPEAKABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')  # an SQLite path cannot quote these


class Every(NamedTuple):
    """Every part holds; true without parts."""

    parts: tuple[Where, ...]
    tag: str = "all"


class Some(NamedTuple):
    """Some part holds; false without parts."""

    parts: tuple[Where, ...]
    tag: str = "any"


class Not(NamedTuple):
    """The part does not hold."""

    part: Where
    tag: str = "not"


class Compare(NamedTuple):
    """The value of a field, of this kind ("text", "number", "bool", "null"), stands in this relation to ``value``."""

    field: tuple[str, ...]
    operator: str
    kind: str
    value: Any
    tag: str = "compare"


class OneOf(NamedTuple):
    """The value of a field is of this kind and one of ``values`` ("text" or "number" only)."""

    field: tuple[str, ...]
    kind: str
    values: tuple[Any, ...]
    tag: str = "one of"


class Has(NamedTuple):
    """The value of a field is a list with a value of this kind that equals ``value``, or a text that holds it."""

    field: tuple[str, ...]
    kind: str
    value: Any
    tag: str = "has"


class Exists(NamedTuple):
    """The field is there."""

    field: tuple[str, ...]
    tag: str = "exists"


class Empty(NamedTuple):
    """The field is missing, null, or a text, list or dict without anything in it."""

    field: tuple[str, ...]
    tag: str = "empty"


class Alike(NamedTuple):
    """The value of a field is a text that holds these characters, upper or lower case."""

    field: tuple[str, ...]
    text: str
    tag: str = "alike"


class Contains(NamedTuple):
    """The document holds these characters."""

    text: str
    tag: str = "contains"


class Match(NamedTuple):
    """The document holds all these words."""

    words: tuple[str, ...]
    tag: str = "match"


Where: TypeAlias = "Every | Some | Not | Compare | OneOf | Has | Exists | Empty | Alike | Contains | Match"


def parse(where: Any, where_document: Any = None) -> Where | None:
    """The tree of a filter on metadata and one on text, both of which must hold; None where neither is given.

    >>> parse({"year": {"$gte": 2020}})
    Compare(field=('year',), operator='$gte', kind='number', value=2020, tag='compare')
    """
    parts = []
    if where is not None:
        parts.append(_Parser("where", _field_term).expression(where, 0))
    if where_document is not None:
        parts.append(_Parser("where_document", _text_term).expression(where_document, 0))
    return _joined(Every, parts) if parts else None


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as FTS5 will find them: runs of letters and digits.

    >>> words_of("don't stop-now")
    ('don', 't', 'stop', 'now')
    """
    return tuple(re.findall(r"[^\W_]+", text))


class _Parser:
    """Depth and size are counted, so that a hostile expression is refused and not compiled."""

    def __init__(self, name: str, term: Any) -> None:
        self.name, self.term, self.terms = name, term, 0

    def expression(self, value: Any, depth: int) -> Where:
        if not isinstance(value, Mapping):
            raise DTypeError(f"`{self.name}` must be a dict; got {_show(value)}.")
        if depth > MAX_DEPTH:
            raise ParameterError(
                f"`{self.name}` must be nested at most {MAX_DEPTH} deep; got {_show(value)} below that."
            )
        return _joined(Every, [part for key, item in value.items() for part in self._entry(key, item, depth)])

    def _entry(self, key: Any, item: Any, depth: int) -> Iterator[Where]:
        if key == "$not":
            yield _negated(self.expression(item, depth + 1))
        elif key in ("$and", "$or"):
            if not isinstance(item, (list, tuple)) or not item:
                raise DTypeError(f"`{self.name}`: {key} must be given a list of expressions; got {_show(item)}.")
            yield _joined(Every if key == "$and" else Some, [self.expression(part, depth + 1) for part in item])
        else:
            for term in self.term(self.name, key, item):
                self.terms += 1
                if self.terms > MAX_TERMS:
                    raise ParameterError(
                        f"`{self.name}` must have at most {MAX_TERMS} terms; got more. Use $in for many values."
                    )
                yield term


def _joined(kind: type[Every] | type[Some], parts: list[Where]) -> Where:
    """Parts under one joint, without those that say nothing: thousands of them would be too many for SQLite."""
    left: list[Where] = []
    for part in parts:
        if isinstance(part, kind):
            left += part.parts
        elif isinstance(part, (Every, Some)) and not part.parts:  # false in an Every, true in a Some
            return part
        else:
            left.append(part)
    return left[0] if len(left) == 1 else kind(tuple(left))


def _negated(where: Where) -> Where:
    """What holds where another does not."""
    if isinstance(where, (Every, Some)) and not where.parts:
        return Some(()) if isinstance(where, Every) else Every(())
    return where.part if isinstance(where, Not) else Not(where)


def _text_term(name: str, key: Any, item: Any) -> Iterator[Where]:
    if key not in TEXT_OPERATORS:
        raise ParameterError(_unknown(name, key, (*TEXT_OPERATORS, *JOINTS)))
    if not isinstance(item, str):
        raise DTypeError(f"`{name}`: {key} must be given a str; got {_show(item)}.")
    _check_text(name, item)
    if key == "$match":
        words = words_of(item)
        if not words:
            raise ParameterError(f"`{name}`: $match must be given words; got {_show(item)}.")
        yield Match(words)
    elif not item:
        raise ParameterError(f"`{name}`: {key} must be given at least one character.")
    else:
        yield Contains(item) if key == "$contains" else Not(Contains(item))


def _field_term(name: str, key: Any, item: Any) -> Iterator[Where]:
    if isinstance(key, str) and key.startswith("$"):
        raise ParameterError(_unknown(name, key, JOINTS))
    field = check_field(name, key)
    if not isinstance(item, Mapping):
        yield _compare(name, field, "$eq", item)
        return
    if not item:
        raise ParameterError(f"`{name}`: {key!r} must be given a value or operators; got an empty dict.")
    for operator, operand in item.items():
        yield _operator(name, field, operator, operand)


def check_field(name: str, key: Any) -> tuple[str, ...]:
    """A key, with dots into nested dicts, as the tuple of its parts."""
    if not isinstance(key, str):
        raise DTypeError(f"`{name}` must name fields by str; got {_show(key)}.")
    parts = tuple(key.split("."))
    if not all(parts) or _UNSPEAKABLE.search(key):
        raise ParameterError(
            f"`{name}` must name fields without quotes, backslashes and empty parts; got {_show(key)}."
        )
    return parts


def _operator(name: str, field: tuple[str, ...], operator: Any, operand: Any) -> Where:
    if operator not in FIELD_OPERATORS:
        raise ParameterError(_unknown(name, operator, FIELD_OPERATORS))
    if operator in ("$exists", "$empty"):
        if not isinstance(operand, bool):
            raise DTypeError(f"`{name}`: {operator} must be given True or False; got {_show(operand)}.")
        asked: Where = Exists(field) if operator == "$exists" else Empty(field)
        return asked if operand else Not(asked)
    if operator == "$icontains":
        kind, text = _scalar(name, operator, operand)
        if kind != "text":
            raise DTypeError(f"`{name}`: $icontains must be given a str; got {_show(operand)}.")
        return Alike(field, text)
    if operator in ("$in", "$nin"):
        found = _one_of(name, field, operator, operand)
        return found if operator == "$in" else _negated(found)
    if operator in ("$contains", "$not_contains"):
        has = Has(field, *_scalar(name, operator, operand))
        return has if operator == "$contains" else Not(has)
    if operator == "$ne":
        return Not(_compare(name, field, "$eq", operand))
    return _compare(name, field, operator, operand)


def _compare(name: str, field: tuple[str, ...], operator: str, operand: Any) -> Where:
    kind, value = _scalar(name, operator, operand)
    if operator in ORDER and kind not in ("text", "number"):
        raise DTypeError(f"`{name}`: {operator} must be given a str or a number; got {_show(operand)}.")
    return Compare(field, operator, kind, value)


def _one_of(name: str, field: tuple[str, ...], operator: str, operand: Any) -> Where:
    if isinstance(operand, (str, bytes, Mapping)) or not hasattr(operand, "__iter__"):
        raise DTypeError(f"`{name}`: {operator} must be given a list; got {_show(operand)}.")
    kinds: dict[str, dict[Any, None]] = {}
    for item in operand:
        kind, value = _scalar(name, operator, item)
        kinds.setdefault(kind, {})[value] = None
    parts: list[Where] = [
        OneOf(field, kind, tuple(values)) for kind, values in kinds.items() if kind in ("text", "number")
    ]
    parts += [
        Compare(field, "$eq", kind, value)
        for kind, values in kinds.items()
        if kind in ("bool", "null")
        for value in values
    ]
    return parts[0] if len(parts) == 1 else Some(tuple(parts))


def _scalar(name: str, operator: str, value: Any) -> tuple[str, Any]:
    """The kind of a value and the value in plain Python."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:  # a NumPy scalar
        value = value.item()
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, str):
        _check_text(name, value)
        return "text", str(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "number", int(value)
    if isinstance(value, float) and value - value == 0:
        return "number", float(value)
    wanted = "a str, a bool, None, an int of 64 bits or a finite float"
    raise DTypeError(f"`{name}`: {operator} must be given {wanted}; got {_show(value)}.")


def _check_text(name: str, text: str) -> None:
    check_storable(name, (text,))
    if "\0" in text:
        raise ParameterError(f"`{name}` must not hold NUL characters; got {ascii(text)[:60]}.")


def _unknown(name: str, key: Any, allowed: tuple[str, ...]) -> str:
    return f"`{name}` must use {', '.join(allowed)}; got {_show(key)}."
