"""JSON to and from files that may have been forged: bounded in depth, number and memory, and without surprises.

Python's parser accepts NaN and repeated keys, recurses in C as deep as the text nests, and turns three bytes (``[],``)
into sixty. Here each of these is refused before or while parsing, and what is written is what will be read back.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np

from vsearch.errors import DTypeError, ParameterError

#: How deep objects and lists may nest, and how many of them there may be.
MAX_DEPTH = 32
MAX_CONTAINERS = 1 << 17


def dump(name: str, tree: dict[str, Any]) -> str:
    """Canonical ASCII JSON of what the caller calls ``name``: the same content gives the same bytes.

    >>> dump("meta", {"b": [1, 2.5], "a": None})
    '{"a":null,"b":[1,2.5]}'
    """
    text = json.dumps(_plain(name, tree), sort_keys=True, separators=(",", ":"), allow_nan=False)
    try:
        _check_nesting(text)
    except ValueError as error:
        raise ParameterError(f"`{name}` must be small; it has {error}. Store arrays instead.") from None
    return text


def parse(text: str) -> dict[str, Any]:
    """The object that ``text`` holds; ValueError for anything else.

    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: a repeated key
    """
    _check_nesting(text)
    tree = json.loads(text, object_pairs_hook=_unique, parse_int=_int, parse_constant=_no_constant)
    if not isinstance(tree, dict):
        raise ValueError("no object")
    return tree


def _check_nesting(text: str) -> None:
    """Count brackets outside strings, without recursion and at the speed of memory."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    bare = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    code = np.frombuffer(bare.encode("ascii", "replace"), np.uint8)
    opens = (code == ord("[")) | (code == ord("{"))
    if np.count_nonzero(opens) > MAX_CONTAINERS:
        raise ValueError(f"more than {MAX_CONTAINERS} lists and objects")
    step = opens.astype(np.int8)
    step -= (code == ord("]")) | (code == ord("}"))
    # Only brackets matter to the running depth, and there are few.
    if np.cumsum(step[step != 0], dtype=np.int32).max(initial=0) > MAX_DEPTH:
        raise ValueError(f"lists or objects nested more than {MAX_DEPTH} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a repeated key")
    return tree


def _int(digits: str) -> int:
    if len(digits) > 21:  # a sign and 64 bits; long ones take quadratic time
        raise ValueError("a number out of range")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is not JSON")


def _plain(where: str, value: Any, depth: int = 0) -> Any:
    """Refuse what JSON would change or cannot hold; tuples become lists, as they will when read."""
    if depth > MAX_DEPTH:
        raise ParameterError(f"`{where[:40]}...` must be nested at most {MAX_DEPTH} deep.")
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain(f"{where}[{key!r}]", item, depth + 1) for key, item in value.items()}
    if depth:
        if isinstance(value, (list, tuple)):
            return [_plain(f"{where}[{i}]", item, depth + 1) for i, item in enumerate(value)]
        if value is None or type(value) in (str, bool):
            return value
        if (type(value) is int and abs(value) < 1 << 64) or (type(value) is float and math.isfinite(value)):
            return value
    wanted = "a str, bool, None, int of 64 bits, finite float, list, or dict of these with str keys"
    raise DTypeError(f"`{where[:80]}` must be {wanted if depth else 'a dict with str keys'}; got {value!r:.60}.")
