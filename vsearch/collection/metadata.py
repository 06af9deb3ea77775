"""Metadata: the dicts of a caller as the JSON that SQLite stores, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from vsearch._validate import _show
from vsearch.collection.storable import check_storable
from vsearch.errors import DimensionError, DTypeError, ParameterError

#: Dicts and lists inside each other. SQLite reads JSON 1000 deep, and takes what is deeper for damage; a copy in Python
#: takes two calls for each, of the thousand that Python allows.
MAX_NESTING = 200

_STR = {str}
_FLAT = {str, int, float, bool, type(None)}
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the escape of NUL, and not a backslash before "u0000"
_parse = json.JSONDecoder().raw_decode  # without the search for spaces: half the time of json.loads


def check_metadata(listed: list[Any], n: int) -> list[str | None]:
    """One dict for each of n ids as JSON text, None for an empty one.

    >>> check_metadata([{"a": [1, None]}, {}], 2)
    ['{"a":[1,null]}', None]
    """
    if len(listed) != n:
        raise DimensionError(f"`metadata` must have one dict per id, {n}; got {len(listed)}.")
    texts: list[str | None] = []
    try:
        for value in listed:
            if value and type(value) is not dict:
                value = dict(value)
            if value and not (_STR.issuperset(map(type, value)) and _FLAT.issuperset(map(type, value.values()))):
                _check_inside(value, len(texts), MAX_NESTING)
            text = _to_json(value) if value else None
            if text and "\\u0000" in text and _NUL.search(text):
                raise ValueError("SQLite's JSON ends a text at a NUL character")
            texts.append(text)
    except ParameterError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise DTypeError(
            f"`metadata` must be a dict of str, numbers, booleans, None, lists and dicts each; row "
            f"{len(texts)} is {_show(listed[len(texts)])} ({str(error).lower()})."
        ) from None
    check_storable("metadata", texts, "dicts whose JSON has")
    return texts


def from_json(text: str | None) -> dict[str, Any]:
    """Stored metadata, JSON without spaces around it, as a dict.

    >>> from_json('{"a":1}')
    {'a': 1}
    """
    return _parse(text)[0] if text else {}


def _check_inside(value: Iterable[Any], row: int, left: int) -> None:
    """Refuse keys that JSON would make a str of, and what is nested more than ``left`` deep."""
    if not left:
        raise ParameterError(f"`metadata` must be nested at most {MAX_NESTING} deep; got more in row {row}.")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ParameterError(
                    f"`metadata` must have str as keys, at every depth; got {_show(key)} in row {row}."
                )
        value = value.values()
    for item in value:
        if isinstance(item, (dict, list, tuple)):
            _check_inside(item, row, left - 1)


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; anything else has no JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode
